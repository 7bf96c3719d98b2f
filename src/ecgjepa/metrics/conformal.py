"""Sets of labels that hold the true one with a chosen probability, and what they really cover.

Split conformal prediction (Vovk et al. 2005; Angelopoulos & Bates 2021,
https://arxiv.org/abs/2107.07511): thresholds are quantiles over calibration records, with the
finite-sample correction. The promise is for new records that are exchangeable with those: another
hospital is not, nor are several records of a patient independent. So coverage is always measured.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ecgjepa.errors import ScoreError
from ecgjepa.metrics.classification import Scores, Targets

Sets = Bool[np.ndarray, "records labels"]


class LabelSets(NamedTuple):
    """Thresholds fitted on calibration records.

    Attributes:
        kind: ``per-label`` for a multi-label task, ``lac`` for one label per record.
        coverage: What was asked for, e.g. 0.9.
        thresholds: Least probability of a label in the set: one for each label (-inf where there
            are too few positives to promise anything, so that the label is in every set), or, with
            ``lac``, one for all.
    """

    kind: Literal["per-label", "lac"]
    coverage: float
    thresholds: Float[np.ndarray, " thresholds"]

    def predict(self, probabilities: Scores) -> Sets:
        """Return which labels are in the set of each new record."""
        return probabilities >= self.thresholds


class MeasuredCoverage(NamedTuple):
    """What label sets did on records with known labels; NaN for a label without positives."""

    per_label: Float[np.ndarray, " labels"]
    overall: float
    mean_size: float
    share_empty: float


def fit_label_sets(targets: Targets, probabilities: Scores, *, coverage: float = 0.9) -> LabelSets:
    """Return sets for a multi-label task: each label is in the set of its share of positives.

    Per label, of new records that have it, at least ``coverage`` have it in their set. A label
    with n positives can promise that only if n + 1 >= 1 / (1 - coverage).

    Raises:
        ScoreError: If ``coverage`` is not between 0 and 1, or a probability is not a number.
    """
    _check(probabilities, coverage)
    thresholds = [
        -_quantile(-probabilities[positive, column], coverage)
        for column, positive in enumerate(targets.T)
    ]
    return LabelSets("per-label", coverage, np.array(thresholds))


def fit_single_label_sets(
    targets: Targets, probabilities: Scores, *, coverage: float = 0.9
) -> LabelSets:
    """Return sets for a task with one label per record: the true label is in a share of them.

    These are the least ambiguous sets (Sadinle et al. 2019): the smallest on average, possibly
    empty.

    Args:
        targets: Labels of the calibration records.
        probabilities: What the model says of them.
        coverage: Share of new records whose set holds their label.

    Raises:
        ScoreError: As `fit_label_sets`, or if a record has not exactly one label.
    """
    _check(probabilities, coverage)
    if wrong := int((targets.sum(axis=1) != 1).sum()):
        raise ScoreError(f"{wrong} of {len(targets)} records have not exactly one label")
    threshold = -_quantile(-probabilities[targets], coverage)
    return LabelSets("lac", coverage, np.array([threshold]))


def fit_half_widths(
    targets: Float[np.ndarray, "records labels"],
    values: Float[np.ndarray, "records labels"],
    *,
    coverage: float = 0.9,
) -> Float[np.ndarray, " labels"]:
    """Return the half-width of an interval about each predicted value of a regression.

    The share ``coverage`` of the true values of new records is in their intervals. A half-width is
    infinite where there are too few records to promise that.

    Args:
        targets: True values of the calibration records.
        values: Predicted values of the calibration records.
        coverage: Share between 0 and 1.

    Raises:
        ScoreError: If ``coverage`` is not between 0 and 1, or a value is not a number.
    """
    residuals = np.abs(targets - values)
    _check(residuals, coverage, "values")
    return np.array([_quantile(column, coverage) for column in residuals.T])


def measure_coverage(targets: Targets, sets: Sets) -> MeasuredCoverage:
    """Return how many of the true labels the sets hold, per label and in all, and their size."""
    positives = targets.sum(axis=0)
    held = (targets & sets).sum(axis=0)
    return MeasuredCoverage(
        per_label=np.where(positives > 0, held / np.maximum(positives, 1), np.nan),
        overall=float(held.sum() / positives.sum()) if positives.sum() else math.nan,
        mean_size=float(sets.sum(axis=1).mean()),
        share_empty=float((~sets.any(axis=1)).mean()),
    )


def _check(outputs: Scores, coverage: float, what: str = "probabilities") -> None:
    if not 0 < coverage < 1:
        raise ScoreError(f"coverage {coverage}: expected a share between 0 and 1, e.g. 0.9")
    if not np.isfinite(outputs).all():
        raise ScoreError(f"some calibration {what} are not finite")


def _quantile(scores: Float[np.ndarray, " records"], coverage: float) -> float:
    """Return the ceil((n + 1) coverage)-th smallest score; infinite where n is too small."""
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf
