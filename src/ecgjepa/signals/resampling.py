"""Change the sampling rate of all leads at once, by products with a banded matrix.

The filter is the one of `scipy.signal.resample_poly`: a windowed sinc over ten samples of the
slower rate on either side (Kaiser, β = 5), with signals continued beyond their ends along the line
through their first and last sample, so that neither an offset nor a drift rings there. An output
sample is a weighted sum of a few input samples, and the weights repeat: with a ratio of
``up / down``, outputs ``up`` further on weigh inputs ``down`` further on in the same way. So a few
small matrices, made once for each ratio, turn stretches of input into stretches of output.

Libraries add up in an order that depends on the processor and on the shapes. The weights are so
rounded that sums of 16-bit samples are exact in float64 and do not depend on the order: a record is
resampled to the same integers on every machine.
"""

from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int16, Num
from numpy.lib.stride_tricks import as_strided

from ecgjepa.errors import RecordFormatError
from ecgjepa.signals.record import LongRecord, MicrovoltRecord, Record

# Filter length on either side, in samples of the slower rate, and its window, as in SciPy.
_HALF_LENGTH = 10
_KAISER_BETA = 5.0
# Weights are multiples of 2**-33, samples beyond the ends of 2**-4 µV: sums below 2**16 µV have 53
# bits at most. They change by less than 1e-4 µV, at the ends by less than 0.1 µV.
_WEIGHT_BITS, _LINE_BITS = 33, 4
# Output samples of one product. Fewer make more products of little work, more multiply by more of
# the zeros beside the band.
_ROWS = 20
# The same where the rate falls to less than half: neighbours then share fewer of their inputs.
_ROWS_OF_SLOW = 10
# Input samples of all leads that are held as float64 at a time: they stay in the cache.
_CHUNK = 200_000


# Values in mV that are resampled at once: those of almost half an hour of twelve leads at 500 Hz.
_MOST_TOGETHER = 10_000_000
# Terms of a ratio up to which it is taken for one of two clocks that agree.
MAX_TERM = 10_000


class Whole(NamedTuple):
    """What must be known of a signal to resample a part of it.

    Attributes:
        num_samples: All of its samples.
        head: The first one of each lead, in the unit of the part.
        tail: The last one.
    """

    num_samples: int
    head: Num[np.ndarray, " leads"]
    tail: Num[np.ndarray, " leads"]


class _Block(NamedTuple):
    """The weights of neighbouring output samples.

    Attributes:
        first: Position of the first output sample within a period.
        start: Position of the first input sample, relative to that of the period; may be negative.
        weights: Of inputs in each output.
    """

    first: int
    start: int
    weights: Float64[np.ndarray, "outputs inputs"]


class _Bank(NamedTuple):
    """All weights of a ratio.

    Attributes:
        outputs: Output samples of a period.
        inputs: Input samples of a period.
        reach: Input samples needed before the first of a period.
        beyond: Input samples needed after the last of a period.
        blocks: Of a period, in order.
    """

    outputs: int
    inputs: int
    reach: int
    beyond: int
    blocks: tuple[_Block, ...]


@lru_cache(maxsize=256)
def ratio_of_rates(old_rate: float, new_rate: float) -> Fraction:
    """Return the exact ratio of two rates in Hz: 257 Hz to 500 Hz is 500/257."""
    new, old = (Fraction(rate).limit_denominator(10**6) for rate in (new_rate, old_rate))
    return new / old


def usable_ratio(record: Record | MicrovoltRecord | LongRecord, sampling_rate: float) -> Fraction:
    """Return the ratio of a new rate in Hz to that of a record.

    Raises:
        RecordFormatError: If it is not a fraction with terms up to 10,000.
    """
    ratio = ratio_of_rates(record.sampling_rate, sampling_rate)
    if max(ratio.numerator, ratio.denominator) > MAX_TERM:
        raise RecordFormatError(
            f"{record.source or record.record_id}: cannot resample {record.sampling_rate} Hz to "
            f"{sampling_rate} Hz, whose ratio {ratio} is no simple fraction"
        )
    return ratio


def resample_rows(
    microvolt: Float64[np.ndarray, "samples leads"] | Int16[np.ndarray, "samples leads"],
    ratio: Fraction,
) -> Float64[np.ndarray, "resampled leads"]:
    """Return a signal at ``ratio`` times its sampling rate.

    Equal to `scipy.signal.resample_poly` with ``padtype="line"`` to a tenth of a microvolt.

    Args:
        microvolt: Amplitudes in µV, without gaps.
        ratio: New rate over old rate.
    """
    whole = Whole(len(microvolt), microvolt[0], microvolt[-1])
    return resample_part(microvolt, 0, whole, ratio, 0, num_resampled(len(microvolt), ratio))


