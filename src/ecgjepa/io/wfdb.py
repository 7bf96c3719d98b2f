"""WFDB records: a fast, suspicious reader for format 16, and the wfdb package for the rest.

The wfdb package spends 86 % of its time parsing the header through pandas and never verifies
checksums. The fast path reads a single-segment record whose leads lie interleaved in one file of
format ``16`` or ``16+24`` (a MATLAB v4 file with a 24-byte head, as in the Challenge 2021), ten
times faster, and verifies sample count, first samples and checksums. Both paths return the same
numbers bit for bit; tests compare them on every real record at hand.

Format: https://physionet.org/physiotools/wag/header-5.htm and signal-5.htm.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int16

from ecgjepa.errors import RecordFormatError
from ecgjepa.signals.record import Issue, Record
from ecgjepa.signals.units import millivolt_per_unit

# WFDB: a gain of 0 or none means "uncalibrated"; 200 per mV is the format's default.
DEFAULT_GAIN = 200.0
_INVALID_16 = -32768
# No 12-lead ECG needs more; a longer header is not a header.
_MAX_HEADER_BYTES = 1_000_000
_MAX_SIGNALS = 512

_FORMAT = re.compile(r"(?P<format>\d+)(?:x(?P<spf>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?")
_GAIN = re.compile(
    r"(?P<gain>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:\((?P<baseline>-?\d+)\))?"
    r"(?:/(?P<unit>\S+))?"
)
_RATE = re.compile(r"(?P<rate>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:/.*)?")


@dataclass(frozen=True)
class SignalSpec:
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


@dataclass(frozen=True)
class Header:
    """A parsed WFDB header.

    Either ``signals`` or, for a multi-segment record, ``segments`` is filled.
    """

    path: Path
    record_name: str
    sampling_rate: float
    num_samples: int | None
    signals: tuple[SignalSpec, ...]
    segments: tuple["Header", ...]
    comments: tuple[str, ...]


def read_wfdb(header_path: Path, *, damaged: str = "raise") -> Record:
    """Read the WFDB record described by ``header_path``.

    Args:
        header_path: The ``.hea`` file.
        damaged: ``raise`` or ``flag``, for samples that contradict the header's checksums.

    Raises:
        RecordFormatError: If header or samples are missing, damaged or contradict each other.
    """
    if damaged not in ("raise", "flag"):
        raise ValueError(f"damaged must be 'raise' or 'flag', found {damaged!r}")
    header = read_header(header_path)
    if _has_fast_path(header):
        digital, issues = _read_interleaved_16(header)
        valid = digital != _INVALID_16
        signal = _to_millivolt(digital, header.signals)
        leads = tuple(spec.lead for spec in header.signals)
    else:
        digital, signal, valid, leads = _read_with_package(header)
        issues = []
    if digital is not None:
        issues += _verify(header, digital, damaged)
    signal[~valid] = 0.0
    issues += [
        Issue("uncalibrated", f"gain is 0 or missing; {DEFAULT_GAIN:.0f} per mV assumed", spec.lead)
        for spec in header.signals
        if not spec.calibrated
    ]
    return Record(
        signal=signal,
        valid=valid,
        leads=leads,
        sampling_rate=header.sampling_rate,
        record_id=header_path.stem,
        source=str(header_path),
        issues=tuple(issues),
    )


def read_header(path: Path) -> Header:
    """Parse a WFDB header.

    Raises:
        RecordFormatError: If the file is missing or breaks the format in any line.
    """
    try:
        if path.stat().st_size > _MAX_HEADER_BYTES:
            raise RecordFormatError(f"{path}: {path.stat().st_size:,} bytes is no WFDB header")
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise RecordFormatError(f"{path}: no such header file", reason="missing_file") from None
    lines = [line.strip() for line in text.splitlines()]
    comments = tuple(line[1:].strip() for line in lines if line.startswith("#"))
    content = [line for line in lines if line and not line.startswith("#")]
    if not content:
        raise RecordFormatError(f"{path}: empty header; expected a record line such as 'x 12 500'")

    name, num_segments, num_signals, rate, num_samples = _parse_record_line(path, content[0])
    expected = num_signals if num_segments is None else num_segments
    if len(content) - 1 != expected:
        what = "signal" if num_segments is None else "segment"
        raise RecordFormatError(
            f"{path}: record line announces {expected} {what}s, but {len(content) - 1} {what} "
            "lines follow"
        )
    signals: tuple[SignalSpec, ...] = ()
    segments: tuple[Header, ...] = ()
    if num_segments is None:
        signals = tuple(_parse_signal_line(path, line) for line in content[1:])
    else:
        segments = tuple(_read_segments(path, content[1:]))
    return Header(path, name, rate, num_samples, signals, segments, comments)


def _read_segments(path: Path, lines: list[str]) -> Iterator[Header]:
    """Parse the headers of a multi-segment record's parts, so that each is checked like any."""
    for line in lines:
        name = line.split()[0]
        if name == "~":  # a gap
            continue
        _refuse_path(path, name)
        segment = read_header(path.with_name(f"{name}.hea"))
        if segment.segments:
            raise RecordFormatError(f"{path}: segment {name} consists of segments itself")
        yield segment


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
    where = f"{path}: signal line {line!r}"
    if len(fields) < 2 or (storage := _FORMAT.fullmatch(fields[1])) is None:
        raise RecordFormatError(f"{where} names no file and storage format")
    _refuse_path(path, fields[0])
    gain_text = fields[2] if len(fields) > 2 else "0"
    gain = _GAIN.fullmatch(gain_text)
    if gain is None:
        raise RecordFormatError(f"{where}: gain {gain_text!r} is not like '1000(0)/mV'")
    try:
        resolution_to_block = [int(text) for text in fields[3:8]]
    except ValueError:
        raise RecordFormatError(
            f"{where}: expected integers for resolution, zero, initial value, checksum and block "
            "size; is the gain field missing?"
        ) from None
    _, adc_zero, initial_value, checksum, _ = _pad(resolution_to_block)
    units_per_millivolt = float(gain["gain"])
    return SignalSpec(
        file_name=fields[0],
        storage=storage["format"],
        samples_per_frame=int(storage["spf"] or 1),
        skew=int(storage["skew"] or 0),
        byte_offset=int(storage["offset"] or 0),
        gain=units_per_millivolt or DEFAULT_GAIN,
        baseline=int(gain["baseline"]) if gain["baseline"] else (adc_zero or 0),
        unit=gain["unit"] or "mV",
        calibrated=units_per_millivolt != 0,
        initial_value=initial_value,
        checksum=checksum,
        lead=fields[8].strip() if len(fields) > 8 else "",
    )


