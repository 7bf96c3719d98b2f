"""The predictions that evaluations wrote: read, brought into one order, and compared."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from ecgjepa.errors import ScoreError
from ecgjepa.evaluation.folder import PRE_TRAINED, PREDICTIONS_FILE
from ecgjepa.metrics.bootstrap import NUM_RESAMPLES, Method, PatientBootstrap, patient_ids
from ecgjepa.metrics.classification import Scores
from ecgjepa.metrics.paired import Comparison, choose_metric, compare
from ecgjepa.protocols.outcome import Outcome
from ecgjepa.tasks.records import EvaluationData

# Columns of the truth and of what a model says of it: a probability, or a value of a regression.
_TRUTH, _OUTPUTS = "target", ("probability", "value")


class Predictions(NamedTuple):
    """What one model says of the test records, as an evaluation wrote it.

    Attributes:
        record_ids: Names.
        patients: Whose records they are; each record of no known patient is one's own.
        labels: Names of the labels, or of a regression's values.
        targets: True labels, as truth values; of a regression, true values.
        outputs: Probabilities; of a regression, predicted values in the same unit.
    """

    record_ids: np.ndarray
    patients: np.ndarray
    labels: tuple[str, ...]
    targets: Shaped[np.ndarray, "records labels"]
    outputs: Scores

    @property
    def is_regression(self) -> bool:
        """Whether values are predicted, not labels."""
        return self.targets.dtype != np.bool_


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
            records are not the same, the labels of a record differ, a probability is no number,
            a regression is to be compared with labels, or the metric is of the other kind.

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
    ours, theirs = (
        [(name, _align(run, reference, name)) for name, run in runs] for runs in (ours, theirs)
    )
    chosen = _frequent(reference, min_positives)
    compared = compare(
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


def read_predictions(path: str | Path, model: str = PRE_TRAINED) -> Predictions:
    """Read one model's test predictions from an evaluation.

    Args:
        path: Folder of a probe or fine-tuning, or its ``predictions.parquet``.
        model: Which of its models.

    Raises:
        ScoreError: If the file, the model or a column is missing, a record comes twice, a true
            label is neither 0 nor 1, or a truth or prediction is no finite number.
    """
    file = Path(path)
    file = file / PREDICTIONS_FILE if file.is_dir() else file
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
    labels, output = _columns(file, list(map(str, rows)))
    truth = _numbers(file, rows, _TRUTH, labels)
    return Predictions(
        record_ids=rows["record_id"].to_numpy(dtype=str),
        patients=patient_ids(rows["patient_id"]),
        labels=labels,
        targets=truth if output == "value" else _as_labels(file, truth, labels),
        outputs=_numbers(file, rows, output, labels),
    )


def _columns(file: Path, names: list[str]) -> tuple[tuple[str, ...], str]:
    """Return the labels and the kind of output that the columns are of.

    Raises:
        ScoreError: If there are none, of both kinds, or of other labels than the truth.
    """
    labels = {
        kind: [name.removeprefix(f"{kind}:") for name in names if name.startswith(f"{kind}:")]
        for kind in (_TRUTH, *_OUTPUTS)
    }
    found = [kind for kind in _OUTPUTS if labels[kind]]
    if not labels[_TRUTH] or len(found) != 1:
        raise ScoreError(
            f"{file}: expected columns target:LABEL with probability:LABEL or, of a regression, "
            f"value:LABEL; found {', '.join(names)}"
        )
    (output,) = found
    for kind, other in ((output, _TRUTH), (_TRUTH, output)):
        if lacking := _difference(labels[other], labels[kind]):
            named = ", ".join(f"{kind}:{label}" for label in lacking[:3])
            raise ScoreError(
                f"{file}: {len(lacking)} columns are missing: {named}; the file has {other}:"
                f"{lacking[0]}"
            )
    return tuple(labels[_TRUTH]), output


def _numbers(
    file: Path, rows: pd.DataFrame, kind: str, labels: tuple[str, ...]
) -> Float[np.ndarray, "records labels"]:
    """Return the columns of a kind, all of whose values have to be finite numbers."""
    columns = rows[[f"{kind}:{label}" for label in labels]]
    try:
        values = columns.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ScoreError(f"{file}: not all columns {kind}:LABEL are numbers: {error}") from None
    wrong = ~np.isfinite(values)
    if wrong.any():
        what = "true values" if kind == _TRUTH else "scores"
        raise ScoreError(
            f"{file}: the {what} of {int(wrong.any(axis=1).sum())} of {len(values)} records are no "
            f"finite numbers, first in label {labels[int(wrong.any(axis=0).argmax())]!r}"
        )
    return values


def _as_labels(
    file: Path, truth: Float[np.ndarray, "records labels"], labels: tuple[str, ...]
) -> Bool[np.ndarray, "records labels"]:
    wrong = (truth != 0) & (truth != 1)
    if wrong.any():
        label = labels[int(wrong.any(axis=0).argmax())]
        raise ScoreError(
            f"{file}: target:{label} is {truth[wrong][0]:g} in a record; expected 0 or 1 beside "
            "probabilities"
        )
    return truth.astype(np.bool_)


def _difference(some: Sequence[str], others: Sequence[str]) -> list[str]:
    return sorted(set(some) - set(others))


def _align(run: Predictions, reference: Predictions, name: str) -> Predictions:
    """Return a run with records and labels in the reference's order.

    Raises:
        ScoreError: If the kind of task, records, labels or targets are not the same.
    """
    if run.is_regression != reference.is_regression:
        kinds = [
            "values of a regression" if one.is_regression else "probabilities of labels"
            for one in (run, reference)
        ]
        raise ScoreError(f"{name}: holds {kinds[0]}, the first run {kinds[1]}; only alike compare")
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
    what = "values" if run.is_regression else "labels"
    if differing := int((targets != reference.targets).any(axis=1).sum()):
        raise ScoreError(
            f"{name}: {differing} of {len(targets)} records have other true {what} than in the "
            "first run; were the tasks built from the same tables?"
        )
    return Predictions(
        reference.record_ids,
        reference.patients,
        reference.labels,
        targets,
        run.outputs[rows][:, columns],
    )


def predictions_table(data: EvaluationData, outcomes: dict[str, Outcome]) -> pd.DataFrame:
    """Return what each model says of each validation and test record, beside the truth."""
    frames = []
    output = "value" if data.task.kind == "regression" else "probability"
    for name, outcome in outcomes.items():
        for purpose in ("validation", "test"):
            part = getattr(data.parts, purpose)
            rows = data.table.iloc[data.rows(part)]
            frame = rows[["record_id", "patient_id", "fold"]].reset_index(drop=True)
            frame.insert(0, "model", name)
            frame.insert(1, "part", purpose)
            probability = getattr(outcome, purpose)
            targets = data.targets(part)
            columns = {}
            for column, label in enumerate(data.task.labels):
                columns[f"target:{label}"] = targets[:, column]
                columns[f"{output}:{label}"] = probability[:, column]
            frames.append(pd.concat((frame, pd.DataFrame(columns)), axis=1))
    return pd.concat(frames, ignore_index=True)
