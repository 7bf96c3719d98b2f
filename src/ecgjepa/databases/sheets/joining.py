"""The records of an archive joined with the rows of the table that describes them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ecgjepa.databases.listing import Entry, Skip
from ecgjepa.databases.sheets.places import Places
from ecgjepa.databases.sheets.table import LabelTable
from ecgjepa.errors import DatabaseError

_EXAMPLES = 3


class Joined(NamedTuple):
    """The records of an archive with what a table tells of them.

    Attributes:
        entries: One for each record, in the order of the records.
        absent: Rows of which the folder has no file.
        notices: How the table was read, what was counted, in sentences.
        label_columns: Each column of labels to its labels as a store keeps them.
    """

    entries: list[Entry]
    absent: tuple[Skip, ...]
    notices: tuple[str, ...]
    label_columns: dict[str, tuple[str, ...]]


def undescribed(name: str, path: str) -> Entry:
    """Return a record of which nothing but its file is known."""
    return Entry(name, path, None, None, None, None, "{}")


def join(
    database: str,
    table: LabelTable,
    records: list[tuple[str, str]],
    lacking: Sequence[str] = (),
) -> Joined:
    """Join the records of an archive with the rows of a table.

    Args:
        database: Name of the archive; rows of others, by a column ``database``, are not used.
        table: The table.
        records: Name and path of each record.
        lacking: Paths of arrays and tables that nothing describes as ECGs.

    Raises:
        DatabaseError: If the table names none of the records, a row could mean several records, or
            two rows mean the same.
    """
    path = table.path
    places = Places((name, name, where) for name, where in records)
    found: dict[str, int] = {}
    absent: list[Skip] = []
    for row in _rows_of(database, table):
        wanted = table.names[row]
        name = _resolve(path, wanted, places)
        if name is None:
            absent.append(Skip(wanted, "absent_from_copy", f"{wanted}: not found in the folder"))
        elif name in found:
            raise DatabaseError(
                f"{path}: record {name} appears twice, as {table.names[found[name]]} and "
                f"{wanted}; expected one row each"
            )
        else:
            found[name] = row
    without = [name for name, _ in records if name not in found]
    hint = _lost_zeros(absent, without)
    if absent and not found:
        raise DatabaseError(
            f"{path}: none of its {len(absent):,} rows names a file of the folder; a row is "
            f"{absent[0].record_id!r}, a file is {records[0][1]!r}" + (f"; {hint}" if hint else "")
        )
    codes = table.codes()
    entries = [
        _entry(table, found[name], name, where, codes[found[name]])
        if name in found
        else undescribed(name, where)
        for name, where in records
    ]
    notices = (
        *table.notices,
        *table.label_notices(table.labels),
        *table.unknown_notices(),
        *_counts(path, absent, without, lacking),
        *([hint] if hint else []),
    )
    return Joined(entries, tuple(absent), notices, table.label_columns)


def named_files(table: LabelTable, files: list[str]) -> list[str]:
    """Return which of an archive's files, by their paths, a table names with their endings."""
    by_last = {path.rpartition("/")[2] for path in files}
    places = Places((path, path, path) for path in files)
    found = {
        path
        for name in table.names
        if name.replace("\\", "/").rpartition("/")[2] in by_last
        for path in places.find(name)
    }
    return sorted(found)


def _rows_of(database: str, table: LabelTable) -> list[int]:
    """Return the rows of one database, all of them where no row names it."""
    told = table.databases
    if told is None or database not in told:
        return list(range(len(table.names)))
    return [row for row, name in enumerate(told) if name == database]


def _resolve(path: Path, text: str, places: Places[str]) -> str | None:
    """Return the name of the record that a row describes, or None if it is not in the folder."""
    same = places.find(text)
    if len(same) > 1:
        raise DatabaseError(
            f"{path}: record {text!r} could be {' or '.join(same[:_EXAMPLES])}; give the path"
        )
    return same[0] if same else None


def _entry(
    table: LabelTable, row: int, name: str, path: str, codes: dict[str, float | None]
) -> Entry:
    return Entry(
        record_id=name,
        path=path,
        patient_id=None if table.patients is None else table.patients[row],
        fold=None if table.folds is None else table.folds[row],
        age=None if table.ages is None else table.ages[row],
        sex=None if table.sexes is None else table.sexes[row],
        labels=json.dumps(codes),
    )


def _counts(
    path: Path, absent: list[Skip], without: list[str], lacking: Sequence[str]
) -> list[str]:
    """Return how many rows have no file and how many records no row, with examples."""
    notices = []
    places = Places((one, one, one) for one in lacking)
    there = [skip.record_id for skip in absent if places.find(skip.record_id)]
    if there:
        words = (
            "1 row of {} names a file"
            if len(there) == 1
            else f"{len(there):,} rows of {{}} name files"
        )
        notices.append(
            f"{words.format(path.name)} that nothing describes as an ECG, though there: "
            f"{_some(there)}; --describe FILE tells rate, unit and leads"
        )
    names = [skip.record_id for skip in absent if skip.record_id not in set(there)]
    if names:
        some = _some(names)
        words = "1 row of {} has" if len(names) == 1 else f"{len(names):,} rows of {{}} have"
        notices.append(f"{words.format(path.name)} no file in the folder: {some}")
    if without:
        words = "1 record has" if len(without) == 1 else f"{len(without):,} records have"
        notices.append(f"{words} no row in {path.name}: {_some(without)}")
    return notices


def _some(names: list[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + (" …" if len(names) > _EXAMPLES else "")


def _lost_zeros(absent: list[Skip], without: list[str]) -> str:
    """Return a hint, if rows and records would meet but for zeros at the beginning of names."""
    bare = {name.rpartition("/")[2].lstrip("0"): name for name in without}
    pairs = [(row.record_id, bare[row.record_id]) for row in absent if row.record_id in bare]
    if not pairs:
        return ""
    row, name = pairs[0]
    return (
        f"{len(pairs):,} of these rows and records differ only in zeros, such as {row} and {name}: "
        "did a spreadsheet drop them? Format that column as text"
    )
