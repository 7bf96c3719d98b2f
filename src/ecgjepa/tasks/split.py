"""Who is trained, selected and tested on: folds, shares of the labels, no copy in two parts."""

import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64, Shaped

from ecgjepa.errors import TaskError
from ecgjepa.tasks.task import Task

logger = logging.getLogger(__name__)


class Split(NamedTuple):
    """Which folds are for what.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.Split(train=(1, 2, 3), validation=(4,), test=(5,)).test
        (5,)
    """

    train: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    validation: tuple[int, ...] = (9,)
    test: tuple[int, ...] = (10,)


PAPER_SPLIT = Split()


def check_split(
    split: Split, *, transfer: bool = False, needed: Sequence[str] = Split._fields
) -> None:
    """Raise `TaskError` if a fold is in two parts of a split, or a part has none.

    Args:
        split: The folds.
        transfer: The test folds are another database's, so they may bear the same numbers.
        needed: Parts that must have folds.
    """
    for purpose in needed:
        if not getattr(split, purpose):
            raise TaskError(f"no {purpose} folds are given")
    _check_overlap(split._replace(test=()) if transfer else split)


def _check_overlap(split: Split) -> None:
    chosen = [*split.train, *split.validation, *split.test]
    twice = sorted({fold for fold in chosen if chosen.count(fold) > 1})
    if twice:
        raise TaskError(
            f"folds overlap: {twice} more than once in train {list(split.train)}, "
            f"validation {list(split.validation)} and test {list(split.test)}"
        )


class SplitTask(NamedTuple):
    """Positions within a task's rows, by purpose."""

    train: Int64[np.ndarray, " train"]
    validation: Int64[np.ndarray, " validation"]
    test: Int64[np.ndarray, " test"]


def split_task(
    task: Task,
    fold: pd.Series,
    patient: pd.Series,
    split: Split,
    *,
    tested: Bool[np.ndarray, " store"] | None = None,
) -> SplitTask:
    """Divide a task's records by fold.

    Args:
        task: The task.
        fold: Fold of every record of the store.
        patient: Patient of every record of the store; None where unknown.
        split: Folds for training, selection and test; there may be no test folds.
        tested: In a transfer, which records of the store are of a database to be tested: they are
            not trained or selected on, and the others are not tested. None otherwise.

    Raises:
        TaskError: If folds overlap, a part is empty, or a patient is in two parts.
    """
    if tested is None:
        _check_overlap(split)
    folds = fold.to_numpy()[task.rows]
    inside = [np.isin(folds, part) for part in split]
    if tested is not None:
        there = tested[task.rows]
        inside = [inside[0] & ~there, inside[1] & ~there, inside[2] & there]
    parts = SplitTask(*map(np.flatnonzero, inside))
    for purpose, part, chosen in zip(Split._fields, parts, split, strict=True):
        if not part.size and (chosen or purpose != "test"):
            present = sorted(set(pd.Series(folds).dropna().astype(int).tolist()))
            raise TaskError(
                f"task {task.name!r}: no record with a label is in the {purpose} folds "
                f"{list(chosen)}; folds with records: {present}"
            )
    patients = patient.iloc[task.rows]
    seen: dict[str, str] = {}
    for purpose, part in zip(Split._fields, parts, strict=True):
        for name in sorted(patients.iloc[part].dropna().unique()):
            if name in seen:
                raise TaskError(
                    f"patient {name} is in the {seen[name]} and the {purpose} folds; scores on "
                    "this split would be inflated"
                )
            seen[name] = purpose
    return parts


def without_copies(
    task: Task, parts: SplitTask, digest: pd.Series
) -> tuple[SplitTask, dict[str, int]]:
    """Leave records out of training and validation whose samples come again in a later part.

    Patients are known for some databases only; exact copies are seen everywhere.

    Args:
        task: The task.
        parts: The task's records, by purpose.
        digest: Hash of the samples of every record of the store.

    Returns:
        The parts, and how many were left out of ``validation`` and of ``train``.

    Raises:
        TaskError: If nothing is left of a part.
    """
    digests = digest.to_numpy(str)[task.rows]
    later, num_copies = parts.test, {}
    for purpose, others in (("validation", "test"), ("train", "validation or test")):
        part = getattr(parts, purpose)
        copied = np.isin(digests[part], digests[later])
        if part.size and copied.all():
            raise TaskError(
                f"task {task.name!r}: all {len(part):,} records of the {purpose} folds are copies "
                f"of {others} records, so none is left; choose other folds"
            )
        num_copies[purpose] = int(copied.sum())
        if copied.any():
            logger.warning(
                "%d records of the %s folds are copies of %s records: left out",
                num_copies[purpose],
                purpose,
                others,
            )
        later = np.concatenate((later, part))
        parts = parts._replace(**{purpose: part[~copied]})
    return parts, num_copies


def check_selectable(targets: Shaped[np.ndarray, "records labels"], part: str) -> None:
    """Refuse records that all have the same labels or values, so that no score exists.

    Args:
        targets: Labels of the records.
        part: What they are for: ``validation`` or ``test``.

    Raises:
        TaskError: If every label is the same for all of them.
    """
    if targets.dtype != np.bool_ and not (targets != targets[:1]).any():
        raise TaskError(
            f"all {len(targets)} {part} records have the same value, so no score exists"
        )
    positives = targets.sum(axis=0)
    if targets.dtype == np.bool_ and not ((positives > 0) & (positives < len(targets))).any():
        raise TaskError(
            f"none of the {targets.shape[1]} labels has both positive and negative records among "
            f"the {len(targets)} {part} records, so no score exists; choose other folds"
        )


def check_share(share: float) -> None:
    """Raise `TaskError` if a share of the labels is not more than 0, up to 1."""
    if not 0 < share <= 1:
        raise TaskError(f"share of labels is {share:g}; expected more than 0, up to 1")


def part_of_patients(patients: np.ndarray, share: float, draw: int) -> Bool[np.ndarray, " records"]:
    """Return which records belong to a drawn share of the patients, at least one of them.

    A draw puts the patients in an order, and a share takes them from its beginning: what 1 % holds
    is in 5 % as well, and a patient's records stay together.

    Args:
        patients: Patient of each record; unknown ones should be made distinct.
        share: More than 0, up to 1.
        draw: Number of the draw.
    """
    names, number = np.unique(patients.astype(str), return_inverse=True)
    order = np.random.default_rng([draw, len(names)]).permutation(len(names))
    chosen = np.zeros(len(names), np.bool_)
    # Rounded first: 0.07 * 100 is more than 7.
    chosen[order[: math.ceil(round(share * len(names), 9))]] = True
    return chosen[number]
