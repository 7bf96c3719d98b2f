"""Find the encoder a user points at: a run, a checkpoint or a model folder."""

from pathlib import Path
from typing import NamedTuple

import torch

from ecgjepa.errors import ModelFolderError
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.folder import ModelConfig, find_model, load_model_folder
from ecgjepa.model.heads import Classifier
from ecgjepa.objectives.build import objective_class
from ecgjepa.pretraining.checkpoint import check_checkpoint, load_encoder_weights
from ecgjepa.pretraining.run import CHECKPOINTS_FOLDER, describe_encoder
from ecgjepa.sharing.references import resolve


class DescribedEncoder(NamedTuple):
    """An encoder without a head, and its description."""

    encoder: Encoder
    config: ModelConfig

    def without_training(self) -> "DescribedEncoder":
        """Return the encoder as it was before the first step of its pre-training."""
        return DescribedEncoder(untrained_encoder(self.config), self.config)


def load_encoder(path: str | Path) -> DescribedEncoder:
    """Return an encoder in evaluation mode and its description, without a head.

    Args:
        path: A finished run, one of its checkpoints (``RUN/checkpoints/step-…``), or a model
            folder with or without a head.

    Raises:
        ModelFolderError: If nothing usable is there.
        CheckpointError: If the checkpoint is damaged.
    """
    path = resolve(path)
    if path.parent.name == CHECKPOINTS_FOLDER and path.is_dir():
        state = check_checkpoint(path)
        config = describe_encoder(path.parent.parent, steps=state.step)
        encoder = build_encoder(config.encoder)
        name = objective_class(config.pretraining.objective).kept_encoder
        encoder.load_state_dict(load_encoder_weights(path, name), strict=True)
        return DescribedEncoder(encoder.eval(), config)
    folder = find_model(path)
    if folder == path and (path / CHECKPOINTS_FOLDER).is_dir():
        raise ModelFolderError(
            f"{path}: this run is not finished; continue it with 'ecgjepa pretrain', or name one "
            f"of its checkpoints, {path / CHECKPOINTS_FOLDER}/step-…"
        )
    model, config = load_model_folder(folder)
    encoder = model.encoder if isinstance(model, Classifier) else model
    # What the weights have seen stays known: see `ecgjepa.tasks.leakage`.
    training = {"seen": config.training["seen"]} if "seen" in config.training else {}
    dropped = dict.fromkeys(("head", "task", "calibration", "distribution"))
    described = config.model_copy(update={**dropped, "training": training})
    return DescribedEncoder(encoder, described)


def untrained_encoder(config: ModelConfig) -> Encoder:
    """Return the encoder as it was before the first step of its pre-training.

    Where that is not known (an imported checkpoint), one drawn by the same rules with seed 0.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.pretraining.seed or 0)
        return build_encoder(config.encoder).eval()
