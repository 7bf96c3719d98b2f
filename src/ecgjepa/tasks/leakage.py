"""Open records for an encoder, unless it has seen what it is going to be judged by."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ecgjepa.checking.seen import find_seen
from ecgjepa.databases import original
from ecgjepa.errors import TaskError
from ecgjepa.files import sha256_of_file
from ecgjepa.model.folder import ModelConfig
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.folds import described, hash_of, is_published, other_name, tell_the_same
from ecgjepa.tasks.opening import Data, check_databases, names_of, open_data
from ecgjepa.tasks.records import EvaluationData
from ecgjepa.tasks.split import Split

logger = logging.getLogger(__name__)

_REMEDY = (
    "prepare {} with the table that tells its folds and patients (of the Challenge's PTB-XL, "
    "ptbxl_database.csv beside the records; of an archive, the same table for both)"
)
_WITH_OPTION = " with --test-folds"
_EXAMPLES = 3
_WORDS = {True: "published ones", False: "made by hash"}


def open_unseen(
    data: Data,
    config: ModelConfig,
    cohort: Cohort,
    *,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationData:
    """Return labelled records for an encoder that has not seen what it is judged by.

    What can be refused without reading records is refused first.

    Args:
        data: See `open_data`.
        config: The encoder.
        cohort: Labels, folds and databases.
        cache: Folder for the prepared records; the user's cache folder by default.
        progress: Called with (records done, records in all) while preparing.

    Raises:
        TaskError: See `refuse_seen`, `open_data` and `EvaluationData.with_labels`.
    """
    refuse_seen(config, names_of(data), cohort)
    check_databases(data, cohort.task, cohort.kind)
    records = open_data(data, config, cohort, cache=cache, progress=progress)
    try:
        refuse_other_folds(config, records.folds, allow_seen=cohort.allow_seen)
        refuse_copies(config, records, allow_seen=cohort.allow_seen)
    except TaskError:
        records.close()
        raise
    return records


def unseen_records(
    records: EvaluationData, config: ModelConfig, *, allow_seen: bool = False
) -> EvaluationData:
    """Return open records for another encoder, which has not seen what it is judged by.

    Args:
        records: Labelled records that were opened for some encoder.
        config: The other encoder.
        allow_seen: See `refuse_leak`; it holds in place of the one that they were opened with.

    Raises:
        TaskError: See `refuse_seen` and `refuse_other_folds`; or if the encoder needs records that
            were prepared with other settings.
    """
    found = records.for_encoder(config)
    refuse_seen(config, found.databases, replace(found.cohort, allow_seen=allow_seen))
    refuse_other_folds(config, found.folds, allow_seen=allow_seen)
    refuse_copies(config, found, allow_seen=allow_seen)
    return found


def refuse_seen(config: ModelConfig, databases: Iterable[str], cohort: Cohort) -> None:
    """Refuse to select or test on what the encoder has seen, in any of the databases.

    Args:
        config: The encoder.
        databases: Names of all databases that take part.
        cohort: Folds, and which of the databases are tested.

    Raises:
        TaskError: See `refuse_leak`.
    """
    for database in databases:
        judged = cohort.judged_folds(database)
        refuse_leak(config, database, judged, allow_seen=cohort.allow_seen)


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
                f"test folds; choose others{_or_pretrain(split.train)}"
            )
    for stage in _trained_on(config, database):
        selected = set(stage["validation"]) & set(split.test)
        if seen := judged & set(stage["train"]) | selected:
            name, told = stage["database"], () if split.validation else split.test
            unseen = ",".join(str(fold) for fold in told if fold not in seen)
            raise TaskError(
                f"the model was trained on folds {stage['train']} of "
                f"{name}{relation(name, database)} and selected on {stage['validation']}, which "
                f"include {sorted(seen)} of the validation and test folds; choose others"
                + (", or start from the pre-training run" if split.train else _WITH_OPTION)
                + f" {unseen}" * bool(unseen and not split.train)
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
            there = config.pretraining.hashed_folds.get(name, "")
            is_clear = tell_the_same(there, origin, is_same=name == database)
            if known is None or allow_seen or is_clear:
                continue
            raise TaskError(
                f"the encoder was pre-trained on folds {sorted(known)} of "
                f"{name}{relation(name, database)}, {described(there)}; here the folds of "
                f"{database} are {described(hash_of(origin))}, so which records it has seen is "
                f"not known; {_REMEDY.format(database)}, or allow it with --allow-seen"
            )
        for stage in _trained_on(config, database):
            name = stage["database"]
            # Older folders do not say; a database's folds are of one kind, unless it is a copy.
            there = stage.get("published", here if name == database else True)
            if not _are_comparable(there, here, is_same=name == database):
                raise TaskError(
                    f"the model was trained on folds {stage['train']} of "
                    f"{name}{relation(name, database)} and selected on {stage['validation']}; "
                    f"those were {_WORDS[there]}, and the folds of {database} are {_WORDS[here]} "
                    "here, so which records it has seen is not known; "
                    f"{_REMEDY.format(name if here else database)}, or start from the "
                    "pre-training run"
                )


def _are_comparable(there: bool, here: bool, *, is_same: bool) -> bool:
    """Return whether folds that were seen there tell which records here were seen.

    Args:
        there: Whether those folds were published ones; otherwise they were made by hash.
        here: Whether the folds of these records are published ones.
        is_same: Whether both are of the database of the same name, not of one and its copy.
    """
    if there and here:
        return True  # A copy has the folds of its original.
    if not there and not here:
        return is_same  # The hash depends on the database's name.
    return False


def refuse_copies(
    config: ModelConfig, records: EvaluationData, *, allow_seen: bool = False
) -> None:
    """Refuse to select or test on copies of records that the encoder was pre-trained on.

    They are found by what they hold, exact or resampled, rescaled or filtered, whatever database
    they came in for pre-training.

    Args:
        config: The encoder; of an older model folder, which does not say what its records hold,
            copies are not known.
        records: Labelled records.
        allow_seen: Allow copies, with a warning.

    Raises:
        TaskError: If there are copies, or the file that tells them has changed.
    """
    seen = config.seen_file
    if seen is None:
        return
    if sha256_of_file(seen) != config.pretraining.seen:
        raise TaskError(
            f"{seen}: has changed, so which records the encoder has seen is not known; restore the "
            "file from the pre-training run"
        )
    judged = np.concatenate([records.parts.validation, records.parts.test])
    rows = np.unique(records.rows(judged))
    if not (found := list(find_seen(seen, records.store, rows))):
        return
    ids = records.table[["database", "record_id"]]
    some = ", ".join(
        f"{' '.join(map(str, ids.iloc[row]))} (in {database})"
        for row, database in found[:_EXAMPLES]
    )
    words = (
        f"the encoder was pre-trained on copies of {len(found):,} of the {len(rows):,} validation "
        f"and test records: {some}{' …' if len(found) > _EXAMPLES else ''}"
    )
    if allow_seen:
        logger.warning("%s", words)
        return
    raise TaskError(
        f"{words}; to pre-train without them, prepare the store together with "
        f"{' '.join(f'{name}=DIR' for name in records.databases)}, whose held-out records are then "
        "refused under any name; or allow it with --allow-seen"
        + other_name(records.databases, config.pretraining.folds, {name for _, name in found})
    )


def _or_pretrain(folds: tuple[int, ...]) -> str:
    words = f", or pre-train on a store prepared with --folds train or {','.join(map(str, folds))}"
    return words if folds else _WITH_OPTION


def relation(name: str, database: str) -> str:
    """Return why a database counts as another one, as a remark."""
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
