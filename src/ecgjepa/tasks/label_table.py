"""A task from a user's table of labels over any store.

`ecgjepa.databases.sheets` reads the table, the same as describes an archive. Its labels are the
columns that the user names or, if none is named, those that look like labels:

- ``multi-label``: columns of yes and no, each a label; columns of words, each word a label;
- ``single-label``: one column of words, each a class;
- ``regression``: a column of numbers each.

Records without a row, or with an empty cell, are left out and counted.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Shaped

from ecgjepa.databases.sheets.columns import find_columns
from ecgjepa.databases.sheets.table import LabelTable, read_label_table
from ecgjepa.databases.sheets.words import UNKNOWN, LabelColumn, read_column
from ecgjepa.errors import DatabaseError, TaskError
from ecgjepa.files import sha256_of_file
from ecgjepa.io.content import counted
from ecgjepa.model.outputs import TaskKind
from ecgjepa.tasks.described import Described
from ecgjepa.tasks.task import Task, columns_of, sheet_options_of, table_of, task_name

_MOST_CLASSES = 200


def read_task_table(task: str) -> LabelTable:
    """Read the table that a task names.

    Raises:
        TaskError: If there is none, or it is not readable.
    """
    _check_there(table_of(task))
    try:
        return read_label_table(table_of(task), columns_of(task), sheet_options_of(task))
    except DatabaseError as error:
        raise TaskError(str(error)) from None


def task_of(task: str, kind: TaskKind, described: Described, num_records: int) -> Task:
    """Return the task that a table with known records gives.

    Args:
        task: The table, with ``:COLUMN`` behind it for certain columns, and what
            `ecgjepa.tasks.task.sheet_options_of` reads.
        kind: What its columns hold.
        described: Its rows and their records.
        num_records: Records of the store.

    Raises:
        TaskError: If a value is not of the kind, or no record has a label.
    """
    table = described.table
    columns = _columns(table, kind, task)
    order = np.argsort(described.rows, kind="stable")
    rows, kept = described.rows[order], described.kept[order]
    empty = _are_empty(columns)[kept]
    taken = table.label_notices(columns, as_numbers=kind == "regression")
    notices = [*described.notices, *table.notices, *taken]
    if without := num_records - len(rows):
        notices.append(
            f"{counted(without, 'record', 'records')} without a row in {table.path.name}: left out"
        )
    if empty.any():
        notices.append(
            f"{counted(int(empty.sum()), 'record', 'records')} with an empty cell: left out"
        )
    rows, kept = rows[~empty], kept[~empty]
    if not rows.size:
        raise TaskError(f"{table.path}: no record of the store has a label in it")
    labels, targets = _targets(table.path, kind, columns, kept)
    return Task(
        name=task_name(task),
        kind=kind,
        labels=labels,
        descriptions=labels,
        rows=rows,
        targets=targets,
        num_unlabelled=num_records - len(rows),
        notices=tuple(notices),
    )


def labels_of_table(task: str, kind: TaskKind) -> tuple[str, ...]:
    """Return the labels of a table, whatever records there are: `task_of` gives no others.

    Args:
        task: See `task_of`.
        kind: What its columns hold.

    Raises:
        TaskError: If the table is not readable, or has no column of the kind.
    """
    columns = _columns(read_task_table(task), kind, task)
    if kind == "regression":
        return tuple(column.name for column in columns)
    if kind == "single-label" and columns[0].is_flag:
        return tuple(sorted({cell for cell in columns[0].cells if cell.lower() not in UNKNOWN}))
    with_names = _need_names(columns)
    words = [
        column.code(word) if with_names else word
        for column in columns
        for word in column.vocabulary
    ]
    if not words:
        raise _no_label(table_of(task), columns)
    return tuple(dict.fromkeys(words))


def digest_of_table(task: str | Path) -> str:
    """Return the SHA-256 of a table of labels.

    Raises:
        TaskError: If there is none.
    """
    path = table_of(str(task))
    _check_there(path)
    return sha256_of_file(path)


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise TaskError(f"no table of labels at {path}")


_DESCRIBES = {"single-label": "sex", "regression": "age"}


def _columns(table: LabelTable, kind: TaskKind, task: str) -> tuple[LabelColumn, ...]:
    """Return the columns that a task of a kind takes."""
    are_named, options = bool(columns_of(task)), sheet_options_of(task)
    numbers = [name for name, reason in table.left.items() if reason == "numbers"]
    found = table.labels
    if kind == "regression" and not are_named:
        found = tuple(column for column in found if column.is_flag and _are_numbers(column))
        found += tuple(read_column(name, table.cells[name]) for name in numbers)
    if kind == "single-label" and not found and len(numbers) == 1:
        found = (read_column(numbers[0], table.cells[numbers[0]]),)
    if kind != "multi-label" and not found:
        # Age and sex describe a record beside other labels; alone in a table they are its labels.
        own = find_columns(table.path, table.cells, (), options).roles.get(_DESCRIBES[kind])
        found = () if own is None else (read_column(own, table.cells[own]),)
    if kind == "single-label" and len(found) > 1:
        raise TaskError(
            f"{table.path}: a single-label task has one column of classes; found "
            f"{', '.join(column.name for column in found)}; choose one with --labels COLUMN"
        )
    if not found:
        listed = ", ".join(f"{name} ({reason})" for name, reason in table.left.items())
        raise TaskError(
            f"{table.path}: has no column of labels beside those that name and describe records; "
            f"found {listed or 'no other column'}. --labels COLUMN takes one nevertheless; for "
            "classes or numbers give the kind single-label or regression"
        )
    return found


def _are_numbers(column: LabelColumn) -> bool:
    return set(column.cells) <= {"0", "1", "0.0", "1.0", ""}


def _are_empty(columns: tuple[LabelColumn, ...]) -> Bool[np.ndarray, " rows"]:
    """Return in which rows something is unknown that the task needs."""
    unknown = [[cell.lower() in UNKNOWN for cell in column.cells] for column in columns]
    return np.array(list(map(any, zip(*unknown, strict=True))), np.bool_)


def _targets(
    path: Path, kind: TaskKind, columns: tuple[LabelColumn, ...], kept: np.ndarray
) -> tuple[tuple[str, ...], Shaped[np.ndarray, "records labels"]]:
    if kind == "regression":
        values = [_numbers(path, column, kept) for column in columns]
        return tuple(column.name for column in columns), np.column_stack(values)
    if kind == "single-label":
        return _classes(path, columns[0], kept)
    with_names = _need_names(columns)
    found: dict[str, np.ndarray] = {}
    for column in columns:
        words = [column.words[row] or () for row in kept]
        own = (column.name,) if column.is_flag else sorted({one for each in words for one in each})
        for word in own:
            name = column.code(word) if with_names else word
            has = np.array([word in each for each in words], np.bool_)
            found[name] = found[name] | has if name in found else has
    if not found:
        raise _no_label(path, columns)
    return tuple(found), np.column_stack(list(found.values()))


def _no_label(path: Path, columns: tuple[LabelColumn, ...]) -> TaskError:
    return TaskError(f"{path}: column {columns[0].name} holds no label")


def _need_names(columns: tuple[LabelColumn, ...]) -> bool:
    """Return whether labels need their column's name: words of several columns may be the same."""
    return sum(not column.is_anonymous for column in columns) > 1


