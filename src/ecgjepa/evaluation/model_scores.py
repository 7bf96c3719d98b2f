"""What ``results.json`` reports of one model, and of the differences between models."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from ecgjepa.metrics.answers import (
    describe_sets,
    fit_sets,
    fit_value_intervals,
    measure_sets,
    measure_value_intervals,
)
from ecgjepa.metrics.bootstrap import Interval, PatientBootstrap, interval
from ecgjepa.metrics.calibrating import calibrate
from ecgjepa.metrics.classification import FEW_POSITIVES, macro, macro_auroc, ones
from ecgjepa.metrics.paired import p_value
from ecgjepa.metrics.regression import label_scores, mean_r2
from ecgjepa.metrics.scoring import Part, Scored, score
from ecgjepa.metrics.subgroups import score_subgroups, subgroups
from ecgjepa.metrics.thresholds import fit_decisions, measure_decisions
from ecgjepa.model.answers import AnswersConfig, Tested
from ecgjepa.model.outputs import BEST_F1, CalibrationConfig, DecisionRule
from ecgjepa.protocols.outcome import Outcome
from ecgjepa.tasks.records import EvaluationData

# What `results.json` has of a set of leads; the rest is of all leads alone.
_SCORES = ("macro_auroc", "validation_macro_auroc", "r2", "validation_r2")
_OF_LEAD_SETS = (*_SCORES, "calibration", "answers")
# What `results.json` says of one model, and its score in every resample.
Described = tuple[dict[str, Any], Float[np.ndarray, " resamples"]]


def score_regression(
    data: EvaluationData, outcome: Outcome, bootstrap: PatientBootstrap
) -> Described:
    """Return what ``results.json`` says of one model of a regression, and its resampled mean R²."""
    validation, test = data.targets(data.parts.validation), data.targets(data.parts.test)
    found = score_values(test, outcome.test, bootstrap)
    intervals = fit_value_intervals(validation, outcome.validation, folds=data.split.validation)
    answers = AnswersConfig(
        value_intervals=measure_value_intervals(
            intervals, test, outcome.test, bootstrap.patient_of
        ),
        tested=found.tested(data, bootstrap),
    )
    content = {
        **found.content(data.task.labels),
        "validation_r2": mean_r2(validation, outcome.validation),
        "selected": outcome.selected,
        "history": outcome.history("r2"),
        "test_records": len(test),
        "answers": answers.model_dump(mode="json"),
    }
    return content, found.resampled


class ValueScores(NamedTuple):
    """Scores of the values that a regression gives for the test records.

    Attributes:
        r2: R² of each label; not finite where it is undefined.
        resampled: Mean R² of every resample.
        intervals: By measure, value and bounds of each label.
    """

    r2: Float[np.ndarray, " labels"]
    resampled: Float[np.ndarray, " resamples"]
    intervals: dict[str, list[Interval]]

    def content(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """Return what ``results.json`` has of them, whoever gave the values."""
        is_scored = np.isfinite(self.r2)
        return {
            "r2": interval(float(macro(self.r2[:, None])[0]), self.resampled),
            "labels_scored": int(is_scored.sum()),
            "undefined_labels": np.array(labels)[~is_scored].tolist(),
            "labels": [
                {"label": label} | {name: found[column] for name, found in self.intervals.items()}
                for column, label in enumerate(labels)
            ],
        }

    def tested(self, data: EvaluationData, bootstrap: PatientBootstrap) -> Tested:
        """Return what the model folder keeps of them."""
        errors = self.intervals["mean_absolute_error"]
        return _tested(
            data,
            bootstrap,
            r2=_defined(self.intervals["r2"]),
            mean_absolute_error=_defined(errors),
        )


def score_values(
    targets: Float[np.ndarray, "records labels"],
    values: Float[np.ndarray, "records labels"],
    bootstrap: PatientBootstrap,
) -> ValueScores:
    """Score the values of a regression."""
    point = label_scores(targets, values, ones(len(targets)))
    drawn = label_scores(targets, values, bootstrap.weights)
    names = {"r2": "r2", "mean_absolute_error": "mae", "pearson": "pearson"}
    intervals = {
        name: [
            interval(float(value), row)
            for value, row in zip(point[key][:, 0], drawn[key], strict=True)
        ]
        for name, key in names.items()
    }
    return ValueScores(point["r2"][:, 0], macro(drawn["r2"]), intervals)


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
    data: EvaluationData,
    outcome: Outcome,
    bootstrap: PatientBootstrap,
    rule: DecisionRule = BEST_F1,
) -> Described:
    """Return what ``results.json`` says of one model, and its macro AUROC of every resample."""
    validation, test = parts_of(data, outcome)
    names, kind = data.task.labels, data.task.kind
    assert kind != "regression"
    scored = score(validation, test, names, kind, bootstrap)
    trained = data.targets(data.parts.train).sum(axis=0)
    metadata = data.table.iloc[data.rows(data.parts.test)]
    labels = label_rows(data, scored, validation, test, trained)
    calibration = calibrate(validation, test, names, kind, data.split.validation)
    tested = tested_labels(data, bootstrap, labels)
    answers = _answers(validation, test, data, calibration, bootstrap, rule)
    assert answers.label_sets is not None
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
        "calibration": calibration,
        "label_sets": describe_sets(answers.label_sets, names),
        "answers": answers.model_copy(update={"tested": tested}).model_dump(mode="json"),
        "subgroups": score_subgroups(*test, data.patients(data.parts.test), subgroups(metadata)),
    }
    return content, scored.resampled


def score_lead_sets(
    data: EvaluationData, outcome: Outcome, bootstrap: PatientBootstrap, rule: DecisionRule
) -> list[dict[str, Any]]:
    """Return what ``results.json`` says of a model's answers from each set of leads."""
    rows = []
    for found in outcome.lead_sets:
        one = Outcome(found.validation, found.test, None, outcome.selected)
        if data.task.kind == "regression":
            content, _ = score_regression(data, one, bootstrap)
        else:
            content, _ = score_classification(data, one, bootstrap, rule)
        kept = {name: content[name] for name in _OF_LEAD_SETS if name in content}
        rows.append({"leads": found.leads, **kept})
    return rows


