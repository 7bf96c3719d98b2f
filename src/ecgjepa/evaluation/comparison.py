"""Is one model better than another? Paired differences on the same test records.

Both models are scored on the same resamples of the patients, so what makes a resample easy or hard
cancels. Runs (seeds) of a model are not patients: a model's score in a resample is the mean over
its runs, and how much the runs differ among themselves is said separately. The interval is thus
about other patients, for these runs.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from ecgjepa.errors import ScoreError
from ecgjepa.evaluation.bootstrap import (
    NUM_RESAMPLES,
    Interval,
    Method,
    PatientBootstrap,
    bca_interval,
    interval,
)
from ecgjepa.evaluation.metrics import (
    FEW_POSITIVES,
    PerLabel,
    Scores,
    Targets,
    Weights,
    as_json,
    brier_scores,
    check_scores,
    log_losses,
    macro,
    ones,
    patient_ids,
    ranking_scores,
)

_METRICS: dict[str, Callable[[Targets, Scores, Weights], PerLabel]] = {
    "auroc": lambda *given: ranking_scores(*given).auroc,
    "average_precision": lambda *given: ranking_scores(*given).average_precision,
    "brier": brier_scores,
    "log_loss": log_losses,
}


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
    """One label's difference; NaN where the label is undefined."""

    label: str
    positives: int
    few_positives: bool
    difference: Interval


class Comparison(NamedTuple):
    """Two models on the same records; differences are first minus second.

    Attributes:
        metric: The score; of ``brier`` and ``log_loss`` less is better.
        first: Of the first model.
        second: Of the second.
        difference: Of their macro scores.
        p_value: Two-sided, of no difference.
        labels: Per label; their intervals are not adjusted for their number.
        undefined_labels: Labels without (or with too few) positive or negative records, in no
            mean.
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

    def as_dict(self) -> dict[str, Any]:
        """Return the same for a JSON file, undefined values as null."""
        content = self._asdict() | {
            "first": self.first._asdict(),
            "second": self.second._asdict(),
            "labels": [label._asdict() for label in self.labels],
        }
        return dict(as_json(content))


class Predictions(NamedTuple):
    """One model's probabilities of the test records, as an evaluation wrote them."""

    record_ids: np.ndarray
    patients: np.ndarray
    labels: tuple[str, ...]
    targets: Targets
    probabilities: Scores


def compare_predictions(
    first: str | Path | Sequence[str | Path],
    second: str | Path | Sequence[str | Path],
    *,
    model: str = "pre-trained",
    second_model: str | None = None,
    metric: str = "auroc",
    method: Method = "percentile",
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    min_positives: int = 0,
) -> Comparison:
    """Compare two models by the predictions of their evaluations.

    Args:
        first: Folder of a probe or fine-tuning, or its ``predictions.parquet``; several are runs of
            the same model.
        second: The same of the other model.
        model: Whose predictions to take from the files.
        second_model: The same in ``second``, if it differs, e.g. ``untrained``.
        metric: Macro score to compare: ``auroc``, ``average_precision``, ``brier``, ``log_loss``.
        method: ``percentile`` or ``bca``.
        num_resamples: How many.
        seed: Of the resamples.
        min_positives: Labels with fewer positive, or fewer negative, records are in no mean.

    Raises:
        ScoreError: If a file, model or label is missing, no label has enough positives, the
            records are not the same, the labels of a record differ, or a probability is no number.
    """
    ours = _read_runs(first, model)
    theirs = _read_runs(second, second_model or model)
    reference = ours[0][1]
    ours, theirs = (
        [(name, _align(run, reference, name)) for name, run in runs] for runs in (ours, theirs)
    )
    chosen = _frequent(reference, min_positives)
    compared = compare(
        reference.targets[:, chosen],
        [run.probabilities[:, chosen] for _, run in ours],
        [run.probabilities[:, chosen] for _, run in theirs],
        tuple(np.array(reference.labels)[chosen].tolist()),
        PatientBootstrap(reference.patients, num_resamples=num_resamples, seed=seed),
        metric=metric,
        method=method,
    )
    left_out = np.array(reference.labels)[~chosen].tolist()
    return compared._replace(undefined_labels=(*left_out, *compared.undefined_labels))


