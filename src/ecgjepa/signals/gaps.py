"""Gaps: short ones become a line, and filters meet none of them."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float32

from ecgjepa.signals.measures import runs
from ecgjepa.signals.record import Record


def fill_short_gaps(record: Record, max_gap_seconds: float) -> Record:
    """Bridge invalid stretches of at most ``max_gap_seconds`` with a straight line.

    Gaps at either end are never bridged: a line needs two ends.
    """
    if record.valid.all():
        return record
    longest = int(max_gap_seconds * record.sampling_rate)
    signal, valid = record.signal.copy(), record.valid.copy()
    for column in range(signal.shape[1]):
        for start, stop in runs(~record.valid[:, column]):
            if start == 0 or stop == record.num_samples or stop - start > longest:
                continue
            left, right = signal[start - 1, column], signal[stop, column]
            steps = np.arange(1, stop - start + 1, dtype=np.float32) / np.float32(stop - start + 1)
            signal[start:stop, column] = left + (right - left) * steps
            valid[start:stop, column] = True
    return replace(record, signal=signal, valid=valid)


def bridge_gaps(record: Record) -> Float32[np.ndarray, "samples leads"]:
    """Return the signal with every gap bridged, so that a filter meets no steps."""
    if record.valid.all():
        return record.signal
    signal = record.signal.copy()
    positions = np.arange(record.num_samples)
    for column in range(signal.shape[1]):
        valid = record.valid[:, column]
        if valid.any() and not valid.all():
            signal[~valid, column] = np.interp(
                positions[~valid], positions[valid], signal[valid, column]
            )
    return signal


def resample_mask(
    valid: Bool[np.ndarray, "samples leads"], ratio: Fraction, num_samples: int
) -> Bool[np.ndarray, "resampled leads"]:
    """Keep a new sample only if no invalid one lies within an interval of the slower rate."""
    return resample_mask_part(valid, 0, len(valid), ratio, 0, num_samples)


def resample_mask_part(
    valid: Bool[np.ndarray, "samples leads"],
    offset: int,
    total: int,
    ratio: Fraction,
    start: int,
    stop: int,
) -> Bool[np.ndarray, "resampled leads"]:
    """Return some samples of what `resample_mask` returns of a whole mask.

    Args:
        valid: Part of the mask.
        offset: Place of its first sample in the whole.
        total: Samples of the whole.
        ratio: New rate over old rate.
        start: First sample to return.
        stop: Sample after the last.
    """
    position = np.arange(start, stop) * (ratio.denominator / ratio.numerator)
    reach = max(1.0, ratio.denominator / ratio.numerator)
    first = np.clip(np.ceil(position - reach), 0, total).astype(np.int64) - offset
    last = np.clip(np.floor(position + reach) + 1, 0, total).astype(np.int64) - offset
    invalid_before = np.zeros((len(valid) + 1, valid.shape[1]), np.int64)
    np.cumsum(~valid, axis=0, out=invalid_before[1:])
    return invalid_before[last] == invalid_before[first]
