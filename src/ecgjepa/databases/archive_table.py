"""The CSV that describes the records of an archive of your own.

It names each record in a column ``record`` (its name, or its path without ending) or ``file``
(its path), relative to the folder. ``patient``, ``fold`` (whole numbers), ``age`` (years), ``sex``
and ``labels`` (codes separated by semicolons) are read where they are. Any other column is taken as
labels too if it can be: of 0 and 1, it gives its own name; of a few words, ``column=word``. An
empty cell is unknown: neither yes nor no.
"""

import json
from pathlib import Path

import pandas as pd

from ecgjepa.databases.listing import Entry, Skip
from ecgjepa.databases.tables import read_table
from ecgjepa.errors import DatabaseError
from ecgjepa.io.opening import without_ending

_KNOWN = ("record", "file", "patient", "fold", "age", "sex", "labels")
_ALIASES = {"record_id": "record", "path": "file", "filename": "file", "patient_id": "patient"}
_ALIASES |= {"label": "labels", "strat_fold": "fold"}
_SEX = {"male": "male", "m": "male", "female": "female", "f": "female"}
_NO, _YES = {"0", "0.0", "false", "no"}, {"1", "1.0", "true", "yes"}
# A column with more different words is not a label but a comment, a date or an identifier.
_MOST_WORDS = 50
# The largest fold number that the store's index can hold.
_LAST_FOLD = 32_767


def described(
    table: Path, paths: list[tuple[str, str]]
) -> tuple[list[Entry], tuple[Skip, ...], tuple[str, ...]]:
    """Join the records found with the rows of the table."""
    sheet = _read_sheet(table)
    found = dict(paths)
    by_stem = _by_stem(found)
    labels, notices = _labels(sheet)
    entries: dict[str, Entry] = {}
    absent: list[Skip] = []
    for row, codes in zip(_rows(sheet), labels, strict=True):
        name = _resolve(table, row, found, by_stem)
        if name is None:
            wanted = row.get("file") or row["record"]
            absent.append(Skip(wanted, "absent_from_copy", f"{wanted}: not found in the folder"))
            continue
        if name in entries:
            raise DatabaseError(f"{table}: record {name} appears twice; expected one row each")
        entries[name] = _entry(table, name, found[name], row, codes)
    without = [other for other in found if other not in entries]
    entries |= {other: undescribed(other, found[other]) for other in without}
    if absent:
        notices.append(f"{len(absent):,} rows of {table.name} have no file in the folder")
    if without:
        notices.append(
            f"{len(without):,} records have no row in {table.name}, such as {without[0]}"
        )
    if hint := _lost_zeros(absent, without):
        notices.append(hint)
    return [entries[name] for name in found], tuple(absent), tuple(notices)


def _by_stem(found: dict[str, str]) -> dict[str, list[str]]:
    """Map each path and its last part, with and without ending, to names."""
    by_stem: dict[str, list[str]] = {}
    for name, path in found.items():
        stem = without_ending(path)
        for part in {path, stem, path.rpartition("/")[2], stem.rpartition("/")[2]}:
            by_stem.setdefault(part, []).append(name)
    return by_stem


def undescribed(name: str, path: str) -> Entry:
    """Return a record of which nothing but its file is known."""
    return Entry(name, path, None, None, None, None, "{}")


