"""Records of several segments, whose samples lie in records of their own.

The header of a fixed layout lists records that hold the same signals one after another. In a
variable layout, the first is a header without samples that lists all signals, and each of the
others holds some of them. ``~`` stands for a gap in both.

Format: https://physionet.org/physiotools/wag/header-5.htm.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.content import accept_size
from ecgjepa.io.wfdb.header import Header
from ecgjepa.signals.record import Issue, MicrovoltRecord, Record

# No frame of a record holds more samples of a signal.
_MOST_PER_FRAME = 10_000
_Reader = Callable[[Header], Record | MicrovoltRecord | None]


class _Piece(NamedTuple):
    start: int  # in frames
    length: int
    record: Record | None


def read_segments(header: Header, read: _Reader) -> Record:
    """Return one record of several segments; what a segment lacks is invalid.

    Args:
        header: Of the whole record.
        read: Reads a segment; None if it holds no ECG.

    Raises:
        RecordFormatError: If a segment is of another rate or length than the header tells, or no
            segment holds samples.
    """
    frames = sum(part.num_frames for part in header.parts)
    accept_size(
        header.path, frames, max(len(each.signals) for each in header.segments or (header,))
    )
    pieces: list[_Piece] = []
    start = 0
    for part in header.parts:
        if part.header is not None and part.num_frames:
            found = read(part.header)
            record = found.as_record() if isinstance(found, MicrovoltRecord) else found
            pieces.append(_Piece(start, part.num_frames, record))
        start += part.num_frames
    records = [piece.record for piece in pieces if piece.record is not None]
    if not records:
        raise RecordFormatError(f"{header.path}: holds no samples")
    rate = records[0].sampling_rate
    ratio = rate / header.sampling_rate
    per_frame = round(ratio) if ratio < _MOST_PER_FRAME else 0
    if any(record.sampling_rate != rate for record in records) or (
        per_frame * header.sampling_rate != rate
    ):
        rates = sorted({record.sampling_rate for record in records})
        raise RecordFormatError(
            f"{header.path}: its segments are sampled at {', '.join(f'{each:g}' for each in rates)}"
            f" Hz, and it tells {header.sampling_rate:g} Hz; expected one rate"
        )
    return _joined(header, pieces, frames * per_frame, per_frame)


def _joined(header: Header, pieces: list[_Piece], num_samples: int, per_frame: int) -> Record:
    records = [piece.record for piece in pieces if piece.record is not None]
    columns = _columns(header, records)
    accept_size(header.path, num_samples, len(columns))
    signal = np.zeros((num_samples, len(columns)), np.float32)
    valid = np.zeros(signal.shape, np.bool_)
    for start, length, record in pieces:
        if record is None:
            continue
        is_cut = any(issue.code == "truncated" for issue in record.issues)
        if record.num_samples != length * per_frame and not is_cut:
            raise RecordFormatError(
                f"{header.path}: segment {record.record_id} holds {record.num_samples:,} samples; "
                f"the header tells {length * per_frame:,}"
            )
        first = start * per_frame
        stop = first + min(record.num_samples, length * per_frame)
        for column, key in enumerate(_keys(record.leads)):
            signal[first:stop, columns[key]] = record.signal[: stop - first, column]
            valid[first:stop, columns[key]] = record.valid[: stop - first, column]
    issues = dict.fromkeys(issue for record in records for issue in record.issues)
    return Record(
        signal=signal,
        valid=valid,
        leads=tuple(name for name, _ in columns),
        sampling_rate=records[0].sampling_rate,
        record_id=header.path.stem,
        source=str(header.path),
        issues=tuple(issues) + _gaps(header),
    )


def _columns(header: Header, records: list[Record]) -> dict[tuple[str, int], int]:
    """Return the column of each lead that some segment holds, in the layout's order."""
    held = dict.fromkeys(key for record in records for key in _keys(record.leads))
    listed = header.segments[0].leads if header.segments else ()
    order = [key for key in _keys(listed) if key in held]
    order += [key for key in held if key not in order]
    return {key: column for column, key in enumerate(order)}


def _keys(leads: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return each name with how often it has occurred before."""
    seen: Counter[str] = Counter()
    keys = []
    for name in leads:
        keys.append((name, seen[name]))
        seen[name] += 1
    return keys


def _gaps(header: Header) -> tuple[Issue, ...]:
    frames = sum(part.num_frames for part in header.parts if part.header is None)
    if not frames:
        return ()
    words = f"{frames / header.sampling_rate:.3g} s between segments were not recorded"
    return (Issue("invalid_samples", words),)
