"""The header of a WFDB record, parsed with suspicion: it may lie about everything.

Format: https://physionet.org/physiotools/wag/header-5.htm.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.opening import read_once

# WFDB: a gain of 0 or none means "uncalibrated"; 200 per mV is the format's default.
DEFAULT_GAIN = 200.0
# A day of recordings in pieces of a few seconds.
_MAX_SEGMENTS = 20_000
# No 12-lead ECG needs more; a longer header is not a header.
_MAX_HEADER_BYTES = 1_000_000
_MAX_SIGNALS = 512
_MAX_ZERO = 2**40
# The format allows 255 characters a line. The wfdb package takes long over very long ones.
_MAX_LINE = 1_000
# Beyond these, amplitudes of 32 bits would not fit into a float32, or all become 0.
_GAIN_LIMITS = (1e-9, 1e12)

# Numbers of digits are bounded: skew and samples per frame are sizes that the package allocates.
_FORMAT = re.compile(
    r"(?P<format>\d{1,4})(?:x(?P<spf>\d{1,4}))?(?::(?P<skew>\d{1,4}))?(?:\+(?P<offset>\d{1,12}))?"
)
_GAIN = re.compile(
    r"(?P<gain>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)(?:\((?P<baseline>-?\d{1,12})\))?"
    r"(?:/(?P<unit>\S+))?"
)
_RATE = re.compile(r"(?P<rate>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)(?:/.*)?")


class SignalSpec(NamedTuple):
    """One signal line of a header, with the format's defaults filled in."""

    file_name: str
    storage: str
    samples_per_frame: int
    skew: int
    byte_offset: int
    gain: float
    baseline: int
    unit: str
    calibrated: bool
    initial_value: int | None
    checksum: int | None
    lead: str


class Part(NamedTuple):
    """A segment of a record of several, or a gap, which has no header."""

    num_frames: int
    header: "Header | None"


@dataclass(frozen=True)
class Header:
    """A parsed WFDB header.

    Either ``signals`` or, for a multi-segment record, ``parts`` is filled.
    """

    path: Path
    record_name: str
    sampling_rate: float
    num_samples: int | None
    signals: tuple[SignalSpec, ...]
    parts: tuple[Part, ...]
    comments: tuple[str, ...]

    @property
    def leads(self) -> tuple[str, ...]:
        """Names of the signals, as written."""
        return tuple(spec.lead for spec in self.signals)

    @property
    def segments(self) -> tuple["Header", ...]:
        """The headers of a multi-segment record's parts, each once."""
        found = {part.header.path: part.header for part in self.parts if part.header is not None}
        return tuple(found.values())

    @property
    def is_layout(self) -> bool:
        """Whether it lists the signals of other headers and holds none itself."""
        return bool(self.signals) and all(spec.file_name == "~" for spec in self.signals)


def read_header(path: Path, *, is_segment: bool = False) -> Header:
    """Parse a WFDB header, and those of its segments.

    Args:
        path: The ``.hea`` file.
        is_segment: Whether it is part of a multi-segment record, and so may not be one itself.

    Raises:
        RecordFormatError: If the file is missing or breaks the format in any line.
    """
    try:
        content = read_once(path, _MAX_HEADER_BYTES)
    except FileNotFoundError:
        raise RecordFormatError(f"{path}: no such header file", reason="missing_file") from None
    except OSError as error:  # a folder of that name, no permission, a name too long
        raise RecordFormatError(f"{path}: not readable: {error.strerror}") from None
    if len(content) > _MAX_HEADER_BYTES:
        raise RecordFormatError(f"{path}: over {_MAX_HEADER_BYTES:,} bytes is not a WFDB header")
    lines = [line.strip() for line in _decode(content).splitlines()]
    comments = tuple(line[1:].strip() for line in lines if line.startswith("#"))
    told = [line for line in lines if line and not line.startswith("#")]
    if any(len(line) > _MAX_LINE for line in told):
        raise RecordFormatError(f"{path}: a line of more than {_MAX_LINE:,} characters")
    if not told:
        raise RecordFormatError(f"{path}: empty header; expected a record line such as 'x 12 500'")

    name, num_segments, num_signals, rate, num_samples = _parse_record_line(path, told[0])
    if is_segment and num_segments is not None:
        # Before descending: a record may name itself.
        raise RecordFormatError(f"{path}: is a segment, but consists of segments itself")
    expected = num_signals if num_segments is None else num_segments
    if len(told) - 1 != expected:
        what = "signal" if num_segments is None else "segment"
        raise RecordFormatError(
            f"{path}: record line announces {expected} {what}s, but {len(told) - 1} {what} "
            "lines follow"
        )
    signals: tuple[SignalSpec, ...] = ()
    parts: tuple[Part, ...] = ()
    if num_segments is None:
        signals = tuple(_parse_signal_line(path, line) for line in told[1:])
    else:
        _check_segment_lengths(path, told[1:], num_samples)
        parts = tuple(_read_segments(path, told[1:]))
    return Header(path, name, rate, num_samples, signals, parts, comments)


