"""A user's table of records: one format, for the table of an archive and for a table of labels.

One row describes one record. A column ``record`` or ``file`` names it; ``patient``, ``fold`` (or
``split``), ``age``, ``sex`` and ``database`` are read where they are. Labels are the columns that
the user names or, if none is named, those that look like labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecgjepa.databases.sheets.column_words import labels_in, measured, range_of
from ecgjepa.databases.sheets.columns import (
    AS_FOUND,
    SOURCES,
    SPLIT_WORDS,
    Columns,
    SheetOptions,
    find_columns,
    may_be_patient,
    meaning_of,
    named,
)
from ecgjepa.databases.sheets.reading import Sheet, read_sheet
from ecgjepa.databases.sheets.words import UNKNOWN, LabelColumn, no_code, not_labels, read_column
from ecgjepa.errors import DatabaseError

_SEX = {"male": "male", "m": "male", "man": "male", "female": "female", "f": "female"}
_SEX |= {"w": "female", "woman": "female", "männlich": "male", "weiblich": "female"}
_MISSING = UNKNOWN | {"unknown", "none", "?", "-"}
# The largest fold number that a store's index can hold.
_LAST_FOLD = 32_767
NO_PATIENTS = (
    "no column patient: every record counts as a patient of its own, in folds and intervals"
)


@dataclass(frozen=True)
class LabelTable:
    """A user's table, read; every list has one item a row.

    Attributes:
        path: The file.
        names: What names the record of each row, as it is written.
        databases: The records' databases, or None where no column tells them.
        patients: Patients, None where unknown; or None where no column tells them.
        folds: Likewise, folds.
        ages: Likewise, ages in years.
        sexes: Likewise, ``female`` or ``male``.
        labels: The columns of labels.
        sources: Columns that tell device or site: no labels, but kept to compare amplitudes.
        left: Every other column to what it is, for instance ``numbers``.
        cells: All cells by column, for who needs what is no label.
        notices: How the table was read, in sentences.
        are_named: Whether the user named the columns of labels.
        maybe_patient: A column that may tell the patients, where none does; empty if none.
    """

    path: Path
    names: list[str]
    databases: list[str] | None
    patients: list[str | None] | None
    folds: list[int | None] | None
    ages: list[float | None] | None
    sexes: list[str | None] | None
    labels: tuple[LabelColumn, ...]
    sources: tuple[LabelColumn, ...]
    left: dict[str, str]
    cells: dict[str, list[str]]
    notices: tuple[str, ...]
    are_named: bool = False
    maybe_patient: str = ""

    @property
    def no_patients(self) -> str:
        """What it means that no column tells the patients, and which may, in a sentence."""
        if not (name := self.maybe_patient):
            return NO_PATIENTS
        return f"{NO_PATIENTS}; is it {name}? --patient '{name}' takes it, or name it patient"

    def codes(self) -> list[dict[str, float | None]]:
        """Return what a store keeps of each row: label to likelihood, None where it is unknown."""
        rows: list[dict[str, float | None]] = [{} for _ in self.names]
        for column in self.labels:
            every = dict.fromkeys(map(column.code, column.vocabulary))
            for own, words in zip(rows, column.words, strict=True):
                told = every if words is None else dict.fromkeys(map(column.code, words), 100.0)
                if words == () and column.is_flag:
                    told = {no_code(column.name): 100.0}
                own.update({code: own.get(code) or known for code, known in told.items()})
        for column in self.sources:
            for own, words in zip(rows, column.words, strict=True):
                own.update(dict.fromkeys(map(column.code, words or ()), 100.0))
        return [dict(sorted(own.items())) for own in rows]

    def label_notices(self, taken: Sequence[LabelColumn], *, as_numbers: bool = False) -> list[str]:
        """Return which columns were taken and which were not, in sentences.

        Args:
            taken: Columns of labels.
            as_numbers: Whether their cells are numbers to predict, and no words.
        """
        notices = []
        if taken and as_numbers:
            notices.append(f"numbers come from column {'; '.join(map(range_of, taken))}")
        elif taken:
            notices.append(f"labels come from column {'; '.join(map(labels_in, taken))}")
            notices += filter(None, map(measured, taken))
        others = {name: reason for name, reason in self.left.items() if name not in _names(taken)}
        others |= dict.fromkeys(_names(self.labels) - _names(taken), "not of this kind")
        if others:
            listed = ", ".join(f"{name} ({reason})" for name, reason in others.items())
            advice = "" if self.are_named else "; --labels COLUMN takes one, and no others"
            notices.append(f"not labels: {listed}{advice}")
        return notices

    def unknown_notices(self) -> list[str]:
        """Return what the table does not tell: patients, and the labels of empty cells."""
        notices = [
            f"column {one.name} is empty in {one.num_unknown:,} rows: unknown there, not absent"
            for one in self.labels
            if one.num_unknown
        ]
        if self.patients is None:
            notices.append(self.no_patients)
        return notices

    @property
    def label_columns(self) -> dict[str, tuple[str, ...]]:
        """Each column of labels to its labels as a store keeps them."""
        return {one.name: tuple(map(one.code, one.vocabulary)) for one in self.labels}


def read_label_table(
    path: str | Path, labels: Sequence[str] = (), options: SheetOptions = AS_FOUND
) -> LabelTable:
    """Read a user's table.

    Args:
        path: The file.
        labels: Columns that are labels, and no others; none: those that look like labels.
        options: What divides cells, and which columns tell patient and file.

    Raises:
        DatabaseError: If it is not readable, no column names the records, a named column is not
            there, or a cell of patient, fold or age cannot be that.
    """
    path = Path(path)
    if any(map(str.isalnum, options.divide)) and options.divide not in ("auto", "none"):
        raise DatabaseError(f"divide is {options.divide!r}; expected auto, none or signs such as ;")
    sheet = read_sheet(path)
    chosen = tuple(dict.fromkeys(named(path, sheet.columns, name) for name in labels))
    columns = find_columns(path, sheet.columns, chosen, options)
    taken, sources, left = _sort_out(sheet, columns, chosen, options.divide)
    cells, roles = sheet.columns, columns.roles
    names = cells[columns.key]
    if "file" in roles and "record" in roles:
        names = [file or name for file, name in zip(names, cells[roles["record"]], strict=True)]
    if "" in names:
        raise DatabaseError(f"{path}: row {names.index('') + 1} names no record")

    def told(role: str) -> list[str] | None:
        return cells[roles[role]] if role in roles else None

    maybe = [one for one in columns.others if may_be_patient(one, cells[one])]
    sexes, strange = _sexes(told("sex"))
    return LabelTable(
        path,
        names,
        told("database"),
        _patients(told("patient")),
        _folds(path, names, told("fold")),
        _ages(path, names, told("age")),
        sexes,
        taken,
        sources,
        left,
        cells,
        (*sheet.notices, *strange),
        are_named=bool(chosen),
        maybe_patient=next((one for one in maybe if one not in chosen), ""),
    )


def _sort_out(
    sheet: Sheet, columns: Columns, chosen: tuple[str, ...], divide: str
) -> tuple[tuple[LabelColumn, ...], tuple[LabelColumn, ...], dict[str, str]]:
    """Return the columns of labels, those of devices and sites, and what the others are."""
    taken, sources, left = [], [], {}
    for name in columns.others:
        column = read_column(name, sheet.columns[name], divide)
        if name in chosen:
            taken.append(column)
            continue
        meaning = meaning_of(name, column.cells)
        words = not_labels(column)
        if name.lower() in SOURCES and words is None and not column.is_flag:
            sources.append(column._replace(name=name.lower()))
        if reason := meaning or words or ("not among the labels asked for" if chosen else None):
            left[name] = reason
        else:
            taken.append(column)
    return tuple(taken), tuple(sources), left


def _names(columns: Sequence[LabelColumn]) -> set[str]:
    return {column.name for column in columns}


def _patients(cells: list[str] | None) -> list[str | None] | None:
    if cells is None:
        return None
    known = [cell for cell in cells if cell.lower() not in _MISSING]
    # Where one cell is empty, many programs write the number 12 as 12.0.
    as_numbers = bool(known) and all(cell.removesuffix(".0").isdigit() for cell in known)
    bare = [cell.removesuffix(".0") if as_numbers else cell for cell in cells]
    return [None if cell.lower() in _MISSING else cell for cell in bare]


def _folds(path: Path, names: list[str], cells: list[str] | None) -> list[int | None] | None:
    if cells is None:
        return None
    return [_fold(path, name, cell) for name, cell in zip(names, cells, strict=True)]


def _fold(path: Path, name: str, cell: str) -> int | None:
    if cell.lower() in SPLIT_WORDS:
        return SPLIT_WORDS[cell.lower()]
    number = None if cell.lower() in _MISSING else _number(cell)
    if number is None and cell.lower() in _MISSING:
        return None
    if number is None or number != int(number) or number > _LAST_FOLD:
        raise DatabaseError(
            f"{path}: fold of {name} is {cell!r}; expected a whole number, 0 or more, or train, "
            "validation or test"
        )
    return int(number)


def _ages(path: Path, names: list[str], cells: list[str] | None) -> list[float | None] | None:
    if cells is None:
        return None
    ages: list[float | None] = []
    for name, cell in zip(names, cells, strict=True):
        age = None if cell.lower() in _MISSING else _number(cell)
        if age is None and cell.lower() not in _MISSING:
            raise DatabaseError(f"{path}: age of {name} is {cell!r}; expected a number, 0 or more")
        ages.append(age)
    return ages


def _number(cell: str) -> float | None:
    """Return a number of 0 or more, or None."""
    try:
        value = float(cell.replace(",", ".", 1))
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def _sexes(cells: list[str] | None) -> tuple[list[str | None] | None, list[str]]:
    if cells is None:
        return None, []
    strange = [cell for cell in cells if cell.lower() not in _SEX.keys() | _MISSING]
    words = (
        [f"sex is {strange[0]!r} and its like in {len(strange):,} rows: taken as unknown"]
        if strange
        else []
    )
    return [_SEX.get(cell.lower()) for cell in cells], words