def _rows(sheet: pd.DataFrame) -> list[dict[str, str]]:
    columns = [sheet[name].tolist() for name in sheet.columns]
    return [dict(zip(sheet.columns, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _read_sheet(table: Path) -> pd.DataFrame:
    if not table.is_file():
        raise DatabaseError(f"{table}: no such file")
    # All as text: a record named 00012 must not become 12.
    sheet = read_table(table, dtype=str, keep_default_na=False)
    names = [str(column).strip().lower() for column in sheet.columns]
    sheet.columns = pd.Index([_ALIASES.get(name, name) for name in names])
    if sheet.columns.has_duplicates:
        twice = sheet.columns[sheet.columns.duplicated()][0]
        raise DatabaseError(f"{table}: column {twice} appears twice (or by two names)")
    if "record" not in sheet and "file" not in sheet:
        raise DatabaseError(
            f"{table}: column record or file is missing; found {', '.join(sheet.columns)}"
        )
    return sheet.apply(lambda column: column.str.strip())


def _resolve(
    table: Path, row: dict[str, str], found: dict[str, str], by_stem: dict[str, list[str]]
) -> str | None:
    """Return the name of the record that a row describes, or None if it is not in the folder."""
    text = row.get("file") or row.get("record", "")
    if not text:
        raise DatabaseError(f"{table}: a row names no record")
    name = text.removeprefix("./")
    for ending in ("", ".dat", ".mat"):
        if name.endswith(ending) and name.removesuffix(ending) in found:
            return name.removesuffix(ending)
    same = by_stem.get(name, [])
    if len(same) > 1:
        raise DatabaseError(
            f"{table}: record {name!r} could be {' or '.join(same[:3])}; give the path"
        )
    return same[0] if same else None


def _entry(
    table: Path, name: str, path: str, row: dict[str, str], codes: dict[str, float | None]
) -> Entry:
    fold = _number(table, name, "fold", row.get("fold", ""))
    if fold is not None and not (fold == int(fold) and 0 <= fold <= _LAST_FOLD):
        raise DatabaseError(f"{table}: fold of {name} is {row['fold']!r}; expected a whole number")
    return Entry(
        record_id=name,
        path=path,
        patient_id=row.get("patient") or None,
        fold=None if fold is None else int(fold),
        age=_number(table, name, "age", row.get("age", "")),
        sex=_SEX.get(row.get("sex", "").lower()),
        labels=json.dumps(dict(sorted(codes.items()))),
    )


def _number(table: Path, name: str, column: str, text: str) -> float | None:
    if text.lower() in ("", "nan", "na", "unknown"):
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise DatabaseError(
            f"{table}: {column} of {name} is {text!r}; expected a number, 0 or more"
        )
    return value


def _labels(sheet: pd.DataFrame) -> tuple[list[dict[str, float | None]], list[str]]:
    """Return every row's codes with their likelihood, and notices on the columns they come from.

    An empty cell says nothing: each code of its column is unknown (None), not absent.
    """
    labels: list[dict[str, float | None]] = [{} for _ in range(len(sheet))]
    used: list[str] = []
    ignored: list[str] = []
    notices: list[str] = []
    for column in sheet.columns:
        if column in _KNOWN and column != "labels":
            continue
        codes = _codes_of(column, sheet[column])
        (ignored if codes is None else used).append(column)
        if codes is None:
            continue
        every = dict.fromkeys(sorted({code for found in codes for code in found or ()}))
        empty = sum(found is None for found in codes)
        for own, found in zip(labels, codes, strict=True):
            told = every if found is None else dict.fromkeys(found, 100.0)
            own.update({code: own.get(code) or likelihood for code, likelihood in told.items()})
        if empty:
            notices.append(f"column {column} is empty in {empty:,} rows: unknown there, not absent")
    if used:
        notices.insert(0, f"labels come from column {', '.join(used)}")
    if ignored:
        notices.append(f"column {', '.join(ignored)} is neither known nor a label; not used")
    return labels, notices


def _codes_of(column: str, cells: pd.Series) -> list[list[str] | None] | None:
    """Return every row's codes, None for an empty cell; or None if the column has no labels."""
    if column == "labels":
        split = [[code.strip() for code in cell.split(";")] for cell in cells]
        return [[code for code in codes if code] if any(codes) else None for codes in split]
    words = {cell.lower() for cell in cells} - {""}
    if not words:
        return None
    if words <= _NO | _YES:
        return [([column] if cell.lower() in _YES else []) if cell else None for cell in cells]
    if len(words) > _MOST_WORDS or pd.to_numeric(cells, errors="coerce").notna().any():
        return None
    return [[f"{column}={cell}"] if cell else None for cell in cells]


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