def _decode(content: bytes) -> str:
    """Return a header's text; programs of before UTF-8 write µ as in Latin-1."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _check_segment_lengths(path: Path, lines: list[str], num_samples: int | None) -> None:
    """The wfdb package allocates what the lines say, so they must say what the record does."""
    lengths = [line.split()[1:2] for line in lines]
    if not all(length and re.fullmatch(r"\d{1,12}", length[0]) for length in lengths):
        raise RecordFormatError(f"{path}: a segment line is not like 'name samples'")
    total = sum(int(length[0]) for length in lengths)
    if num_samples is not None and total != num_samples:
        raise RecordFormatError(
            f"{path}: announces {num_samples:,} samples, but its segments add up to {total:,}"
        )


def _read_segments(path: Path, lines: list[str]) -> Iterator[Part]:
    """Parse the headers of a multi-segment record's parts, each once."""
    if len(lines) > _MAX_SEGMENTS:
        raise RecordFormatError(f"{path}: {len(lines):,} segments; expected to {_MAX_SEGMENTS:,}")
    headers: dict[str, Header] = {}
    for line in lines:
        name, length = line.split()[:2]
        if name != "~" and name not in headers:
            _refuse_path(path, name)
            headers[name] = read_header(path.with_name(f"{name}.hea"), is_segment=True)
        yield Part(int(length), headers.get(name))


def _parse_record_line(path: Path, line: str) -> tuple[str, int | None, int, float, int | None]:
    fields = line.split()
    name, slash, segments = fields[0].partition("/")
    if len(fields) < 3:
        raise RecordFormatError(
            f"{path}: record line {line!r} has no sampling rate; expected "
            "'name signals rate samples'"
        )
    rate = _RATE.fullmatch(fields[2])
    if rate is None or not 0 < float(rate["rate"]) < float("inf"):
        raise RecordFormatError(f"{path}: sampling rate {fields[2]!r} is no positive number of Hz")
    try:
        num_segments = int(segments) if slash else None
        num_signals = int(fields[1])
        num_samples = int(fields[3]) if len(fields) > 3 else None
    except ValueError:
        raise RecordFormatError(f"{path}: record line {line!r} holds a non-number") from None
    if not 1 <= num_signals <= _MAX_SIGNALS:
        raise RecordFormatError(
            f"{path}: {num_signals} signals announced; expected 1 to {_MAX_SIGNALS}"
        )
    if (num_segments is not None and num_segments < 1) or (
        num_samples is not None and num_samples < 0
    ):
        raise RecordFormatError(f"{path}: record line {line!r} holds a negative count")
    # WFDB writes 0 where the length is unknown.
    return name, num_segments, num_signals, float(rate["rate"]), num_samples or None


def _parse_signal_line(path: Path, line: str) -> SignalSpec:
    fields = line.split(maxsplit=8)
    storage = _parse_format(fields[1]) if len(fields) > 1 else None
    if storage is None:
        raise _wrong_line(path, line, " names no file and storage format")
    _refuse_path(path, fields[0])
    gain_text = fields[2] if len(fields) > 2 else "0"
    gain = _parse_gain(gain_text)
    if gain is None:
        raise _wrong_line(path, line, f": gain {gain_text!r} is not like '1000(0)/mV'")
    try:
        # Resolution, zero, initial value, checksum and block size; the line may end early.
        numbers = [*map(int, fields[3:8])]
    except ValueError:
        raise _wrong_line(
            path,
            line,
            ": expected integers for resolution, zero, initial value, checksum and block size; is "
            "the gain field missing?",
        ) from None
    count = len(numbers)
    adc_zero = numbers[1] if count > 1 else 0
    if abs(adc_zero) > _MAX_ZERO:
        raise _wrong_line(path, line, ": a zero that no converter has")
    return SignalSpec(
        fields[0],
        *storage,
        gain.units_per_millivolt or DEFAULT_GAIN,
        adc_zero if gain.baseline is None else gain.baseline,
        gain.unit,
        gain.units_per_millivolt != 0,
        numbers[2] if count > 2 else None,
        numbers[3] if count > 3 else None,
        fields[8].strip() if len(fields) > 8 else "",
    )


def _wrong_line(path: Path, line: str, words: str) -> RecordFormatError:
    return RecordFormatError(f"{path}: signal line {line!r}{words}")


class _Format(NamedTuple):
    name: str
    samples_per_frame: int
    skew: int
    byte_offset: int


class _Gain(NamedTuple):
    units_per_millivolt: float
    baseline: int | None
    unit: str


# The twelve lines of a header, and those of its neighbours, repeat these fields.
@lru_cache(maxsize=1024)
def _parse_format(text: str) -> _Format | None:
    found = _FORMAT.fullmatch(text)
    if found is None:
        return None
    numbers = (int(found["spf"] or 1), int(found["skew"] or 0), int(found["offset"] or 0))
    return _Format(found["format"], *numbers)


@lru_cache(maxsize=1024)
def _parse_gain(text: str) -> _Gain | None:
    found = _GAIN.fullmatch(text)
    if found is None:
        return None
    baseline = int(found["baseline"]) if found["baseline"] else None
    gain = float(found["gain"])
    return _Gain(gain, baseline, found["unit"] or "mV") if _is_usable(gain) else None


def _is_usable(gain: float) -> bool:
    """Return whether a gain is 0, which means that none is known, or of a sensible size."""
    least, most = _GAIN_LIMITS
    return gain == 0 or least <= abs(gain) <= most


def _refuse_path(path: Path, name: str) -> None:
    """A header may name files beside it, never elsewhere."""
    if "/" in name or "\\" in name or name in ("", ".", "..") or "\0" in name:
        raise RecordFormatError(
            f"{path}: refers to {name!r}; a header may only name files in its own folder"
        )
