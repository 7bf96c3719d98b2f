"""Score models on the test records and write what was found."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from ecgjepa.evaluation.model_scores import (
    differences_between,
    score_classification,
    score_lead_sets,
    score_regression,
)
from ecgjepa.evaluation.predictions import predictions_table
from ecgjepa.files import as_json, replacing, write_json
from ecgjepa.metrics.bootstrap import Interval, PatientBootstrap
from ecgjepa.metrics.classification import check_scores
from ecgjepa.metrics.scoring import criteria
from ecgjepa.metrics.subgroups import MIN_PATIENTS
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.outputs import BEST_F1, DecisionRule, TaskConfig
from ecgjepa.protocols.encoders import was_trained_with_labels
from ecgjepa.protocols.outcome import Outcome
from ecgjepa.results.layout import (
    EMBEDDINGS_FILE,
    PRE_TRAINED,
    PREDICTIONS_FILE,
    RESULTS_FILE,
    RESULTS_VERSION,
    SPLIT_FILE,
    TRAINED_WITH_LABELS,
)
from ecgjepa.results.predictions import write_table
from ecgjepa.store.manifest import remember_store
from ecgjepa.tasks.records import EvaluationData
from ecgjepa.version import __version__

INTERVAL = (
    "95 %, percentile bootstrap over patients, 1,000 resamples; labels without positives or "
    "negatives are left out of each mean"
)


class TrainingRecipe(NamedTuple):
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

    def macro_auroc(self, model: str = PRE_TRAINED) -> Interval:
        """Return a model's macro AUROC on the test records with its 95 % interval."""
        return Interval(*_numbers(*self.results["models"][model]["macro_auroc"]))

    def score(self, model: str = PRE_TRAINED) -> Interval:
        """Return what the task is judged by: macro AUROC, or the mean R² of a regression."""
        return Interval(*_numbers(*self.results["models"][model][self.results["measure"]]))

    def table(self) -> pd.DataFrame:
        """Return one row per model and label; scores are numbers, NaN where undefined.

        Columns ``model`` and ``label``; of a classification ``test_positives``, ``auroc`` and
        ``average_precision``, of a regression ``r2`` and ``mean_absolute_error``; ``low`` and
        ``high`` are the bounds of the 95 % interval of ``auroc`` or ``r2``.
        """
        is_regression = self.results["measure"] == "r2"
        rows = [
            {"model": name, "label": label["label"], **_row(label, is_regression)}
            for name, result in self.results["models"].items()
            for label in result["labels"]
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        """Return folder, task, protocol and score on one line, without all of the results."""
        value, low, high = self.score()
        return (
            f"Evaluation({str(self.path)!r}, task={self.results['task']['name']!r}, "
            f"protocol={self.results['protocol']!r}, {self.results['measure']}={value:.4f} "
            f"({low:.4f} to {high:.4f}))"
        )


def _row(label: dict[str, Any], is_regression: bool) -> dict[str, float]:
    """Return the numbers of one label that `Evaluation.table` shows."""
    value, low, high = _numbers(*label["r2" if is_regression else "auroc"])
    if is_regression:
        error = _numbers(*label["mean_absolute_error"])[0]
        return {"r2": value, "low": low, "high": high, "mean_absolute_error": error}
    (precision,) = _numbers(label["average_precision"])
    return {
        "test_positives": label["test_positives"],
        "auroc": value,
        "low": low,
        "high": high,
        "average_precision": precision,
    }


def _numbers(*values: float | None) -> list[float]:
    """Return values of a JSON file as numbers; a missing one is NaN."""
    return [float("nan") if value is None else float(value) for value in values]


def write_evaluation(
    out: Path,
    data: EvaluationData,
    config: ModelConfig,
    outcomes: dict[str, Outcome],
    *,
    trained: dict[str, TrainingRecipe],
    seed: int,
    out_of_distribution: dict[str, Any] | None = None,
    decision: DecisionRule = BEST_F1,
    model: Mapping[str, Any] | None = None,
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
        decision: Rule of the thresholds that predictions follow.
        model: What was evaluated; see `ecgjepa.evaluation.requests.describe_model`.
    """
    test = data.parts.test
    for outcome in outcomes.values():
        check_scores(outcome.validation, data.targets(data.parts.validation), data.task.labels)
        check_scores(outcome.test, data.targets(test), data.task.labels)
    bootstrap = PatientBootstrap(data.patients(test))
    is_regression = data.task.kind == "regression"
    measure = "r2" if is_regression else "macro_auroc"
    describe = score_regression if is_regression else partial(score_classification, rule=decision)
    described = {name: describe(data, outcome, bootstrap) for name, outcome in outcomes.items()}
    models = {
        name: {**trained[name]._asdict(), **content} for name, (content, _) in described.items()
    }
    for name, outcome in outcomes.items():
        if outcome.lead_sets:
            models[name]["lead_sets"] = score_lead_sets(data, outcome, bootstrap, decision)
    first = trained[next(iter(outcomes))]
    differences = differences_between(measure, described)
    results = as_json(
        {
            "format_version": RESULTS_VERSION,
            "software_version": __version__,
            "protocol": first.protocol,
            "settings": first.settings,
            "seed": seed,
            "measure": measure,
            "model": model,
            **describe_data(data, config, data.task_config()),
            "models": models,
            "differences": {name: found for name, (found, _) in differences.items()},
            "p_values": {name: p for name, (_, p) in differences.items()},
            "out_of_distribution": out_of_distribution or {},
            "criteria": {} if is_regression else criteria(),
            "subgroups_need_patients": MIN_PATIENTS,
            "interval": INTERVAL,
        }
    )
    return write_files(out, data, outcomes, results)


def describe_data(data: EvaluationData, config: ModelConfig, task: TaskConfig) -> dict[str, Any]:
    """Return what ``results.json`` says of the records, the labels and the encoder.

    Args:
        data: Records, labels and split.
        config: The encoder.
        task: Meaning of the outputs.
    """
    described = {
        name: data.store.manifest.databases[name].model_dump(mode="json") for name in data.databases
    }
    return {
        "task": task.model_dump(mode="json"),
        "split": data.split._asdict(),
        "data": data.facts,
        "counts": {
            **{purpose: len(part) for purpose, part in data.parts._asdict().items()},
            "test_patients": len(set(data.patients(data.parts.test))),
            "without_label": data.task.num_unlabelled,
        },
        "encoder": config.encoder.model_dump(mode="json"),
        "pretraining": config.pretraining.model_dump(mode="json"),
        TRAINED_WITH_LABELS: was_trained_with_labels(config),
        "database": described[data.tested[0]],
        "databases": described,
        "store_fingerprint": data.store.fingerprint,
    }


def write_files(
    out: Path, data: EvaluationData, outcomes: dict[str, Outcome], results: dict[str, Any]
) -> Evaluation:
    """Write what an evaluation leaves in its folder, the results last, and return it.

    Args:
        out: Folder.
        data: Records, labels and split.
        outcomes: By model name.
        results: Content of ``results.json``.
    """
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / PREDICTIONS_FILE) as stream:
        write_table(predictions_table(data, outcomes), stream)
    with replacing(out / SPLIT_FILE) as stream:
        _split(data).to_csv(stream, index=False)
    write_json(out / RESULTS_FILE, results)
    remember_store(data.store.path)
    return Evaluation(out, results)


def write_embeddings(
    out: Path, data: EvaluationData, embeddings: dict[str, Float[np.ndarray, "test dim"]]
) -> None:
    """Write each model's mean features of the test records, for the embedding map."""
    test = data.parts.test
    named = data.table.iloc[data.rows(test)]
    arrays: dict[str, np.ndarray] = {
        "database": named["database"].to_numpy(dtype=str),
        "record_id": named["record_id"].to_numpy(dtype=str),
        "targets": data.targets(test),
        **embeddings,
    }
    with replacing(out / EMBEDDINGS_FILE) as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def _split(data: EvaluationData) -> pd.DataFrame:
    """Return which record is in which part, of which fold and patient."""
    frames = [
        data.table.iloc[data.rows(part)][["database", "record_id", "patient_id", "fold"]].assign(
            part=purpose
        )
        for purpose, part in data.parts._asdict().items()
    ]
    return pd.concat(frames, ignore_index=True)
