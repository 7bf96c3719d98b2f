"""MFER: the definitions of a file, one after another, and the frames of samples they describe.

A definition is a tag, a length and a value. It holds for all channels until it is replaced, or for
one channel if it lies within the tag 0x3F. A frame of samples is laid out as the definitions before
it say.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ecgjepa.errors import RecordFormatError

Order = Literal["big", "little"]
Values = dict[int, bytes]

BYTE_ORDER, BLOCK, CHANNELS, SEQUENCES, POINTER = 0x01, 0x04, 0x05, 0x06, 0x07
WAVE_TYPE, LEAD, DATA_TYPE, INTERVAL, RESOLUTION, OFFSET = 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D
COMPRESSION, DECIMATION, NULL, WAVE, CHANNEL = 0x0E, 0x0F, 0x12, 0x1E, 0x3F
SKEW, GROUP, END = 0x43, 0x67, 0x80
# What describes samples; any other tag is about patient, device or display and is passed over.
_DESCRIBES = {
    BLOCK, SEQUENCES, WAVE_TYPE, LEAD, DATA_TYPE, INTERVAL, RESOLUTION, OFFSET, DECIMATION, NULL,
    SKEW,
}  # fmt: skip
_MOST_DEFINITIONS, _MOST_CHANNELS, _MOST_DEPTH = 200_000, 64, 4
_ZEROS = re.compile(rb"\0*")


class Frame(NamedTuple):
    """Samples, and what holds for them.

    Attributes:
        channels: The definitions of each channel; the same object in frames that share them.
        order: Byte order of numbers.
        pointer: Number of the first sample, where given.
        content: The samples.
    """

    channels: tuple[Values, ...]
    order: Order
    pointer: int | None
    content: bytes


@dataclass
class _State:
    """What holds at a place of the file."""

    order: Order = "big"
    num_channels: int = 1
    pointer: int | None = None
    common: Values = field(default_factory=dict)
    own: dict[int, Values] = field(default_factory=dict)
    described: tuple[Values, ...] | None = None
    num_definitions: int = 0
    end: int = 0

    def channels(self) -> tuple[Values, ...]:
        """Return the definitions of each channel."""
        if self.described is None:
            self.described = tuple(
                {**self.common, **self.own.get(channel, {})} for channel in range(self.num_channels)
            )
        return self.described


class Walked(NamedTuple):
    """What a file holds.

    Attributes:
        frames: In order.
        end: Where its last definition ends.
    """

    frames: tuple[Frame, ...]
    end: int


def number(value: bytes, order: Order, *, signed: bool = False) -> int:
    """Return the whole number that a value stands for.

    Raises:
        RecordFormatError: If it has more than 8 bytes.
    """
    if len(value) > 8:
        raise RecordFormatError(f"a number of {len(value)} bytes; expected at most 8")
    return int.from_bytes(value, order, signed=signed)


def walk(content: bytes) -> Walked:
    """Return the frames of a file.

    Raises:
        RecordFormatError: If a definition is longer than the file, or of a kind that is not read.
    """
    state, frames = _State(), []
    for samples in _definitions(state, content, 0, len(content)):
        frames.append(Frame(state.channels(), state.order, state.pointer, samples))
        state.pointer = None
    return Walked(tuple(frames), state.end)


def _definitions(
    state: _State, content: bytes, place: int, stop: int, depth: int = 0
) -> Iterator[bytes]:
    """Go through definitions, keep the state up to date, and yield samples as they come."""
    while place < stop:
        if content[place] == 0:  # filling
            place = min(_end_of_zeros(content, place), stop)
            continue
        tag, channel, place = _tag(content, place, stop)
        if tag == END:
            state.end = min(place + 1, stop)  # its length is 0
            return
        place, end = _length(content, place, stop, tag)
        state.num_definitions += 1
        if state.num_definitions > _MOST_DEFINITIONS:
            raise RecordFormatError(f"has more than {_MOST_DEFINITIONS:,} definitions")
        if tag == CHANNEL:
            _define_channel(state, channel, content[place:end])
        elif tag == GROUP:
            if depth == _MOST_DEPTH:
                raise RecordFormatError(f"groups lie {_MOST_DEPTH} deep within one another")
            yield from _definitions(state, content, place, end, depth + 1)
        elif tag == WAVE:
            yield content[place:end]
        else:
            _define(state, tag, content[place:end])
        state.end = place = end


def _end_of_zeros(content: bytes, place: int) -> int:
    found = _ZEROS.match(content, place)
    return found.end() if found else place + 1


def _tag(content: bytes, place: int, stop: int) -> tuple[int, int, int]:
    """Return a tag, the channel it is for if it is `CHANNEL`, and the place after it."""
    tag, channel = content[place], 0
    place += 1
    while tag == CHANNEL:
        if place >= stop or channel > _MOST_CHANNELS:
            raise RecordFormatError(f"a definition for channel {channel} or a cut one")
        byte = content[place]
        place += 1
        channel = channel << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return tag, channel, place


def _length(content: bytes, place: int, stop: int, tag: int) -> tuple[int, int]:
    """Return where a definition's value begins and ends."""
    first = content[place] if place < stop else 0
    place += 1
    size = first
    if first >= 0x80:
        count = first & 0x7F
        if not 1 <= count <= 4:
            raise RecordFormatError(
                f"tag 0x{tag:02X} has a length in {count} bytes; expected 1 to 4"
            )
        size = int.from_bytes(content[place : place + count], "big")
        place += count
    if place + size > stop:
        raise RecordFormatError(
            f"truncated: tag 0x{tag:02X} announces {size:,} bytes, {max(stop - place, 0):,} are "
            "there",
            reason="truncated",
        )
    return place, place + size


def _define(state: _State, tag: int, value: bytes) -> None:
    """Take over a definition for all channels."""
    if tag == BYTE_ORDER:
        state.order = "little" if value[:1] == b"\x01" else "big"
        state.described = None
    elif tag == CHANNELS:
        count = number(value, state.order) if value else 1
        if not 0 < count <= _MOST_CHANNELS:
            raise RecordFormatError(f"has {count} channels; expected 1 to {_MOST_CHANNELS}")
        state.num_channels, state.own, state.described = count, {}, None
    elif tag == POINTER:
        state.pointer = number(value, state.order) if value else None
    elif tag == COMPRESSION:
        if any(value[:2]):
            raise RecordFormatError(
                "its samples are compressed, which is not read; export them without",
                reason="unsupported_variant",
            )
    elif tag in _DESCRIBES:
        _replace(state.common, tag, value)
        state.described = None


def _define_channel(state: _State, channel: int, content: bytes) -> None:
    """Take over the definitions for one channel."""
    if channel >= state.num_channels:
        raise RecordFormatError(f"defines channel {channel + 1} of {state.num_channels} channels")
    own = state.own.setdefault(channel, {})
    place = 0
    while place < len(content):
        if content[place] == 0:
            place = _end_of_zeros(content, place)
            continue
        tag = content[place]
        if tag in (CHANNEL, GROUP, WAVE, BYTE_ORDER, CHANNELS):
            raise RecordFormatError(f"defines 0x{tag:02X} within channel {channel + 1}")
        start, place = _length(content, place + 1, len(content), tag)
        if tag in _DESCRIBES:
            _replace(own, tag, content[start:place])
    state.described = None


def _replace(values: Values, tag: int, value: bytes) -> None:
    """Keep a value; an empty one stands for the default."""
    if value:
        values[tag] = value
    else:
        values.pop(tag, None)
