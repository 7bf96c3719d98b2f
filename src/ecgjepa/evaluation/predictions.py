"""The predictions that evaluations wrote: read, brought into one order, and compared."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool

from ecgjepa.errors import ScoreError
from ecgjepa.evaluation.bootstrap import NUM_RESAMPLES, Method, PatientBootstrap
from ecgjepa.evaluation.comparison import Comparison, compare
from ecgjepa.evaluation.metrics import Scores, Targets, patient_ids


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
