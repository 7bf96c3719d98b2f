"""WFDB records: a fast, suspicious reader for format 16, and the wfdb package for the rest.

The wfdb package spends 86 % of its time parsing the header through pandas and never verifies
checksums. The fast path reads a single-segment record whose leads lie interleaved in one file of
format ``16`` or ``16+24`` (a MATLAB v4 file with a 24-byte head, as in the Challenge 2021), ten
times faster, and verifies sample count, first samples and checksums. Both paths return the same
numbers bit for bit; tests compare them on every real record at hand.

Format: https://physionet.org/physiotools/wag/signal-5.htm.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int16

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.wfdb_header import DEFAULT_GAIN, Header, SignalSpec, read_header
from ecgjepa.signals.record import Issue, Record
from ecgjepa.signals.units import millivolt_per_unit

_INVALID_16 = -32768


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