def label_rows(
    data: EvaluationData,
    scored: Scored,
    validation: Part,
    test: Part,
    train_positives: Int64[np.ndarray, " labels"],
) -> list[dict[str, Any]]:
    """Return what ``results.json`` has of each label."""
    rows = []
    for column, numbers in enumerate(scored.labels):
        positives = int(test.targets[:, column].sum())
        rows.append(
            {
                "label": data.task.labels[column],
                "description": data.task.descriptions[column],
                "train_positives": int(train_positives[column]),
                "validation_positives": int(validation.targets[:, column].sum()),
                "test_positives": positives,
                "few_positives": positives < FEW_POSITIVES,
                **numbers,
                "average_precision": numbers["average_precision"].value,
                "average_precision_interval": numbers["average_precision"],
            }
        )
    return rows


def tested_labels(
    data: EvaluationData, bootstrap: PatientBootstrap, labels: list[dict[str, Any]]
) -> Tested:
    """Return what the model folder keeps of `label_rows`."""
    return _tested(
        data,
        bootstrap,
        positives=tuple(label["test_positives"] for label in labels),
        auroc=_defined([label["auroc"] for label in labels]),
        average_precision=_defined([label["average_precision_interval"] for label in labels]),
    )


def _answers(
    validation: Part,
    test: Part,
    data: EvaluationData,
    calibration: dict[str, Any],
    bootstrap: PatientBootstrap,
    rule: DecisionRule,
) -> AnswersConfig:
    """Return thresholds and label sets of the calibrated probabilities, which predictions print."""
    corrected = CalibrationConfig.model_validate(calibration["applied"])
    assert data.task.kind != "regression"
    fitted_on = (validation.targets, corrected.apply(validation.probabilities))
    measured_on = (test.targets, corrected.apply(test.probabilities), bootstrap.patient_of)
    folds = data.split.validation
    decisions = fit_decisions(*fitted_on, data.task.labels, rule=rule, folds=folds)
    sets = fit_sets(*fitted_on, data.task.kind, folds=folds)
    return AnswersConfig(
        decisions=measure_decisions(decisions, *measured_on),
        label_sets=measure_sets(sets, *measured_on),
    )


def _tested(data: EvaluationData, bootstrap: PatientBootstrap, **scores: Any) -> Tested:  # noqa: ANN401
    return Tested(
        databases=data.tested,
        folds=data.split.test,
        records=len(data.parts.test),
        patients=bootstrap.num_patients,
        **scores,
    )


def _defined(intervals: list[Interval]) -> tuple[Interval | None, ...]:
    return tuple(one if np.isfinite(one).all() else None for one in intervals)
