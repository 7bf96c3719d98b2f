"""The records of a store that the rows of a user's table describe."""

from collections import Counter
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from jaxtyping import Int64

from ecgjepa.databases import database_names, list_all
from ecgjepa.databases.pseudonyms import hint_on
from ecgjepa.databases.sheets.places import Places
from ecgjepa.databases.sheets.table import LabelTable
from ecgjepa.errors import TaskError
from ecgjepa.store.manifest import HELD_OUT_FILE
from ecgjepa.store.reading import Store

_EXAMPLES = 3
# Database and name of a record; the database is empty where the table does not tell it.
Key = tuple[str, str]


@dataclass(frozen=True)
class Known:
    """Records that a table may name although the store does not hold them.

    Attributes:
        quarantined: Records that could not be stored.
        left_out: Records of folds that the store leaves out.
        num_absent: Records that the databases' own tables name but the copy lacked.
        absent: Returns those records, where the tables are at hand; called if a record of the table
            is not in the store. Without it, not more than ``num_absent`` unknown names pass for
            absent records, and only if they are no more than half of the table's and one of them
            looks like the store's own.
        own: Archives, whose tables may name files that are not there: that is reported.
    """

    quarantined: Set[Key] = frozenset()
    left_out: Set[Key] = frozenset()
    num_absent: int = 0
    absent: Callable[[], Set[Key]] | None = None
    own: Set[str] = frozenset()


class Described(NamedTuple):
    """Rows of a table with the records that they describe.

    Attributes:
        table: The table.
        rows: The store's row of each record that both have, in the order of the table.
        kept: The table's row of it.
        notices: What the table names that the store does not hold, in sentences.
    """

    table: LabelTable
    rows: Int64[np.ndarray, " found"]
    kept: Int64[np.ndarray, " found"]
    notices: tuple[str, ...]


def describe(table: LabelTable, index: pd.DataFrame, known: Known) -> Described:
    """Look every record of a table up in a store's index.

    Args:
        table: The table.
        index: Database and name of every record.
        known: Which records may be missing.

    Raises:
        TaskError: If a row could mean several records, a record comes twice, or one is unknown.
    """
    path, by = table.path, table.databases is not None
    keys: list[Key] = list(zip(index["database"], index["record_id"], strict=True))
    gone = [*sorted(known.quarantined), *sorted(known.left_out)]
    groups: dict[str, list[tuple[int, str, str]]] = {}
    for number, (database, name) in enumerate([*keys, *gone]):
        groups.setdefault(database if by else "", []).append((number, name, name))
    places = {database: Places(records) for database, records in groups.items()}
    databases = table.databases or [""] * len(table.names)
    found: list[int | None] = []
    for database, name in zip(databases, table.names, strict=True):
        numbers = places[database].find(name) if database in places else []
        if len(numbers) > 1:
            raise _ambiguous(path, name, [[*keys, *gone][number] for number in numbers])
        found.append(numbers[0] if numbers else None)
    _refuse_twice(table, found)
    whole = len(keys)
    kept = [row for row, number in enumerate(found) if number is not None and number < whole]
    notices = _notices_of_gone(path, found, gone, whole, whole + len(known.quarantined))
    lacking = [row for row, number in enumerate(found) if number is None]
    if lacking:
        strange = [(databases[row], table.names[row]) for row in lacking]
        notices.append(_account_for(table, index, strange, known, is_any=bool(kept)))
    rows = [found[row] for row in kept]
    return Described(table, np.array(rows, np.int64), np.array(kept, np.int64), tuple(notices))


def with_patients_and_folds(index: pd.DataFrame, described: Described) -> pd.DataFrame:
    """Return an index with the patients and folds that a table tells and the index does not.

    Raises:
        TaskError: If both tell one, and differ.
    """
    table = described.table
    for column, cells in (("patient_id", table.patients), ("fold", table.folds)):
        if cells is None:
            continue
        told = pd.Series([cells[row] for row in described.kept], described.rows, dtype=object)
        told = told.dropna()
        before = index[column].iloc[told.index].set_axis(told.index)
        is_new = before.isna()
        differing = ~is_new & (before.astype(object).map(_plain) != told.map(_plain))
        if differing.any():
            place = int(np.flatnonzero(differing)[0])
            name = index["record_id"].iloc[told.index[place]]
            raise TaskError(
                f"{table.path}: {column.removesuffix('_id')} of {name} is {told.iloc[place]}, but "
                f"{_plain(before.iloc[place])} in the store ({int(differing.sum()):,} such "
                "records); prepare the store with this table, or leave that column out"
            )
        if is_new.any():
            filled = index[column].astype(object).copy()
            filled.iloc[told.index[is_new]] = told[is_new].to_numpy()
            index = index.assign(**{column: filled})
    return index


def describe_store(
    table: LabelTable,
    index: pd.DataFrame,
    store: Store,
    data: Mapping[str, str | Path] | str | Path,
) -> Described:
    """Look every record of a table up in a store, which knows what it lacks and why.

    Args:
        table: The table.
        index: The store's index.
        store: The store.
        data: Databases that the store was made from, or the store's folder.

    Raises:
        TaskError: As `describe`.
    """
    summaries = store.manifest.databases
    known = Known(
        frozenset(
            (name, bad.record_id) for name, one in summaries.items() for bad in one.quarantine
        ),
        _left_out(store.path),
        sum(one.absent for one in summaries.values()),
        partial(_absent, data) if isinstance(data, Mapping) else None,
        frozenset(summaries) - set(database_names()),
    )
    described = describe(table, index, known)
    if table.patients is None and index["patient_id"].iloc[described.rows].isna().all():
        return described._replace(notices=(*described.notices, table.no_patients))
    return described


