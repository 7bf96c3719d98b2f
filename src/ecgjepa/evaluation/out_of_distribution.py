"""Fit the distribution of training features, and measure what its distances detect.

See `ecgjepa.model.distribution`. The covariance is shrunk (Ledoit & Wolf 2004), so that it can be
inverted with more features than records.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import cholesky
from sklearn.covariance import LedoitWolf

from ecgjepa.errors import ScoreError
from ecgjepa.metrics.bootstrap import PatientBootstrap
from ecgjepa.metrics.classification import Weights, ranking_scores
from ecgjepa.model.distribution import (
    PASSED,
    DistributionConfig,
    FeatureDistribution,
    Features,
    check_finite,
)
from ecgjepa.protocols.features import standardise


class OutlierDetector(NamedTuple):
    """The distribution of training features, and its description in ``config.json``."""

    distribution: FeatureDistribution
    config: DistributionConfig


def fit_outlier_detector(
    training: Float[np.ndarray, "train dim"], validation: Float[np.ndarray, "validation dim"]
) -> OutlierDetector:
    """Fit the distribution of training features, and its threshold on the validation records.

    Raises:
        ScoreError: See `fit_distribution`.
    """
    distribution = fit_distribution(training)
    # A value that occurs: interpolated, it could pass less than the share it promises.
    threshold = np.quantile(distribution.distances(validation), PASSED, method="higher")
    config = DistributionConfig(
        records=len(training), shrinkage=distribution.shrinkage, threshold=float(threshold)
    )
    return OutlierDetector(distribution, config)


def fit_distribution(features: Features) -> FeatureDistribution:
    """Fit the distribution of training features; a constant feature counts in its own unit.

    Raises:
        ScoreError: If there are fewer than 2 records or a feature is not finite.
    """
    check_finite(features, "training")
    if len(features) < 2:
        raise ScoreError(f"{len(features)} training records; a covariance takes at least 2")
    standardised, mean, scale = standardise(features)
    fitted = LedoitWolf(assume_centered=True).fit(standardised)
    covariance = fitted.covariance_
    if not fitted.shrinkage_:  # a constant feature would leave it singular
        covariance = covariance + 1e-9 * np.trace(covariance) / len(covariance) * np.eye(len(mean))
    factor = cholesky(covariance, lower=True)
    return FeatureDistribution(mean, scale, factor, float(fitted.shrinkage_))


def evaluate_detection(
    inside: Float[np.ndarray, " inside"],
    outside: Float[np.ndarray, " outside"],
    *,
    inside_patients: np.ndarray | None = None,
    outside_patients: np.ndarray | None = None,
    same_patients: bool = False,
    threshold: float | None = None,
) -> dict[str, Any]:
    """Return how well distances tell other records from those like the training ones.

    Args:
        inside: Distances of held-out records of the training distribution.
        outside: Distances of others: another database, or noise.
        inside_patients: Patient of each record, for the interval; each its own by default.
        outside_patients: Patient of each of the other records.
        same_patients: Whether a name is the same patient in both; otherwise they are others.
        threshold: Above it a record is detected; by default what passes 95 % of the inside records.

    Returns:
        ``auroc`` with its 95 % interval over patients; ``share_detected`` of the outside records
        and ``false_alarms``, the share of the inside records above the threshold; counts.

    Raises:
        ScoreError: If either is empty or holds values that are not finite.
    """
    for name, values in (("inside", inside), ("outside", outside)):
        if not len(values) or not np.isfinite(values).all():
            raise ScoreError(
                f"{name}: expected at least one distance, all finite; found {len(values)}"
            )
    targets = np.r_[np.zeros(len(inside), bool), np.ones(len(outside), bool)][:, None]
    scores = np.r_[inside, outside].astype(np.float64)[:, None]
    patients = np.concatenate(
        [
            _named("in", inside_patients, len(inside)),
            _named("in" if same_patients else "out", outside_patients, len(outside)),
        ]
    )

    def auroc(weights: Weights) -> np.ndarray:
        return ranking_scores(targets, scores, weights).auroc[0]

    if threshold is None:
        threshold = float(np.quantile(inside, PASSED))
    return {
        "auroc": PatientBootstrap(patients).interval(auroc),
        "threshold": threshold,
        "share_detected": float((outside > threshold).mean()),
        "false_alarms": float((inside > threshold).mean()),
        "inside": len(inside),
        "outside": len(outside),
    }


def _named(group: str, patients: np.ndarray | None, count: int) -> np.ndarray:
    return np.array(
        [f"{group} {name}" for name in (range(count) if patients is None else patients)]
    )