def _pad(values: list[int]) -> list[int | None]:
    return [*values, *[None] * (5 - len(values))]


def _refuse_path(path: Path, name: str) -> None:
    """A header may name files beside it, never elsewhere."""
    if "/" in name or "\\" in name or name in ("", ".", "..") or "\0" in name:
        raise RecordFormatError(
            f"{path}: refers to {name!r}; a header may only name files in its own folder"
        )


def _has_fast_path(header: Header) -> bool:
    first = header.signals[0] if header.signals else None
    return first is not None and all(
        spec.storage == "16"
        and spec.samples_per_frame == 1
        and spec.skew == 0
        and spec.file_name == first.file_name
        and spec.byte_offset == first.byte_offset
        for spec in header.signals
    )


def _read_interleaved_16(header: Header) -> tuple[Int16[np.ndarray, "samples leads"], list[Issue]]:
    """Read one file of interleaved 16-bit samples, bounded by what the file really holds."""
    spec, num_signals = header.signals[0], len(header.signals)
    path = header.path.with_name(spec.file_name)
    available = _file_size(header.path, path) - spec.byte_offset
    frame_bytes = 2 * num_signals
    num_samples = header.num_samples
    if num_samples is None:
        num_samples = available // frame_bytes
    expected = num_samples * frame_bytes
    if available < expected or num_samples == 0:
        raise RecordFormatError(
            f"{path}: truncated: holds {max(available, 0) // frame_bytes} of {num_samples} samples "
            f"of {num_signals} leads ({available + spec.byte_offset:,} bytes)",
            reason="truncated",
        )
    issues: list[Issue] = []
    if available > expected:
        issues.append(
            Issue(
                "file_longer_than_header",
                f"{path.name} holds {available - expected:,} bytes more than the header announces",
            )
        )
    digital = np.fromfile(path, "<i2", count=num_samples * num_signals, offset=spec.byte_offset)
    return digital.reshape(num_samples, num_signals).astype(np.int16, copy=False), issues


