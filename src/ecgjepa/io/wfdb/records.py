"""WFDB records: a fast, suspicious reader for format 16, and the wfdb package for the rest.

The wfdb package spends 86 % of its time parsing the header through pandas and never verifies
checksums. The fast path reads a single-segment record whose leads lie interleaved in one file of
format ``16`` or ``16+24`` (a MATLAB v4 file with a 24-byte head, as in the Challenge 2021), ten
times faster, and verifies sample count, first samples and checksums. Both paths return the same
numbers bit for bit; tests compare them on every real record at hand.

Format: https://physionet.org/physiotools/wag/signal-5.htm.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int16

from ecgjepa.errors import RecordFormatError, UnitError
from ecgjepa.io.channels import Channel, align_rates
from ecgjepa.io.content import accept_rate, without_repeats
from ecgjepa.io.wfdb.calibration import (
    INVALID_16,
    header_issues,
    in_microvolt,
    microvolt_steps,
    to_millivolt,
)
from ecgjepa.io.wfdb.header import Header, read_header
from ecgjepa.io.wfdb.samples import (
    DAMAGED,
    Damaged,
    has_fast_path,
    read_interleaved_16,
    read_with_package,
)
from ecgjepa.io.wfdb.segments import read_segments
from ecgjepa.signals.leads import parse_lead
from ecgjepa.signals.passes import fold_rows
from ecgjepa.signals.record import Issue, MicrovoltRecord, Record
from ecgjepa.signals.units import (
    is_voltage,
    millivolt_per_unit,
    unknown_unit,
)


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
        return without_repeats(_read_samples(header, damaged))
    except OSError as error:
        raise not_readable(header, error) from None


def not_readable(header: Header, error: OSError) -> RecordFormatError:
    """Return what is to be said of no permission, a bad sector or a name too long."""
    return RecordFormatError(f"{header.path}: its signals are not readable: {error}")


def _read_samples(header: Header, damaged: Damaged) -> Record | MicrovoltRecord:
    if header.parts:
        return read_segments(header, lambda part: _read_part(part, damaged))
    if header.is_layout:
        raise RecordFormatError(
            f"{header.path}: lists the signals of a record of several segments and holds no "
            "samples itself; read the header of that record",
            reason="layout_header",
        )
    kept, others = voltages(header)
    if not has_fast_path(header):
        return _read_unusual(header, kept, others, damaged)
    accept_rate(header.path, header.sampling_rate)
    digital, issues = read_interleaved_16(header, damaged=damaged)
    faults, notes = verify(header, digital[0], len(digital), _checksums(digital.T), damaged)
    issues += [*faults, *notes, *others]
    if others:
        digital = np.ascontiguousarray(digital[:, kept])
        header = replace(header, signals=tuple(header.signals[column] for column in kept))
    issues += header_issues(header)
    if not faults and (samples := _as_microvolt(digital, header)) is not None:
        return MicrovoltRecord(
            samples, header.leads, header.sampling_rate, header.path.stem, str(header.path),
            tuple(issues),
        )  # fmt: skip
    valid = digital != INVALID_16
    return record_of(
        header, to_millivolt(digital, header.signals), valid, header.leads, issues, damaged
    )


def _read_part(header: Header, damaged: Damaged) -> Record | MicrovoltRecord | None:
    """Read a segment of a longer record; None if none of its signals is a voltage."""
    if not header.is_layout and not any(is_voltage(spec.unit) for spec in header.signals):
        return None
    return _read_samples(header, damaged)


def voltages(header: Header) -> tuple[list[int], list[Issue]]:
    """Return which signals are voltages, and notes on the others, such as pressures.

    Raises:
        UnitError: If one of the twelve leads has no unit of voltage, or there is no voltage at all.
    """
    kept: list[int] = []
    others: list[Issue] = []
    for column, spec in enumerate(header.signals):
        if is_voltage(spec.unit):
            kept.append(column)
        elif parse_lead(spec.lead):
            raise UnitError(f"{header.path}: lead {spec.lead}: {unknown_unit(spec.unit)}")
        else:
            words = f"channel {spec.lead!r} is in {spec.unit}, which is no voltage; not used"
            others.append(Issue("other_channel", words))
    if not kept:
        raise UnitError(f"{header.path}: {unknown_unit(header.signals[0].unit)}")
    return kept, others


def _read_unusual(header: Header, kept: list[int], others: list[Issue], damaged: Damaged) -> Record:
    """Read what has no fast path with the wfdb package, each signal at its own rate."""
    digital, physical = read_with_package(header)
    issues = list(others)
    if digital is not None:
        firsts = np.array([own[0] for own in digital])
        frames = len(digital[0]) // header.signals[0].samples_per_frame
        faults, notes = verify(header, firsts, frames, _checksums(digital), damaged)
        issues = [*faults, *notes, *others]
    channels: list[Channel] = []
    for column in kept:
        spec = header.signals[column]
        signal = (physical[column] * millivolt_per_unit(spec.unit)).astype(np.float32)
        rate = header.sampling_rate * spec.samples_per_frame
        channels.append(Channel(spec.lead, signal, np.isfinite(signal), rate))
    aligned = align_rates(header.path, channels)
    most = max(spec.samples_per_frame for spec in header.signals)
    if most > 1:
        words = (
            f"{most} samples a frame: read at {aligned.sampling_rate:g} Hz, not at the "
            f"{header.sampling_rate:g} frames/s of the header"
        )
        issues.append(Issue("samples_per_frame", words))
    header = replace(header, signals=tuple(header.signals[column] for column in kept))
    issues += [*aligned.issues, *header_issues(header)]
    return record_of(
        replace(header, sampling_rate=aligned.sampling_rate), aligned.signal, aligned.valid,
        aligned.leads, issues, damaged,
    )  # fmt: skip


def record_of(
    header: Header,
    signal: Float32[np.ndarray, "samples leads"],
    valid: Bool[np.ndarray, "samples leads"],
    leads: tuple[str, ...],
    issues: list[Issue],
    damaged: Damaged,
) -> Record:
    """Return a record, or some of its samples; with ``mask``, damaged leads are invalid."""
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


def _as_microvolt(
    digital: Int16[np.ndarray, "samples leads"], header: Header
) -> Int16[np.ndarray, "samples leads"] | None:
    """Return the samples in µV if a step is a whole number of them and none is invalid."""
    steps = microvolt_steps(header, int(digital.min()), int(digital.max()))
    return None if steps is None else in_microvolt(digital, steps)


def verify(
    header: Header, firsts: np.ndarray, frames: int, sums: list[int], damaged: Damaged
) -> tuple[list[Issue], list[Issue]]:
    """Compare first samples and 16-bit checksums with the header's.

    Args:
        header: The header.
        firsts: First sample of each signal.
        frames: Frames that are held.
        sums: Sum of each signal modulo 2**16.
        damaged: What to do if they contradict it.

    Returns:
        Contradictions, and notes on what could not be compared.

    Raises:
        RecordFormatError: With ``raise``, if they contradict it.
    """
    signals = header.signals
    if header.num_samples is not None and frames < header.num_samples:
        return [], []  # cut short, and said to be: no checksum can fit
    # Programs that compute none write 0 for every signal.
    is_told = any(spec.checksum for spec in signals)
    faults: list[Issue] = []
    for spec, first, total in zip(signals, firsts.tolist(), sums, strict=True):
        if is_told and spec.checksum is not None and spec.checksum & 0xFFFF != total:
            words = f"checksum of the samples is {total}, the header's {spec.checksum & 0xFFFF}"
            faults.append(Issue("checksum_mismatch", words, spec.lead))
        elif spec.initial_value is not None and spec.initial_value != first:
            words = f"first sample is {first}, the header says {spec.initial_value}"
            faults.append(Issue("initial_value_mismatch", words, spec.lead))
    if faults and damaged == "raise":
        leads = ", ".join(str(issue.lead) for issue in faults)
        raise RecordFormatError(
            f"{header.path}: samples are not those the header was written for (lead {leads}: "
            f"{faults[0].message}); the file is damaged; --on-bad mask uses what is sound of "
            "it (in Python, read_record(…, damaged='flag'))",
            reason="checksum_mismatch",
        )
    if any(spec.checksum is None for spec in signals) or (not is_told and any(sums)):
        return faults, [Issue("no_checksum", "the header gives no checksum to verify against")]
    return faults, []


def _checksums(digital: np.ndarray | list[np.ndarray]) -> list[int]:
    """Return the sum of each signal modulo 2**16."""
    if isinstance(digital, np.ndarray) and digital.dtype == np.int16:
        # Sums modulo 2**16 do not care about overflow, and 16-bit ones are several times faster.
        sums = fold_rows(digital.T.view(np.uint16), 1, np.add)[0]
        return (sums.astype(np.int64) & 0xFFFF).tolist()
    return [int(own.sum(dtype=np.int64)) & 0xFFFF for own in digital]
