"""MFER: how the samples of one channel are stored, by the definitions that hold for it."""

import struct
from typing import NamedTuple

import numpy as np

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.content import accept_step
from ecgjepa.io.devices import mfer_tags as tags
from ecgjepa.io.devices.scp_leads import LEAD_NAMES

# Codes of units.
VOLT, _HERTZ, _SECOND = 0, 0, 1
_TYPES = {0: "i2", 1: "u2", 2: "i4", 3: "u1", 4: "u2", 5: "i1", 6: "u4", 7: "f4", 8: "f8"}
# Bits that say how the device was, such as a pacemaker's pulses.
_STATUS, _NO_UNIT = 4, -1
# Up to V7, and from III on, the numbers are those of SCP-ECG.
_LEADS = {code: name for code, name in LEAD_NAMES.items() if code != 10}
_NOT_READ = {
    tags.OFFSET: "an offset",
    tags.SKEW: "a skew in time",
    tags.DECIMATION: "thinned-out samples",
}


class Channel(NamedTuple):
    """How one channel of a frame is stored.

    Attributes:
        name: Of the lead; "lead 19" where the code is none of the twelve's.
        unit: Code of the amplitudes' unit; -1 where samples are bits of a status.
        millivolt: Of one step, if the unit is volt.
        sampling_rate: In Hz.
        block: Samples in a block.
        kind: NumPy's name of the samples' type.
        null: The sample that stands for no sample, or None.
        wave_type: Of the frame.
        sequences: How many blocks there are, where given.
        assumed: What was not given, and what is taken instead.
        fault: What makes its samples unreadable, or nothing.
    """

    name: str
    unit: int
    millivolt: float
    sampling_rate: float
    block: int
    kind: str
    null: float | None
    wave_type: int
    sequences: int | None
    assumed: tuple[str, ...]
    fault: str


def read_channel(values: tags.Values, order: tags.Order) -> Channel:
    """Return what a channel's definitions say, or the standard's defaults.

    Raises:
        RecordFormatError: If one is damaged, or of a kind that is not read.
    """
    faults = [words for tag, words in _NOT_READ.items() if any(values.get(tag, b""))]
    kind = tags.number(values.get(tags.DATA_TYPE, b"\0"), order)
    if kind not in _TYPES:
        raise RecordFormatError(
            f"samples of type {kind} are not read; expected 0 to 8",
            reason="unsupported_variant",
        )
    dtype = ("<" if order == "little" else ">") + _TYPES[kind]
    lead = values.get(tags.LEAD, b"")
    code = tags.number(lead[:2], order)
    assumed = []
    if tags.INTERVAL not in values:
        assumed.append("no sampling interval is given; 1 kHz, the format's default, is taken")
    if tags.RESOLUTION not in values:
        assumed.append("no resolution is given; 1 µV, the format's default, is taken")
    unit, step = _quantity(values.get(tags.RESOLUTION, bytes([VOLT, 250, 1])), order)
    if unit == VOLT and code in _LEADS:
        accept_step(_LEADS[code], 1e3 * step)
    block = tags.number(values.get(tags.BLOCK, b"\x01"), order)
    sequences = values.get(tags.SEQUENCES)
    if not block:
        raise RecordFormatError("a channel has blocks of 0 samples")
    return Channel(
        name=_LEADS.get(code, f"lead {code}" if lead else "without a name"),
        unit=_NO_UNIT if kind == _STATUS else unit,
        millivolt=1e3 * step,
        sampling_rate=_rate(values.get(tags.INTERVAL, bytes([_HERTZ, 3, 1])), order),
        block=block,
        kind=dtype,
        null=_null(values.get(tags.NULL), dtype),
        wave_type=tags.number(values.get(tags.WAVE_TYPE, b"\0")[:2], order),
        sequences=None if sequences is None else tags.number(sequences, order),
        assumed=tuple(assumed),
        fault=" and ".join(faults),
    )


def _quantity(value: bytes, order: tags.Order) -> tuple[int, float]:
    """Return unit and size of an interval or a resolution: unit, power of ten, whole number."""
    if len(value) < 3:
        raise RecordFormatError(f"an interval or resolution has {len(value)} bytes")
    unit, power = struct.unpack_from("Bb", value)
    size = tags.number(value[2:], order)
    return unit, float(f"{size}e{power}")


def _rate(value: bytes, order: tags.Order) -> float:
    unit, size = _quantity(value, order)
    if unit not in (_HERTZ, _SECOND) or not size > 0:
        raise RecordFormatError(
            f"sampling interval is {size} of unit {unit}; expected Hz (0) or seconds (1)"
        )
    if unit == _HERTZ:
        return size
    # 2 of 10^-3 s are exactly 500 Hz; 1 / 0.002 is as well, but 1 / 0.0003 is not 10,000 / 3.
    (power,) = struct.unpack_from("b", value, 1)
    return float(f"1e{-power}") / tags.number(value[2:], order)


def _null(value: bytes | None, kind: str) -> float | None:
    if value is None:
        return None
    dtype = np.dtype(kind)
    if len(value) != dtype.itemsize:
        raise RecordFormatError(
            f"its null has {len(value)} bytes; expected {dtype.itemsize} as a sample has"
        )
    return float(np.frombuffer(value, dtype)[0])
