"""Open records for an encoder, unless it has seen what it is going to be judged by."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecgjepa.databases import original
from ecgjepa.errors import TaskError
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.outputs import TaskKind
from ecgjepa.store.reading import Store
from ecgjepa.tasks.folds import is_published
from ecgjepa.tasks.records import Data, EvaluationData, open_data
from ecgjepa.tasks.split import Split, check_split
from ecgjepa.tasks.task import check_task

_REMEDY = (
    "prepare {} with the table that tells its folds (of the Challenge's PTB-XL, "
    "ptbxl_database.csv beside the records)"
)
_WORDS = {True: "published ones", False: "made by hash"}


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
    refuse_other_folds(config, records.facts["folds"], allow_seen=allow_seen)
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

    A database that shares its patients and folds (see `ecgjepa.databases.original`) is the same
    one here.

    Args:
        config: The encoder.
        database: Where the records are from.
        split: Folds.
        allow_seen: Allow records of no known fold to have been used for pre-training, all of them.
            Labels were not seen; the paper's own comparisons do the same.

    Raises:
        TaskError: If it was pre-trained or trained on one of them, or selected on a test fold.
    """
    judged = {*split.validation, *split.test}
    for name, folds in _pretrained_on(config, database):
        if folds is None and not allow_seen:
            raise TaskError(_describe_unknown(name, database))
        if leaked := sorted(judged & set(folds or ())):
            raise TaskError(
                f"the encoder was pre-trained on folds {sorted(folds or ())} of "
                f"{name}{relation(name, database)}, which include {leaked} of the validation and "
                "test folds; choose others, or pre-train on a store prepared with --folds "
                f"{','.join(map(str, split.train))}"
            )
    for stage in _trained_on(config, database):
        trained = judged & set(stage["train"])
        selected = set(stage["validation"]) & set(split.test)
        if trained | selected:
            name = stage["database"]
            raise TaskError(
                f"the model was trained on folds {stage['train']} of "
                f"{name}{relation(name, database)} and selected on {stage['validation']}, which "
                f"include {sorted(trained | selected)} of the validation and test folds; choose "
                "others, or start from the pre-training run"
            )


def refuse_other_folds(
    config: ModelConfig, folds: Mapping[str, str], *, allow_seen: bool = False
) -> None:
    """Refuse records whose folds cannot be compared with those that the encoder has seen.

    Folds made by hash say nothing about published ones, nor about those of another database.

    Args:
        config: The encoder.
        folds: Where the folds of each database are from, as `with_folds` says.
        allow_seen: Allow the records to have been used for pre-training.

    Raises:
        TaskError: If there is such a database.
    """
    for database, origin in folds.items():
        here = is_published(origin)
        for name, known in _pretrained_on(config, database):
            if known is not None and not here and not allow_seen:
                raise TaskError(
                    f"the encoder was pre-trained on folds {sorted(known)} of "
                    f"{name}{relation(name, database)}, but here nothing tells the folds of "
                    f"{database}, so which records it has seen is not known; "
                    f"{_REMEDY.format(database)}, or allow it with --allow-seen"
                )
        for stage in _trained_on(config, database):
            name = stage["database"]
            there = stage.get("published", here if name == database else True)
            if there != here or not (here or name == database):
                raise TaskError(
                    f"the model was trained on folds {stage['train']} of "
                    f"{name}{relation(name, database)} and selected on {stage['validation']}; "
                    f"those were {_WORDS[there]}, and the folds of {database} are {_WORDS[here]} "
                    "here, so which records it has seen is not known; "
                    f"{_REMEDY.format(name if here else database)}, or start from the "
                    "pre-training run"
                )


def relation(name: str, database: str) -> str:
    """Return why a database counts as another one, as a remark; nothing if it is the same."""
    return "" if name == database else f" (which shares patients and folds with {database})"


def _pretrained_on(
    config: ModelConfig, database: str
) -> Iterator[tuple[str, tuple[int, ...] | None]]:
    """Yield what pre-training saw of a database, under each name: folds, or None if not known."""
    facts = config.pretraining
    for name, folds in facts.folds.items():
        # Of a database that gave no record, no fold is known either.
        is_empty = folds is None and facts.records.get(name) == 0
        if original(name) == original(database) and not is_empty:
            yield name, folds


def _trained_on(config: ModelConfig, database: str) -> list[dict[str, Any]]:
    """Return the stages of training and selection that saw labels of a database."""
    stages = config.training.get("seen", [])
    return [stage for stage in stages if original(stage["database"]) == original(database)]


def _describe_unknown(name: str, database: str) -> str:
    if name == database:
        return (
            f"the encoder was pre-trained on all records of {name}, which has no folds of its "
            "own; pre-train without it, test on another database, or allow it with --allow-seen"
        )
    return (
        f"the encoder was pre-trained on records of {name} whose folds were not known; it shares "
        f"its patients with {database}, so they may be those that select or test; to pre-train, "
        f"{_REMEDY.format(name)}, or allow it with --allow-seen"
    )