def _left_out(store: Path) -> frozenset[tuple[str, str]]:
    """Return database and name of the records of folds that a store leaves out."""
    path = store / HELD_OUT_FILE
    if not path.is_file():
        return frozenset()
    rows = pq.read_table(path, columns=["database", "record_id"]).to_pydict()
    return frozenset(zip(rows["database"], rows["record_id"], strict=True))


def _absent(data: Mapping[str, str | Path]) -> frozenset[tuple[str, str]]:
    """Return database and name of records that the databases' tables name but the copies lack."""
    return frozenset(
        (listing.database, gone.record_id) for listing in list_all(data) for gone in listing.absent
    )


def _plain(value: object) -> str:
    return str(value).removesuffix(".0")


def _ambiguous(path: Path, name: str, keys: list[Key]) -> TaskError:
    if len({database for database, _ in keys}) > 1:
        return TaskError(
            f"{path}: record {name!r} is in several databases; add a column 'database'"
        )
    some = " or ".join(one for _, one in keys[:_EXAMPLES])
    return TaskError(f"{path}: record {name!r} could be {some}; give the path")


def _refuse_twice(table: LabelTable, found: list[int | None]) -> None:
    databases = table.databases or [""] * len(table.names)
    wanted = [
        (databases[row], table.names[row]) if number is None else number
        for row, number in enumerate(found)
    ]
    twice = {one for one, count in Counter(wanted).items() if count > 1}
    if twice:
        name = next(table.names[row] for row, one in enumerate(wanted) if one in twice)
        raise TaskError(f"{table.path}: record {name!r} comes twice; expected one row each")


def _notices_of_gone(
    path: Path, found: list[int | None], gone: list[Key], whole: int, bad: int
) -> list[str]:
    numbers = [number for number in found if number is not None]
    spoilt = sum(whole <= number < bad for number in numbers)
    left_out = sum(number >= bad for number in numbers)
    notices = []
    if spoilt:
        names = dict.fromkeys(one for one in numbers if whole <= one < bad)
        some = _some([gone[one - whole] for one in names])
        words = f"{spoilt:,} records of {path.name} could not be stored: they are bad"
        notices.append(f"{words} ({some})")
    if left_out:
        notices.append(f"{left_out:,} records of {path.name} are in folds that the store lacks")
    return notices


def _account_for(
    table: LabelTable, index: pd.DataFrame, lacking: list[Key], known: Known, *, is_any: bool
) -> str:
    """Say why records are not in the store, and refuse those for which there is no reason."""
    name = table.path.name
    databases = {database for database, _ in lacking} if table.databases else set(index["database"])
    if is_any and databases <= known.own | ({""} if table.databases else set()):
        words = "1 row of {} names" if len(lacking) == 1 else f"{len(lacking):,} rows of {{}} name"
        return f"{words.format(name)} no record: {_some(lacking)}"
    if known.absent is not None:
        listed = known.absent() if table.databases else {("", one) for _, one in known.absent()}
        if unknown := [key for key in lacking if key not in listed]:
            raise _unknown(table, index, unknown, where="database")
        why = "absent from this copy"
    else:
        _refuse_unlikely(table, index, lacking, known.num_absent)
        why = f"not in the store; they may be among the {known.num_absent:,} that the copy lacks"
    return f"{len(lacking):,} records of {name} are {why}: {_some(lacking)}"


def _refuse_unlikely(
    table: LabelTable, index: pd.DataFrame, lacking: list[Key], num_absent: int
) -> None:
    """Refuse records that can hardly all be absent ones, of which only the number is known."""
    if len(lacking) > num_absent:
        raise _unknown(table, index, lacking)
    forms = set(map(_form, index["record_id"]))
    is_likely = any(_form(name) in forms for _, name in lacking)
    if 2 * len(lacking) > len(table.names) or not is_likely:
        raise _unknown(
            table,
            index,
            lacking,
            f". The copy lacks {num_absent:,} records, whose names the store does not keep: leave "
            "the rows of those out, or give the database's folder in place of the store",
        )


def _unknown(
    table: LabelTable, index: pd.DataFrame, unknown: list[Key], more: str = "", where: str = "store"
) -> TaskError:
    first = index["record_id"].iloc[0]
    return TaskError(
        f"{table.path}: {len(unknown):,} of {len(table.names):,} records are not in the {where}, "
        f"such as {_some(unknown)}; it has names such as {first!r}{more}{hint_on(first)}"
    )


def _some(keys: list[Key]) -> str:
    return ", ".join(f"'{name}'" for _, name in keys[:_EXAMPLES]) + " …" * (len(keys) > _EXAMPLES)


def _form(name: str) -> frozenset[str]:
    """Return what a name is made of: digits, letters, and each other sign."""
    return frozenset("0" if c.isdigit() else "a" if c.isalpha() else c for c in name)