def _numbers(path: Path, column: LabelColumn, kept: np.ndarray) -> Shaped[np.ndarray, " records"]:
    cells = pd.Series([column.cells[row].replace(",", ".", 1) for row in kept])
    found = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
    wrong = ~np.isfinite(found)
    if wrong.any():
        raise TaskError(
            f"{path}: {column.name} is {cells[wrong].iloc[0]!r} ({int(wrong.sum()):,} such rows); "
            "expected a number"
        )
    return found


def _classes(
    path: Path, column: LabelColumn, kept: np.ndarray
) -> tuple[tuple[str, ...], Shaped[np.ndarray, "records labels"]]:
    several = [row for row in kept if not column.is_flag and len(column.words[row] or ()) != 1]
    if several:
        raise TaskError(
            f"{path}: {column.name} is {column.cells[several[0]]!r} ({len(several):,} rows have "
            "not one class); for several labels a record give the kind multi-label"
        )
    words = [
        column.cells[row] if column.is_flag else (column.words[row] or ("",))[0] for row in kept
    ]
    labels, number = np.unique(np.array(words), return_inverse=True)
    if len(labels) < 2 or len(labels) > _MOST_CLASSES:
        raise TaskError(
            f"{path}: {column.name} holds {len(labels):,} classes; expected 2 to {_MOST_CLASSES}"
        )
    return tuple(labels.tolist()), np.eye(len(labels), dtype=np.bool_)[number]
