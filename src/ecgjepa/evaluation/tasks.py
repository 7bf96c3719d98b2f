"""What is to be predicted: the seven PTB-XL tasks, and what every task has.

Tasks of other databases are in `record_tasks`, tables of your own in `label_table`.

PTB-XL's are built from ``scp_statements.csv``. Definitions follow the paper (section 4.1 and
Strodthoff et al. 2020, https://doi.org/10.1109/JBHI.2020.3022989): every statement present counts,
whatever its likelihood; sub- and superdiagnostic map diagnostic statements to their class; records
without any label of the task are left out, in all folds; labels are in alphabetical order.
"""

import json
import logging
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64, Shaped

from ecgjepa.errors import TaskError

logger = logging.getLogger(__name__)

TASKS = (
    "all",
    "diagnostic",
    "subdiagnostic",
    "superdiagnostic",
    "form",
    "rhythm",
    "st-mem",
)
# Tasks that need nothing but the store's index; see `record_tasks`.
INDEX_TASKS = ("challenge-2021", "code-15", "codes", "age")
REGRESSIONS = ("age",)
TaskKind = Literal["multi-label", "single-label", "regression"]
# Numbers of labels on the full database.
NUM_LABELS = {
    "all": 71,
    "diagnostic": 44,
    "subdiagnostic": 23,
    "superdiagnostic": 5,
    "form": 19,
    "rhythm": 12,
    "st-mem": 5,
}
SUPERCLASS_DESCRIPTIONS = {
    "NORM": "normal ECG",
    "MI": "myocardial infarction",
    "STTC": "ST/T change",
    "CD": "conduction disturbance",
    "HYP": "hypertrophy",
}


class Task(NamedTuple):
    """A task over some records of a store.

    Attributes:
        name: One of `TASKS` or `INDEX_TASKS`, or the name of a table of labels.
        kind: ``multi-label``, ``single-label`` or ``regression``.
        labels: Names, in order.
        descriptions: What they stand for.
        rows: Store rows that have a label of the task.
        targets: Which labels each of those rows has, as booleans; in a regression, the values.
        num_unlabelled: Records left out because they have none (or, single-label, several).
        notices: What was counted on the way, in sentences.
    """

    name: str
    kind: TaskKind
    labels: tuple[str, ...]
    descriptions: tuple[str, ...]
    rows: Int64[np.ndarray, " records"]
    targets: Shaped[np.ndarray, "records labels"]
    num_unlabelled: int
    notices: tuple[str, ...] = ()


def build_task(name: str, labels_json: pd.Series, statements: pd.DataFrame) -> Task:
    """Build a task from the statement codes of a store's records.

    Args:
        name: One of `TASKS`.
        labels_json: Per record, a JSON object whose keys are statement codes.
        statements: ``scp_statements.csv``, indexed by code.

    Raises:
        TaskError: If the task is unknown, a code is not in the table, or no record has a label.
    """
    check_task(name)
    groups = _label_of_code(name, statements)
    labels = sorted(set(groups.values()))
    if not labels:
        raise TaskError(f"task {name!r}: scp_statements.csv marks no statement for it")
    column = {label: number for number, label in enumerate(labels)}
    targets = np.zeros((len(labels_json), len(labels)), np.bool_)
    unknown: set[str] = set()
    for row, text in enumerate(labels_json):
        codes = json.loads(text)
        unknown |= set(codes) - set(statements.index)
        for code in codes:
            if code in groups:
                targets[row, column[groups[code]]] = True
    if unknown:
        raise TaskError(
            f"statement codes {', '.join(sorted(unknown))} are in the records but not in "
            "scp_statements.csv; is it of the same version?"
        )
    single = name == "st-mem"
    counts = targets.sum(axis=1)
    rows = np.flatnonzero(counts == 1 if single else counts > 0)
    if not rows.size:
        raise TaskError(f"task {name!r}: none of the {len(labels_json)} records has a label of it")
    found, whole = len(labels), NUM_LABELS[name]
    return Task(
        name=name,
        kind="single-label" if single else "multi-label",
        labels=tuple(labels),
        descriptions=tuple(_describe(label, statements) for label in labels),
        rows=rows,
        targets=targets[rows],
        num_unlabelled=len(labels_json) - len(rows),
        notices=()
        if found == whole
        else (f"scp_statements.csv gives {found} labels; the published task has {whole}",),
    )


def _label_of_code(name: str, statements: pd.DataFrame) -> dict[str, str]:
    """Map each statement code that counts for the task to its label."""
    if name == "all":
        return {code: code for code in statements.index}
    if name in ("diagnostic", "form", "rhythm"):
        return {code: code for code in statements.index[statements[name] == 1]}
    column = "diagnostic_subclass" if name == "subdiagnostic" else "diagnostic_class"
    diagnostic = statements[(statements["diagnostic"] == 1) & statements[column].notna()]
    return {str(code): str(label) for code, label in diagnostic[column].items()}


def _describe(label: str, statements: pd.DataFrame) -> str:
    if label in SUPERCLASS_DESCRIPTIONS:
        return SUPERCLASS_DESCRIPTIONS[label]
    if label in statements.index and "description" in statements:
        return str(statements.loc[label, "description"])
    return label


class Split(NamedTuple):
    """Which folds are for what."""

    train: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    validation: tuple[int, ...] = (9,)
    test: tuple[int, ...] = (10,)


PAPER_SPLIT = Split()


def is_table(name: str) -> bool:
    """Return whether a task's name is the path of a table of labels."""
    return name.lower().endswith(".csv")


def check_task(name: str) -> None:
    """Raise `TaskError` if there is no such task."""
    if name not in (*TASKS, *INDEX_TASKS) and not is_table(name):
        raise TaskError(
            f"unknown task {name!r}: expected one of {', '.join((*TASKS, *INDEX_TASKS))}, or the "
            "path of a .csv file"
        )


def check_split(split: Split, *, transfer: bool = False) -> None:
    """Raise `TaskError` if a fold is in two parts of a split, or a part has none.

    Args:
        split: The folds.
        transfer: The test folds are another database's, so they may bear the same numbers.
    """
    for purpose, folds in zip(Split._fields, split, strict=True):
        if not folds:
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
        fold: Of every record of the store.
        patient: Of every record of the store; None where unknown.
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
    for purpose, part, wanted in zip(Split._fields, parts, split, strict=True):
        if not part.size and (wanted or purpose != "test"):
            present = sorted(set(pd.Series(folds).dropna().astype(int).tolist()))
            raise TaskError(
                f"task {task.name!r}: no record with a label is in the {purpose} folds "
                f"{list(wanted)}; folds with records: {present}"
            )
    patients = patient.iloc[task.rows]
    seen: dict[str, str] = {}
    for purpose, part in zip(Split._fields, parts, strict=True):
        for name in sorted(patients.iloc[part].dropna().unique()):
            if name in seen:
                raise TaskError(
                    f"patient {name} is in the {seen[name]} and the {purpose} folds; scores on "
                    "such a split would be too good"
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
        parts: Its records, by purpose.
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
        if copied.all():
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
