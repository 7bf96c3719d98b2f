"""Score models on the test records and write what was found."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from ecgjepa import __version__
from ecgjepa.evaluation.bootstrap import Interval, PatientBootstrap, interval
from ecgjepa.evaluation.comparison import p_value
from ecgjepa.evaluation.data import EvaluationData
from ecgjepa.evaluation.fit import FitResult
from ecgjepa.evaluation.metrics import FEW_POSITIVES, as_json, check_scores, macro_auroc
from ecgjepa.evaluation.regression import Described, score_regression
from ecgjepa.evaluation.scoring import Part, calibrate, criteria, label_sets, score
from ecgjepa.evaluation.subgroups import MIN_PATIENTS, score_subgroups, subgroups
from ecgjepa.files import replacing, write_json
from ecgjepa.model.folder import ModelConfig

RESULTS_FILE = "results.json"
PREDICTIONS_FILE = "predictions.parquet"
EMBEDDINGS_FILE = "embeddings.npz"
SPLIT_FILE = "split.csv"
# What is compared, and its name for people.
MEASURES = {"macro_auroc": "macro AUROC", "r2": "mean R²"}
FORMAT_VERSION = 1


class Outcome(NamedTuple):
    """What one trained model says of the validation and test records.

    Attributes:
        validation: Probabilities, one row per validation record.
        test: Probabilities, one row per test record.
        fit: How the training went; None for a closed-form or convex fit.
        selected: What was selected by macro AUROC on the validation records, for people.
    """

    validation: Float[np.ndarray, "validation labels"]
    test: Float[np.ndarray, "test labels"]
    fit: FitResult | None
    selected: str


class Trained(NamedTuple):
    """How one model was trained: the protocol's name and its settings."""

    protocol: str
    settings: dict[str, Any]


class Evaluation(NamedTuple):
    """A finished probe or fine-tuning.

    Attributes:
        path: Its folder: results, predictions and, in ``model/``, the trained model.
        results: Content of ``results.json``.
    """

    path: Path
    results: dict[str, Any]

    def macro_auroc(self, model: str = "pre-trained") -> Interval:
        """Return a model's macro AUROC on the test records with its 95 % interval."""
        value, low, high = self.results["models"][model]["macro_auroc"]
        return Interval(value, low, high)

    def score(self, model: str = "pre-trained") -> Interval:
        """Return what the task is judged by: macro AUROC, or the mean R² of a regression."""
        return Interval(*self.results["models"][model][self.results["measure"]])

    def table(self) -> pd.DataFrame:
        """Return one row per model and label."""
        columns = (
            ("label", "r2", "mean_absolute_error")
            if self.results["measure"] == "r2"
            else ("label", "test_positives", "auroc")
        )
        rows = [
            {"model": name, **{key: label[key] for key in columns}}
            for name, result in self.results["models"].items()
            for label in result["labels"]
        ]
        return pd.DataFrame(rows)


def write_evaluation(
    out: Path,
    data: EvaluationData,
    config: ModelConfig,
    outcomes: dict[str, Outcome],
    *,
    trained: dict[str, Trained],
    seed: int,
    out_of_distribution: dict[str, Any] | None = None,
) -> Evaluation:
    """Score the outcomes on the test records, write results and predictions, return them.

    Args:
        out: Folder.
        data: Records, labels and split.
        config: The encoder.
        outcomes: By model name; the first is compared with each other one on the same resamples.
        trained: By model name, how each was trained; the first one's is that of the evaluation.
        seed: Of the training.
        out_of_distribution: How well records unlike the training ones are told by the saved model's
            features.
    """
    test = data.parts.test
    for outcome in outcomes.values():
        check_scores(outcome.validation, data.targets(data.parts.validation), data.task.labels)
        check_scores(outcome.test, data.targets(test), data.task.labels)
    bootstrap = PatientBootstrap(data.patients(test))
    is_regression = data.task.kind == "regression"
    measure = "r2" if is_regression else "macro_auroc"
    describe = score_regression if is_regression else _describe
    described = {name: describe(data, outcome, bootstrap) for name, outcome in outcomes.items()}
    models = {
        name: {**trained[name]._asdict(), **content} for name, (content, _) in described.items()
    }
    first = trained[next(iter(outcomes))]
    differences = _differences(measure, described)
    results = as_json(
        {
            "format_version": FORMAT_VERSION,
            "software_version": __version__,
            "protocol": first.protocol,
            "settings": first.settings,
            "seed": seed,
            "measure": measure,
            "task": data.task_config().model_dump(mode="json"),
            "split": data.split._asdict(),
            "data": data.facts,
            "counts": {
                "train": len(data.parts.train),
                "validation": len(data.parts.validation),
                "test": len(test),
                "test_patients": len(set(data.patients(test))),
                "without_label": data.task.num_unlabelled,
            },
            "encoder": config.encoder.model_dump(mode="json"),
            "pretraining": config.pretraining.model_dump(mode="json"),
            "database": data.store.manifest.databases[data.database.split("+")[0]].model_dump(
                mode="json"
            ),
            "store": str(data.store.path),
            "models": models,
            "differences": {name: found for name, (found, _) in differences.items()},
            "p_values": {name: p for name, (_, p) in differences.items()},
            "out_of_distribution": out_of_distribution or {},
            "criteria": {} if is_regression else criteria(),
            "subgroups_need_patients": MIN_PATIENTS,
            "interval": "95 %, percentile bootstrap over patients, 1,000 resamples; labels "
            "without positives or negatives are left out of each mean",
        }
    )
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / PREDICTIONS_FILE) as stream:
        predictions_table(data, outcomes).to_parquet(stream, index=False)
    with replacing(out / SPLIT_FILE) as stream:
        _split(data).to_csv(stream, index=False)
    write_json(out / RESULTS_FILE, results)
    return Evaluation(out, results)


