"""Open records for an encoder, unless it has seen what it is going to be judged by."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ecgjepa.errors import TaskError
from ecgjepa.evaluation.data import Data, EvaluationData, open_data
from ecgjepa.evaluation.tasks import Split, TaskKind, check_split, check_task
from ecgjepa.model.folder import ModelConfig
from ecgjepa.store.reading import Store


def open_unseen(
    data: Data,
    config: ModelConfig,
    *,
    task: str,
    split: Split,
    kind: TaskKind = "multi-label",
    label_fraction: float = 1.0,
    label_draw: int = 0,
    test_on: Sequence[str] = (),
    allow_seen: bool = False,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationData:
    """Return the labelled records, with the share of the training labels that is asked for.

    What can be refused without reading records is refused first. The arguments are those of
    `open_data`, `EvaluationData.with_labels` and `refuse_seen`.

    Raises:
        TaskError: See there.
    """
    check_task(task)
    check_split(split, transfer=bool(test_on))
    refuse_seen(config, data, split, test_on, allow_seen=allow_seen)
    records = open_data(
        data,
        config,
        task=task,
        split=split,
        cache=cache,
        kind=kind,
        test_on=test_on,
        progress=progress,
    )
    return records.with_labels(label_fraction, label_draw)


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
