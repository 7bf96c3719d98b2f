"""The header of an EDF, EDF+ or BDF file, and its samples as stored."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from ecgjepa.errors import RecordFormatError
from ecgjepa.signals.record import Issue

# Name and width of the fields that each signal has.
_FIELDS = (
    ("label", 16), ("transducer", 80), ("unit", 8), ("physical_min", 8), ("physical_max", 8),
    ("digital_min", 8), ("digital_max", 8), ("filter", 80), ("samples", 8), ("reserved", 32),
)  # fmt: skip
_NUMBERED = ("physical_min", "physical_max", "digital_min", "digital_max", "samples")
ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
_ONSET = re.compile(rb"([+-]\d{1,15}(?:\.\d{1,15})?)(?:\x15[\d.]+)?\x14")
# A gap is not filled beyond this multiple of what was recorded.
_MOST_GAPS = 20
# Starts of data records are rounded; what differs by less of a record is no gap.
_ROUNDED = 0.01


class EdfSignal(NamedTuple):
    """What the header tells of a signal.

    Attributes:
        label: As written.
        unit: Physical dimension, as written.
        physical: Smallest and largest amplitude.
        digital: The stored values that stand for them.
        samples: In a data record.
        offset: Of its samples in a data record, in samples.
    """

    label: str
    unit: str
    physical: tuple[float, float]
    digital: tuple[float, float]
    samples: int
    offset: int


class EdfFile(NamedTuple):
    """A file's content and what its header tells.

    Attributes:
        path: The file.
        content: All of its bytes.
        header_bytes: Length of the header.
        num_records: Number of data records that are held.
        record_seconds: Duration of a data record.
        signals: The signals, annotations among them.
        width: Bytes a sample, 2 or 3.
        is_continuous: Whether the header says that there are no gaps.
        record_samples: Samples of all signals in a data record.
    """

    path: Path
    content: bytes
    header_bytes: int
    num_records: int
    record_seconds: float
    signals: list[EdfSignal]
    width: int
    is_continuous: bool
    record_samples: int


def parse_edf(path: Path, content: bytes, size: int | None = None) -> tuple[EdfFile, list[Issue]]:
    """Return the header's facts, compared with the file's length.

    Args:
        path: The file, for messages.
        content: All of it, or its header.
        size: Bytes of the file; None for those of the content.

    Raises:
        RecordFormatError: If they contradict each other.
    """
    size = len(content) if size is None else size
    width = 3 if content[:1] == b"\xff" else 2
    num_signals = int(content[252:256])
    header_bytes = 256 * (num_signals + 1)
    if num_signals < 1 or len(content) < header_bytes:
        raise RecordFormatError(
            f"{path}: truncated: {len(content):,} bytes cannot hold {num_signals} signals",
            reason="truncated",
        )
    seconds = float(content[244:252])
    signals = list(_signals(path, content, num_signals))
    record_samples = sum(signal.samples for signal in signals)
    record_bytes = width * record_samples
    if not 0 < seconds < np.inf or not record_bytes:
        raise RecordFormatError(f"{path}: data records of {seconds:g} s and {record_bytes} bytes")
    announced, held = int(content[236:244]), (size - header_bytes) // record_bytes
    if held < announced or not held:
        raise RecordFormatError(
            f"{path}: truncated: holds {held} of {announced} data records", reason="truncated"
        )
    issues = []
    if -1 < announced < held:
        words = f"holds {held} data records, the header announces {announced}"
        issues.append(Issue("file_longer_than_header", words))
    is_continuous = content[192:197] not in (b"EDF+D", b"BDF+D")
    return EdfFile(
        path, content, header_bytes, held, seconds, signals, width, is_continuous, record_samples
    ), issues  # fmt: skip


def _signals(path: Path, content: bytes, num_signals: int) -> Iterator[EdfSignal]:
    columns: dict[str, list[bytes]] = {}
    at = 256
    for name, size in _FIELDS:
        end = at + size * num_signals
        columns[name] = [content[place : place + size] for place in range(at, end, size)]
        at = end
    numbers = {name: [_number(path, name, cell) for cell in columns[name]] for name in _NUMBERED}
    offset = 0
    for index, samples in enumerate(numbers["samples"]):
        if samples < 0 or samples != int(samples):
            raise RecordFormatError(f"{path}: a signal has {samples:g} samples a data record")
        yield EdfSignal(
            _text(columns["label"][index]),
            _text(columns["unit"][index]),
            (numbers["physical_min"][index], numbers["physical_max"][index]),
            (numbers["digital_min"][index], numbers["digital_max"][index]),
            int(samples),
            offset,
        )
        offset += int(samples)


def _text(cell: bytes) -> str:
    """Return a field's text: ASCII by the format, in the field also UTF-8 and Latin-1."""
    try:
        text = cell.decode("utf-8")
    except UnicodeDecodeError:
        text = cell.decode("latin-1")
    return text.strip(" \0")


def _number(path: Path, name: str, cell: bytes) -> float:
    try:
        value = float(cell)  # as nearly all are written
    except ValueError:
        value = _unusual_number(_text(cell))
    if not math.isfinite(value):
        raise RecordFormatError(f"{path}: field {name} holds {_text(cell)!r}; expected a number")
    return value


def _unusual_number(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return math.nan


def record_starts(file: EdfFile) -> Float64[np.ndarray, " records"]:
    """Return when each data record starts, in seconds from the first.

    Raises:
        RecordFormatError: If a file that may have gaps does not tell, or tells an order that no
            recording has.
    """
    even = np.arange(file.num_records) * file.record_seconds
    annotations = [signal for signal in file.signals if signal.label in ANNOTATIONS]
    if not annotations:
        if not file.is_continuous:
            raise RecordFormatError(f"{file.path}: may have gaps, but does not tell where")
        return even
    first = annotations[0]
    starts = np.zeros(file.num_records)
    step = file.width * file.record_samples
    begin = file.header_bytes + file.width * first.offset
    for index in range(file.num_records):
        at = begin + step * index
        found = _ONSET.match(file.content, at, at + file.width * first.samples)
        if found is None:
            if file.is_continuous:
                return even
            raise RecordFormatError(f"{file.path}: data record {index} does not tell its start")
        starts[index] = float(found[1])
    starts -= starts[0]
    seconds = file.record_seconds
    for index in range(1, len(starts)):
        due = starts[index - 1] + seconds
        if abs(starts[index] - due) <= _ROUNDED * seconds:
            starts[index] = due
        elif starts[index] < due:
            raise RecordFormatError(f"{file.path}: its data records overlap, or are out of order")
    if starts[-1] > _MOST_GAPS * len(starts) * seconds:
        raise RecordFormatError(f"{file.path}: its gaps are {_MOST_GAPS} times as long as the rest")
    return starts


def stored_samples(
    file: EdfFile, signal: EdfSignal, *, last: int = 0
) -> Int[np.ndarray, "records samples"]:
    """Return the samples of a signal as stored, a row a data record, or the last ones only."""
    num_samples = file.record_samples
    size = file.num_records * num_samples * file.width
    stored = np.frombuffer(file.content, np.uint8, size, file.header_bytes)
    rows = stored.reshape(file.num_records, num_samples, file.width)
    part = rows[-last:, signal.offset : signal.offset + signal.samples]
    if file.width == 2:
        return np.ascontiguousarray(part).view("<i2")[:, :, 0]
    wide = np.zeros((*part.shape[:2], 4), np.uint8)
    wide[:, :, 1:] = part
    return wide.view("<i4")[:, :, 0] >> 8
