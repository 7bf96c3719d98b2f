"""Gaps: short ones become a line, and filters meet none of them."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32

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
