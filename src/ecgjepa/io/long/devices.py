"""Long ISHNE recordings, read in pieces."""

from pathlib import Path
from typing import NamedTuple

from ecgjepa.io.devices.ishne import (
    IshneHeader,
    ishne_record,
    ishne_samples,
    read_ishne_header,
)
from ecgjepa.io.pieces import Rows, is_long, long_record, read_start, rows_of
from ecgjepa.io.wfdb import Damaged
from ecgjepa.signals.record import Issue, LongRecord, Record

# Before the samples; text takes most of it.
_MOST_HEADER_BYTES = 1_000_000


def open_long_ishne(path: Path, damaged: Damaged) -> LongRecord | None:
    """Return a long recording, or None if it must be read whole, which tells why it cannot.

    Raises:
        RecordError: As `ecgjepa.io.devices.ishne.read_ishne`.
    """
    head, size = read_start(path, _MOST_HEADER_BYTES)
    header = read_ishne_header(head)
    num_leads = len(header.names)
    is_apart = header.start <= len(head) and len(set(header.names)) == num_leads
    if not is_apart or not is_long((size - header.start) // (2 * num_leads), num_leads):
        return None
    num_samples, issues = ishne_samples(head[: header.start], size, header, damaged)
    rows = rows_of(path, header.start, "<i2", num_leads, num_samples)
    return long_record(_Reader(header, rows, issues).read, num_samples)


class _Reader(NamedTuple):
    """Reads some samples of a recording."""

    header: IshneHeader
    rows: Rows
    issues: list[Issue]

    def read(self, start: int, stop: int) -> Record:
        samples = self.rows.read(start, stop)
        return ishne_record(self.rows.path, samples, self.header, self.issues)
