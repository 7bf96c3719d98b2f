"""What ``results.json`` reports of one model, and of the differences between models."""

from typing import Any

import numpy as np
from jaxtyping import Float

from ecgjepa.metrics.bootstrap import Interval, PatientBootstrap, interval
from ecgjepa.metrics.classification import FEW_POSITIVES, macro, macro_auroc, ones
from ecgjepa.metrics.paired import p_value
from ecgjepa.metrics.regression import label_scores, mean_r2
from ecgjepa.metrics.scoring import Part, calibrate, label_sets, score
from ecgjepa.metrics.subgroups import score_subgroups, subgroups
from ecgjepa.protocols.outcome import Outcome
from ecgjepa.tasks.records import EvaluationData

# What `results.json` says of one model, and its score in every resample.
Described = tuple[dict[str, Any], Float[np.ndarray, " resamples"]]


def score_regression(
    data: EvaluationData, outcome: Outcome, bootstrap: PatientBootstrap
) -> Described:
    """Return what ``results.json`` says of one model of a regression, and its resampled mean R²."""
    test = data.targets(data.parts.test)
    point = label_scores(test, outcome.test, ones(len(test)))
    drawn = label_scores(test, outcome.test, bootstrap.weights)
    resampled = macro(drawn["r2"])
    names = {"r2": "r2", "mean_absolute_error": "mae", "pearson": "pearson"}
    content = {
        "r2": interval(float(macro(point["r2"])[0]), resampled),
        "validation_r2": mean_r2(data.targets(data.parts.validation), outcome.validation),
        "labels_scored": int(np.isfinite(point["r2"]).sum()),
        "undefined_labels": [
            label
            for label, value in zip(data.task.labels, point["r2"][:, 0], strict=True)
            if not np.isfinite(value)
        ],
        "selected": outcome.selected,
        "history": outcome.history("r2"),
        "labels": [
            {"label": label}
            | {
                name: interval(float(point[key][column, 0]), drawn[key][column])
                for name, key in names.items()
            }
            for column, label in enumerate(data.task.labels)
        ],
        "test_records": len(test),
    }
    return content, resampled


def parts_of(data: EvaluationData, outcome: Outcome) -> tuple[Part, Part]:
    """Return the validation and the test records with what the model says of them."""
    return (
        Part(data.targets(data.parts.validation), outcome.validation),
        Part(data.targets(data.parts.test), outcome.test),
    )


def differences_between(
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


def score_classification(
    data: EvaluationData, outcome: Outcome, bootstrap: PatientBootstrap
) -> Described:
    """Return what ``results.json`` says of one model, and its macro AUROC of every resample."""
    validation, test = parts_of(data, outcome)
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
        "history": outcome.history("macro_auroc"),
        "labels": labels,
        "test_records": len(test.targets),
        "calibration": calibrate(validation, test, names, kind, data.split.validation),
        "label_sets": label_sets(validation, test, names, kind, bootstrap),
        "subgroups": score_subgroups(*test, data.patients(data.parts.test), subgroups(metadata)),
    }
    return content, scored.resampled
