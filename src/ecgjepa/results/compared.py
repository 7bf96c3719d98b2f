"""Two models' predictions of the same test records, compared."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from ecgjepa.errors import ScoreError
from ecgjepa.metrics.bootstrap import NUM_RESAMPLES, Method, PatientBootstrap
from ecgjepa.metrics.paired import Comparison, choose_metric, compare_models
from ecgjepa.results.layout import PRE_TRAINED
from ecgjepa.results.predictions import Predictions, read_predictions

# What two models are compared by, as the mean over the labels or values.
METRIC_WORDS = {
    "auroc": "macro AUROC",
    "average_precision": "mean average precision",
    "brier": "mean Brier score",
    "log_loss": "mean log-loss",
    "r2": "mean R²",
    "mean_absolute_error": "mean absolute error",
}


def compare_predictions(
    first: str | Path | Sequence[str | Path],
    second: str | Path | Sequence[str | Path],
    *,
    model: str = PRE_TRAINED,
    second_model: str | None = None,
    metric: str | None = None,
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
        metric: What to compare, as the mean over the labels: ``auroc`` (the usual one),
            ``average_precision``, ``brier`` or ``log_loss``; in a regression ``r2`` (the usual one)
            or ``mean_absolute_error``.
        method: ``percentile`` or ``bca``.
        num_resamples: How many.
        seed: Of the resamples.
        min_positives: Labels with fewer positive, or fewer negative, records are in no mean; not
            for a regression.

    Raises:
        ScoreError: If a file, model or label is missing, no label has enough positives, the
            records are not the same, the labels of a record differ, a probability is not
            finite, a regression is to be compared with labels, or the metric is of the other kind.

    Example:
        >>> import ecgjepa
        >>> found = ecgjepa.compare_predictions("runs/probe", "runs/tuned")
        >>> found.difference.low <= found.difference.value <= found.difference.high
        True
    """
    ours = _read_runs(first, model)
    theirs = _read_runs(second, second_model or model)
    reference = ours[0][1]
    metric = choose_metric(metric, regression=reference.is_regression)
    beside = ours[0][0]
    ours, theirs = (
        [(name, _align(run, reference, name, beside)) for name, run in runs]
        for runs in (ours, theirs)
    )
    chosen = _frequent(reference, min_positives)
    compared = compare_models(
        reference.targets[:, chosen],
        [run.outputs[:, chosen] for _, run in ours],
        [run.outputs[:, chosen] for _, run in theirs],
        tuple(np.array(reference.labels)[chosen].tolist()),
        PatientBootstrap(reference.patients, num_resamples=num_resamples, seed=seed),
        metric=metric,
        method=method,
    )
    left_out = np.array(reference.labels)[~chosen].tolist()
    return compared._replace(undefined_labels=(*left_out, *compared.undefined_labels))


def _frequent(predictions: Predictions, least: int) -> Bool[np.ndarray, " labels"]:
    """Return which labels have enough positive and negative records; all of a regression.

    Raises:
        ScoreError: If none has, or a regression is asked for them.
    """
    targets = predictions.targets
    if predictions.is_regression:
        if least > 0:
            raise ScoreError(f"min_positives is {least}, but nothing is positive in a regression")
        return np.ones(len(predictions.labels), np.bool_)
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
    places = [Path(path).resolve() for path in listed]
    if twice := sorted({str(path) for path in places if places.count(path) > 1}):
        raise ScoreError(f"{twice[0]}: is given twice; a run counts once")
    return [(str(path), read_predictions(path, model)) for path in listed]


def _align(run: Predictions, reference: Predictions, name: str, beside: str) -> Predictions:
    """Return a run with records and labels in the reference's order.

    A record is known by its database and its id; by the id alone where a file of version 1 names
    no databases.

    Raises:
        ScoreError: If the kind of task, records, labels or targets are not the same.
    """
    if run.is_regression != reference.is_regression:
        kinds = [
            "values of a regression" if one.is_regression else "probabilities of labels"
            for one in (run, reference)
        ]
        raise ScoreError(f"{name}: holds {kinds[0]}, {beside} {kinds[1]}; only alike compare")
    by_pair = run.names_databases and reference.names_databases
    ours, theirs = _records(run, by_pair), _records(reference, by_pair)
    _same("labels", run.labels, reference.labels, name, beside)
    _same("test records", ours, theirs, name, beside)
    if not (ours.is_unique and theirs.is_unique):
        raise ScoreError(
            f"{name}: records of several databases have the same id, and one of the files is of "
            "format version 1 and does not name the databases; evaluate it anew"
        )
    rows = ours.get_indexer(theirs)
    columns = [run.labels.index(label) for label in reference.labels]
    targets = run.targets[rows][:, columns]
    what = "values" if run.is_regression else "labels"
    if differing := int((targets != reference.targets).any(axis=1).sum()):
        raise ScoreError(
            f"{name}: {differing} of {len(targets)} records have other true {what} than in "
            f"{beside}; were the tasks built from the same tables?"
        )
    return reference._replace(targets=targets, outputs=run.outputs[rows][:, columns])


def _records(predictions: Predictions, by_pair: bool) -> pd.Index:
    """Return what tells each record from the others: database and id, or the id alone."""
    if not by_pair:
        return pd.Index(predictions.record_ids)
    return pd.MultiIndex.from_arrays([predictions.databases, predictions.record_ids])


def _same(what: str, ours: Iterable[Any], theirs: Iterable[Any], name: str, beside: str) -> None:
    """Raise `ScoreError` if a run has other labels or records than the one that it is beside."""
    here, there = set(ours), set(theirs)
    if here != there:
        only, lacking = (
            sorted("/".join(one) if isinstance(one, tuple) else one for one in some)
            for some in (here - there, there - here)
        )
        differences = [
            f"{len(some):,} {words} ({', '.join(some[:3])}{', …' if len(some) > 3 else ''})"
            for some, words in ((only, "more"), (lacking, "missing"))
            if some
        ]
        raise ScoreError(
            f"{name}: its {what} are not those of {beside}: {' and '.join(differences)}; only the "
            f"same {what} compare: evaluate both with the same "
            f"{'--task' if what == 'labels' else '--data and --test-folds'}"
        )
