"""Numbers that say what a record is like, measured on the store's 1 µV integers.

They are measured after preprocessing, so a record has the same ones whichever way it came. Sums are
of integers and exact in their floating-point type, so their order does not matter: a record has the
same numbers in every process, on every processor. Speed matters too: all records pass through here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int16, Int32, Int64, Shaped

from ecgjepa.signals.passes import (
    Passes,
    block_size,
    look_through,
    moment_size,
    noise_size,
)
from ecgjepa.signals.units import INVALID_MICROVOLT

NOISE_STEP_SECONDS = 0.002
BLOCKS_PER_SECOND = 5
# Samples of short records that are passed over side by side: more would not fit into the cache.
_VALUES_SIDE_BY_SIDE = 100_000
# From so many on, to look for the middle value is faster than to sort all.
_MANY_ROWS = 32


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
        block_means: Means over 0.2 s, an invalid sample counting as the lead's mean; of a long
            record those of the seconds with a lead's least or greatest mean.
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
        size = min(BLOCKS_PER_SECOND, count)
        blocks = self.block_means[:, : count // size * size].reshape(records, -1, size, leads)
        means = np.matmul(np.ones(size), blocks) / BLOCKS_PER_SECOND
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
    return measure_each([samples], sampling_rate)[0]


def measure_each(
    records: Sequence[Int16[np.ndarray, "samples leads"]], sampling_rate: float
) -> list[Measures]:
    """Measure records of one length: the same numbers as one by one, in half the time.

    Args:
        records: In µV, -32768 where invalid.
        sampling_rate: In Hz.
    """
    num_samples, num_leads = records[0].shape
    count = max(1, _VALUES_SIDE_BY_SIDE // records[0].size)
    found: list[Passes] = []
    for first in range(0, len(records), count):
        part = records[first : first + count]
        wide = part[0] if len(part) == 1 else np.concatenate(part, axis=1)
        found.append(look_through(wide, sampling_rate, len(part)))
    together = found[0]
    if len(found) > 1:
        pairs = zip(Passes._fields, zip(*found, strict=True), strict=True)
        # Records of the sums of products, columns of the rest.
        together = Passes(*(np.concatenate(own, 0 if n == "gram" else -1) for n, own in pairs))
    return _measures(together, num_leads, num_samples, sampling_rate)


def _measures(
    found: Passes, num_leads: int, num_samples: int, sampling_rate: float
) -> list[Measures]:
    """Return the measures of each record, from what was found in all."""
    ranges = ranges_of(found.lows, found.highs)
    means = found.blocks.astype(np.float64) / block_size(sampling_rate, num_samples)
    noise = _noise(found.changes, sampling_rate, num_samples)
    size = np.float32(moment_size(sampling_rate))
    beats = middle(ranges)
    scales = middle(found.moment_highs / size - found.moment_lows / size)
    parts = [slice(at, at + num_leads) for at in range(0, ranges.shape[1], num_leads)]
    return [
        Measures(
            found.valid_count[part],
            found.total[part],
            gram,
            found.low[part],
            found.high[part],
            noise[part],
            ranges[:, part],
            means[:, part],
            beats_of(beats[part]),
            scale_of(scales[part]),
        )
        for part, gram in zip(parts, found.gram, strict=True)
    ]


def ranges_of(
    lows: Int16[np.ndarray, "seconds leads"], highs: Int16[np.ndarray, "seconds leads"]
) -> Int32[np.ndarray, "seconds leads"]:
    """Return the ranges of seconds from their extremes; 0 for a second with a gap."""
    ranges = np.subtract(highs, lows, dtype=np.int32)
    ranges[lows == INVALID_MICROVOLT] = 0
    return ranges


def middle(values: Shaped[np.ndarray, "rows leads"]) -> Shaped[np.ndarray, " leads"]:
    """Return the median of each column, the upper one of two; faster than NumPy's on few rows."""
    half = len(values) // 2
    if len(values) >= _MANY_ROWS:
        return np.partition(values, half, axis=0)[half]
    return np.sort(values, axis=0)[half]


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


def _noise(
    changes: Float32[np.ndarray, "changes columns"], sampling_rate: float, num_samples: int
) -> Float64[np.ndarray, " columns"]:
    if not len(changes):
        return np.zeros(changes.shape[1])
    means = middle(changes).astype(np.float64) / noise_size(sampling_rate, num_samples)
    # Where samples are far apart the slopes of waves are most of the change.
    return means * (sampling_rate * NOISE_STEP_SECONDS)