def _file_size(header: Path, path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise RecordFormatError(
            f"{header}: its signal file {path.name} is missing", reason="missing_file"
        ) from None


def _to_millivolt(
    digital: Int16[np.ndarray, "samples leads"], signals: tuple[SignalSpec, ...]
) -> Float32[np.ndarray, "samples leads"]:
    """Return (digital - baseline) / gain in mV.

    Computed in float64 and rounded once, as the wfdb package's numbers are when cast.
    """
    gain = np.array([spec.gain for spec in signals])
    baseline = np.array([spec.baseline for spec in signals])
    factor = np.array([millivolt_per_unit(spec.unit) for spec in signals])
    if not np.isfinite(1.0 / gain).all():
        raise RecordFormatError(f"gains {gain.tolist()} are not usable")
    # Both operands are exact in float32, where a division rounds as float64's then cast would.
    if (baseline == 0).all() and (factor == 1).all() and (gain == gain.astype(np.float32)).all():
        return digital.astype(np.float32) / gain.astype(np.float32)
    return ((digital - baseline) / gain * factor).astype(np.float32)


def _verify(header: Header, digital: Any, damaged: str) -> list[Issue]:  # noqa: ANN401
    """Compare first samples and 16-bit checksums with the header's."""
    issues: list[Issue] = []
    # Sums modulo 2**16 do not care about intermediate overflow.
    sums = digital.sum(axis=0, dtype=np.int64) & 0xFFFF
    unverified = [spec.lead for spec in header.signals if spec.checksum is None]
    for column, spec in enumerate(header.signals):
        if spec.checksum is not None and spec.checksum & 0xFFFF != sums[column]:
            issues.append(
                Issue(
                    "checksum_mismatch",
                    f"checksum of the samples is {int(sums[column])}, the header's "
                    f"{spec.checksum & 0xFFFF}",
                    spec.lead,
                )
            )
        elif spec.initial_value is not None and spec.initial_value != digital[0, column]:
            issues.append(
                Issue(
                    "initial_value_mismatch",
                    f"first sample is {digital[0, column]}, the header says {spec.initial_value}",
                    spec.lead,
                )
            )
    if issues and damaged == "raise":
        leads = ", ".join(str(issue.lead) for issue in issues)
        raise RecordFormatError(
            f"{header.path}: samples are not those the header was written for (lead {leads}: "
            f"{issues[0].message}); the file is damaged, or read it with damaged='flag'",
            reason="checksum_mismatch",
        )
    if unverified:
        issues.append(Issue("no_checksum", "the header gives no checksum to verify against"))
    return issues


def _read_with_package(header: Header) -> tuple[Any, Any, Any, tuple[str, ...]]:
    """Read anything unusual with the wfdb package, after bounding what it may allocate.

    Returns:
        Digital samples (None where there are none to verify), signal in mV, valid mask, leads.
    """
    import wfdb

    _bound_by_file_sizes(header)
    name = str(header.path.with_suffix(""))
    verifiable = not header.segments and all(
        spec.samples_per_frame == 1 and spec.skew == 0 for spec in header.signals
    )
    try:
        record = wfdb.rdrecord(name)
        digital = wfdb.rdrecord(name, physical=False).d_signal if verifiable else None
    except Exception as error:  # the package raises whatever its parsing runs into
        raise RecordFormatError(
            f"{header.path}: the wfdb package cannot read it: {type(error).__name__}: {error}"
        ) from error
    if record.p_signal is None or not len(record.p_signal):
        raise RecordFormatError(f"{header.path}: holds no samples")
    factor = np.array([millivolt_per_unit(unit) for unit in record.units])
    signal = (record.p_signal * factor).astype(np.float32)
    valid = np.isfinite(signal)
    return digital, signal, valid, tuple(record.sig_name)


def _bound_by_file_sizes(header: Header) -> None:
    """Refuse a length that the files beside the header cannot hold.

    No storage format packs a sample into less than one byte except the compressed ones (FLAC,
    508 to 524), for which 1/64 byte is a generous bound.
    """
    parts = header.segments or (header,)
    files = {part.path.with_name(spec.file_name) for part in parts for spec in part.signals}
    size = sum(_file_size(header.path, path) for path in files if path.name != "~")
    num_signals = max(len(part.signals) for part in parts)
    if header.num_samples is not None and header.num_samples * num_signals > 64 * max(size, 1):
        raise RecordFormatError(
            f"{header.path}: announces {header.num_samples:,} samples of {num_signals} leads, but "
            f"its signal files hold {size:,} bytes",
            reason="truncated",
        )
