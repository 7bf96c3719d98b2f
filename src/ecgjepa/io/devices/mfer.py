"""MFER recordings (.mwf, .mfr; ISO 22077-1), which Japanese recorders write.

Defaults are the standard's: big-endian, 16-bit integers, 1 kHz, 1 µV; where rate or resolution is
the default for lack of a definition, an issue says so. For each sequence, each channel has a block
of samples.

Format: MFER Part 1, https://www.mfer.org/en/document.htm.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from ecgjepa.errors import LeadError, RecordFormatError
from ecgjepa.io.content import (
    MAX_VALUES,
    Waveform,
    accept_size,
    choose_waveforms,
    counted,
    make_record,
    read_bytes,
)
from ecgjepa.io.devices import mfer_tags as tags
from ecgjepa.io.devices.mfer_channel import VOLT, Channel, read_channel
from ecgjepa.io.opening import ending
from ecgjepa.signals.leads import parse_lead
from ecgjepa.signals.record import Issue, Record

# A day of three leads at 480 Hz, and events beside them.
_MOST_BYTES = 2 * MAX_VALUES + 1_000_000
_ENDINGS = (".mwf", ".mfr", ".mfer")
_PREAMBLE = 0x40
# Resting, long-term, vector, exercise and monitoring ECGs; 0 where none is given.
_RHYTHMS = (0, 1, 2, 3, 4, 20, 21)


class _Part(NamedTuple):
    """One or more frames that follow one another with the same definitions."""

    channels: tuple[Channel, ...]
    columns: list[np.ndarray]
    start: int

    @property
    def num_samples(self) -> int:
        return max((len(column) for column in self.columns), default=0)


def looks_like_mfer(path: Path, head: bytes) -> bool:
    """Return whether a file begins with MFER's preamble, or is named as its files are."""
    has_preamble = head[:1] == bytes([_PREAMBLE]) and b"MF" in head[2:8]
    return has_preamble or ending(path.name) in _ENDINGS


def read_mfer(path: Path) -> Record:
    """Read the rhythm of an MFER file.

    Channels that are none of the twelve leads, or no voltage, are left out with a note.

    Returns:
        The leads in mV; samples that the file calls null are invalid.

    Raises:
        RecordFormatError: If the file is damaged or cut short, holds no rhythm, has gaps, or uses
            what is not read: compression, offsets, skew between channels.
        LeadError: If no channel is one of the twelve leads.
    """
    content = read_bytes(path, _MOST_BYTES)
    walked = tags.walk(content)
    parts, issues = _parts(walked.frames)
    if any(content[walked.end :]):
        words = f"holds {len(content) - walked.end:,} bytes after its end"
        issues.append(Issue("file_longer_than_header", words))
    leads = [_leads(part) for part in parts]
    waveforms = [
        Waveform(
            tuple(part.channels[i].name for i in kept),
            part.channels[kept[0]].sampling_rate,
            len(part.columns[kept[0]]),
            float(part.start),
        )
        for part, kept in zip(parts, leads, strict=True)
    ]
    chosen, notes = choose_waveforms(path, waveforms)
    if len(chosen) > 1:
        raise RecordFormatError(
            f"its leads lie in {len(chosen)} frames of different definitions, which are not joined",
            reason="leads_apart",
        )
    part, kept = parts[chosen[0]], leads[chosen[0]]
    accept_size(path, part.num_samples, len(part.channels))
    issues += [*notes, *_remarks(part, kept)]
    signal, valid = _signal(part, kept)
    names, rate = waveforms[chosen[0]].leads, waveforms[chosen[0]].sampling_rate
    return make_record(path, signal, names, rate, valid=valid, issues=issues)


