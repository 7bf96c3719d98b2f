"""The measures of a record whose samples come in stretches: the numbers of `measures`, exactly.

Sums, extremes and ranges of seconds add up. Of the means over 0.2 s, those are kept that tell the
drift. A median needs all of its values: those of seconds are kept, and those of 50 ms counted, for
they are sums of integers of which there are few.

A gap counts as the lead's mean in time, so a record with gaps is gone through twice.
"""

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int16, Int32, Int64

from ecgjepa.signals.measures import (
    BLOCKS_PER_SECOND,
    NOISE_STEP_SECONDS,
    Measures,
    beats_of,
    middle,
    ranges_of,
    scale_of,
)
from ecgjepa.signals.passes import (
    BLOCK_SECONDS,
    NOISE_SECONDS,
    block_sums,
    column_extremes,
    fold_rows,
    gram_of,
    moment_size,
    seconds_of,
)
from ecgjepa.signals.stretches.samples import Blocks, LongSamples
from ecgjepa.signals.units import INVALID_MICROVOLT


def measure_long(samples: LongSamples, sampling_rate: float) -> Measures:
    """Measure a record of at least a second as `ecgjepa.signals.measures.measure` does.

    Args:
        samples: In µV, -32768 where invalid.
        sampling_rate: In Hz.
    """
    sums = _Sums(samples.shape[1], sampling_rate)
    course = _Course(samples.shape[1], sampling_rate)
    for stretch in samples.stretches():
        sums.add(stretch)
        if not sums.has_gaps:
            course.add(stretch)
    if sums.has_gaps:
        course, mean = _Course(samples.shape[1], sampling_rate), sums.mean()
        for stretch in samples.stretches():
            course.add(np.where(stretch == INVALID_MICROVOLT, mean, stretch))
    ranges = np.concatenate(sums.ranges)
    spans = np.concatenate(course.spans)
    return Measures(
        sums.valid_count,
        sums.total,
        sums.gram,
        np.where(sums.valid_count > 0, sums.low, 0).astype(np.int16),
        np.where(sums.valid_count > 0, sums.high, 0).astype(np.int16),
        course.noise(),
        ranges,
        course.means,
        beats_of(middle(ranges)),
        scale_of(middle(spans)),
    )


class _Sums:
    """What adds up over valid samples, and the ranges of seconds."""

    def __init__(self, num_leads: int, sampling_rate: float) -> None:
        self.valid_count = np.zeros(num_leads, np.int64)
        self.total = np.zeros(num_leads, np.int64)
        self.gram = np.zeros((num_leads, num_leads))
        self.low = np.full(num_leads, 32767, np.int16)
        self.high = np.full(num_leads, INVALID_MICROVOLT, np.int16)
        self.ranges: list[Int32[np.ndarray, "seconds leads"]] = []
        self.has_gaps = False
        self._seconds = Blocks(max(1, round(sampling_rate)))

    def add(self, stretch: Int16[np.ndarray, "samples leads"]) -> None:
        low, high = column_extremes(stretch)
        counted, count = stretch, np.full(stretch.shape[1], len(stretch))
        if (low == INVALID_MICROVOLT).any():
            self.has_gaps = True
            valid: Bool[np.ndarray, "samples leads"] = stretch != INVALID_MICROVOLT
            low, _ = column_extremes(np.where(valid, stretch, np.int16(32767)))
            counted, count = np.where(valid, stretch, np.int16(0)), valid.sum(axis=0)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.valid_count += count
        self.total += counted.sum(axis=0, dtype=np.int64)
        self.gram += gram_of(counted)
        if len(seconds := self._seconds.add(stretch)):
            lows, highs, _, _ = seconds_of(seconds, self._seconds.size)
            self.ranges.append(ranges_of(lows, highs))

    def mean(self) -> Int16[np.ndarray, " leads"]:
        return np.rint(self.total / np.maximum(self.valid_count, 1)).astype(np.int16)


class _Course:
    """What is measured along the time, of samples without gaps."""

    def __init__(self, num_leads: int, sampling_rate: float) -> None:
        self._rate = sampling_rate
        self._moment = moment_size(sampling_rate)
        # Moments of a second.
        self._second = max(1, round(sampling_rate / self._moment))
        self._moments = Blocks(self._second * self._moment)
        self._block = max(1, round(BLOCK_SECONDS * sampling_rate))
        self._blocks = Blocks(self._block * BLOCKS_PER_SECOND)
        self._changes = Blocks(max(1, round(NOISE_SECONDS * sampling_rate)), shared=1)
        self._counts = [_Counts() for _ in range(num_leads)]
        self.spans: list[Float32[np.ndarray, "seconds leads"]] = []
        self.means = np.empty((0, num_leads))

    def add(self, stretch: Int16[np.ndarray, "samples leads"]) -> None:
        single = stretch.astype(np.float32)
        if len(whole := self._moments.add(single)):
            means = block_sums(whole, self._moment) / np.float32(self._moment)
            seconds = len(means) // self._second
            high, low = (fold_rows(means, seconds, each) for each in (np.maximum, np.minimum))
            self.spans.append(high - low)
        if len(whole := self._blocks.add(single)):
            means = block_sums(whole, self._block).astype(np.float64) / self._block
            self.means = _extreme_seconds(np.concatenate([self.means, means]))
        if len(whole := self._changes.add(single)):
            sums = block_sums(np.abs(whole[1:] - whole[:-1]), self._changes.size)
            for counts, column in zip(self._counts, sums.T, strict=True):
                counts.add(column)

    def noise(self) -> Float64[np.ndarray, " leads"]:
        medians = np.array([counts.middle() for counts in self._counts]) / self._changes.size
        return medians * (self._rate * NOISE_STEP_SECONDS)


def _extreme_seconds(
    means: Float64[np.ndarray, "blocks leads"],
) -> Float64[np.ndarray, "kept leads"]:
    """Return the blocks of the seconds in which some lead has its least or greatest mean."""
    seconds = means.reshape(-1, BLOCKS_PER_SECOND, means.shape[1])
    drift = np.matmul(np.ones(BLOCKS_PER_SECOND), seconds)
    kept = np.union1d(drift.argmin(axis=0), drift.argmax(axis=0))
    return seconds[kept].reshape(-1, means.shape[1])


class _Counts:
    """How often each value occurs."""

    def __init__(self) -> None:
        self._values = np.empty(0, np.float32)
        self._counts: Int64[np.ndarray, " values"] = np.empty(0, np.int64)

    def add(self, values: Float32[np.ndarray, " values"]) -> None:
        found, counts = np.unique(values, return_counts=True)
        joined = np.concatenate([self._values, found])
        self._values, place = np.unique(joined, return_inverse=True)
        weights = np.concatenate([self._counts, counts])
        self._counts = np.bincount(place, weights, len(self._values)).astype(np.int64)

    def middle(self) -> float:
        """Return the median, the upper one of two."""
        number = int(self._counts.sum()) // 2
        return float(self._values[np.searchsorted(self._counts.cumsum(), number, side="right")])
