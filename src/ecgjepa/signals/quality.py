"""What the numbers alone prove about a record: faults of leads, amplitude, and a quality score.

The judgements; the numbers they rest on are in `measures`.
"""

import math
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int16

from ecgjepa.signals.measures import Measures, Stacked, runs, stack
from ecgjepa.signals.passes import column_extremes
from ecgjepa.signals.record import Issue

# A lead with more than this share of invalid samples is of no use as a whole.
MAX_INVALID_SHARE = 0.2
# Peak-to-peak of beats, `Measures.scale_mv`: beyond this the gain is likely wrong. Of 669 records
# of PTB-XL and the Challenge 2021, 3 lie outside; of the same with a gain wrong by 4.88 or 5, at
# least 91 % in each database (benchmarks/lead_checks.py).
PLAUSIBLE_SCALE_MV = (0.35, 2.8)
# The same with all spikes, `Measures.beats_mv`.
PLAUSIBLE_AMPLITUDE_MV = (0.2, 6.0)
# Mean change in 2 ms between beats, as a share of the beats' typical amplitude: the least multiple
# of 0.05 that one in 1,000 leads exceeds in recordings that people accepted
# (benchmarks/quality.py). A share, because the scale of those recordings is in doubt (docs/log.md).
MAX_NOISE_SHARE = 0.1
# An amplifier has to take ±5 mV (IEC 60601-2-25), so a lead of a smaller range did not saturate. In
# PTB-XL small leads rest at the top of a wave for 20 to 340 ms, because a device stored them so.
MIN_SATURATED_RANGE_MV = 5.0
# Below this score a recording resembles those that people refused; chosen there as well.
LOW_SCORE = 0.85

# Quality of a recording in one word: like recordings that people accepted, like those that people
# refused, or without some leads, of which the score does not judge the rest.
QualityWord = Literal["good", "poor", "incomplete"]

# Of P(accepted), from benchmarks/quality.py.
SCORE_FEATURES = ("rest", "drift", "noise", "burst", "agreement")
SCORE_WEIGHTS = np.array([-18.1774, -0.2047, -0.8288, -1.6708, 4.6057])
SCORE_INTERCEPT = -2.2195


def quality_issues(measures: Measures, leads: tuple[str, ...], num_samples: int) -> list[Issue]:
    """Return issues for leads that are invalid, flat or noisy, and for implausible amplitudes.

    Whether the limb leads contradict each other is `ecgjepa.signals.lead_order`'s to say.
    """
    issues: list[Issue] = []
    if measures.valid_count.min() < num_samples:
        for lead, count in zip(leads, measures.valid_count.tolist(), strict=True):
            share = 1.0 - count / num_samples
            if share > MAX_INVALID_SHARE:
                issues.append(
                    Issue("invalid_lead", f"{share:.0%} of the samples are invalid", lead)
                )
            elif share > 0:
                words = f"{share:.1%} of the samples are invalid"
                issues.append(Issue("invalid_samples", words, lead))
    flat = (measures.low == measures.high) & (measures.valid_count > 0)
    for column in np.flatnonzero(flat).tolist():
        words = f"constant at {measures.low[column] / 1e3:.3f} mV"
        issues.append(Issue("flat_lead", words, leads[column]))
    amplitude = measures.beats_mv
    # Where nothing moves there is nothing to hide.
    noisy = measures.noise > MAX_NOISE_SHARE * 1e3 * amplitude if amplitude else flat
    for column in np.flatnonzero(noisy & ~flat).tolist():
        noise = measures.noise[column]
        words = f"changes by {noise:.0f} µV in 2 ms between beats of {amplitude:.2g} mV"
        issues.append(Issue("noisy_lead", words, leads[column]))
    for found, (least, most) in (
        (measures.scale_mv, PLAUSIBLE_SCALE_MV),
        (amplitude, PLAUSIBLE_AMPLITUDE_MV),
    ):
        if found and not least <= found <= most:
            words = (
                f"beats are {found:.3g} mV from peak to peak; expected {least:g} to {most:g}. "
                "Is the gain right?"
            )
            issues.append(Issue("implausible_amplitude", words))
            break
    return issues


def saturated_leads(
    signal: Float[np.ndarray, "samples leads"] | Int16[np.ndarray, "samples leads"],
    sampling_rate: float,
    one_millivolt: float,
    extremes: tuple[float, float] | None = None,
) -> Bool[np.ndarray, " leads"]:
    """Return which leads rest at their own extreme for 20 ms or more: the amplifier's limit.

    A lead of less than 5 mV from peak to peak does not count. To be asked of the samples as
    recorded: filters round the corners off.

    Args:
        signal: Samples in any linear unit.
        sampling_rate: In Hz.
        one_millivolt: Size of 1 mV in that unit.
        extremes: Least and greatest sample of all leads, where they are known.
    """
    least = MIN_SATURATED_RANGE_MV * one_millivolt
    # Over all leads at once is several times faster than lead by lead, and settles most records.
    lowest, highest = extremes or (float(signal.min()), float(signal.max()))
    if highest - lowest < least:
        return np.zeros(signal.shape[1], np.bool_)
    length = least_rest(sampling_rate)
    low, high = column_extremes(signal)
    saturated = high.astype(np.float64) - low >= least
    for column in np.flatnonzero(saturated).tolist():
        values = signal[:, column]
        rests = runs(values == low[column]) + runs(values == high[column])
        saturated[column] = max(stop - start for start, stop in rests) >= length
    return saturated


