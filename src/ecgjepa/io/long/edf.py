"""Long EDF and BDF recordings without gaps, read in pieces."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecgjepa.io.arrays.description import Description, find_description
from ecgjepa.io.channels import align_rates
from ecgjepa.io.content import make_record
from ecgjepa.io.edf import channel_of, leads_of, tail_issue, tail_of
from ecgjepa.io.edf_header import ANNOTATIONS, EdfFile, EdfSignal, parse_edf, record_starts
from ecgjepa.io.pieces import Rows, is_long, long_record, read_start, rows_of
from ecgjepa.signals.record import Issue, LongRecord, Record

# Bytes of data records that are looked at together.
_BYTES_AT_ONCE = 8_000_000
_MOST_HEADER_BYTES = 256 * 1000


def open_long_edf(path: Path, place: Path | None) -> LongRecord | None:
    """Return a long recording, or None if it must be read whole, which tells why it cannot.

    Raises:
        RecordError: As `ecgjepa.io.edf.read_edf`.
    """
    described = find_description(path, place)
    head, size = read_start(path, _MOST_HEADER_BYTES)
    file, issues = parse_edf(path, head, size)
    leads, others = leads_of(file, described)
    per_record = leads[0][0].samples
    num_samples = per_record * file.num_records
    names = [name for _, name in leads]
    is_even = all(signal.samples == per_record for signal, _ in leads)
    # Leads that are there twice are compared whole, and those of several rates resampled.
    if not is_even or len(set(names)) < len(names) or not is_long(num_samples, len(leads)):
        return None
    rows = rows_of(
        path, file.header_bytes, "u1", file.width * file.record_samples, file.num_records
    )
    if not _is_without_gaps(file, rows):
        return None
    at_once = max(1, _BYTES_AT_ONCE // rows.num_columns)
    last = _part(file, rows, max(0, rows.num_rows - at_once), rows.num_rows)
    held = last.num_records * per_record
    rate = per_record / file.record_seconds
    # With one sample more, so that a part that rests as a whole is told apart.
    if (tail := tail_of(last, leads, held + 1, rate)) >= held:
        return None
    issues += others
    if tail:
        issues.append(tail_issue(tail, rate))
    reader = _Reader(file, rows, leads, described, num_samples - tail, issues)
    return long_record(reader.read, num_samples)


class _Reader(NamedTuple):
    """Reads some samples of a recording.

    Attributes:
        file: Its header.
        rows: Its data records.
        leads: Signals that are leads, and their names.
        described: Its description, if there is one.
        num_recorded: Samples before what was not recorded at the end.
        issues: What was noticed.
    """

    file: EdfFile
    rows: Rows
    leads: list[tuple[EdfSignal, str]]
    described: Description | None
    num_recorded: int
    issues: list[Issue]

    def read(self, start: int, stop: int) -> Record:
        per_record = self.leads[0][0].samples
        first, last = start // per_record, -(-stop // per_record)
        part = _part(self.file, self.rows, first, last)
        starts = np.arange(last - first) * self.file.record_seconds
        channels = [
            channel_of(part, signal, name, starts, self.described) for signal, name in self.leads
        ]
        aligned = align_rates(self.file.path, channels)
        aligned.valid[max(0, self.num_recorded - first * per_record) :] = False
        kept = slice(start - first * per_record, stop - first * per_record)
        return make_record(
            self.file.path, aligned.signal[kept], aligned.leads, aligned.sampling_rate,
            valid=aligned.valid[kept], issues=self.issues,
        )  # fmt: skip


def _part(file: EdfFile, rows: Rows, first: int, last: int) -> EdfFile:
    """Return some data records as if they were all that a file holds."""
    content = rows.read(first, last).tobytes()
    return file._replace(content=content, header_bytes=0, num_records=last - first)


def _is_without_gaps(file: EdfFile, rows: Rows) -> bool:
    """Return whether each data record begins where the one before ends."""
    told = [signal for signal in file.signals if signal.label in ANNOTATIONS][:1]
    if not told:
        return file.is_continuous
    columns = slice(file.width * told[0].offset, file.width * (told[0].offset + told[0].samples))
    step = max(1, _BYTES_AT_ONCE // rows.num_columns)
    content = b"".join(
        np.ascontiguousarray(rows.read(row, min(row + step, rows.num_rows))[:, columns]).tobytes()
        for row in range(0, rows.num_rows, step)
    )
    alone = file._replace(
        content=content,
        header_bytes=0,
        record_samples=told[0].samples,
        signals=[told[0]._replace(offset=0)],
    )
    even = np.arange(file.num_records) * file.record_seconds
    return np.allclose(record_starts(alone), even, rtol=0, atol=1e-6 * file.record_seconds)
