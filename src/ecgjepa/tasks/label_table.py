"""A task from a CSV of labels over any store.

One row per record. A column ``record`` (or ``record_id``, ``ecg_id``) names it as the store does;
``database`` names the record's database, where record names are not unique. All other columns are
labels:

- ``multi-label``: a column of 0 and 1 each, or one column ``labels`` of words between semicolons;
- ``single-label``: one column of words, each a class;
- ``regression``: a column of numbers each.

Records without a row, or with an empty cell, are left out and counted.
"""

from collections import Counter
from collections.abc import Callable, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int64, Shaped

from ecgjepa.databases.tables import read_table
from ecgjepa.errors import DatabaseError, TaskError
from ecgjepa.files import sha256_of_file
from ecgjepa.model.outputs import TaskKind
from ecgjepa.tasks.task import Task

_RECORD = ("record", "record_id", "ecg_id")
# With more, a column of words is a comment, a date or an identifier.
_MOST_CLASSES = 200
_EXAMPLES = 3
# Database and name of a record; the database is empty where the table does not tell it.
_Key = tuple[str, str]


class _Found(NamedTuple):
    """Where the records of a table are.

    Attributes:
        rows: The store's row of each record that both have.
        kept: The table's row of it.
        strange: Records of the table that are not in the store.
    """

    rows: Int64[np.ndarray, " found"]
    kept: Int64[np.ndarray, " found"]
    strange: list[_Key]


def build_table_task(
    path: str | Path,
    kind: TaskKind,
    index: pd.DataFrame,
    *,
    quarantined: Set[_Key] = frozenset(),
    num_absent: int = 0,
    absent: Callable[[], Set[_Key]] | None = None,
) -> Task:
    """Build a task from a table of labels.

    Args:
        path: The CSV file.
        kind: What its columns hold.
        index: The store's index: database and name of every record.
        quarantined: Database and name of each record that could not be stored.
        num_absent: Records that the databases' own tables name but the copy lacked.
        absent: Returns database and name of each of those, where the tables are at hand; called if
            a record of the file is not in the store. Without it, not more than ``num_absent``
            unknown names pass for absent records, and only if they are no more than half of the
            file's and one of them looks like the store's own.

    Raises:
        TaskError: If the file is not readable, a record is unknown or comes twice, a value is not
            of the kind, or no record has a label.
    """
    path = Path(path)
    cells = _read(path)
    rows, kept, strange = _find_records(path, cells, index, quarantined)
    notices = _account_for(path, cells, index, strange, quarantined, num_absent, absent)
    columns = [name for name in map(str, cells) if name not in (*_RECORD, "database")]
    if not columns:
        raise TaskError(f"{path}: has no column of labels beside {', '.join(map(str, cells))}")
    cells = cells.iloc[kept]
    empty = (cells[columns] == "").any(axis=1).to_numpy()
    if columns == ["labels"] and kind == "multi-label":
        empty = np.zeros_like(empty)  # an empty cell means no labels, which is valid
    if empty.any():
        notices.append(f"{int(empty.sum()):,} records with an empty cell are left out")
    rows, cells = rows[~empty], cells[~empty]
    if not rows.size:
        raise TaskError(f"{path}: no record of the store has a label in it")
    labels, targets = _targets(path, kind, cells, columns)
    order = np.argsort(rows, kind="stable")
    return Task(
        name=path.stem,
        kind=kind,
        labels=labels,
        descriptions=labels,
        rows=rows[order],
        targets=targets[order],
        num_unlabelled=len(index) - len(rows),
        notices=tuple(notices),
    )


def digest_of_table(path: str | Path) -> str:
    """Return the SHA-256 of a table of labels.

    Raises:
        TaskError: If there is none.
    """
    _check_there(Path(path))
    return sha256_of_file(Path(path))


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise TaskError(f"no table of labels at {path}")


def _read(path: Path) -> pd.DataFrame:
    _check_there(path)
    try:
        cells = read_table(path, dtype=str, keep_default_na=False)
    except DatabaseError as error:
        raise TaskError(str(error)) from None
    if not isinstance(cells.index, pd.RangeIndex):
        raise TaskError(f"{path}: rows have more cells than the header")
    cells.columns = cells.columns.str.strip()
    twice = cells.columns[cells.columns.duplicated()]
    if len(twice):
        raise TaskError(f"{path}: column {twice[0]!r} comes twice")
    return cells.apply(lambda column: column.fillna("").str.strip())


def _find_records(
    path: Path, cells: pd.DataFrame, index: pd.DataFrame, quarantined: Set[_Key]
) -> _Found:
    """Look every record of the table up in the store's index."""
    named = [name for name in _RECORD if name in cells]
    if len(named) != 1:
        raise TaskError(
            f"{path}: expected one column that names the record, {' or '.join(_RECORD)}; found "
            f"{', '.join(map(str, cells)) or 'none'}"
        )
    by = "database" in cells
    places: dict[_Key, int] = {}
    ambiguous: set[str] = set()
    for row, (database, name) in enumerate(zip(index["database"], index["record_id"], strict=True)):
        key = (database if by else "", name)
        if key in places:
            ambiguous.add(name)
        places[key] = row
    if not by:  # the row may mean the record that could not be stored
        ambiguous |= {name for _, name in quarantined if ("", name) in places}
    databases = cells["database"] if by else [""] * len(cells)
    wanted = list(zip(databases, cells[named[0]], strict=True))
    if twice := [name for (_, name), count in Counter(wanted).items() if count > 1]:
        raise TaskError(f"{path}: record {twice[0]!r} comes twice; expected one row each")
    if unclear := sorted(ambiguous & {name for _, name in wanted}):
        raise TaskError(
            f"{path}: record {unclear[0]!r} is in several databases; add a column 'database'"
        )
    kept = np.array([row for row, key in enumerate(wanted) if key in places], np.int64)
    rows = np.array([places[wanted[row]] for row in kept], np.int64)
    return _Found(rows, kept, [key for key in wanted if key not in places])


