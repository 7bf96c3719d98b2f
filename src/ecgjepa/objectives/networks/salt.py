"""SALT: predict the latent features that a frozen teacher has of masked stretches.

Li et al. 2025, https://arxiv.org/abs/2509.24317. The teacher sees the whole record, as JEPA's
target encoder does; the student is the context encoder, and may be of another architecture.
"""

from pathlib import Path

import torch

from ecgjepa.config import EncoderConfig, JepaConfig, Loss, PredictorConfig
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.folder import load_model_folder
from ecgjepa.model.heads import Classifier
from ecgjepa.objectives.networks.jepa import Jepa


class Salt(Jepa):
    """A student and its predictor, and a teacher that stays as it is.

    Args:
        encoder: Architecture of the student.
        predictor: Architecture of the predictor.
        config: What differs from the paper; nothing by default.
        teacher: Model folder of the teacher; of a classifier, its encoder is taken.
        normalise_targets: See `Jepa`.
        loss: See `Jepa`.

    Raises:
        ModelFolderError: If the folder is missing or damaged.
    """

    def __init__(
        self,
        encoder: EncoderConfig,
        predictor: PredictorConfig,
        config: JepaConfig,
        teacher: Path,
        *,
        normalise_targets: bool = False,
        loss: Loss = "l1",
    ) -> None:
        # Building the teacher draws weights, and the student has to begin as any of its seed.
        with torch.random.fork_rng(devices=[]):
            model, _ = load_model_folder(teacher)
        super().__init__(
            encoder,
            predictor,
            config,
            normalise_targets=normalise_targets,
            loss=loss,
            target=model.encoder if isinstance(model, Classifier) else model,
        )

    @property
    def encoder_to_keep(self) -> Encoder:
        """The student."""
        return self.context_encoder

    def update_target(self, momentum: float) -> None:
        """The teacher stays as it is."""

    def train(self, mode: bool = True) -> "Salt":
        """Set the mode of student and predictor; the teacher computes as it was trained to."""
        super().train(mode)
        self.target_encoder.eval()
        return self
