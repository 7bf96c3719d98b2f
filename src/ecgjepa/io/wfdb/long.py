"""Long WFDB records of 16-bit and 12-bit samples, read in pieces."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int16

from ecgjepa.io.content import accept_rate
from ecgjepa.io.pieces import Rows, is_long
from ecgjepa.io.wfdb.calibration import (
    INVALID_16,
    header_issues,
    in_microvolt,
    microvolt_steps,
    to_millivolt,
)
from ecgjepa.io.wfdb.header import Header, read_header
from ecgjepa.io.wfdb.records import not_readable, read_described, record_of, verify, voltages
from ecgjepa.io.wfdb.samples import (
    Damaged,
    Rows212,
    has_fast_path,
    is_packed_212,
    rows_of_16,
    rows_of_212,
)
from ecgjepa.signals.passes import column_extremes, fold_rows
from ecgjepa.signals.record import Issue, LongRecord, MicrovoltRecord, Record

# Values that are looked at together before any is used.
_VALUES_AT_ONCE = 4_000_000
_INVALID_12 = -2048
_NOT_VERIFIED = Issue("no_checksum", "only a part was read, so checksums were not compared")


def open_wfdb(
    header_path: Path, *, damaged: Damaged = "raise", is_verified: bool = True
) -> Record | MicrovoltRecord | LongRecord:
    """Read a WFDB record, or one that is long in pieces, where that is possible.

    Args:
        header_path: The ``.hea`` file.
        damaged: See `ecgjepa.io.wfdb.records.read_wfdb_exact`.
        is_verified: Whether all samples of a long record are looked at; see
            `ecgjepa.io.open_record`.

    Raises:
        RecordFormatError: As `read_wfdb_exact`, and after the same looks at all of the samples.
    """
    header = read_header(header_path)
    names = [spec.lead for spec in header.signals]
    # Of leads that are there twice, whole ones are compared.
    is_packed = is_packed_212(header)
    is_read = is_packed or has_fast_path(header)
    is_apart = is_read and len(set(names)) == len(names) and not header.is_layout
    told = header.num_samples
    if not is_apart or (told is not None and not is_long(told, len(names))):
        return read_described(header, damaged)
    try:
        rows, issues = _rows_of(header, damaged, is_packed=is_packed)
        if rows is None or not is_long(rows.num_rows, rows.num_columns):
            return read_described(header, damaged)  # It tells what is wrong, too.
        return _opened(header, rows, issues, damaged, is_verified=is_verified)
    except OSError as error:
        raise not_readable(header, error) from None


def _rows_of(
    header: Header, damaged: Damaged, *, is_packed: bool
) -> tuple[Rows | Rows212 | None, list[Issue]]:
    return (rows_of_212(header), []) if is_packed else rows_of_16(header, damaged=damaged)


def _opened(
    header: Header,
    rows: Rows | Rows212,
    issues: list[Issue],
    damaged: Damaged,
    *,
    is_verified: bool,
) -> LongRecord:
    kept, others = voltages(header)
    accept_rate(header.path, header.sampling_rate)
    found = _look(rows) if is_verified else None
    faults: list[Issue] = []
    notes = [_NOT_VERIFIED]
    if found is not None:
        faults, notes = verify(header, found.firsts, rows.num_rows, found.sums, damaged)
    issues = [*issues, *faults, *notes, *others]
    header = replace(header, signals=tuple(header.signals[column] for column in kept))
    issues += header_issues(header)
    steps = None
    if found is not None and not faults:
        low, high = int(found.low[kept].min()), int(found.high[kept].max())
        steps = microvolt_steps(header, low, high)
    return LongRecord(
        read=_Reader(header, rows, kept, issues, steps, damaged).read,
        num_samples=rows.num_rows,
        leads=header.leads,
        sampling_rate=header.sampling_rate,
        record_id=header.path.stem,
        source=str(header.path),
        issues=tuple(issues),
    )


class _Look(NamedTuple):
    """What a look at all samples tells of each signal."""

    firsts: Int16[np.ndarray, " signals"]
    sums: list[int]
    low: Int16[np.ndarray, " signals"]
    high: Int16[np.ndarray, " signals"]


def _look(rows: Rows | Rows212) -> _Look:
    step = max(1, _VALUES_AT_ONCE // rows.num_columns)
    sums = np.zeros(rows.num_columns, np.uint16)
    extremes = []
    for start in range(0, rows.num_rows, step):
        part = rows.read(start, min(start + step, rows.num_rows)).astype(np.int16, copy=False)
        # Sums modulo 2**16 do not care about overflow.
        sums += fold_rows(part.view(np.uint16), 1, np.add)[0]
        extremes.append(column_extremes(_marked(part, rows)))
    low = np.min([each for each, _ in extremes], axis=0)
    high = np.max([each for _, each in extremes], axis=0)
    return _Look(rows.read(0, 1)[0].astype(np.int16), sums.tolist(), low, high)


def _marked(
    part: Int16[np.ndarray, "samples signals"], rows: Rows | Rows212
) -> Int16[np.ndarray, "samples signals"]:
    """Return samples in which what is invalid is marked as in format 16."""
    if isinstance(rows, Rows212):
        return np.where(part == _INVALID_12, np.int16(INVALID_16), part)
    return part


class _Reader(NamedTuple):
    """Reads some samples of the voltages of a record."""

    header: Header
    rows: Rows | Rows212
    kept: list[int]
    issues: list[Issue]
    steps: list[int] | None
    damaged: Damaged

    def read(self, start: int, stop: int) -> Record | MicrovoltRecord:
        header = self.header
        digital = _marked(self.rows.read(start, stop).astype(np.int16, copy=False), self.rows)
        if len(self.kept) < self.rows.num_columns:
            digital = np.ascontiguousarray(digital[:, self.kept])
        if self.steps is not None:
            return MicrovoltRecord(
                in_microvolt(digital, self.steps), header.leads, header.sampling_rate,
                header.path.stem, str(header.path), tuple(self.issues),
            )  # fmt: skip
        valid = digital != INVALID_16
        signal = to_millivolt(digital, header.signals)
        return record_of(header, signal, valid, header.leads, self.issues, self.damaged)
