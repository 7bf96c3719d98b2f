"""Long recordings in a NumPy array, of (samples, leads) or (leads, samples), read in pieces."""

from pathlib import Path
from typing import NamedTuple

from ecgjepa.io.arrays.description import Description, read_description
from ecgjepa.io.arrays.layout import one_record, record_of_array
from ecgjepa.io.arrays.numpy_files import HEADER_BYTES, array_header, check_size
from ecgjepa.io.pieces import Columns, Rows, is_long, long_record, read_start, rows_of
from ecgjepa.signals.record import LongRecord, Record


def open_long_array(path: Path, place: Path | None) -> LongRecord | None:
    """Return a long recording, or None if it must be read whole, which tells why it cannot.

    Raises:
        RecordError: As `ecgjepa.io.arrays.numpy_files.read_array`.
    """
    head, size = read_start(path, HEADER_BYTES)
    if head.startswith(b"PK"):
        return None
    described, header = read_description(path, place), array_header(head)
    index, _, axes = one_record(path, header.shape, described)
    if index is not None or len(header.shape) != 2 or header.dtype.kind not in "iuf":
        return None
    if not is_long(*header.shape):
        return None
    check_size(path, size - header.start, header)
    is_by_rows = axes == ("samples", "leads")
    num_samples, num_leads = header.shape if is_by_rows else header.shape[::-1]
    # In the order of Fortran, the first axis runs fastest.
    is_interleaved = is_by_rows != header.is_fortran
    of_a_row, of_rows = (num_leads, num_samples) if is_interleaved else (num_samples, num_leads)
    rows = rows_of(path, header.start, header.dtype.str, of_a_row, of_rows)
    reader = _Reader(rows if is_interleaved else Columns(rows), described)
    return long_record(reader.read, num_samples)


class _Reader(NamedTuple):
    """Reads some samples of a recording."""

    rows: Rows | Columns
    described: Description

    def read(self, start: int, stop: int) -> Record:
        # A part may have as many samples as leads, so the order of axes is told.
        told = self.described._replace(axes=("samples", "leads"))
        return record_of_array(self.rows.path, self.rows.read(start, stop), told)
