"""Is one model better than another? Paired differences on the same test records.

Both models are scored on the same resamples of the patients, so what makes a resample easy or hard
cancels. Runs (seeds) of a model are not patients: a model's score in a resample is the mean over
its runs, and how much the runs differ among themselves is said separately. The interval is thus
about other patients, for these runs. Labels have other metrics than the values of a regression.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from ecgjepa.errors import ScoreError
from ecgjepa.files import as_json
from ecgjepa.metrics.bootstrap import (
    Correction,
    Interval,
    Method,
    PatientBootstrap,
    bca_correction,
    bca_interval,
    interval,
)
from ecgjepa.metrics.classification import (
    FEW_POSITIVES,
    PerLabel,
    Scores,
    Weights,
    brier_scores,
    check_scores,
    log_losses,
    macro,
    ones,
    ranking_scores,
)
from ecgjepa.metrics.regression import label_scores

# By kind of task; the first is the one that is compared if none is named.
_OF_LABELS: dict[str, Callable[[Any, Scores, Weights], PerLabel]] = {
    "auroc": lambda *given: ranking_scores(*given).auroc,
    "average_precision": lambda *given: ranking_scores(*given).average_precision,
    "brier": brier_scores,
    "log_loss": log_losses,
}
_OF_VALUES: dict[str, Callable[[Any, Scores, Weights], PerLabel]] = {
    "r2": lambda *given: label_scores(*given)["r2"],
    "mean_absolute_error": lambda *given: label_scores(*given)["mae"],
}
_LESS_IS_BETTER = ("brier", "log_loss", "mean_absolute_error")


class ModelScore(NamedTuple):
    """A model's macro score.

    Attributes:
        score: Mean over its runs, with the interval over patients.
        runs: Score of each run.
        std_over_runs: Their standard deviation; NaN of a single run.
    """

    score: Interval
    runs: tuple[float, ...]
    std_over_runs: float


class LabelDifference(NamedTuple):
    """One label's difference; NaN where it is undefined. In a regression nothing is positive."""

    label: str
    positives: int | None
    few_positives: bool | None
    difference: Interval


class Comparison(NamedTuple):
    """Two models on the same records; differences are first minus second.

    Attributes:
        metric: The score; of ``brier``, ``log_loss`` and ``mean_absolute_error`` less is better.
        first: Of the first model.
        second: Of the second.
        difference: Of their macro scores.
        p_value: Two-sided, of no difference, by the same method as the intervals.
        labels: Per label; their intervals are not adjusted for their number.
        undefined_labels: Labels without (or with too few) positive or negative records, or whose
            true values do not vary, in no mean.
        records: Records scored.
        patients: Patients resampled.
    """

    metric: str
    first: ModelScore
    second: ModelScore
    difference: Interval
    p_value: float
    labels: tuple[LabelDifference, ...]
    undefined_labels: tuple[str, ...]
    records: int
    patients: int

    @property
    def less_is_better(self) -> bool:
        """Whether the first model is better where the difference is below 0."""
        return self.metric in _LESS_IS_BETTER

    def as_dict(self) -> dict[str, Any]:
        """Return the same for a JSON file, undefined values as null."""
        content = self._asdict() | {
            "first": self.first._asdict(),
            "second": self.second._asdict(),
            "labels": [label._asdict() for label in self.labels],
        }
        return dict(as_json(content))


def choose_metric(name: str | None, *, regression: bool) -> str:
    """Return a metric's name, the usual one for None.

    Raises:
        ScoreError: If there is none of that name, or it is of the other kind of task.
    """
    known, others = (_OF_VALUES, _OF_LABELS) if regression else (_OF_LABELS, _OF_VALUES)
    if name is None:
        return next(iter(known))
    if name in known:
        return name
    words = "predicted values" if regression else "probabilities of labels"
    problem = (
        f"metric {name!r} is not for {words}" if name in others else f"unknown metric {name!r}"
    )
    raise ScoreError(f"{problem}: expected one of {', '.join(known)}")