def write_embeddings(
    out: Path, data: EvaluationData, embeddings: dict[str, Float[np.ndarray, "test dim"]]
) -> None:
    """Write each model's mean features of the test records, for the embedding map."""
    test = data.parts.test
    arrays: dict[str, np.ndarray] = {
        "record_id": data.table["record_id"].to_numpy(dtype=str)[data.rows(test)],
        "targets": data.targets(test),
        **embeddings,
    }
    with replacing(out / EMBEDDINGS_FILE) as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def _parts(data: EvaluationData, outcome: Outcome) -> tuple[Part, Part]:
    """Return the validation and the test records with what the model says of them."""
    return (
        Part(data.targets(data.parts.validation), outcome.validation),
        Part(data.targets(data.parts.test), outcome.test),
    )


def _differences(
    measure: str, described: dict[str, Described]
) -> dict[str, tuple[Interval, float]]:
    """Return the first model's score minus each other's, with interval and p-value."""
    first, *others = described
    content, resampled = described[first]
    found = {}
    for other in others:
        their_content, their_resampled = described[other]
        gap = content[measure].value - their_content[measure].value
        change = resampled - their_resampled
        found[f"{first} - {other}"] = (interval(gap, change), p_value(change))
    return found


def _describe(data: EvaluationData, outcome: Outcome, bootstrap: PatientBootstrap) -> Described:
    """Return what ``results.json`` says of one model, and its macro AUROC of every resample."""
    validation, test = _parts(data, outcome)
    names, kind = data.task.labels, data.task.kind
    assert kind != "regression"
    scored = score(validation, test, names, kind, bootstrap)
    trained = data.targets(data.parts.train).sum(axis=0)
    metadata = data.table.iloc[data.rows(data.parts.test)]
    labels = []
    for column, numbers in enumerate(scored.labels):
        positives = int(test.targets[:, column].sum())
        labels.append(
            {
                "label": names[column],
                "description": data.task.descriptions[column],
                "train_positives": int(trained[column]),
                "validation_positives": int(validation.targets[:, column].sum()),
                "test_positives": positives,
                "few_positives": positives < FEW_POSITIVES,
                **numbers,
                "average_precision": numbers["average_precision"].value,
                "average_precision_interval": numbers["average_precision"],
            }
        )
    content = {
        "macro_auroc": scored.macro["auroc"],
        "macro": scored.macro,
        "macro_frequent": scored.frequent,
        "validation_macro_auroc": macro_auroc(*validation),
        "labels_scored": len(names) - len(scored.undefined_labels),
        "undefined_labels": scored.undefined_labels,
        "labels_without_threshold": scored.without_threshold,
        "selected": outcome.selected,
        "history": [] if outcome.fit is None else [v._asdict() for v in outcome.fit.history],
        "labels": labels,
        "test_records": len(test.targets),
        "calibration": calibrate(validation, test, names, kind, data.split.validation),
        "label_sets": label_sets(validation, test, names, kind, bootstrap),
        "subgroups": score_subgroups(*test, data.patients(data.parts.test), subgroups(metadata)),
    }
    return content, scored.resampled


def _split(data: EvaluationData) -> pd.DataFrame:
    """Return which record is in which part, of which fold and patient."""
    frames = [
        data.table.iloc[data.rows(part)][["database", "record_id", "patient_id", "fold"]].assign(
            part=purpose
        )
        for purpose, part in data.parts._asdict().items()
    ]
    return pd.concat(frames, ignore_index=True)


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
