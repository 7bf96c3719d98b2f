"""Tasks from labels as a store keeps them: those of one column of a user's table, or all of them.

A store keeps ``column=word`` for a word, the column's name for a yes, and ``column=no`` for a no: a
record that is negative differs from one that no table describes.
"""

import json
from collections import Counter
from collections.abc import Mapping, Set

import numpy as np
import pandas as pd
from jaxtyping import Bool

from ecgjepa.databases.sheets.words import no_code
from ecgjepa.errors import TaskError
from ecgjepa.model.outputs import TaskKind
from ecgjepa.store.manifest import Manifest
from ecgjepa.tasks.task import Task, check_task

# Columns of labels of each database's table, each to its labels in the index.
Columns = Mapping[str, Mapping[str, tuple[str, ...]]]


def label_columns(manifest: Manifest) -> tuple[str, ...]:
    """Return the columns of labels of all databases of a store; none of an older store."""
    found = (name for one in manifest.databases.values() for name in one.label_columns)
    return tuple(dict.fromkeys(found))


def build_column_task(column: str, kind: TaskKind, table: pd.DataFrame, columns: Columns) -> Task:
    """Build a task from one column of the table that a store was prepared with.

    Args:
        column: Its name, in any case.
        kind: ``multi-label`` or ``single-label``.
        table: The store's index.
        columns: Columns of labels of each database's table.

    Raises:
        TaskError: If no database has the column, or its labels do not fit the kind.
    """
    if kind == "regression":
        raise TaskError(
            f"task {column!r}: a store keeps labels and no numbers of a table; give the table "
            f"itself, --task FILE.csv --labels {column} --kind regression"
        )
    whole = only_labels(table, {})
    chosen: dict[str, dict[str, tuple[str, ...]]] = {}
    for database, rows in table.groupby("database").indices.items():
        own = columns.get(str(database)) or _guessed(column, [whole[row] for row in rows])
        found = {name: codes for name, codes in own.items() if name.lower() == column.lower()}
        if found:
            chosen[str(database)] = found
    if not chosen:
        check_task(column, columns=dict.fromkeys(name for own in columns.values() for name in own))
        raise AssertionError(column)
    told = only_labels(table, {name: chosen.get(str(name), {}) for name in set(table["database"])})
    task = in_short(task_of_codes(column, told, chosen), chosen)
    return _with_remarks(task, kind, table, set(chosen))


def only_labels(table: pd.DataFrame, columns: Columns) -> list[dict[str, float | None]]:
    """Return the codes of every record that are labels, with their likelihood.

    Args:
        table: The store's index.
        columns: Columns of labels of databases; of a database that is not among them, every code is
            a label.
    """
    found = []
    codes = {name: _codes_of(own) | _negative(own) for name, own in columns.items()}
    for database, text in zip(table["database"], table["labels"], strict=True):
        told = json.loads(text)
        kept = codes.get(database)
        found.append(told if kept is None else {c: v for c, v in told.items() if c in kept})
    return found


def known_and_doubtful(
    told: list[dict[str, float | None]],
) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
    """Return the codes of every record, and those of which it is unknown whether they apply."""
    codes = [frozenset(code for code in one if one[code] is not None) for one in told]
    return codes, [frozenset(one) - found for one, found in zip(told, codes, strict=True)]


def task_of_codes(name: str, told: list[dict[str, float | None]], columns: Columns) -> Task:
    """Return the task of all codes that occur; a record with none of them is left out.

    Args:
        name: Of the task.
        told: What is known of every record.
        columns: Columns of labels, of which some say "no".

    Raises:
        TaskError: If no record has a code.
    """
    codes, doubtful = known_and_doubtful(told)
    negative = {code for own in columns.values() for code in _negative(own)}
    counts = Counter(code for found in codes for code in found - negative)
    if not counts:
        raise TaskError(f"task {name!r}: none of the {len(codes)} records has a code")
    same = {code: code for code in counts}
    known = np.array([bool(found) for found in codes])
    return without_doubtful(multi_label(name, same, same, codes, known), doubtful)


def _codes_of(columns: Mapping[str, tuple[str, ...]]) -> set[str]:
    return {code for own in columns.values() for code in own}


