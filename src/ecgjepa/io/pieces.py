"""What readers share that read a long recording in pieces: how long is long, and rows of a file.

A recording of a day at 500 Hz takes gigabytes in float32. Formats whose samples lie at known places
are read in pieces: `ecgjepa.io.open_record` returns a `LongRecord` for them.
"""

import os
from collections.abc import Callable
from io import FileIO
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
            place = self.offset + start * self.num_columns * rows.itemsize
            is_whole = _read_at(stream, place, rows)
            self.check_unchanged(stream, is_whole)
        return rows

    def check_unchanged(self, stream: FileIO, is_whole: bool) -> None:
        """Refuse a file that was changed since it was opened first.

        Args:
            stream: The file.
            is_whole: Whether it held all that was to be read.

        Raises:
            RecordFormatError: If it was.
        """
        found = os.fstat(stream.fileno())
        if not is_whole or (found.st_size, time_of(found)) != (self.size, self.time_ns):
            raise RecordFormatError(f"{self.path}: was changed while it was read")


class Columns(NamedTuple):
    """Samples of all channels, one channel after the other.

    Attributes:
        rows: The same file as if each row were a channel.
    """

    rows: Rows

    @property
    def path(self) -> Path:
        """The file."""
        return self.rows.path

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the samples of all channels, channels last, from one to before another.

        Raises:
            RecordFormatError: If the file was changed since it was opened first.
        """
        rows = self.rows
        found = np.empty((rows.num_rows, stop - start), rows.dtype)
        is_whole = True
        with open_regular(rows.path) as stream:
            for number, channel in enumerate(found):
                place = rows.offset + (number * rows.num_columns + start) * found.itemsize
                is_whole &= _read_at(stream, place, channel)
            rows.check_unchanged(stream, is_whole)
        return found.T


def _read_at(stream: FileIO, place: int, array: np.ndarray) -> bool:
    """Fill an array with what lies at a place of a file, and return whether it lies there."""
    stream.seek(place)
    content = array.data.cast("B")
    while content and (count := stream.readinto(content)):
        content = content[count:]
    return not content


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
