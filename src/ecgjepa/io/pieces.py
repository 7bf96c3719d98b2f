"""What readers share that read a long recording in pieces: how long is long, and rows of a file.

A recording of a day at 500 Hz takes gigabytes in float32. Formats whose samples lie at known places
are read in pieces: `ecgjepa.io.open_record` returns a `LongRecord` for them.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.opening import open_regular, time_of
from ecgjepa.signals.record import LongRecord, Record

# Values from which on a record is read in pieces: half an hour of twelve leads at 500 Hz.
LONG_VALUES = 10_000_000
# Of one recording: a week of twelve leads at 1,000 Hz.
MOST_VALUES = 8_000_000_000


def is_long(num_samples: int, num_leads: int) -> bool:
    """Return whether a record is so long that it is read in pieces."""
    return LONG_VALUES < num_samples * num_leads <= MOST_VALUES


class Rows(NamedTuple):
    """Samples of all channels, row after row, in a file that must not change meanwhile.

    Attributes:
        path: The file.
        offset: Byte at which the first row begins.
        dtype: Type of a sample, such as ``<i2``.
        num_columns: Samples of a row.
        num_rows: All of the rows.
        size: Bytes of the file, when it was opened first.
        time_ns: Time of its last change, then.
    """

    path: Path
    offset: int
    dtype: str
    num_columns: int
    num_rows: int
    size: int
    time_ns: int

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return rows from one to before another.

        Raises:
            RecordFormatError: If the file was changed since it was opened first.
        """
        rows = np.empty((stop - start, self.num_columns), self.dtype)
        with open_regular(self.path) as stream:
            found = os.fstat(stream.fileno())
            stream.seek(self.offset + start * self.num_columns * rows.itemsize)
            content = rows.data.cast("B")
            while content and (count := stream.readinto(content)):
                content = content[count:]
        if content or (found.st_size, time_of(found)) != (self.size, self.time_ns):
            raise RecordFormatError(f"{self.path}: was changed while it was read")
        return rows


def rows_of(path: Path, offset: int, dtype: str, num_columns: int, num_rows: int) -> Rows:
    """Return the rows of a file, as it is now."""
    with open_regular(path) as stream:
        found = os.fstat(stream.fileno())
    return Rows(path, offset, dtype, num_columns, num_rows, found.st_size, time_of(found))


def read_start(path: Path, most: int) -> tuple[bytes, int]:
    """Return the beginning of a file, and the size of all of it."""
    with open_regular(path) as stream:
        return stream.read(most) or b"", os.fstat(stream.fileno()).st_size


def long_record(read: Callable[[int, int], Record], num_samples: int) -> LongRecord:
    """Return a recording by what reads it; the first sample tells what all have in common."""
    first = read(0, 1)
    return LongRecord(
        read, num_samples, first.leads, first.sampling_rate, first.record_id, first.source,
        first.issues,
    )  # fmt: skip
