"""What a database's folder holds: one table row per record, before any signal is read.

A listing tells simulated ECGs and partial copies from a whole database.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool

from ecgjepa.io import DESCRIBABLE, Damaged, read_exact
from ecgjepa.io.folders import SIMULATED_FILE as SIMULATED_FILE
from ecgjepa.io.opening import ending
from ecgjepa.signals.record import MicrovoltRecord, Record

# Of a listing's table: what recorded each record. It is looked at, and not stored.
DEVICE_COLUMN = "device"


class Entry(NamedTuple):
    """One record of a listing.

    Attributes:
        record_id: Unique within the database.
        path: File, relative to the database's folder.
        patient_id: Patient, or None where the database does not tell.
        fold: Published fold, or None.
        age: In years, or None. PTB-XL writes 300 for everyone above 89, to protect their privacy;
            that is kept as it is, so that they can be told from those of unknown age.
        sex: ``female``, ``male`` or None.
        labels: Statement code to likelihood in percent, as JSON text; null where it is unknown
            whether the code applies.
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


# Entry's fields as columns; ages and folds may be unknown.
ENTRY_SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("path", pa.string()),
        ("patient_id", pa.string()),
        ("fold", pa.int16()),
        ("age", pa.float64()),
        ("sex", pa.string()),
        ("labels", pa.string()),
    ]
)


def read_file(root: Path, entry: Entry, damaged: Damaged) -> Record | MicrovoltRecord:
    """Read the file that an entry names: what most databases need.

    Raises:
        RecordError: If it cannot be read.
    """
    return read_exact(root / entry.path, damaged=damaged)


def read_described(
    description: Path, root: Path, entry: Entry, damaged: Damaged
) -> Record | MicrovoltRecord:
    """Read as `read_file`, arrays, tables and EDF as a description says.

    Raises:
        RecordError: If it cannot be read.
    """
    own = ending(entry.path.partition("#")[0])
    place = description if own in DESCRIBABLE else None
    return read_exact(root / entry.path, damaged=damaged, description=place)


@dataclass(frozen=True)
class Listing:
    """The records found in one database's folder.

    Attributes:
        database: Name of the database.
        root: Folder of the database.
        table: One row per record that is present, with the columns of `Entry`, sorted; and
            `DEVICE_COLUMN` where the database tells it.
        absent: Records that the database's table names but this copy lacks.
        refused: Files that would be records but cannot be listed.
        notices: What a user should know about this copy, in sentences.
        training_folds: Folds meant for training, or None where the database has no folds.
        held_out_folds: Folds meant for selection and test.
        highpass_hz: Where drift is so strong that the paper removes it: cut-off of the high-pass
            that such records get unless another is asked for.
        reader: Reads an entry's signal; a function of a module, as other processes call it too.
        label_columns: Columns of an archive's table that are labels, each to its labels.
        hashed_folds: Of what the folds are a hash, where they are one: see
            `ecgjepa.databases.folds`.
        hide_file: Gives what stands in a store for a file's name, where no name may be in it; see
            `ecgjepa.databases.pseudonyms`.
        description: File that describes its arrays and tables in place of those beside them.
    """

    database: str
    root: Path
    table: pd.DataFrame
    absent: tuple[Skip, ...] = ()
    refused: tuple[Skip, ...] = ()
    notices: tuple[str, ...] = ()
    training_folds: tuple[int, ...] | None = None
    held_out_folds: tuple[int, ...] = ()
    highpass_hz: float | None = None
    reader: Callable[[Path, Entry, Damaged], Record | MicrovoltRecord] = read_file
    label_columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    hashed_folds: str = ""
    hide_file: Callable[[str], str] | None = None
    description: Path | None = None

    def __len__(self) -> int:
        """Return the number of records that are present."""
        return len(self.table)

    def entries(self) -> Iterator[Entry]:
        """Yield the rows as `Entry`, missing values as None."""
        for batch in self.to_arrow().to_batches(max_chunksize=1024):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield Entry(*row)

    def to_arrow(self) -> pa.Table:
        """Return the table with the columns and types of `ENTRY_SCHEMA`."""
        return pa.Table.from_pandas(self.table, schema=ENTRY_SCHEMA, preserve_index=False)

    def devices(self) -> dict[str, tuple[str, ...]]:
        """Return the ids of the records of each device, where the database tells devices."""
        if DEVICE_COLUMN not in self.table:
            return {}
        known = self.table.dropna(subset=[DEVICE_COLUMN])
        groups = known.groupby(known[DEVICE_COLUMN].astype(str))["record_id"]
        return {str(name): tuple(map(str, ids)) for name, ids in groups}

    def rows(self, start: int, stop: int) -> "Listing":
        """Return the listing of some of its rows, without what concerns the whole."""
        return replace(self, table=self.table.iloc[start:stop], absent=(), refused=(), notices=())

    def rows_where(self, chosen: Bool[np.ndarray, " records"]) -> "Listing":
        """Return the listing of the rows for which ``chosen`` is True, as `rows` does."""
        return replace(self, table=self.table[chosen], absent=(), refused=(), notices=())

    def of_folds(self, folds: tuple[int, ...]) -> "Listing":
        """Return the listing with only the records of these folds."""
        return replace(self, table=self.table[self.table["fold"].isin(folds)])

    def relative(self, text: str) -> str:
        """Return text with files named relative to the database's folder, not as it was given.

        What is written into a store must not tell where on a machine, and in whose folders, the
        database lies.
        """
        places = {str(self.root), str(self.root.absolute()), str(self.root.resolve())} - {".", "/"}
        for place in sorted(places, key=len, reverse=True):
            # A folder called as the database is: the word alone is the database's name.
            after = "/" if place == self.database else r"(?:/|(?![\w.-]))"
            text = re.sub(rf"(?<![\w./-]){re.escape(place)}{after}", "", text)
        if self.description is not None:
            text = text.replace(str(self.description), self.description.name)
        return text

    def read(self, entry: Entry) -> Record:
        """Read one record of the listing.

        Raises:
            RecordError: If it cannot be read.
        """
        found = self.reader(self.root, entry, "raise")
        record = found.as_record() if isinstance(found, MicrovoltRecord) else found
        return replace(record, record_id=entry.record_id, patient_id=entry.patient_id)


def is_simulated(*folders: Path) -> bool:
    """Return whether one of the folders holds what `ecgjepa.simulation` wrote."""
    return any((folder / SIMULATED_FILE).is_file() for folder in folders)


def simulated_notice(count: int) -> str:
    """Return what a user should know about ``count`` simulated records."""
    return f"{count:,} simulated ECGs; results on them say nothing about patients"


def size_notices(
    *folders: Path, found: int, published: int, things: str = "records"
) -> tuple[str, ...]:
    """Return what to say about a copy's size: simulated, partial, or nothing if it is whole.

    Args:
        *folders: Where the mark of a simulation may lie.
        found: Records in this copy.
        published: Records of the whole database.
        things: What the database calls its records.
    """
    if is_simulated(*folders):
        return (simulated_notice(found),)
    if found != published:
        return (f"partial copy: {found:,} of {published:,} {things}",)
    return ()