def _parts(frames: tuple[tags.Frame, ...]) -> tuple[list[_Part], list[Issue]]:
    """Return the rhythms, frames of the same definitions joined, and notes on other frames."""
    parts: list[_Part] = []
    pieces: list[list[list[np.ndarray]]] = []
    others = 0
    last: tags.Frame | None = None
    channels: tuple[Channel, ...] = ()
    for frame in frames:
        if last is None or frame.channels is not last.channels or frame.order != last.order:
            channels = tuple(read_channel(values, frame.order) for values in frame.channels)
        last = frame
        if channels[0].wave_type not in _RHYTHMS:
            others += 1
            continue
        columns = _columns(channels, frame)
        if parts and parts[-1].channels == channels:
            expected = parts[-1].start + sum(len(piece) for piece in pieces[-1][0])
            if frame.pointer is not None and frame.pointer != expected:
                raise RecordFormatError(
                    f"a frame begins at sample {frame.pointer:,}, not at {expected:,} where the "
                    "one before ends: gaps are not read"
                )
        else:
            parts.append(_Part(channels, [], frame.pointer or 0))
            pieces.append([[] for _ in channels])
        for piece, column in zip(pieces[-1], columns, strict=True):
            piece.append(column)
    for part, found in zip(parts, pieces, strict=True):
        part.columns.extend(np.concatenate(piece) for piece in found)
    what = counted(others, "waveform that is not a rhythm is", "other waveforms are")
    words = f"{what} not used"
    return parts, [Issue("other_waveform", words)] if others else []


def _columns(channels: tuple[Channel, ...], frame: tags.Frame) -> list[np.ndarray]:
    """Return each channel's samples of a frame as stored."""
    size = sum(channel.block * np.dtype(channel.kind).itemsize for channel in channels)
    given = {channel.sequences for channel in channels}
    if len(given) > 1:
        raise RecordFormatError("its channels have different numbers of sequences: not read")
    held, rest = divmod(len(frame.content), size)
    announced = given.pop()
    if announced is None:
        announced = held
    if rest or held != announced or not held:
        fault = "too long" if held > announced else "truncated"
        raise RecordFormatError(
            f"{fault}: a frame holds {held:,} sequences and {rest} bytes of {announced:,} "
            f"sequences of {size:,} bytes",
            reason="unreadable" if held > announced else "truncated",
        )
    layout = np.dtype(
        [(str(i), channel.kind, (channel.block,)) for i, channel in enumerate(channels)]
    )
    samples = np.frombuffer(frame.content, layout)
    return [samples[str(i)].reshape(-1) for i in range(len(channels))]


def _leads(part: _Part) -> list[int]:
    """Return which channels are leads of the twelve, in volt."""
    kept = [
        i
        for i, channel in enumerate(part.channels)
        if channel.unit == VOLT and parse_lead(channel.name)
    ]
    if not kept:
        raise LeadError(
            f"none of the channels {[channel.name for channel in part.channels]} is one "
            "of the twelve leads in volt"
        )
    for channel in (part.channels[i] for i in kept):
        if channel.fault:
            raise RecordFormatError(
                f"lead {channel.name} has {channel.fault}, which is not read",
                reason="unsupported_variant",
            )
    facts = {(part.channels[i].sampling_rate, len(part.columns[i])) for i in kept}
    if len(facts) > 1:
        raise RecordFormatError(f"leads differ in rate (Hz) or number of samples: {sorted(facts)}")
    return kept


def _remarks(part: _Part, kept: list[int]) -> list[Issue]:
    """Return notes on the channels that are left out, and on what was assumed."""
    issues = [
        Issue("other_channel", f"channel {channel.name!r} is not one of the 12 leads in volt")
        for i, channel in enumerate(part.channels)
        if i not in kept
    ]
    assumed = dict.fromkeys(words for i in kept for words in part.channels[i].assumed)
    return issues + [Issue("uncalibrated", words) for words in assumed]


def _signal(
    part: _Part, kept: list[int]
) -> tuple[Float32[np.ndarray, "samples leads"], Bool[np.ndarray, "samples leads"]]:
    signal = np.empty((len(part.columns[kept[0]]), len(kept)), np.float32)
    valid = np.ones(signal.shape, np.bool_)
    for target, i in enumerate(kept):
        channel, column = part.channels[i], part.columns[i]
        with np.errstate(over="ignore"):  # what is not finite is invalid
            signal[:, target] = column * channel.millivolt
        if channel.null is not None:
            valid[:, target] = column != channel.null
    return signal, valid
