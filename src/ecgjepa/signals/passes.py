"""What passes over all samples of a record find: small arrays, from which its measures follow.

All sums are of integers and exact in their floating-point type, so their order does not matter.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int16, Int64, Shaped

from ecgjepa.signals.units import INVALID_MICROVOLT

NOISE_SECONDS = 0.05
BLOCK_SECONDS = 0.2
_SMOOTH_SECONDS = 0.01
# Sums over blocks of fewer rows are one product of matrices, which is faster up to so many columns.
_FEW_ROWS, _FEW_COLUMNS = 16, 24
_MOST_INT16 = 32767


class Passes(NamedTuple):
    """What was found in records that lie side by side; columns are all their leads.

    Attributes:
        valid_count: Valid samples.
        total: Their sum.
        low: Least valid value; 0 for a column without any.
        high: Greatest.
        gram: Sums of products of the leads of each record, an invalid sample counting as 0.
        lows: Least value of each whole second, -32768 where one is invalid.
        highs: Greatest.
        moment_lows: Least sum over 10 ms in each whole second.
        moment_highs: Greatest.
        changes: Sums over 50 ms of the sizes of changes from sample to sample.
        blocks: Sums over 0.2 s, an invalid sample counting as its column's mean.
    """

    valid_count: Int64[np.ndarray, " columns"]
    total: Int64[np.ndarray, " columns"]
    low: Int16[np.ndarray, " columns"]
    high: Int16[np.ndarray, " columns"]
    gram: Float64[np.ndarray, "records leads leads"]
    lows: Int16[np.ndarray, "seconds columns"]
    highs: Int16[np.ndarray, "seconds columns"]
    moment_lows: Float32[np.ndarray, "moment_seconds columns"]
    moment_highs: Float32[np.ndarray, "moment_seconds columns"]
    changes: Float32[np.ndarray, "changes columns"]
    blocks: Float32[np.ndarray, "blocks columns"]


def look_through(
    samples: Int16[np.ndarray, "samples columns"], sampling_rate: float, num_records: int
) -> Passes:
    """Return what passes over records of one length find.

    Args:
        samples: In µV, -32768 where invalid: the leads of the first record, then those of the
            second, and so on.
        sampling_rate: In Hz.
        num_records: How many there are.
    """
    num_samples, num_columns = samples.shape
    lows, highs, low, high = seconds_of(samples, round(sampling_rate))
    valid_count = np.full(num_columns, num_samples)
    counted, total = samples, None
    if low.min() == INVALID_MICROVOLT:
        valid = samples != INVALID_MICROVOLT
        valid_count = valid.sum(axis=0)
        low, _ = column_extremes(np.where(valid, samples, np.int16(_MOST_INT16)))
        low[valid_count == 0] = high[valid_count == 0] = 0
        counted = np.where(valid, samples, np.int16(0))
        total = counted.sum(axis=0, dtype=np.int64)
        # A gap must look like neither a step nor a beat.
        mean = np.rint(total / np.maximum(valid_count, 1)).astype(np.int16)
        samples = np.where(valid, samples, mean)
    width = num_columns // num_records
    gram = [gram_of(counted[:, at : at + width]) for at in range(0, num_columns, width)]
    single = samples.astype(np.float32)
    moments, blocks, block_size = _sums_in_time(single, sampling_rate)
    if total is None:
        rest = single[len(blocks) * block_size :]
        sums = blocks.sum(axis=0, dtype=np.float64) + rest.sum(axis=0, dtype=np.float64)
        total = sums.astype(np.int64)
    second = max(1, min(round(sampling_rate / moment_size(sampling_rate)), len(moments)))
    whole = len(moments) // second
    changes = _changes(samples, single, fits=int(high.max()) - int(low.min()) <= _MOST_INT16)
    return Passes(
        valid_count,
        total,
        low,
        high,
        np.array(gram),
        lows,
        highs,
        fold_rows(moments[: whole * second], whole, np.minimum),
        fold_rows(moments[: whole * second], whole, np.maximum),
        block_sums(changes, noise_size(sampling_rate, num_samples)),
        blocks,
    )


def column_extremes(
    samples: Shaped[np.ndarray, "samples leads"],
) -> tuple[Shaped[np.ndarray, " leads"], Shaped[np.ndarray, " leads"]]:
    """Return the least and the greatest value of each column."""
    return fold_rows(samples, 1, np.minimum)[0], fold_rows(samples, 1, np.maximum)[0]


def fold_rows(
    samples: Shaped[np.ndarray, "samples leads"], blocks: int, reduce: np.ufunc
) -> Shaped[np.ndarray, "blocks leads"]:
    """Reduce each of ``blocks`` equal blocks of rows to one row.

    Rows are joined first, so that the processor's vectors are filled: six times faster. The type
    stays that of the samples: sums wrap.
    """
    rows, num_leads = len(samples) // blocks, samples.shape[1]
    joined = next(count for count in (10, 5, 4, 2, 1) if rows % count == 0)
    wide = samples.reshape(blocks, rows // joined, joined * num_leads)
    kind = samples.dtype
    joint = reduce.reduce(wide, axis=1, dtype=kind).reshape(blocks, joined, num_leads)
    return reduce.reduce(joint, axis=1, dtype=kind)


def block_sums(
    values: Float[np.ndarray, "samples leads"], size: int
) -> Float[np.ndarray, "blocks leads"]:
    """Return sums over blocks of ``size`` rows, or over all where there are fewer."""
    size = min(size, len(values))
    if size <= 1:
        return values
    count, width = len(values) // size, values.shape[1]
    head = values[: count * size]
    if size < _FEW_ROWS and width <= _FEW_COLUMNS and values.dtype == np.float32:
        return head.reshape(count, size * width) @ _summing(size, width)
    return np.matmul(np.ones(size, values.dtype), head.reshape(count, size, width))


def moment_size(sampling_rate: float) -> int:
    """Return how many samples 10 ms have, one at least."""
    return max(1, round(_SMOOTH_SECONDS * sampling_rate))


def block_size(sampling_rate: float, num_samples: int) -> int:
    """Return how many samples 0.2 s have, one at least and no more than there are."""
    return max(1, min(round(BLOCK_SECONDS * sampling_rate), num_samples))


def noise_size(sampling_rate: float, num_samples: int) -> int:
    """Return how many changes from sample to sample 50 ms have, one at least."""
    return max(1, min(round(NOISE_SECONDS * sampling_rate), num_samples - 1))


def _sums_in_time(
    samples: Float32[np.ndarray, "samples leads"], sampling_rate: float
) -> tuple[Float32[np.ndarray, "moments leads"], Float32[np.ndarray, "blocks leads"], int]:
    """Return sums over 10 ms, sums over 0.2 s, and how many samples are in one of the latter."""
    size, moment = block_size(sampling_rate, len(samples)), moment_size(sampling_rate)
    moments = block_sums(samples, moment)
    # Sums are exact, so those of sums are the same.
    whole = size >= moment and size % moment == 0
    blocks = block_sums(moments, size // moment) if whole else block_sums(samples, size)
    return moments, blocks, size


def _changes(
    samples: Int16[np.ndarray, "samples leads"],
    single: Float32[np.ndarray, "samples leads"],
    *,
    fits: bool,
) -> Float32[np.ndarray, "changes leads"]:
    """Return the sizes of changes from sample to sample.

    Args:
        samples: The samples.
        single: The same.
        fits: Whether every change is surely an integer of 16 bits: four times faster.
    """
    if fits:
        change = samples[1:] - samples[:-1]
        return np.abs(change, out=change).astype(np.float32)
    wide = single[1:] - single[:-1]
    return np.abs(wide, out=wide)


@lru_cache(maxsize=32)
def _summing(size: int, width: int) -> Float32[np.ndarray, "joined width"]:
    """Return the matrix of zeros and ones that sums ``size`` rows which are joined to one."""
    return np.tile(np.eye(width, dtype=np.float32), (size, 1))


def gram_of(samples: Int16[np.ndarray, "samples leads"]) -> Float64[np.ndarray, "leads leads"]:
    """Return sums of products of leads."""
    # Memory for doubles is given back on return: holding it longer halves the speed of `measure`,
    # because the C library then returns it to the system and asks anew for each record.
    exact = samples.astype(np.float64)
    return exact.T @ exact


def seconds_of(
    samples: Int16[np.ndarray, "samples leads"], second: int
) -> tuple[
    Int16[np.ndarray, "seconds leads"],
    Int16[np.ndarray, "seconds leads"],
    Int16[np.ndarray, " leads"],
    Int16[np.ndarray, " leads"],
]:
    """Return extremes of whole seconds, or of all of a shorter record, and over-all extremes."""
    second = max(1, min(second, len(samples)))
    whole = len(samples) // second
    head, rest = samples[: whole * second], samples[whole * second :]
    lows, highs = fold_rows(head, whole, np.minimum), fold_rows(head, whole, np.maximum)
    low, high = lows.min(axis=0), highs.max(axis=0)
    if len(rest):
        low, high = np.minimum(low, rest.min(axis=0)), np.maximum(high, rest.max(axis=0))
    return lows, highs, low, high
