"""What a database's folder holds: one table row per record, before any signal is read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ecgjepa.io import read_record
from ecgjepa.signals.record import Record


class Entry(NamedTuple):
    """One record of a listing.

    Attributes:
        record_id: Unique within the database.
        path: File, relative to the database's folder.
        patient_id: Patient, or None where the database does not tell.
        fold: Published fold, or None.
        age: In years, or None.
        sex: ``female``, ``male`` or None.
        labels: Statement code to likelihood in percent, as JSON text.
    """

    record_id: str
    path: str
    patient_id: str | None
    fold: int | None
    age: float | None
    sex: str | None
    labels: str


class Skip(NamedTuple):
    """A record that is not used, and why.

    Attributes:
        record_id: The record.
        reason: Short code, for counting.
        detail: What was found, for people.
    """

    record_id: str
    reason: str
    detail: str


def read_file(root: Path, entry: Entry) -> Record:
    """Read the file that an entry names: what most databases need.

    Raises:
        RecordError: If it cannot be read.
    """
    return read_record(root / entry.path)


@dataclass(frozen=True)
class Listing:
    """The records found in one database's folder.

    Attributes:
        database: Name of the database.
        root: Its folder.
        table: One row per record that is present, with the columns of `Entry`, sorted.
        absent: Records that the database's table names but this copy lacks.
        notices: What a user should know about this copy, in sentences.
        training_folds: Folds meant for training, or None where the database has no folds.
        held_out_folds: Folds meant for selection and test.
        highpass_hz: Where drift is so strong that the paper removes it: cut-off of the high-pass
            that such records get unless another is asked for.
        reader: Reads an entry's signal; a function of a module, as other processes call it too.
    """

    database: str
    root: Path
    table: pd.DataFrame
    absent: tuple[Skip, ...] = ()
    notices: tuple[str, ...] = ()
    training_folds: tuple[int, ...] | None = None
    held_out_folds: tuple[int, ...] = ()
    highpass_hz: float | None = None
    reader: Callable[[Path, Entry], Record] = read_file

    def entries(self) -> Iterator[Entry]:
        """Yield the rows as `Entry`, missing values as None."""
        columns = [
            [None if pd.isna(value) else value for value in self.table[name]]
            for name in Entry._fields
        ]
        for record_id, path, patient_id, fold, age, sex, labels in zip(*columns, strict=True):
            yield Entry(
                record_id,
                path,
                patient_id,
                None if fold is None else int(fold),
                None if age is None else float(age),
                sex,
                labels,
            )

    def of_folds(self, folds: tuple[int, ...]) -> "Listing":
        """Return the listing with only the records of these folds."""
        return replace(self, table=self.table[self.table["fold"].isin(folds)])

    def read(self, entry: Entry) -> Record:
        """Read one record of the listing.

        Raises:
            RecordError: If it cannot be read.
        """
        record = self.reader(self.root, entry)
        return replace(record, record_id=entry.record_id, patient_id=entry.patient_id)
