"""Find the encoder a user points at: a run, a checkpoint, a model folder, or one made elsewhere."""

from pathlib import Path
from typing import NamedTuple

import torch

from ecgjepa.errors import ConfigError, ModelFolderError
from ecgjepa.foreign.description import EncoderDescription
from ecgjepa.foreign.network import Foreign, ForeignEncoder
from ecgjepa.foreign.opening import config_of, constants_of, is_foreign, open_foreign
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.folder import ModelConfig, find_model, load_model_folder
from ecgjepa.model.heads import Classifier
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.objectives.build import objective_class
from ecgjepa.pretraining.checkpoint import check_checkpoint, load_encoder_weights
from ecgjepa.pretraining.run import CHECKPOINTS_FOLDER, describe_encoder
from ecgjepa.protocols.settings import FROM_SCRATCH_PROTOCOLS, TUNING
from ecgjepa.results.layout import TRAINED_WITH_LABELS, UNTRAINED
from ecgjepa.sharing.references import refuse_unfinished, resolve


class DescribedEncoder(NamedTuple):
    """An encoder without a head, and its description."""

    encoder: Encoder
    config: ModelConfig

    @property
    def foreign(self) -> Foreign | None:
        """What is known of an encoder that was made elsewhere; None for one of this package."""
        return self.encoder.foreign if isinstance(self.encoder, ForeignEncoder) else None

    @property
    def rival_name(self) -> str:
        """Name of what stands beside the encoder: the same untrained, or the raw signal."""
        return UNTRAINED if self.foreign is None else self.foreign.rival

    @property
    def normalisation(self) -> NormalisationConfig | None:
        """Constants that scale the leads; None for those of the task's training records."""
        return constants_of(self.encoder) if isinstance(self.encoder, ForeignEncoder) else None

    def without_training(self) -> "DescribedEncoder":
        """Return the encoder as it was before the first step of its pre-training.

        An ONNX file cannot be had like that: it gives way to features of the raw signal.
        """
        if isinstance(self.encoder, ForeignEncoder):
            beside = self.encoder.rival()
            return DescribedEncoder(beside, config_of(beside))
        return DescribedEncoder(untrained_encoder(self.config), self.config)


def own_encoder(
    source: str | Path, description: EncoderDescription | str | Path
) -> DescribedEncoder:
    """Open an encoder that was made elsewhere, for `probe`, `repeat` and `run_protocol`.

    Its description says what it takes: see docs/your-encoder.md.

    Args:
        source: An ONNX file, or the factory of a PyTorch module as ``package.module:factory``,
            which is imported: whatever it holds is run.
        description: YAML file, or its content as `EncoderDescription`.

    Raises:
        EncoderError: If the encoder, the factory or the description is not as documented.

    Example:
        >>> import ecgjepa
        >>> try:
        ...     ecgjepa.own_encoder("nowhere.onnx", "nowhere.yaml")
        ... except ecgjepa.EcgjepaError as error:
        ...     print(error)
        no description of the encoder at nowhere.yaml
    """
    encoder = open_foreign(source, description)
    return DescribedEncoder(encoder, config_of(encoder))


def load_encoder(path: str | Path | DescribedEncoder) -> DescribedEncoder:
    """Return an encoder in evaluation mode and its description, without a head.

    Args:
        path: A finished run, one of its checkpoints (``RUN/checkpoints/step-…``), or a model
            folder with or without a head; or what `own_encoder` returned, which stays as it is.

    Raises:
        ModelFolderError: If nothing usable is there.
        CheckpointError: If the checkpoint is damaged.
        ConfigError: If it can only be an encoder that was made elsewhere.
    """
    if isinstance(path, DescribedEncoder):
        return path
    if is_foreign(str(path)):
        raise ConfigError(
            f"{path}: an encoder that was made elsewhere needs a description: give "
            "--encoder-description encoder.yaml, or in Python own_encoder(encoder, description)"
        )
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
    refuse_unfinished(folder)
    model, config = load_model_folder(folder)
    encoder = model.encoder if isinstance(model, Classifier) else model
    # What the weights have seen stays known: see `ecgjepa.tasks.leakage`.
    training = {"seen": config.training["seen"]} if "seen" in config.training else {}
    if was_trained_with_labels(config):
        training[TRAINED_WITH_LABELS] = True
    dropped = dict.fromkeys(("head", "task", "calibration", "distribution"))
    described = config.model_copy(update={**dropped, "training": training})
    return DescribedEncoder(encoder, described)


def was_trained_with_labels(config: ModelConfig) -> bool:
    """Return whether labels have trained a model's encoder, and not only a head on it.

    Of a head on a fine-tuned encoder, folders of older versions do not tell.
    """
    training = config.training
    is_tuned = training.get("protocol") in (*TUNING, *FROM_SCRATCH_PROTOCOLS)
    return is_tuned or bool(training.get(TRAINED_WITH_LABELS))


def untrained_encoder(config: ModelConfig) -> Encoder:
    """Return the encoder as it was before the first step of its pre-training.

    Where that is not known (an imported checkpoint), one drawn by the same rules with seed 0.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.pretraining.seed or 0)
        return build_encoder(config.encoder).eval()


def refuse_training(encoder: DescribedEncoder, protocol: str) -> None:
    """Refuse to train an encoder that was made elsewhere.

    Raises:
        ConfigError: If it was.
    """
    if encoder.foreign is not None:
        raise ConfigError(
            f"protocol {protocol} trains encoders of this package, and {encoder.foreign.source} "
            "was made elsewhere; its frozen features can be judged, by 'ecgjepa probe'"
        )
