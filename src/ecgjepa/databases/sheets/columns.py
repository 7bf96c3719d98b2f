"""What the columns of a table are for: by their names, and by what their cells look like."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ecgjepa.errors import DatabaseError

# What a column is for, and names that mean it: in any case, with spaces, hyphens or underscores.
_NAMES = {
    "file": (
        *("file", "filename", "path", "filepath"),
        *("datei", "dateiname", "pfad", "dateipfad"),
    ),
    "record": ("record", "recordid", "recordname", "ecgid", "ecg"),
    "database": ("database",),
    "patient": (
        *("patient", "patientid", "patientno", "patientnr", "patientnumber", "patientnummer"),
        *("patientennummer", "patientennr", "patientenid", "pat", "patid", "patno", "patnr"),
        *("subject", "subjectid", "subjectno", "subjectnumber", "person", "personid"),
        *("mrn", "pid"),
    ),
    "fold": ("fold", "stratfold", "split", "partition", "subset"),
    "age": ("age", "patientage", "ageyears", "alter"),
    "sex": ("sex", "gender", "patientsex", "geschlecht"),
}
_ROLE_OF = {name: role for role, names in _NAMES.items() for name in names}
# A measured time, such as `QT-Zeit [ms]`, is no date: its name ends in a unit.
_A_DATE = "a date or time"
_WITH_UNIT = re.compile(
    r".*[\s_(\[](ms|msec|msek|s|sec|sek|min|h|bpm|/min)[)\]]?\s*", re.IGNORECASE
)
# Words in the name of a column that is not a label unless `--labels` says so, and what it is then.
_WORDS = {
    _A_DATE: "date time datetime datum zeit timestamp year month day recorded acquired "
    "born birth birthdate birthday dob dod admission discharge geburtsdatum uhrzeit",
    "a place": "ward station unit department dept site hospital clinic clinics room location bed "
    "centre center institution country city klinik abteilung zimmer",
    "a person": "name surname firstname lastname doctor physician operator technician nurse user "
    "author cardiologist reviewer reader validated vorname nachname arzt",
    "a device": "device machine recorder cart model manufacturer serial software gerät",
    "an identifier": "id uid uuid guid number nr accession visit encounter order case study "
    "nummer fallnummer",
    "free text": "comment comments note notes remark remarks text report reports description "
    "findings history kommentar bemerkung bemerkungen",
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


# A column that may tell the patient, under a name that is not known: the user is asked.
_MAYBE_PATIENT = re.compile(r"(?i)(?<![a-z])pat(?!h)|subject|patient")


class SheetOptions(NamedTuple):
    """What a user says of tables whose columns and cells do not speak for themselves.

    Attributes:
        divide: At which signs cells with several labels are divided; ``auto`` or ``none``.
        patient: The column that tells the patient; None to know it by its name.
        file: The column that names the file of a record; None likewise.
    """

    divide: str = "auto"
    patient: str | None = None
    file: str | None = None


AS_FOUND = SheetOptions()


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


def find_columns(
    path: Path,
    names: Iterable[str],
    labels: Iterable[str] = (),
    options: SheetOptions = AS_FOUND,
) -> Columns:
    """Return what the columns of a table are for.

    Args:
        path: The table, for messages.
        names: Of its columns.
        labels: Columns that are labels, whatever their names.
        options: Columns that the user names; others whose names mean the same are not used.

    Raises:
        DatabaseError: If no column, or more than one of a kind, names the record, or two columns
            mean the same.
    """
    names = tuple(names)
    told = {"patient": options.patient, "file": options.file}
    roles = {role: named(path, names, name) for role, name in told.items() if name is not None}
    fixed, chosen = dict(roles), set(labels)
    others: list[str] = []
    for name in names:
        if name in fixed.values():
            continue
        role = None if name in chosen else _role_of(name)
        if role is None or role in fixed:
            others.append(name)
        elif role in roles:
            raise DatabaseError(
                f"{path}: columns {roles[role]} and {name} both tell the {role}; rename or remove "
                "one of them" + (f", or give --{role} COLUMN" if role in told else "")
            )
        else:
            roles[role] = name
    if "file" not in roles and "record" not in roles:
        raise DatabaseError(
            f"{path}: expected one column that names the record, such as record or file; found "
            f"{', '.join(names)}; --file COLUMN takes one of another name"
        )
    return Columns(roles, tuple(others))


def may_be_patient(name: str, cells: list[str]) -> bool:
    """Return whether a column of no known name may tell the patient: several records of each."""
    return bool(_MAYBE_PATIENT.search(name)) and 2 < len(set(cells)) < len(cells)


def _role_of(name: str) -> str | None:
    return _ROLE_OF.get(re.sub(r"[\s_.-]+", "", name.lower()))


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
    if _role_of(name) is not None:  # The user named another column for that.
        return "an identifier"
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    for word in re.findall(r"[^\W_]+", spaced.lower()):
        meaning = _MEANING.get(word)
        if meaning is not None and not (meaning == _A_DATE and _WITH_UNIT.fullmatch(name)):
            return meaning
    found = [cell for cell in cells if cell]
    if found and sum(bool(_DATE.fullmatch(cell)) for cell in found) >= 0.9 * len(found):
        return _A_DATE
    if {cell.lower() for cell in found} <= SPLIT_WORDS.keys() and found:
        return "a split"
    return None
