"""WFDB records: a fast, suspicious reader for format 16, and the wfdb package for the rest.

The wfdb package spends 86 % of its time parsing the header through pandas and never verifies
checksums. The fast path reads a single-segment record whose leads lie interleaved in one file of
format ``16`` or ``16+24`` (a MATLAB v4 file with a 24-byte head, as in the Challenge 2021), ten
times faster, and verifies sample count, first samples and checksums. Both paths return the same
numbers bit for bit; tests compare them on every real record at hand.

Format: https://physionet.org/physiotools/wag/signal-5.htm.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32, Int16

from ecgjepa.errors import RecordFormatError, UnitError
from ecgjepa.io.wfdb_header import DEFAULT_GAIN, Header, SignalSpec, read_header
from ecgjepa.signals.measures import fold_rows
from ecgjepa.signals.record import Issue, MicrovoltRecord, Record
from ecgjepa.signals.units import UNIT_SPELLINGS, millivolt_per_unit, unit_name

_INVALID_16 = -32768
Damaged = Literal["raise", "flag", "mask"]
DAMAGED = get_args(Damaged)


def read_wfdb_exact(header_path: Path, *, damaged: Damaged = "raise") -> Record | MicrovoltRecord:
    """Read a WFDB record, as integers where the file holds whole microvolts and has no fault.

    Args:
        header_path: The ``.hea`` file.
        damaged: What to do with samples that contradict the header: ``raise``, ``flag`` them with
            an issue, or ``mask`` them as invalid (a lead with a wrong checksum; what a file cut
            short lacks).

    Raises:
        RecordFormatError: If header or samples are missing, damaged or contradict each other.
    """
    if damaged not in DAMAGED:
        raise ValueError(f"damaged must be one of {', '.join(DAMAGED)}, found {damaged!r}")
    return read_described(read_header(header_path), damaged)


def read_described(header: Header, damaged: Damaged) -> Record | MicrovoltRecord:
    """Read the samples that a header describes; see `read_wfdb_exact`."""
    try:
        return _read_samples(header, damaged)
    except OSError as error:  # no permission, a bad sector, a name too long
        raise RecordFormatError(f"{header.path}: its signals are not readable: {error}") from None


def _read_samples(header: Header, damaged: Damaged) -> Record | MicrovoltRecord:
    if not _has_fast_path(header):
        return _read_unusual(header, damaged)
    digital, issues = _read_interleaved_16(header, damaged)
    faults, notes = _verify(header, digital, damaged)
    issues += [*faults, *notes, *header_issues(header)]
    if not faults and (samples := _as_microvolt(digital, header)) is not None:
        return MicrovoltRecord(
            samples, header.leads, header.sampling_rate, header.path.stem, str(header.path),
            tuple(issues),
        )  # fmt: skip
    valid = digital != _INVALID_16
    return _record(
        header, _to_millivolt(digital, header.signals), valid, header.leads, issues, damaged
    )


def _read_unusual(header: Header, damaged: Damaged) -> Record:
    """Read what has no fast path with the wfdb package."""
    digital, signal, valid, leads = _read_with_package(header)
    issues: list[Issue] = []
    if digital is not None:
        faults, notes = _verify(header, digital, damaged)
        issues = [*faults, *notes]
    return _record(header, signal, valid, leads, [*issues, *header_issues(header)], damaged)


def _record(
    header: Header,
    signal: Float32[np.ndarray, "samples leads"],
    valid: Bool[np.ndarray, "samples leads"],
    leads: tuple[str, ...],
    issues: list[Issue],
    damaged: Damaged,
) -> Record:
    if damaged == "mask":
        wrong = {
            i.lead for i in issues if i.code in ("checksum_mismatch", "initial_value_mismatch")
        }
        valid[:, [lead in wrong for lead in leads]] = False
    signal[~valid] = 0.0
    return Record(
        signal=signal,
        valid=valid,
        leads=leads,
        sampling_rate=header.sampling_rate,
        record_id=header.path.stem,
        source=str(header.path),
        issues=tuple(issues),
    )


def header_issues(header: Header) -> list[Issue]:
    """Return what is odd about a header's calibration: gains that are missing, units misspelt."""
    signals = header.signals
    issues = [
        Issue("uncalibrated", f"gain is 0 or missing; {DEFAULT_GAIN:.0f} per mV assumed", spec.lead)
        for spec in signals
        if not spec.calibrated
    ]
    odd = sorted({spec.unit for spec in signals} - set(UNIT_SPELLINGS))
    issues += [
        Issue("unit_spelling", f"unit {unit!r} is read as {unit_name(unit)}") for unit in odd
    ]
    return issues