def num_resampled(num_samples: int, ratio: Fraction) -> int:
    """Return how many samples a signal has at ``ratio`` times its sampling rate."""
    return -(-num_samples * ratio.numerator // ratio.denominator)


def inputs_of(ratio: Fraction, start: int, stop: int) -> tuple[int, int]:
    """Return from which input sample to before which `resample_part` takes some; may lie outside.

    Args:
        ratio: New rate over old rate.
        start: First output sample.
        stop: Output sample after the last.
    """
    bank = _bank(ratio)
    first, last = start // bank.outputs, -(-stop // bank.outputs)
    return first * bank.inputs - bank.reach, last * bank.inputs + bank.beyond


def resample_part(
    part: Float64[np.ndarray, "samples leads"] | Int16[np.ndarray, "samples leads"],
    offset: int,
    whole: Whole,
    ratio: Fraction,
    start: int,
    stop: int,
) -> Float64[np.ndarray, "resampled leads"]:
    """Return some samples of what `resample_rows` returns of a whole signal.

    Args:
        part: Amplitudes in µV, without gaps: what `inputs_of` tells, as far as there is any.
        offset: Place of its first sample in the whole signal.
        whole: What is known of the whole signal.
        ratio: New rate over old rate.
        start: First sample to return.
        stop: Sample after the last.
    """
    bank, num_leads = _bank(ratio), part.shape[1]
    first, last = start // bank.outputs, -(-stop // bank.outputs)
    result = np.empty((last - first, bank.outputs, num_leads))
    step = max(1, _CHUNK // (bank.inputs * num_leads))
    for period in range(first, last, step):
        into = result[period - first : period - first + step]
        begin = period * bank.inputs - bank.reach
        end = (period + len(into)) * bank.inputs + bank.beyond
        _multiply(bank, _continued(part, begin, end, offset, whole), into)
    skipped = first * bank.outputs
    return result.reshape(-1, num_leads)[start - skipped : stop - skipped]


def resample_millivolt(
    millivolt: Float32[np.ndarray, "samples leads"], ratio: Fraction
) -> Float32[np.ndarray, "resampled leads"]:
    """Return a signal in mV, without gaps, at ``ratio`` times its sampling rate.

    Long ones are resampled lead by lead: in float64, all leads take many times what they do in a
    file.
    """
    together = millivolt.shape[1] if millivolt.size <= _MOST_TOGETHER else 1
    parts = []
    for first in range(0, millivolt.shape[1], together):
        own = millivolt[:, first : first + together].astype(np.float64) * 1e3
        parts.append((resample_rows(own, ratio) / 1e3).astype(np.float32))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _multiply(
    bank: _Bank,
    rows: Float64[np.ndarray, "inputs leads"],
    into: Float64[np.ndarray, "periods outputs leads"],
) -> None:
    """Fill some periods of the output from their input, which begins ``bank.reach`` before."""
    down, across = rows.strides
    for first, start, weights in bank.blocks:
        height, width = weights.shape
        stretches = as_strided(
            rows[bank.reach + start :],
            (len(into), width, rows.shape[1]),
            (bank.inputs * down, down, across),
            writeable=False,
        )
        np.matmul(weights, stretches, out=into[:, first : first + height])


def _continued(
    samples: Float64[np.ndarray, "samples leads"] | Int16[np.ndarray, "samples leads"],
    start: int,
    stop: int,
    offset: int,
    whole: Whole,
) -> Float64[np.ndarray, "stretch leads"]:
    """Return rows ``start`` to ``stop``; those beyond the ends lie on the line through the ends."""
    num_samples = whole.num_samples
    rows = np.empty((stop - start, samples.shape[1]))
    inside = slice(min(max(start, 0), num_samples), max(min(stop, num_samples), 0))
    held = samples[inside.start - offset : inside.stop - offset]
    rows[inside.start - start : inside.stop - start] = held
    if start >= 0 and stop <= num_samples:
        return rows
    head, tail = whole.head.astype(np.float64), whole.tail.astype(np.float64)
    slope = (tail - head) / max(num_samples - 1, 1)
    before, after = np.arange(start, 0), np.arange(num_samples, stop) - (num_samples - 1)
    rows[: len(before)] = _as_multiples(head + before[:, None] * slope, _LINE_BITS)
    rows[len(rows) - len(after) :] = _as_multiples(tail + after[:, None] * slope, _LINE_BITS)
    return rows


def _as_multiples(
    values: Float64[np.ndarray, "rows columns"], bits: int
) -> Float64[np.ndarray, "rows columns"]:
    """Return the nearest multiples of 2**-bits."""
    return np.rint(values * 2.0**bits) / 2.0**bits


def low_pass(ratio: Fraction) -> Float64[np.ndarray, " taps"]:
    """Return the anti-aliasing filter at the rate of all multiples: a sum of 1, symmetric."""
    widest = max(ratio.numerator, ratio.denominator)
    half = _HALF_LENGTH * widest
    position = np.arange(-half, half + 1) / widest
    taps = np.sinc(position) * np.kaiser(2 * half + 1, _KAISER_BETA)
    return taps / taps.sum()


@lru_cache(maxsize=16)
def _bank(ratio: Fraction) -> _Bank:
    up, down = ratio.numerator, ratio.denominator
    rows = _ROWS_OF_SLOW if down > 2 * up else _ROWS
    periods = max(1, rows // up)
    outputs, inputs = periods * up, periods * down
    taps = low_pass(ratio) * up
    pieces = -(-outputs // rows)
    edges = [outputs * piece // pieces for piece in range(pieces + 1)]
    blocks = tuple(_block(taps, up, down, first, stop) for first, stop in pairwise(edges))
    reach = max(-block.start for block in blocks)
    beyond = max(block.start + block.weights.shape[1] for block in blocks) - inputs
    return _Bank(outputs, inputs, max(reach, 0), max(beyond, 0), blocks)


def _block(taps: Float64[np.ndarray, " taps"], up: int, down: int, first: int, stop: int) -> _Block:
    """Return the weights of the output samples ``first`` to ``stop`` of a period."""
    half = len(taps) // 2
    # Output m is centred on m · down in steps of the common multiple, input i lies at i · up.
    start = -((half - first * down) // up)
    end = ((stop - 1) * down + half) // up + 1
    outputs, inputs = np.arange(first, stop)[:, None], np.arange(start, end)
    place = outputs * down + half - inputs * up
    inside = (place >= 0) & (place < len(taps))
    weights = np.where(inside, taps[np.where(inside, place, 0)], 0.0)
    return _Block(first, start, _as_multiples(weights, _WEIGHT_BITS))