def least_rest(sampling_rate: float) -> int:
    """Return how many equal samples at a lead's extreme are its amplifier's limit."""
    return max(2, math.ceil(0.02 * sampling_rate))


def saturation_issues(saturated: Bool[np.ndarray, " leads"], leads: tuple[str, ...]) -> list[Issue]:
    """Return issues for what `saturated_leads` found."""
    words = "rests at its extreme for 20 ms or more"
    columns = np.flatnonzero(saturated).tolist() if saturated.any() else []
    return [Issue("saturated_lead", words, leads[column]) for column in columns]


def is_suspicious(measures: Stacked, num_samples: int) -> Bool[np.ndarray, " records"]:
    """Return of which records `quality_issues` says something: of few, which saves its time."""
    amplitude, scale = measures.beats_mv, measures.scale_mv
    flat = (measures.low == measures.high).any(axis=1)
    noisy = measures.noise.max(axis=1) > MAX_NOISE_SHARE * 1e3 * amplitude
    odd = [
        (found != 0) & ((found < least) | (found > most))
        for found, (least, most) in (
            (scale, PLAUSIBLE_SCALE_MV),
            (amplitude, PLAUSIBLE_AMPLITUDE_MV),
        )
    ]
    return (measures.valid_count.min(axis=1) < num_samples) | flat | noisy | odd[0] | odd[1]


def quality_score(measures: Measures) -> float:
    """Return the `quality_scores` of one record."""
    return quality_scores(stack([measures]))[0]


def quality_scores(measures: Stacked) -> list[float]:
    """Return from 0 (useless) to 1 (clean) how likely a person would accept each recording.

    A logistic regression on `score_features`, of twelve leads. Its weights were fitted on one half
    of the PhysioNet/CinC Challenge 2011's set A, whose records people judged, and checked on the
    other (benchmarks/quality.py).
    """
    logits = (_features(measures) * SCORE_WEIGHTS).sum(axis=1) + SCORE_INTERCEPT
    return [1.0 / (1.0 + math.exp(-min(max(logit, -50.0), 50.0))) for logit in logits.tolist()]


def quality_word(score: float, leads_masked: bool) -> QualityWord:
    """Return the quality of a recording in one word.

    Args:
        score: What `quality_score` returns.
        leads_masked: Whether leads are missing or of no use as a whole.
    """
    if leads_masked:
        return "incomplete"
    return "poor" if score < LOW_SCORE else "good"


def score_features(measures: Measures) -> Float64[np.ndarray, " 5"]:
    """Return the numbers that `quality_score` weighs, in the order of `SCORE_FEATURES`.

    They are the share of time in which leads rest; the drift and the noise of the worst lead, as
    logarithms of a share of the beats' amplitude; how far the most agitated second of a lead
    exceeds its typical one, as logarithm of a ratio; and the correlation of the most solitary lead
    with its next of kin. Neither an offset nor a wrong gain of the whole recording changes them.
    """
    return _features(stack([measures]))[0]


def _features(measures: Stacked) -> Float64[np.ndarray, "records 5"]:
    amplitude = np.maximum(1e3 * measures.beats_mv, 1.0)
    # Keeps ratios meaningful where a lead hardly moves.
    little = 0.1 * amplitude[:, None]
    ranges = measures.ranges
    typical = np.sort(ranges, axis=1)[:, ranges.shape[1] // 2]
    burst = (ranges.max(axis=1) + little) / (typical + little)
    return np.stack(
        [
            1.0 - np.count_nonzero(ranges, axis=(1, 2)) / max(ranges[0].size, 1),
            np.log(measures.drift.max(axis=1) / amplitude + 0.1),
            np.log(measures.noise.max(axis=1) / amplitude + 0.01),
            np.log(burst).sum(axis=1) / burst.shape[1],
            _best_correlations(measures).min(axis=1),
        ],
        axis=1,
    )


def _best_correlations(measures: Stacked) -> Float64[np.ndarray, "records leads"]:
    """Return each lead's largest absolute correlation with another; 0 for a flat lead."""
    mean = measures.total / np.sqrt(np.maximum(measures.valid_count, 1))
    covariance = measures.gram - mean[:, :, None] * mean[:, None]
    spread = np.sqrt(np.maximum(covariance.diagonal(axis1=1, axis2=2), 0.0))
    # What varies by less than 1 µV is rounding, not a signal.
    spread[spread * spread <= measures.valid_count] = np.inf
    correlation = np.abs(covariance) / (spread[:, :, None] * spread[:, None])
    leads = np.arange(correlation.shape[1])
    correlation[:, leads, leads] = 0.0
    return np.minimum(correlation.max(axis=1), 1.0)