def _negative(columns: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Return the codes that say of a column of yes and no that a record has "no"."""
    return {no_code(name) for name, codes in columns.items() if codes == (name,)}


def _guessed(column: str, told: list[dict[str, float | None]]) -> dict[str, tuple[str, ...]]:
    """Return the labels of a column in a store of a version that did not keep the columns."""
    start = f"{column.lower()}="
    found = {code for one in told for code in one if f"{code.lower()}=".startswith(start)}
    name = next((code.partition("=")[0] for code in sorted(found)), column)
    return {name: tuple(sorted(found))} if found else {}


def in_short(task: Task, columns: Columns) -> Task:
    """Return a task whose labels are words alone where all are of one column."""
    names = {name for own in columns.values() for name in own}
    if len(names) != 1 or not all(columns.values()):
        return task
    start = f"{names.pop()}="
    short = tuple(label.removeprefix(start) for label in task.labels)
    return task._replace(labels=short, descriptions=short)


def _with_remarks(task: Task, kind: TaskKind, table: pd.DataFrame, having: set[str]) -> Task:
    """Return a task of a kind, with what a user should know about who has the column."""
    notices = list(task.notices)
    for database in sorted(set(table["database"]) - having):
        count = int((table["database"] == database).sum())
        notices.append(f"{database} has no column {task.name}: its {count:,} records are left out")
    single = task.targets.sum(axis=1) == 1
    if kind == "multi-label":
        if single.all() and len(task.labels) > 1:
            notices.append("every record has one label: --kind single-label makes them exclusive")
        return task._replace(notices=tuple(notices))
    if len(task.labels) < 2 or not single.any():
        raise TaskError(f"task {task.name!r}: expected one of several classes for a record")
    if several := int((~single).sum()):
        notices.append(f"{several:,} records do not have one label and are left out")
    return task._replace(
        kind=kind,
        rows=task.rows[single],
        targets=task.targets[single],
        num_unlabelled=task.num_unlabelled + several,
        notices=tuple(notices),
    )


def without_doubtful(
    task: Task, doubtful: list[frozenset[str]], codes_of_labels: Set[str] = frozenset()
) -> Task:
    """Leave out the records of which it is unknown whether one of the labels applies.

    Args:
        task: The task.
        doubtful: Codes of every record of which it is unknown whether they apply.
        codes_of_labels: Codes that stand for the labels, besides the labels themselves.

    Raises:
        TaskError: If no record is left.
    """
    labels = set(task.labels) | codes_of_labels
    kept = np.array([not (doubtful[row] & labels) for row in task.rows], np.bool_)
    if kept.all():
        return task
    left_out = int((~kept).sum())
    if not kept.any():
        raise TaskError(f"task {task.name!r}: every record has a label that is unknown")
    words = f"{left_out:,} records are left out: an empty cell makes one of their labels unknown"
    return task._replace(
        rows=task.rows[kept],
        targets=task.targets[kept],
        num_unlabelled=task.num_unlabelled + left_out,
        notices=(*task.notices, words),
    )


def multi_label(
    name: str,
    labels: dict[str, str],
    label_of_code: dict[str, str],
    codes: list[frozenset[str]],
    known: Bool[np.ndarray, " records"],
) -> Task:
    """Return a multi-label task of codes.

    Args:
        name: Of the task.
        labels: Name of each label to what it stands for.
        label_of_code: Label of each code.
        codes: Of every record.
        known: Of which records the labels are known.

    Raises:
        TaskError: If no record has a label.
    """
    names = sorted(labels)
    targets = np.zeros((len(codes), len(names)), np.bool_)
    column = {label: number for number, label in enumerate(names)}
    for row, found in enumerate(codes):
        for code in found & label_of_code.keys():
            targets[row, column[label_of_code[code]]] = True
    if not targets[known].any():
        raise TaskError(f"task {name!r}: none of the {len(codes)} records has a label of it")
    rows = np.flatnonzero(known)
    never = [label for label in names if not targets[rows, column[label]].any()]
    return Task(
        name=name,
        kind="multi-label",
        labels=tuple(names),
        descriptions=tuple(labels[label] or label for label in names),
        rows=rows,
        targets=targets[rows],
        num_unlabelled=len(codes) - len(rows),
        notices=(f"no record has the label {', '.join(never)}",) if never else (),
    )