def compare(
    targets: Targets,
    first: Sequence[Scores],
    second: Sequence[Scores],
    labels: tuple[str, ...],
    bootstrap: PatientBootstrap,
    *,
    metric: str = "auroc",
    method: Method = "percentile",
) -> Comparison:
    """Compare the runs of two models on the same records.

    Args:
        targets: Labels of the records.
        first: Probabilities of each run of the first model.
        second: The same of the second; the numbers of runs may differ.
        labels: Names.
        bootstrap: Resamples of the records' patients.
        metric: Macro score to compare: ``auroc``, ``average_precision``, ``brier``, ``log_loss``.
        method: ``percentile`` or ``bca``.

    Raises:
        ScoreError: If scores do not fit or are no numbers, or there is no such metric.
    """
    if metric not in _METRICS:
        raise ScoreError(f"unknown metric {metric!r}: expected one of {', '.join(_METRICS)}")
    if not (first and second):
        raise ScoreError("each model needs at least one run")
    for scores in (*first, *second):
        check_scores(scores, targets, labels)

    def both(weights: Weights) -> Float[np.ndarray, "models labels resamples"]:
        """Return each model's score per label, averaged over its runs."""
        means = [
            sum(_METRICS[metric](targets, run, weights) for run in runs) / len(runs)
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

    positives = targets.sum(axis=0)
    defined = np.isfinite(point[0, :, 0])
    scored: list[ModelScore] = []
    for number, runs in enumerate((first, second)):
        each = [float(macro(_METRICS[metric](targets, run, ones(len(targets))))[0]) for run in runs]
        std = float(np.std(each, ddof=1)) if len(each) > 1 else float("nan")
        score = bounded(partial(_macro_of, number))
        scored.append(ModelScore(score, tuple(each), std))
    return Comparison(
        metric=metric,
        first=scored[0],
        second=scored[1],
        difference=bounded(lambda values: macro(values[0] - values[1])),
        p_value=p_value(macro(resampled[0] - resampled[1])),
        labels=tuple(
            LabelDifference(
                label,
                int(positives[column]),
                bool(positives[column] < FEW_POSITIVES),
                bounded(partial(_gap_in, column)),
            )
            for column, label in enumerate(labels)
        ),
        undefined_labels=tuple(np.array(labels)[~defined].tolist()),
        records=len(targets),
        patients=bootstrap.num_patients,
    )


def _macro_of(model: int, values: np.ndarray) -> np.ndarray:
    return macro(values[model])


def _gap_in(label: int, values: np.ndarray) -> np.ndarray:
    return values[0, label] - values[1, label]


def p_value(differences: Float[np.ndarray, " resamples"]) -> float:
    """Return the two-sided p-value of no difference, by inverting the percentile interval.

    Twice the share of resamples on the rarer side of 0, one being added above and below the line so
    that it is never 0: it is below 0.05 where the 95 % interval excludes 0.
    """
    differences = differences[np.isfinite(differences)]
    if not differences.size:
        return float("nan")
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (1 + rarer) / (1 + len(differences)))


def _frequent(predictions: Predictions, least: int) -> Bool[np.ndarray, " labels"]:
    """Return which labels have enough positive and negative records.

    Raises:
        ScoreError: If none has.
    """
    targets = predictions.targets
    chosen = np.minimum(targets.sum(axis=0), (~targets).sum(axis=0)) >= least
    if not chosen.any():
        raise ScoreError(
            f"none of {len(chosen)} labels has {least} positive and {least} negative records among "
            f"the {len(targets)} test records; lower min_positives, or test on more records"
        )
    return chosen


def _read_runs(
    paths: str | Path | Sequence[str | Path], model: str
) -> list[tuple[str, Predictions]]:
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    if not listed:
        raise ScoreError("each model needs at least one folder of predictions")
    return [(str(path), read_predictions(path, model)) for path in listed]


def read_predictions(path: str | Path, model: str = "pre-trained") -> Predictions:
    """Read one model's test predictions from an evaluation.

    Args:
        path: Folder of a probe or fine-tuning, or its ``predictions.parquet``.
        model: Which of its models.

    Raises:
        ScoreError: If the file or the model is missing, a record comes twice, or it is damaged.
    """
    file = Path(path)
    file = file / "predictions.parquet" if file.is_dir() else file
    try:
        table = pd.read_parquet(file)
    except FileNotFoundError:
        raise ScoreError(
            f"{file}: no such file; give the folder of a probe or fine-tuning"
        ) from None
    except (OSError, ValueError) as error:
        raise ScoreError(f"{file}: no readable Parquet file: {error}") from None
    if missing := {"model", "part", "record_id", "patient_id"} - set(table):
        raise ScoreError(f"{file}: columns {', '.join(sorted(missing))} are missing")
    rows = table[(table["model"] == model) & (table["part"] == "test")].reset_index(drop=True)
    if rows.empty:
        found = ", ".join(map(str, table["model"].unique()))
        raise ScoreError(f"{file}: no test predictions of model {model!r}; it has those of {found}")
    if twice := int(rows["record_id"].duplicated().sum()):
        raise ScoreError(f"{file}: {twice} records come twice")
    labels = tuple(name[7:] for name in map(str, rows) if name.startswith("target:"))
    return Predictions(
        record_ids=rows["record_id"].to_numpy(dtype=str),
        patients=patient_ids(rows["patient_id"]),
        labels=labels,
        targets=rows[[f"target:{label}" for label in labels]].to_numpy(dtype=np.bool_),
        probabilities=rows[[f"probability:{label}" for label in labels]].to_numpy(dtype=np.float64),
    )


def _difference(some: Sequence[str], others: Sequence[str]) -> list[str]:
    return sorted(set(some) - set(others))


def _align(run: Predictions, reference: Predictions, name: str) -> Predictions:
    """Return a run with records and labels in the reference's order.

    Raises:
        ScoreError: If records, labels or targets are not the same.
    """
    for what, ours, theirs in (
        ("labels", run.labels, reference.labels),
        ("test records", run.record_ids.tolist(), reference.record_ids.tolist()),
    ):
        only, lacking = _difference(ours, theirs), _difference(theirs, ours)
        if only or lacking:
            raise ScoreError(
                f"{name}: {what} are not those of the first run: {len(only)} more "
                f"{only[:3]}, {len(lacking)} missing {lacking[:3]}; only the same {what} compare"
            )
    rows = pd.Index(run.record_ids).get_indexer(pd.Index(reference.record_ids))
    columns = [run.labels.index(label) for label in reference.labels]
    targets = run.targets[rows][:, columns]
    if differing := int((targets != reference.targets).any(axis=1).sum()):
        raise ScoreError(
            f"{name}: {differing} of {len(targets)} records have other true labels than in the "
            "first run; were the tasks built from the same tables?"
        )
    return Predictions(
        reference.record_ids,
        reference.patients,
        reference.labels,
        targets,
        run.probabilities[rows][:, columns],
    )