def _account_for(
    path: Path,
    cells: pd.DataFrame,
    index: pd.DataFrame,
    strange: list[_Key],
    quarantined: Set[_Key],
    num_absent: int,
    absent: Callable[[], Set[_Key]] | None,
) -> list[str]:
    """Say why records are not in the store, and refuse those for which there is no reason."""
    bad = quarantined if "database" in cells else {("", name) for _, name in quarantined}
    spoilt = [key for key in strange if key in bad]
    lacking = [key for key in strange if key not in bad]
    notices = []
    if spoilt:
        notices.append(f"{len(spoilt):,} records of {path.name} could not be stored: they are bad")
    if lacking:
        if absent is not None:
            _refuse_unlisted(path, cells, index, lacking, absent())
            why = "absent from this copy"
        else:
            _refuse_unlikely(path, cells, index, lacking, num_absent)
            why = f"not in the store; they may be among the {num_absent:,} that the copy lacks"
        notices.append(f"{len(lacking):,} records of {path.name} are {why}: {_some(lacking)}")
    return notices


def _refuse_unlisted(
    path: Path, cells: pd.DataFrame, index: pd.DataFrame, lacking: list[_Key], absent: Set[_Key]
) -> None:
    """Refuse records that the databases' own tables do not name either."""
    by = "database" in cells
    listed = absent if by else {("", name) for _, name in absent}
    if unknown := [key for key in lacking if key not in listed]:
        raise _unknown(path, cells, index, unknown)


def _refuse_unlikely(
    path: Path, cells: pd.DataFrame, index: pd.DataFrame, lacking: list[_Key], num_absent: int
) -> None:
    """Refuse records that can hardly all be absent ones, of which only the number is known."""
    if len(lacking) > num_absent:
        raise _unknown(path, cells, index, lacking)
    forms = set(map(_form, index["record_id"]))
    is_likely = any(_form(name) in forms for _, name in lacking)
    if 2 * len(lacking) > len(cells) or not is_likely:
        raise _unknown(
            path,
            cells,
            index,
            lacking,
            f". The copy lacks {num_absent:,} records, whose names the store does not keep: leave "
            "the rows of those out, or give the database's folder in place of the store",
        )


def _unknown(
    path: Path, cells: pd.DataFrame, index: pd.DataFrame, unknown: list[_Key], more: str = ""
) -> TaskError:
    return TaskError(
        f"{path}: {len(unknown):,} of {len(cells):,} records are not in the store, such as "
        f"{_some(unknown)}; it has names such as {index['record_id'].iloc[0]!r}{more}"
    )


def _some(keys: list[_Key]) -> str:
    return ", ".join(repr(name) for _, name in keys[:_EXAMPLES]) + " …" * (len(keys) > _EXAMPLES)


def _form(name: str) -> frozenset[str]:
    """Return what a name is made of: digits, letters, and each other sign."""
    return frozenset("0" if c.isdigit() else "a" if c.isalpha() else c for c in name)


def _targets(
    path: Path, kind: TaskKind, cells: pd.DataFrame, columns: list[str]
) -> tuple[tuple[str, ...], Shaped[np.ndarray, "records labels"]]:
    if kind == "regression":
        return tuple(columns), np.column_stack([_numbers(path, cells[name]) for name in columns])
    if kind == "single-label":
        if len(columns) != 1:
            raise TaskError(
                f"{path}: a single-label task has one column of classes; found {', '.join(columns)}"
            )
        return _classes(path, cells[columns[0]])
    if columns == ["labels"]:
        words = [
            {word.strip() for word in cell.split(";") if word.strip()} for cell in cells["labels"]
        ]
        labels = tuple(sorted(set().union(*words)))
        if not labels:
            raise TaskError(f"{path}: column labels holds no label")
        return labels, np.array([[label in found for label in labels] for found in words])
    return tuple(columns), np.column_stack([_flags(path, cells[name]) for name in columns])


def _numbers(path: Path, cells: pd.Series) -> Shaped[np.ndarray, " records"]:
    found = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
    wrong = ~np.isfinite(found)
    if wrong.any():
        raise TaskError(
            f"{path}: {cells.name} is {cells[wrong].iloc[0]!r} ({int(wrong.sum()):,} such rows); "
            "expected a number"
        )
    return found


def _flags(path: Path, cells: pd.Series) -> Shaped[np.ndarray, " records"]:
    words = cells.str.lower().map(
        {"1": True, "1.0": True, "0": False, "0.0": False, "true": True, "false": False}
    )
    wrong = words.isna()
    if wrong.any():
        raise TaskError(
            f"{path}: {cells.name} is {cells[wrong].iloc[0]!r} ({int(wrong.sum()):,} such rows); "
            "expected 0 or 1. For classes or numbers give the kind single-label or regression"
        )
    return words.to_numpy(np.bool_)


def _classes(
    path: Path, cells: pd.Series
) -> tuple[tuple[str, ...], Shaped[np.ndarray, "records labels"]]:
    labels, number = np.unique(cells.to_numpy(str), return_inverse=True)
    if len(labels) < 2 or len(labels) > _MOST_CLASSES:
        raise TaskError(
            f"{path}: {cells.name} holds {len(labels):,} classes; expected 2 to {_MOST_CLASSES}"
        )
    return tuple(labels.tolist()), np.eye(len(labels), dtype=np.bool_)[number]
