"""How unlike the training records a record is: Mahalanobis distance of its features.

Lee et al. 2018 (https://arxiv.org/abs/1807.03888), with one mean for all records, since one record
may have several labels. The covariance is shrunk (Ledoit & Wolf 2004), so that it can be inverted
with more features than records.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve
from sklearn.covariance import LedoitWolf

from ecgjepa.errors import ScoreError
from ecgjepa.evaluation.bootstrap import PatientBootstrap
from ecgjepa.evaluation.metrics import Weights, ranking_scores

Features = Float[np.ndarray, "records dim"]
Distances = Float[np.ndarray, " records"]

# Share of in-distribution records that are passed when a threshold must be named.
PASSED = 0.95


class FeatureDistribution(NamedTuple):
    """Mean and shrunk covariance of standardised training features."""

    mean: Float[np.ndarray, " dim"]
    scale: Float[np.ndarray, " dim"]
    factor: Float[np.ndarray, "dim dim"]
    shrinkage: float

    def distances(self, features: Features) -> Distances:
        """Return the Mahalanobis distance of each record, divided by the root of the dimension.

        Raises:
            ScoreError: If a feature is no finite number.
        """
        _check(features, "new")
        standardised = (features - self.mean) / self.scale
        solved = cho_solve((self.factor, True), standardised.T)
        squared = (standardised * solved.T).sum(axis=1)
        return np.sqrt(np.maximum(squared, 0.0) / features.shape[1])


def fit_distribution(features: Features) -> FeatureDistribution:
    """Fit the distribution of training features; a constant feature counts in its own unit.

    Raises:
        ScoreError: If there are fewer than 2 records or a feature is no finite number.
    """
    _check(features, "training")
    if len(features) < 2:
        raise ScoreError(f"{len(features)} training records; a covariance takes at least 2")
    features = features.astype(np.float64)
    mean, std = features.mean(axis=0), features.std(axis=0)
    # What varies by no more than rounding is constant.
    scale = np.where(std > 1e-6 * np.abs(mean), std, 1.0)
    fitted = LedoitWolf(assume_centered=True).fit((features - mean) / scale)
    covariance = fitted.covariance_
    if not fitted.shrinkage_:  # a constant feature would leave it singular
        covariance = covariance + 1e-9 * np.trace(covariance) / len(covariance) * np.eye(len(mean))
    factor, _ = cho_factor(covariance, lower=True)
    return FeatureDistribution(mean, scale, factor, float(fitted.shrinkage_))


def evaluate_detection(
    inside: Float[np.ndarray, " inside"],
    outside: Float[np.ndarray, " outside"],
    *,
    inside_patients: np.ndarray | None = None,
    outside_patients: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return how well distances tell other records from those like the training ones.

    Args:
        inside: Distances of held-out records of the training distribution.
        outside: Distances of others: another database, or noise.
        inside_patients: Patient of each record, for the interval; each its own by default.
        outside_patients: The same of the others.

    Returns:
        ``auroc`` with its 95 % interval over patients; ``share_detected`` at the threshold that
        passes 95 % of the inside records; counts.

    Raises:
        ScoreError: If either is empty or holds values that are no finite numbers.
    """
    for name, values in (("inside", inside), ("outside", outside)):
        if not len(values) or not np.isfinite(values).all():
            raise ScoreError(f"{name}: {len(values)} distances, which must be finite, and some")
    targets = np.r_[np.zeros(len(inside), bool), np.ones(len(outside), bool)][:, None]
    scores = np.r_[inside, outside].astype(np.float64)[:, None]
    patients = np.concatenate(
        [
            _named("in", inside_patients, len(inside)),
            _named("out", outside_patients, len(outside)),
        ]
    )

    def auroc(weights: Weights) -> np.ndarray:
        return ranking_scores(targets, scores, weights).auroc[0]

    threshold = float(np.quantile(inside, PASSED))
    return {
        "auroc": PatientBootstrap(patients).interval(auroc),
        "threshold": threshold,
        "share_detected": float((outside > threshold).mean()),
        "inside": len(inside),
        "outside": len(outside),
    }


def _named(group: str, patients: np.ndarray | None, count: int) -> np.ndarray:
    return np.array(
        [f"{group} {name}" for name in (range(count) if patients is None else patients)]
    )


def _check(features: Features, which: str) -> None:
    wrong = ~np.isfinite(features)
    if wrong.any():
        raise ScoreError(
            f"{int(wrong.any(axis=1).sum())} of {len(features)} {which} records have features that "
            "are no finite numbers; leave them out, and say how many"
        )
