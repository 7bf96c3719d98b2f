"""Is one model better than another? Paired differences on the same test records.

Both models are scored on the same resamples of the patients, so what makes a resample easy or hard
cancels. Runs (seeds) of a model are not patients: a model's score in a resample is the mean over
its runs, and how much the runs differ among themselves is said separately. The interval is thus
about other patients, for these runs. Labels have other metrics than the values of a regression.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from ecgjepa.metrics.jackknife import left_out_scores
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

    def __repr__(self) -> str:
        """Return scores, difference and p-value on one line, without those of each label."""
        low, high = self.difference.low, self.difference.high
        return (
            f"Comparison(macro {self.metric}, {self.records} records of {self.patients} "
            f"patients: {self.first.score.value:.4f} and {self.second.score.value:.4f}, difference "
            f"{self.difference.value:+.4f} ({low:+.4f} to {high:+.4f}), p={self.p_value:.3g})"
        )

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

    def runs_of(score: Callable[[Scores], PerLabel]) -> Float[np.ndarray, "models labels copies"]:
        """Return each model's score per label, averaged over its runs."""
        return np.stack([sum(map(score, runs)) / len(runs) for runs in (first, second)])

    point = runs_of(lambda run: score_of(targets, run, ones(len(targets))))
    both = _Replicates(
        point,
        runs_of(lambda run: score_of(targets, run, bootstrap.weights)),
        runs_of(lambda run: left_out_scores(metric, targets, run, bootstrap.patient_of))
        if method == "bca"
        else None,
    )
    gap = both.map(lambda values: macro(values[0] - values[1]))
    per_run = [
        tuple(float(macro(score_of(targets, run, ones(len(targets))))[0]) for run in runs)
        for runs in (first, second)
    ]
    positives = [None] * len(labels) if is_regression else targets.sum(axis=0).tolist()
    return Comparison(
        metric=metric,
        first=_model_score(both.map(lambda values: macro(values[0])), per_run[0]),
        second=_model_score(both.map(lambda values: macro(values[1])), per_run[1]),
        difference=gap.interval(),
        p_value=gap.p_value(),
        labels=tuple(
            LabelDifference(
                label,
                count,
                None if count is None else count < FEW_POSITIVES,
                both.map(partial(_gap_in, column)).interval(),
            )
            for column, (label, count) in enumerate(zip(labels, positives, strict=True))
        ),
        undefined_labels=tuple(np.array(labels)[~np.isfinite(point[0, :, 0])].tolist()),
        records=len(targets),
        patients=bootstrap.num_patients,
    )


@dataclass(frozen=True)
class _Replicates:
    """The same quantity of the records as they are and of changed ones, along the last axis.

    Attributes:
        point: The quantity of the records as they are; the last axis has length 1.
        resampled: The quantity of each resample of the patients.
        left_out: The quantity without each patient in turn; None for percentile intervals.
    """

    point: np.ndarray
    resampled: np.ndarray
    left_out: np.ndarray | None

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> "_Replicates":
        """Return another quantity, computed from this one for all replicates alike."""
        left_out = None if self.left_out is None else change(self.left_out)
        return _Replicates(change(self.point), change(self.resampled), left_out)

    def interval(self) -> Interval:
        """Return the 95 % interval of a single number."""
        value = float(self.point[0])
        if self.left_out is None:
            return interval(value, self.resampled)
        return bca_interval(value, self.resampled, self.left_out)

    def p_value(self) -> float:
        """Return the p-value of a single number being 0, by the method of the interval."""
        if self.left_out is None:
            return p_value(self.resampled)
        value = float(self.point[0])
        # Seen from the higher score: rounding then does not depend on which is the first.
        sign = -1 if value < 0 else 1
        gaps = sign * self.resampled
        correction = bca_correction(sign * value, gaps, sign * self.left_out)
        return float("nan") if correction is None else p_value(gaps, correction)


def _model_score(scores: _Replicates, runs: tuple[float, ...]) -> ModelScore:
    std = float(np.std(runs, ddof=1)) if len(runs) > 1 else float("nan")
    return ModelScore(scores.interval(), runs, std)


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
