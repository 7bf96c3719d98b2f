"""What the columns of a table are for: by their names, and by what their cells look like."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ecgjepa.errors import DatabaseError

# What a column is for, and names that mean it: in any case, with spaces, hyphens or underscores.
_NAMES = {
    "file": ("file", "filename", "path", "filepath"),
    "record": ("record", "recordid", "recordname", "ecgid", "ecg"),
    "database": ("database",),
    "patient": ("patient", "patientid", "subject", "subjectid", "person", "personid", "mrn", "pid"),
    "fold": ("fold", "stratfold", "split", "partition", "subset"),
    "age": ("age", "patientage", "ageyears"),
    "sex": ("sex", "gender", "patientsex"),
}
_ROLE_OF = {name: role for role, names in _NAMES.items() for name in names}
# Words in the name of a column that is not a label unless `--labels` says so, and what it is then.
_WORDS = {
    "a date or time": "date time datetime datum zeit timestamp year month day recorded acquired "
    "born birth birthdate birthday dob dod admission discharge",
    "a place": "ward station unit department dept site hospital clinic clinics room location bed "
    "centre center institution country city",
    "a person": "name surname firstname lastname doctor physician operator technician nurse user "
    "author cardiologist reviewer reader validated",
    "a device": "device machine recorder cart model manufacturer serial software",
    "an identifier": "id uid uuid guid number nr accession visit encounter order case study",
    "free text": "comment comments note notes remark remarks text report reports description "
    "findings history",
    "a split": "split set fold dataset",
}
_MEANING = {word: meaning for meaning, words in _WORDS.items() for word in words.split()}
# Where a record comes from: kept beside the labels, for `ecgjepa.store.amplitudes` compares them.
SOURCES = ("device", "machine", "recorder", "cart", "site", "hospital")
SPLIT_WORDS = {
    "train": 1, "training": 1,
    "val": 9, "valid": 9, "validation": 9, "dev": 9,
    "test": 10, "testing": 10,
}  # fmt: skip
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(\D.*)?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})(\D.*)?"
    r"|\d{1,2}:\d{2}(:\d{2})?"
)


class Columns(NamedTuple):
    """What each column of a table is for.

    Attributes:
        roles: ``file``, ``record``, ``database``, ``patient``, ``fold``, ``age`` and ``sex``, where
            there is one, to the column's name.
        others: All other columns, which may be labels.
    """

    roles: dict[str, str]
    others: tuple[str, ...]

    @property
    def key(self) -> str:
        """The column that names the record; its path where both are told."""
        return self.roles.get("file") or self.roles["record"]


def find_columns(path: Path, names: Iterable[str], labels: Iterable[str] = ()) -> Columns:
    """Return what the columns of a table are for.

    Args:
        path: The table, for messages.
        names: Of its columns.
        labels: Columns that are labels, whatever their names.

    Raises:
        DatabaseError: If no column, or more than one of a kind, names the record, or two columns
            mean the same.
    """
    chosen = set(labels)
    roles: dict[str, str] = {}
    others: list[str] = []
    for name in names:
        role = None if name in chosen else _ROLE_OF.get(re.sub(r"[\s_.-]+", "", name.lower()))
        if role is None:
            others.append(name)
        elif role in roles:
            raise DatabaseError(
                f"{path}: columns {roles[role]} and {name} both tell the {role}; rename or remove "
                "one of them"
            )
        else:
            roles[role] = name
    if "file" not in roles and "record" not in roles:
        raise DatabaseError(
            f"{path}: expected one column that names the record, such as record or file; found "
            f"{', '.join(names)}"
        )
    return Columns(roles, tuple(others))


def named(path: Path, names: Iterable[str], wanted: str) -> str:
    """Return the name, as it is written, of a column that somebody typed.

    Raises:
        DatabaseError: If there is no such column.
    """
    names = tuple(names)
    for name in names:
        if name.lower() == wanted.strip().lower():
            return name
    raise DatabaseError(f"{path}: there is no column {wanted!r}; found {', '.join(names)}")


def meaning_of(name: str, cells: Iterable[str]) -> str | None:
    """Return what a column is that is no label, by its name or by its cells, or None."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    for word in re.findall(r"[^\W_]+", spaced.lower()):
        if word in _MEANING:
            return _MEANING[word]
    found = [cell for cell in cells if cell]
    if found and sum(bool(_DATE.fullmatch(cell)) for cell in found) >= 0.9 * len(found):
        return "a date or time"
    if {cell.lower() for cell in found} <= SPLIT_WORDS.keys() and found:
        return "a split"
    return None
