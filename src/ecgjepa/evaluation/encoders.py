"""Find the encoder a user points at: a run, a checkpoint or a model folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ecgjepa.errors import ModelFolderError, TaskError
from ecgjepa.evaluation.data import Data
from ecgjepa.evaluation.tasks import Split
from ecgjepa.model.encoder import VisionTransformer
from ecgjepa.model.folder import CONFIG_FILE, ModelConfig, load_model_folder
from ecgjepa.model.heads import Classifier
from ecgjepa.objectives.build import kept_encoder_name
from ecgjepa.pretraining.checkpoint import check_checkpoint, load_encoder_weights
from ecgjepa.pretraining.run import CHECKPOINTS_FOLDER, MODEL_FOLDER, describe_encoder
from ecgjepa.store.reading import Store


def load_encoder(path: str | Path) -> tuple[VisionTransformer, ModelConfig]:
    """Return an encoder in evaluation mode and its description, without a head.

    Args:
        path: A finished run, one of its checkpoints (``RUN/checkpoints/step-…``), or a model
            folder with or without a head.

    Raises:
        ModelFolderError: If nothing usable is there.
        CheckpointError: If the checkpoint is damaged.
    """
    path = Path(path)
    if path.parent.name == CHECKPOINTS_FOLDER and path.is_dir():
        state = check_checkpoint(path)
        config = describe_encoder(path.parent.parent, steps=state.step)
        encoder = VisionTransformer(config.encoder)
        name = kept_encoder_name(config.pretraining.objective)
        encoder.load_state_dict(load_encoder_weights(path, name), strict=True)
        return encoder.eval(), config
    if (path / MODEL_FOLDER / CONFIG_FILE).is_file():
        path = path / MODEL_FOLDER
    elif (path / CHECKPOINTS_FOLDER).is_dir():
        raise ModelFolderError(
            f"{path}: this run is not finished; continue it with 'ecgjepa pretrain', or name one "
            f"of its checkpoints, {path / CHECKPOINTS_FOLDER}/step-…"
        )
    model, config = load_model_folder(path)
    encoder = model.encoder if isinstance(model, Classifier) else model
    # What the weights have seen stays known: see `refuse_leak`.
    training = {"seen": config.training["seen"]} if "seen" in config.training else {}
    return encoder, config.model_copy(update={"head": None, "task": None, "training": training})


def untrained_encoder(config: ModelConfig) -> VisionTransformer:
    """Return the encoder as it was before the first step of its pre-training.

    Where that is not known (an imported checkpoint), one drawn by the same rules with seed 0.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.pretraining.seed or 0)
        return VisionTransformer(config.encoder).eval()


def refuse_seen(
    config: ModelConfig,
    data: Data,
    split: Split,
    test_on: Sequence[str] = (),
    *,
    allow_seen: bool = False,
) -> None:
    """Refuse to select or test on what the encoder has seen, in any of the databases.

    In a transfer, those that are not tested are judged by their validation folds alone, and those
    that are by their test folds.

    Raises:
        TaskError: See `refuse_leak`.
    """
    databases = list(data) if isinstance(data, Mapping) else list(Store(data).manifest.databases)
    for database in databases:
        judged = split
        if test_on:
            judged = split._replace(**{"validation" if database in test_on else "test": ()})
        refuse_leak(config, database, judged, allow_seen=allow_seen)


def refuse_leak(
    config: ModelConfig, database: str, split: Split, *, allow_seen: bool = False
) -> None:
    """Refuse to select or test on folds that the encoder, or a head it comes with, has seen.

    Args:
        config: The encoder.
        database: Where the records are from.
        split: Folds.
        allow_seen: Allow a database without published folds whose signals, all of them, were used
            for pre-training. Labels were not seen; the paper's own comparisons do the same.

    Raises:
        TaskError: If it was pre-trained or trained on one of them, or selected on a test fold.
    """
    known = config.pretraining.folds
    if database in known and known[database] is None and not allow_seen:
        raise TaskError(
            f"the encoder was pre-trained on all records of {database}, which has no folds of its "
            "own; pre-train without it, test on another database, or allow it with --allow-seen"
        )
    seen = set(config.pretraining.folds.get(database) or ())
    leaked = sorted(seen & {*split.validation, *split.test})
    if leaked:
        raise TaskError(
            f"the encoder was pre-trained on folds {sorted(seen)} of {database}, which include "
            f"{leaked} of the validation and test folds; choose others, or pre-train on a store "
            f"prepared with --folds {','.join(map(str, split.train))}"
        )
    for stage in config.training.get("seen", []):
        if stage["database"] != database:
            continue
        trained = set(stage["train"]) & {*split.validation, *split.test}
        selected = set(stage["validation"]) & set(split.test)
        if trained | selected:
            raise TaskError(
                f"the model was trained on folds {stage['train']} of {database} and selected on "
                f"{stage['validation']}, which include {sorted(trained | selected)} of the "
                "validation and test folds; choose others, or start from the pre-training run"
            )