def _as_microvolt(
    digital: Int16[np.ndarray, "samples leads"], header: Header
) -> Int16[np.ndarray, "samples leads"] | None:
    """Return the samples in µV if a step is a whole number of them and none is invalid."""
    steps = [_microvolt_per_step(spec.gain, spec.unit) for spec in header.signals]
    if 0 in steps or any(spec.baseline for spec in header.signals):
        return None
    largest, low, high = max(steps), int(digital.min()), int(digital.max())
    if low == _INVALID_16 or largest * max(high, -low) > 32767:
        return None
    if largest == 1:
        return digital
    same = steps.count(largest) == len(steps)
    return digital * (np.int16(largest) if same else np.array(steps, np.int16))


@lru_cache(maxsize=256)
def _microvolt_per_step(gain: float, unit: str) -> int:
    """Return the size of a step in µV, or 0 if it is not a whole number or the unit is unknown."""
    try:
        step = 1e3 * millivolt_per_unit(unit) / gain
    except (UnitError, ZeroDivisionError):
        return 0
    return int(step) if step.is_integer() and 1 <= step <= 32767 else 0


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


def _read_interleaved_16(
    header: Header, damaged: Damaged
) -> tuple[Int16[np.ndarray, "samples leads"], list[Issue]]:
    """Read one file of interleaved 16-bit samples, bounded by what the file really holds."""
    spec, num_signals = header.signals[0], len(header.signals)
    path = header.path.with_name(spec.file_name)
    try:
        stream = path.open("rb", buffering=0)
    except FileNotFoundError:
        raise _missing_file(header.path, path) from None
    with stream:
        available = os.fstat(stream.fileno()).st_size - spec.byte_offset
        num_samples, issues = _usable_samples(path, header, available, damaged)
        digital = np.empty((num_samples, num_signals), "<i2")
        stream.seek(spec.byte_offset)
        if stream.readinto(digital.data.cast("B")) != digital.nbytes:
            raise RecordFormatError(f"{path}: became shorter while it was read", reason="truncated")
    return digital.astype(np.int16, copy=False), issues


def _usable_samples(
    path: Path, header: Header, available: int, damaged: Damaged
) -> tuple[int, list[Issue]]:
    """Return how many of the announced samples there are, and what is odd about that."""
    frame_bytes = 2 * len(header.signals)
    held = max(available, 0) // frame_bytes
    num_samples = held if header.num_samples is None else header.num_samples
    if held < num_samples or num_samples == 0:
        words = (
            f"holds {held} of {num_samples} samples of {len(header.signals)} leads "
            f"({available + header.signals[0].byte_offset:,} bytes)"
        )
        if damaged != "mask" or not held:
            raise RecordFormatError(f"{path}: truncated: {words}", reason="truncated")
        return held, [Issue("truncated", f"{path.name} {words}")]
    if (more := available - num_samples * frame_bytes) > 0:
        words = f"{path.name} holds {more:,} bytes more than the header announces"
        return num_samples, [Issue("file_longer_than_header", words)]
    return num_samples, []


