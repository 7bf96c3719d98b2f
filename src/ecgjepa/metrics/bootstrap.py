"""Intervals over patients: percentile and BCa.

Patients are drawn, with replacement, and bring all their records: records of one patient are alike,
and drawing them one by one would make an interval too narrow.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import norm

from ecgjepa.errors import ScoreError
from ecgjepa.metrics.classification import Weights, ones

NUM_RESAMPLES = 1000
CONFIDENCE = 0.95

Method = Literal["percentile", "bca"]
# From weights (records, resamples) to values whose last axis is the resamples.
Statistic = Callable[[Weights], np.ndarray]


class Interval(NamedTuple):
    """A value with the bounds of its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


class Correction(NamedTuple):
    """How a bias-corrected and accelerated interval picks its bounds among the resamples.

    Attributes:
        bias: Normal quantile of the share of the resamples below the value.
        acceleration: Skewness of what single patients contribute, over 6.
    """

    bias: float
    acceleration: float

    def shares(self, levels: Float[np.ndarray, " levels"]) -> Float[np.ndarray, " levels"]:
        """Return the share of the resamples that lies below the bound of each one-sided level."""
        shifted = self.bias + norm.ppf(levels)
        return norm.cdf(self.bias + shifted / (1 - self.acceleration * shifted))

    def level(self, share: float) -> float:
        """Return the one-sided level whose bound has that share of the resamples below it."""
        if share >= 1:
            return 1.0
        moved = float(norm.ppf(share)) - self.bias
        scale = 1 + self.acceleration * moved
        # Beyond the pole there is no such bound at any level.
        shifted = moved / scale if scale > 0 else math.copysign(math.inf, moved)
        return float(norm.cdf(shifted - self.bias))

    def mirrored(self) -> "Correction":
        """Return the correction of the negative of the same values."""
        return Correction(-self.bias, -self.acceleration)


class PatientBootstrap:
    """Resamples of the test patients, the same for every model that is compared on them.

    Attributes:
        num_patients: How many there are.
        patient_of: Number of each record's patient, in the order of their names.
        weights: How often each record counts in each resample.
    """

    def __init__(
        self, patients: np.ndarray, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
    ) -> None:
        """Draw patients with replacement; a patient's records stay together.

        Args:
            patients: Patient of each record; unknown patients should be made distinct.
            num_resamples: How many.
            seed: Of the draws.

        Raises:
            ScoreError: If there are no records.
        """
        if not len(patients):
            raise ScoreError("there are no records to resample")
        _, self.patient_of = np.unique(patients.astype(str), return_inverse=True)
        self.num_patients = int(self.patient_of.max()) + 1
        rng = np.random.default_rng([seed, self.num_patients])
        drawn = rng.multinomial(
            self.num_patients, np.full(self.num_patients, 1 / self.num_patients), num_resamples
        )
        self.weights: Weights = np.ascontiguousarray(
            drawn.T.astype(np.float32)[self.patient_of], np.float32
        )

    def resample(self, statistic: Statistic) -> np.ndarray:
        """Return the statistic of every resample, along the last axis."""
        return statistic(self.weights)

    def interval(self, statistic: Statistic) -> Interval:
        """Return a statistic of the records as they are with its percentile interval.

        Args:
            statistic: Function from weights to one value per column of weights.
        """
        value = float(statistic(ones(len(self.patient_of)))[0])
        return interval(value, self.resample(statistic))


def interval(value: float, resampled: Float[np.ndarray, " resamples"]) -> Interval:
    """Return the percentile interval; resamples without a defined value are left out."""
    return _between(value, resampled[np.isfinite(resampled)], _tails())


def bca_interval(
    value: float,
    resampled: Float[np.ndarray, " resamples"],
    jackknifed: Float[np.ndarray, " patients"],
) -> Interval:
    """Return the bias-corrected and accelerated interval: see `bca_correction`."""
    correction = bca_correction(value, resampled, jackknifed)
    if correction is None:
        return Interval(value, float("nan"), float("nan"))
    return _between(value, resampled[np.isfinite(resampled)], correction.shares(_tails()))


def bca_correction(
    value: float,
    resampled: Float[np.ndarray, " resamples"],
    jackknifed: Float[np.ndarray, " patients"],
) -> Correction | None:
    """Return the bias correction and acceleration, or None where something is not defined.

    Efron, Better bootstrap confidence intervals, 1987 (https://doi.org/10.2307/2289144). The
    acceleration comes from the jackknife over patients. Undefined values are left out of both. A
    value outside all resamples is treated as if half a resample were beyond it.
    """
    resampled, jackknifed = resampled[np.isfinite(resampled)], jackknifed[np.isfinite(jackknifed)]
    if not (resampled.size and jackknifed.size and np.isfinite(value)):
        return None
    below = (np.mean(resampled < value) + np.mean(resampled <= value)) / 2
    half = 0.5 / len(resampled)
    bias = norm.ppf(np.clip(below, half, 1 - half))
    influence = jackknifed.mean() - jackknifed
    spread = (influence**2).sum() ** 1.5
    acceleration = (influence**3).sum() / (6 * spread) if spread > 0 else 0.0
    return Correction(float(bias), float(acceleration))


def _tails() -> Float[np.ndarray, " 2"]:
    return np.array([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])


def _between(
    value: float, resampled: Float[np.ndarray, " resamples"], shares: Float[np.ndarray, " 2"]
) -> Interval:
    if not (resampled.size and np.isfinite(value)):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(resampled, shares)
    return Interval(value, float(low), float(high))


def patient_ids(patients: pd.Series) -> np.ndarray:
    """Return a name per record for the bootstrap; a record of no known patient is its own."""
    own = pd.Series([f"record {number}" for number in range(len(patients))], index=patients.index)
    return patients.where(patients.notna(), own).to_numpy(dtype=str)
