"""From amplitudes in mV to the store's integers of 1 µV, and back."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Int16, Int64

from ecgjepa.signals.record import Issue, MicrovoltRecord, Record
from ecgjepa.signals.units import INVALID_MICROVOLT

_MAX_MICROVOLT = 32767


def to_microvolt(record: Record) -> tuple[Int16[np.ndarray, "samples leads"], tuple[Issue, ...]]:
    """Return the samples as integers of 1 µV, and issues for what does not fit.

    Invalid samples become -32768. Amplitudes beyond ±32.767 mV do not fit into 16 bits; they are
    marked invalid and reported, never wrapped or silently clipped.
    """
    valid = None if record.valid.all() else record.valid
    return round_to_microvolt(record.signal * np.float32(1000.0), valid, record.leads)


def round_to_microvolt(
    microvolt: Float[np.ndarray, "samples leads"],
    valid: Bool[np.ndarray, "samples leads"] | None,
    leads: tuple[str, ...],
) -> tuple[Int16[np.ndarray, "samples leads"], tuple[Issue, ...]]:
    """Return amplitudes in µV as integers, and issues for what does not fit; see `to_microvolt`.

    Args:
        microvolt: Rounded in place.
        valid: None if all samples are.
        leads: Names, for the issues.
    """
    integers, counts = round_and_count(microvolt, valid)
    return integers, range_issues(counts, leads)


def round_and_count(
    microvolt: Float[np.ndarray, "samples leads"], valid: Bool[np.ndarray, "samples leads"] | None
) -> tuple[Int16[np.ndarray, "samples leads"], Int64[np.ndarray, " leads"] | None]:
    """Return amplitudes in µV as integers, and how many of each lead do not fit; None for none.

    Args:
        microvolt: Rounded in place.
        valid: None if all samples are.
    """
    np.rint(microvolt, out=microvolt)
    low, high = float(microvolt.min()), float(microvolt.max())
    if valid is None and low >= -_MAX_MICROVOLT and high <= _MAX_MICROVOLT:
        return microvolt.astype(np.int16), None
    too_large = np.abs(microvolt) > _MAX_MICROVOLT
    usable = ~too_large if valid is None else valid & ~too_large
    integers = np.where(usable, microvolt, INVALID_MICROVOLT)
    return np.ascontiguousarray(integers, dtype=np.int16), too_large.sum(axis=0)


def range_issues(
    counts: Int64[np.ndarray, " leads"] | None, leads: tuple[str, ...]
) -> tuple[Issue, ...]:
    """Return issues for the samples of each lead that do not fit into 16 bits."""
    if counts is None:
        return ()
    return tuple(
        Issue(
            "out_of_range",
            f"{counts[column]} samples beyond ±32.767 mV marked invalid",
            leads[column],
        )
        for column in np.flatnonzero(counts)
    )


def from_microvolt(
    microvolt: Int16[np.ndarray, "samples leads"],
) -> tuple[Float32[np.ndarray, "samples leads"], Bool[np.ndarray, "samples leads"]]:
    """Return the signal in mV (0 where invalid) and the valid mask of stored integers."""
    valid = microvolt != INVALID_MICROVOLT
    signal = np.where(valid, microvolt, 0).astype(np.float32) / np.float32(1000.0)
    return signal, valid


def as_microvolt_record(record: Record) -> MicrovoltRecord | None:
    """Return the `MicrovoltRecord` whose `as_record` is this record, or None if there is none."""
    head = record.signal[:8] * np.float32(1000.0)
    if not (_is_close_to_whole(head) and record.valid.all()):
        return None  # most that are none are told by a few samples
    steps = np.rint(record.signal * np.float32(1000.0))
    if not -32767 <= float(steps.min()) <= float(steps.max()) <= 32767:
        return None
    if not np.array_equal(steps / np.float32(1000.0), record.signal):
        return None
    return MicrovoltRecord(
        samples=steps.astype(np.int16),
        leads=record.leads,
        sampling_rate=record.sampling_rate,
        record_id=record.record_id,
        source=record.source,
        issues=record.issues,
    )


def _is_close_to_whole(values: Float32[np.ndarray, "samples leads"]) -> bool:
    return bool((np.abs(values - np.rint(values)) <= 0.01).all())