def _file_size(header: Path, path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise _missing_file(header, path) from None


def _missing_file(header: Path, path: Path) -> RecordFormatError:
    return RecordFormatError(
        f"{header}: its signal file {path.name} is missing", reason="missing_file"
    )


def _to_millivolt(
    digital: Int16[np.ndarray, "samples leads"], signals: tuple[SignalSpec, ...]
) -> Float32[np.ndarray, "samples leads"]:
    """Return (digital - baseline) / gain in mV.

    Computed in float64 and rounded once, as the wfdb package's numbers are when cast.
    """
    gain = np.array([spec.gain for spec in signals])
    baseline = np.array([spec.baseline for spec in signals])
    factor = np.array([millivolt_per_unit(spec.unit) for spec in signals])
    # Both operands are exact in float32, where a division rounds as float64's then cast would.
    if (baseline == 0).all() and (factor == 1).all() and (gain == gain.astype(np.float32)).all():
        return digital.astype(np.float32) / gain.astype(np.float32)
    return ((digital - baseline) / gain * factor).astype(np.float32)


def _verify(
    header: Header, digital: np.ndarray, damaged: Damaged
) -> tuple[list[Issue], list[Issue]]:
    """Compare first samples and 16-bit checksums with the header's.

    Returns:
        Contradictions, and notes on what could not be compared.
    """
    if header.num_samples is not None and len(digital) < header.num_samples:
        return [], []  # cut short, and said to be: no checksum can fit
    signals = header.signals
    sums = _checksums(digital)
    faults: list[Issue] = []
    for column, spec in enumerate(signals):
        if spec.checksum is not None and spec.checksum & 0xFFFF != sums[column]:
            words = (
                f"checksum of the samples is {sums[column]}, the header's {spec.checksum & 0xFFFF}"
            )
            faults.append(Issue("checksum_mismatch", words, spec.lead))
        elif spec.initial_value is not None and spec.initial_value != digital[0, column]:
            words = f"first sample is {digital[0, column]}, the header says {spec.initial_value}"
            faults.append(Issue("initial_value_mismatch", words, spec.lead))
    if faults and damaged == "raise":
        leads = ", ".join(str(issue.lead) for issue in faults)
        raise RecordFormatError(
            f"{header.path}: samples are not those the header was written for (lead {leads}: "
            f"{faults[0].message}); the file is damaged, or read it with damaged='flag'",
            reason="checksum_mismatch",
        )
    if any(spec.checksum is None for spec in signals):
        return faults, [Issue("no_checksum", "the header gives no checksum to verify against")]
    return faults, []


def _checksums(digital: np.ndarray) -> list[int]:
    """Return the sum of each column modulo 2**16."""
    if digital.dtype == np.int16:
        # Sums modulo 2**16 do not care about overflow, and 16-bit ones are several times faster.
        sums = fold_rows(digital.view(np.uint16), 1, np.add)[0]
    else:
        sums = digital.sum(axis=0, dtype=np.int64)
    return (sums.astype(np.int64) & 0xFFFF).tolist()


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
    return digital, signal, valid, tuple(name or "" for name in record.sig_name)


def _bound_by_file_sizes(header: Header) -> None:
    """Refuse a length that the files beside the header cannot hold.

    No storage format packs a sample into less than one byte except the compressed ones (FLAC,
    508 to 524), for which 1/64 byte is a generous bound.
    """
    parts = header.segments or (header,)
    files = {part.path.with_name(spec.file_name) for part in parts for spec in part.signals}
    size = sum(_file_size(header.path, path) for path in files if path.name != "~")
    frame = max(sum(spec.samples_per_frame for spec in part.signals) for part in parts)
    if header.num_samples is not None and header.num_samples * frame > 64 * max(size, 1):
        raise RecordFormatError(
            f"{header.path}: announces {header.num_samples:,} samples of {frame} a frame, but "
            f"its signal files hold {size:,} bytes",
            reason="truncated",
        )