def compare_models(
    targets: Shaped[np.ndarray, "records labels"],
    first: Sequence[Scores],
    second: Sequence[Scores],
    labels: tuple[str, ...],
    bootstrap: PatientBootstrap,
    *,
    metric: str | None = None,
    method: Method = "percentile",
) -> Comparison:
    """Compare the runs of two models on the same records.

    Args:
        targets: Labels of the records, as truth values; of a regression, true values in any unit.
        first: Probabilities, or predicted values, of each run of the first model.
        second: The same of the second; the numbers of runs may differ.
        labels: Names.
        bootstrap: Resamples of the records' patients.
        metric: What to compare, as the mean over the labels: ``auroc`` (the usual one),
            ``average_precision``, ``brier``, ``log_loss``; in a regression ``r2`` (the usual one)
            or ``mean_absolute_error``, whose mean is over values of different units if they have
            different units.
        method: ``percentile`` or ``bca``.

    Raises:
        ScoreError: If scores do not fit or are not numbers, or there is no such metric.
    """
    is_regression = targets.dtype != np.bool_
    metric = choose_metric(metric, regression=is_regression)
    score_of = (_OF_VALUES if is_regression else _OF_LABELS)[metric]
    if not (first and second):
        raise ScoreError("each model needs at least one run")
    for scores in (*first, *second):
        check_scores(scores, targets, labels)

    def both(weights: Weights) -> Float[np.ndarray, "models labels resamples"]:
        """Return each model's score per label, averaged over its runs."""
        means = [
            sum(score_of(targets, run, weights) for run in runs) / len(runs)
            for runs in (first, second)
        ]
        return np.stack(means)

    point, resampled = both(ones(len(targets))), bootstrap.resample(both)
    left_out = bootstrap.jackknife(both) if method == "bca" else None

    def bounded(pick: Callable[[np.ndarray], np.ndarray]) -> Interval:
        value = float(pick(point)[0])
        if left_out is None:
            return interval(value, pick(resampled))
        return bca_interval(value, pick(resampled), pick(left_out))

    defined = np.isfinite(point[0, :, 0])
    scored: list[ModelScore] = []
    for number, runs in enumerate((first, second)):
        each = [float(macro(score_of(targets, run, ones(len(targets))))[0]) for run in runs]
        std = float(np.std(each, ddof=1)) if len(each) > 1 else float("nan")
        scored.append(ModelScore(bounded(partial(_macro_of, number)), tuple(each), std))
    positives = [None] * len(labels) if is_regression else targets.sum(axis=0).tolist()
    return Comparison(
        metric=metric,
        first=scored[0],
        second=scored[1],
        difference=bounded(_macro_gap),
        p_value=_p_value_of(point, resampled, left_out),
        labels=tuple(
            LabelDifference(
                label,
                count,
                None if count is None else count < FEW_POSITIVES,
                bounded(partial(_gap_in, column)),
            )
            for column, (label, count) in enumerate(zip(labels, positives, strict=True))
        ),
        undefined_labels=tuple(np.array(labels)[~defined].tolist()),
        records=len(targets),
        patients=bootstrap.num_patients,
    )


def _p_value_of(point: np.ndarray, resampled: np.ndarray, left_out: np.ndarray | None) -> float:
    """Return the p-value of no macro difference, by the method of the interval."""
    if left_out is None:
        return p_value(_macro_gap(resampled))
    value = float(_macro_gap(point)[0])
    # Seen from the higher score: rounding then does not depend on which is the first.
    sign = -1 if value < 0 else 1
    gaps = sign * _macro_gap(resampled)
    correction = bca_correction(sign * value, gaps, sign * _macro_gap(left_out))
    return float("nan") if correction is None else p_value(gaps, correction)


def _macro_of(model: int, values: np.ndarray) -> np.ndarray:
    return macro(values[model])


def _macro_gap(values: np.ndarray) -> np.ndarray:
    return macro(values[0] - values[1])


def _gap_in(label: int, values: np.ndarray) -> np.ndarray:
    return values[0, label] - values[1, label]


def p_value(
    differences: Float[np.ndarray, " resamples"], correction: Correction | None = None
) -> float:
    """Return the two-sided p-value of no difference, by inverting the interval.

    Twice the share of resamples on the rarer side of 0, one being added above and below the line so
    that it is never 0; of a BCa interval, twice the level whose bound has that share beyond it. It
    is below 0.05 only where the 95 % interval excludes 0. Bounds are interpolated between
    resamples, so the interval may exclude 0 and p be a little above 0.05 where one resample less
    on that side (in BCa up to two) would bring it below.

    Args:
        differences: Of the resamples; those that are not defined are left out.
        correction: Of a BCa interval; None for the percentile interval.
    """
    differences = differences[np.isfinite(differences)]
    if not differences.size:
        return float("nan")
    below = _level(int((differences <= 0).sum()), len(differences), correction)
    mirrored = None if correction is None else correction.mirrored()
    above = _level(int((differences >= 0).sum()), len(differences), mirrored)
    return min(1.0, max(2 * min(below, above), 2 / (1 + len(differences))))


def _level(beyond: int, resamples: int, correction: Correction | None) -> float:
    """Return the one-sided level at which a bound leaves that many resamples beyond it."""
    # The second share is the larger one past the middle, where only BCa ever puts a bound.
    share = max((1 + beyond) / (1 + resamples), beyond / max(1, resamples - 1))
    return share if correction is None else correction.level(share)
