"""Between the official implementation's checkpoints and our runs and model folders.

An imported model folder has the target encoder, as the paper evaluates it; `load_official_jepa`
gives all three networks. See docs/decisions/0013-official-checkpoints.md for what is filled in.
"""

import logging
from pathlib import Path
from typing import Any

import torch

from ecgjepa.config import PretrainConfig
from ecgjepa.databases import ptb_xl
from ecgjepa.databases.catalogue import CATALOGUE
from ecgjepa.databases.paper_statistics import paper_statistics
from ecgjepa.errors import CheckpointError, ConfigError, ModelFolderError, OfficialCheckpointError
from ecgjepa.files import sha256_of_file
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.model.folder import (
    CONFIG_FILE,
    MODEL_FOLDER,
    ModelConfig,
    PretrainingFacts,
    load_model_folder,
    read_model_config,
    save_model,
)
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.model.weights import load_finite
from ecgjepa.objectives.networks.jepa import Jepa
from ecgjepa.official.checkpoint import OfficialCheckpoint, read_official, write_official
from ecgjepa.official.config import (
    encoder_config,
    from_official_config,
    lost_settings,
    official_leads,
    to_official_config,
    to_official_encoder_config,
)
from ecgjepa.pretraining.checkpoint import (
    WEIGHTS_FILE,
    check_checkpoint,
    latest_checkpoint,
    load_optimizer_state,
)
from ecgjepa.pretraining.run import (
    CHECKPOINTS_FOLDER,
    describe_encoder,
    read_run_config,
)
from ecgjepa.signals.preprocessing import PreprocessingConfig

logger = logging.getLogger(__name__)

OFFICIAL_SUFFIX = ".pt"
_PAPER_WINDOW_SECONDS = 10.0
# Of a description, what does not tell one model from another.
_FILLED_IN = {"weights_sha256", "software_version"}


def convert(source: str | Path, to: str | Path, *, database: str = "ptb-xl") -> Path:
    """Convert an official checkpoint (``.pt``) into a model folder, or the other way round.

    Args:
        source: An official checkpoint; or a run (its newest checkpoint), one of its checkpoints, or
            a model folder without a head.
        to: A model folder to write; or, for the way back, a file that ends with ``.pt``.
        database: Whose published normalisation constants an imported model gets. By default
            PTB-XL's, on which the paper evaluates; `probe` and `finetune` take new ones from their
            training records anyway, as the paper does.

    Returns:
        ``to``.

    Raises:
        OfficialCheckpointError: If an official checkpoint is unusable.
        CheckpointError: If one of ours is.
        ModelFolderError: If there is no model to convert, or ``to`` is in use.
        DatabaseError: If the paper gives no constants for ``database``.
        ConfigError: If neither or both are official checkpoints, or the model has parts that the
            official networks lack.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.convert("runs/jepa", "jepa.pt")
        PosixPath('jepa.pt')
        >>> ecgjepa.convert("jepa.pt", "runs/converted")
        PosixPath('runs/converted')
    """
    source, to = Path(source), Path(to)
    if (source.suffix == OFFICIAL_SUFFIX) == (to.suffix == OFFICIAL_SUFFIX):
        raise ConfigError(
            f"from {source} to {to}: exactly one of the two must end with {OFFICIAL_SUFFIX}, "
            "the official checkpoint; the other is a folder"
        )
    if to.suffix == OFFICIAL_SUFFIX:
        if to.exists():
            raise ModelFolderError(f"{to}: exists; choose another name for --to, or delete it")
        return write_official(to, _read_ours(source))
    return _import(source, to, database)


def load_official_jepa(path: str | Path) -> tuple[Jepa, PretrainConfig]:
    """Return all three networks of an official checkpoint, and the configuration of its run.

    Raises:
        OfficialCheckpointError: If the file is unusable, or holds the target encoder alone.
    """
    checkpoint = read_official(path)
    if not checkpoint.is_complete:
        raise OfficialCheckpointError(f"{path}: holds the target encoder alone, no predictor")
    config = from_official_config(checkpoint.config, source=str(path))
    jepa = Jepa(config.encoder, config.predictor)
    for name in ("context_encoder", "predictor", "target_encoder"):
        _fill(jepa.get_submodule(name), checkpoint.network(name))
    return jepa, config


# ---------------------------------------------------------------- official to ours


def _import(source: Path, folder: Path, database: str) -> Path:
    if folder.exists() and not (folder / CONFIG_FILE).is_file():
        raise ModelFolderError(f"{folder}: exists and is not a model folder; choose a new one")
    constants = paper_statistics(database)
    checkpoint = read_official(source)
    encoder = VisionTransformer(encoder_config(checkpoint.config, source=str(source)))
    _fill(encoder, checkpoint.network("target_encoder"))
    leads = official_leads(checkpoint.config, str(source))
    order = [PreprocessingConfig().leads.index(lead) for lead in leads]
    config = ModelConfig(
        encoder=encoder.config,
        preprocessing=PreprocessingConfig(
            sampling_rate=checkpoint.config["sampling_frequency"], leads=leads
        ),
        normalisation=NormalisationConfig(
            mean=tuple(constants.mean[lead] for lead in order),
            std=tuple(constants.std[lead] for lead in order),
        ),
        pretraining=_facts(source, checkpoint),
    )
    _refuse_another(folder, config)
    save_model(folder, encoder, config, _card(config, source.name, database))
    return folder


def _refuse_another(folder: Path, config: ModelConfig) -> None:
    """Raise `ModelFolderError` if a folder holds anything but this import of this checkpoint."""
    if not folder.exists():
        return
    there = read_model_config(folder)
    wanted, found = (one.model_dump(mode="json", exclude=_FILLED_IN) for one in (config, there))
    if found != wanted:
        raise ModelFolderError(
            f"{folder}: holds another model; choose another --to, or delete the folder"
        )


def _facts(source: Path, checkpoint: OfficialCheckpoint) -> PretrainingFacts:
    """Return what an official checkpoint says of its training, and what the paper says of its data.

    PTB-XL counts as seen in the folds that the paper pre-trained on, so that no evaluation on them
    passes for a test.
    """
    names = list(checkpoint.config["datasets"] or ())
    described = {name: CATALOGUE[name] for name in names if name in CATALOGUE}
    return PretrainingFacts(
        steps=checkpoint.step,
        seed=None,
        store=f"official checkpoint, SHA-256 {sha256_of_file(source)}",
        folds={name: ptb_xl.TRAINING_FOLDS if name == ptb_xl.NAME else None for name in names},
        records={
            name: entry.paper_records
            for name, entry in described.items()
            if entry.paper_records is not None
        },
        official=checkpoint.config,
    )


def _card(config: ModelConfig, file_name: str, database: str) -> str:
    facts, size = config.pretraining, config.encoder
    steps = "an unknown number of" if facts.steps is None else f"{facts.steps:,}"
    gap = 1000 * config.preprocessing.max_gap_seconds
    return (
        "# ECG encoder pre-trained with JEPA, imported\n\n"
        "For research use only; not a medical device.\n\n"
        f"- Vision Transformer, width {size.dim}, depth {size.depth}, {size.num_heads} heads; "
        f"patches of {1000 * size.patch_size / config.preprocessing.sampling_rate:.0f} ms.\n"
        f"- Weights: the target encoder of {file_name}, a checkpoint of the official "
        f"implementation (kweimann/ECG-JEPA), after {steps} steps on "
        f"{', '.join(facts.folds) or 'unknown databases'}; byte for byte.\n"
        "\nThe checkpoint holds weights, leads, rate and the settings of its training. Filled in:"
        "\n\n"
        f"- normalisation: the constants published for {database}, cut at ±"
        f"{config.normalisation.clip:g}. Records of another origin have other amplitudes; probe "
        "and finetune take constants from their own training records.\n"
        f"- preprocessing: no high-pass; gaps up to {gap:.0f} ms are bridged, longer ones become "
        "0 after scaling. The official code bridges every gap, resamples by FFT, and removes "
        "baseline wander from CODE-15 and St-Petersburg INCART only.\n"
        "- folds and numbers of records: the paper's (PTB-XL: folds 1 to 8), not read from the "
        'file. The seed is not known; the "untrained" encoder of an evaluation is a fresh one.\n'
    )


# ---------------------------------------------------------------- ours to official


def _read_ours(path: Path) -> OfficialCheckpoint:
    if path.parent.name == CHECKPOINTS_FOLDER and path.is_dir():
        return _read_checkpoint(path)
    if (path / CHECKPOINTS_FOLDER).is_dir():
        checkpoint = latest_checkpoint(path / CHECKPOINTS_FOLDER)
        if checkpoint is None:
            raise ModelFolderError(f"{path}: this run has no undamaged checkpoint yet")
        return _read_checkpoint(checkpoint)
    model, config = load_model_folder(path)
    if not isinstance(model, VisionTransformer):
        raise ModelFolderError(
            f"{path}: is a classifier; only encoders, runs and their checkpoints can be written as "
            "official checkpoints"
        )
    official = config.pretraining.official or {
        **to_official_encoder_config(
            config.encoder,
            sampling_rate=config.preprocessing.sampling_rate,
            leads=config.preprocessing.leads,
            window_seconds=_PAPER_WINDOW_SECONDS,
        ),
        "datasets": _proportions(config.pretraining),
    }
    weights = {f"target_encoder.{name}": tensor for name, tensor in model.state_dict().items()}
    return OfficialCheckpoint(official, weights)


def _read_checkpoint(path: Path) -> OfficialCheckpoint:
    state = check_checkpoint(path)
    run = path.parent.parent
    config = read_run_config(run)
    if config.objective != "jepa":
        raise CheckpointError(
            f"{path}: is of a run with objective {config.objective}; the official code knows jepa "
            f"only. Its encoder alone can be written from {run / MODEL_FOLDER}"
        )
    official = to_official_config(config)
    if lost := lost_settings(config):
        logger.warning(
            "the official code knows no %s: it would continue this run in another way",
            ", ".join(f"{key}={value}" for key, value in lost.items()),
        )
    if not official["datasets"]:  # no weights: in proportion to the records
        official["datasets"] = _proportions(describe_encoder(run, steps=state.step).pretraining)
    weights = load_finite(path / WEIGHTS_FILE, CheckpointError)
    return OfficialCheckpoint(official, weights, state.step, _official_optimizer(path))


def _official_optimizer(path: Path) -> dict[str, Any]:
    """Return AdamW's state; its two groups hold the same parameters in the same order as theirs."""
    state = load_optimizer_state(path)
    for group, decays in zip(state["param_groups"], (True, False), strict=True):
        group["use_weight_decay"] = decays
    return state


def _proportions(facts: PretrainingFacts) -> dict[str, float]:
    total = sum(facts.records.values())
    return {name: count / total for name, count in facts.records.items()} if total else {}


def _fill(module: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Load weights whose names were checked; registers are absent where there are none."""
    empty = {name: value for name, value in module.state_dict().items() if not value.numel()}
    module.load_state_dict({**empty, **weights}, strict=True)
