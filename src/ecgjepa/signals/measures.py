"""Numbers that say what a record is like, measured on the store's 1 µV integers.

They are measured after preprocessing, so a record has the same ones whichever way it came. Sums are
of integers and exact in their floating-point type, so their order does not matter: a record has the
same numbers in every process, on every processor. Speed matters too: all records pass through here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int16, Int32, Int64, Shaped

from ecgjepa.signals.units import INVALID_MICROVOLT

NOISE_SECONDS = 0.05
NOISE_STEP_SECONDS = 0.002
BLOCK_SECONDS = 0.2
_SMOOTH_SECONDS = 0.01
_BLOCKS_PER_SECOND = 5


class Measures(NamedTuple):
    """What `measure` finds; arrays have one value per lead, amplitudes are in µV.

    Attributes:
        valid_count: Valid samples.
        total: Their exact sum.
        gram: Exact sums of products of leads, an invalid sample counting as 0.
        low: Least valid value; 0 for a lead without any.
        high: Greatest.
        noise: Mean size of the change from sample to sample, per 2 ms, in the median block of
            50 ms: what is left between the beats. At 100 Hz a quarter less than at 500 Hz.
        ranges: Greatest minus least value of each whole second; 0 for a second with a gap.
        block_means: Means over 0.2 s, an invalid sample counting as the lead's mean.
        beats_mv: Peak-to-peak amplitude of beats in mV: the range of a second, median over seconds,
            then over the leads that move; 0 if none does.
        scale_mv: The same of means over 10 ms, which noise and a pacemaker's spikes hardly change,
            and as geometric mean over the leads: what tells a wrong gain best.
    """

    valid_count: Int64[np.ndarray, " leads"]
    total: Int64[np.ndarray, " leads"]
    gram: Float64[np.ndarray, "leads leads"]
    low: Int16[np.ndarray, " leads"]
    high: Int16[np.ndarray, " leads"]
    noise: Float64[np.ndarray, " leads"]
    ranges: Int32[np.ndarray, "seconds leads"]
    block_means: Float64[np.ndarray, "blocks leads"]
    beats_mv: float
    scale_mv: float

    @property
    def squares(self) -> Int64[np.ndarray, " leads"]:
        """Exact sums of squares."""
        return np.diagonal(self.gram).astype(np.int64)

    @property
    def drift(self) -> Float64[np.ndarray, " leads"]:
        """Range of the means over one second."""
        return stack([self]).drift[0]


class Stacked(NamedTuple):
    """The `Measures` of records of one length under their names, with the records in front."""

    valid_count: Int64[np.ndarray, "records leads"]
    total: Int64[np.ndarray, "records leads"]
    gram: Float64[np.ndarray, "records leads leads"]
    low: Int16[np.ndarray, "records leads"]
    high: Int16[np.ndarray, "records leads"]
    noise: Float64[np.ndarray, "records leads"]
    ranges: Int32[np.ndarray, "records seconds leads"]
    block_means: Float64[np.ndarray, "records blocks leads"]
    beats_mv: Float64[np.ndarray, " records"]
    scale_mv: Float64[np.ndarray, " records"]

    @property
    def drift(self) -> Float64[np.ndarray, "records leads"]:
        """Range of the means over one second."""
        records, count, leads = self.block_means.shape
        size = min(_BLOCKS_PER_SECOND, count)
        blocks = self.block_means[:, : count // size * size].reshape(records, -1, size, leads)
        means = np.matmul(np.ones(size), blocks) / _BLOCKS_PER_SECOND
        return means.max(axis=1) - means.min(axis=1)


def stack(measures: Sequence[Measures]) -> Stacked:
    """Return the measures of records of one length as one, so that they are judged together."""
    return Stacked(*(np.array(column) for column in zip(*measures, strict=True)))


def measure(samples: Int16[np.ndarray, "samples leads"], sampling_rate: float) -> Measures:
    """Measure a record.

    Sums of products are exact up to 4 hours at 500 Hz of full amplitude, means and noise up to
    rates of 2.5 kHz.

    Args:
        samples: In µV, -32768 where invalid; at least one row.
        sampling_rate: In Hz.
    """
    return measure_side_by_side(samples, sampling_rate, num_records=1)[0]


def measure_side_by_side(
    samples: Int16[np.ndarray, "samples columns"], sampling_rate: float, num_records: int
) -> list[Measures]:
    """Measure records of one length that lie side by side: the same numbers, in half the time.

    Args:
        samples: In µV, the leads of the first record, then those of the second, and so on.
        sampling_rate: In Hz.
        num_records: How many there are.
    """
    num_samples, num_columns = samples.shape
    ranges, low, high = ranges_of(samples, round(sampling_rate))
    valid_count = np.full(num_columns, num_samples)
    counted, total = samples, None
    if (low == INVALID_MICROVOLT).any():
        valid = samples != INVALID_MICROVOLT
        valid_count = valid.sum(axis=0)
        low, _ = column_extremes(np.where(valid, samples, np.int16(32767)))
        low[valid_count == 0] = high[valid_count == 0] = 0
        counted = np.where(valid, samples, np.int16(0))
        total = counted.sum(axis=0, dtype=np.int64)
        # A gap must look like neither a step nor a beat.
        mean = np.rint(total / np.maximum(valid_count, 1)).astype(np.int16)
        samples = np.where(valid, samples, mean)
    width = num_columns // num_records
    own = [slice(start, start + width) for start in range(0, num_columns, width)]
    grams = [gram_of(counted[:, part]) for part in own]
    single = samples.astype(np.float32)
    moments, blocks, block_size = _sums_in_time(single, sampling_rate)
    if total is None:
        rest = single[len(blocks) * block_size :]
        sums = blocks.sum(axis=0, dtype=np.float64) + rest.sum(axis=0, dtype=np.float64)
        total = sums.astype(np.int64)
    noise = _noise(single, sampling_rate)
    means = blocks.astype(np.float64) / block_size
    beats, scales = middle(ranges), _spans(moments, sampling_rate)
    return [
        Measures(
            valid_count[part],
            total[part],
            gram,
            low[part],
            high[part],
            noise[part],
            ranges[:, part],
            means[:, part],
            beats_of(beats[part]),
            scale_of(scales[part]),
        )
        for part, gram in zip(own, grams, strict=True)
    ]


def column_extremes(
    samples: Shaped[np.ndarray, "samples leads"],
) -> tuple[Shaped[np.ndarray, " leads"], Shaped[np.ndarray, " leads"]]:
    """Return the least and the greatest value of each column."""
    return fold_rows(samples, 1, np.minimum)[0], fold_rows(samples, 1, np.maximum)[0]


def middle(values: Shaped[np.ndarray, "rows leads"]) -> Shaped[np.ndarray, " leads"]:
    """Return the median of each column, the upper one of two; faster than NumPy's on few rows."""
    return np.sort(values, axis=0)[len(values) // 2]


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


def runs(flags: Bool[np.ndarray, " samples"]) -> list[tuple[int, int]]:
    """Return [start, stop) of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def beats_of(typical: Int32[np.ndarray, " leads"]) -> float:
    """Return `Measures.beats_mv` from each lead's median range of a second."""
    moving = np.sort(typical[typical > 0])
    return float(moving[len(moving) // 2]) / 1e3 if moving.size else 0.0


def scale_of(typical: Float32[np.ndarray, " leads"]) -> float:
    """Return `Measures.scale_mv` from each lead's median range of a second of means over 10 ms."""
    moving = typical[typical > 1.0].astype(np.float64)
    return float(np.exp(np.log(moving).mean())) / 1e3 if moving.size else 0.0


def _spans(
    moments: Float32[np.ndarray, "moments leads"], sampling_rate: float
) -> Float32[np.ndarray, " leads"]:
    """Return the range of a second of means over 10 ms, median over seconds."""
    size = moment_size(sampling_rate)
    means = moments / np.float32(size)
    second = max(1, min(round(sampling_rate / size), len(means)))
    whole = len(means) // second
    head = means[: whole * second]
    return middle(fold_rows(head, whole, np.maximum) - fold_rows(head, whole, np.minimum))


def moment_size(sampling_rate: float) -> int:
    """Return how many samples are in 10 ms."""
    return max(1, round(_SMOOTH_SECONDS * sampling_rate))


def _sums_in_time(
    samples: Float32[np.ndarray, "samples leads"], sampling_rate: float
) -> tuple[Float32[np.ndarray, "moments leads"], Float32[np.ndarray, "blocks leads"], int]:
    """Return sums over 10 ms, sums over 0.2 s, and how many samples are in one of the latter."""
    size, moment = round(BLOCK_SECONDS * sampling_rate), moment_size(sampling_rate)
    size = max(1, min(size, len(samples)))
    moments = block_sums(samples, moment)
    # Sums are exact, so those of sums are the same.
    whole = size >= moment and size % moment == 0
    blocks = block_sums(moments, size // moment) if whole else block_sums(samples, size)
    return moments, blocks, size


def gram_of(samples: Int16[np.ndarray, "samples leads"]) -> Float64[np.ndarray, "leads leads"]:
    """Return sums of products of leads."""
    # Memory for doubles is given back on return: holding it longer halves the speed of `measure`,
    # because the C library then returns it to the system and asks anew for each record.
    exact = samples.astype(np.float64)
    return exact.T @ exact


def ranges_of(
    samples: Int16[np.ndarray, "samples leads"], second: int
) -> tuple[
    Int32[np.ndarray, "seconds leads"], Int16[np.ndarray, " leads"], Int16[np.ndarray, " leads"]
]:
    """Return ranges over whole seconds, or over all of a shorter record, and over-all extremes."""
    second = max(1, min(second, len(samples)))
    whole = len(samples) // second
    head, rest = samples[: whole * second], samples[whole * second :]
    lows, highs = fold_rows(head, whole, np.minimum), fold_rows(head, whole, np.maximum)
    ranges = np.subtract(highs, lows, dtype=np.int32)
    ranges[lows == INVALID_MICROVOLT] = 0
    low, high = lows.min(axis=0), highs.max(axis=0)
    if len(rest):
        low, high = np.minimum(low, rest.min(axis=0)), np.maximum(high, rest.max(axis=0))
    return ranges, low, high


def _noise(
    values: Float32[np.ndarray, "samples leads"], sampling_rate: float
) -> Float64[np.ndarray, " leads"]:
    if len(values) < 2:
        return np.zeros(values.shape[1])
    change = values[1:] - values[:-1]
    means = _block_means(np.abs(change, out=change), round(NOISE_SECONDS * sampling_rate))
    # Where samples are far apart the slopes of waves are most of the change.
    return middle(means) * (sampling_rate * NOISE_STEP_SECONDS)


def _block_means(
    values: Float32[np.ndarray, "samples leads"], size: int
) -> Float64[np.ndarray, "blocks leads"]:
    size = max(1, min(size, len(values)))
    return block_sums(values, size).astype(np.float64) / size


def block_sums(
    values: Float[np.ndarray, "samples leads"], size: int
) -> Float[np.ndarray, "blocks leads"]:
    """Return sums over blocks of ``size`` rows, or over all where there are fewer."""
    size = min(size, len(values))
    if size == 1:
        return values
    blocks = values[: len(values) // size * size].reshape(-1, size, values.shape[1])
    return np.matmul(np.ones(size, values.dtype), blocks)
