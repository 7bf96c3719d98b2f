"""What ``results.json`` reports of a classifier that was judged as it is.

It has every field of a probe's results, so whatever reads those reads these. Scores are of the
probabilities before calibration, as a probe's are; calls are of those after it, as a prediction's.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from ecgjepa.evaluation.model_scores import label_rows, score_values, tested_labels
from ecgjepa.judging.answers import Answers
from ecgjepa.metrics.answers import describe_sets, measure_sets, measure_value_intervals
from ecgjepa.metrics.bootstrap import PatientBootstrap
from ecgjepa.metrics.calibrating import describe_calibrated
from ecgjepa.metrics.calibration_line import calibration_lines
from ecgjepa.metrics.classification import Scores, macro_auroc
from ecgjepa.metrics.scoring import Calls, Part, score_at
from ecgjepa.metrics.subgroups import score_subgroups, subgroups
from ecgjepa.metrics.thresholds import Thresholds, measure_decisions
from ecgjepa.model.answers import AnswersConfig, ValueIntervalConfig
from ecgjepa.model.outputs import CalibrationConfig
from ecgjepa.tasks.records import EvaluationData


class Judged(NamedTuple):
    """A classifier's scores.

    Attributes:
        content: What ``results.json`` has of the model.
        answers: Thresholds and label sets, measured on the records that are scored.
    """

    content: dict[str, Any]
    answers: AnswersConfig


class Given(NamedTuple):
    """What a classifier gives for the records to fit to and to score, of the labels to score.

    Attributes:
        validation: Before calibration, of the records to fit to; there may be none.
        test: Before calibration, of the records to score.
        calibrated: After it, of the records to score.
        columns: Places of the labels to score among those of the classifier.
    """

    validation: Scores
    test: Scores
    calibrated: Scores
    columns: tuple[int, ...]


def judge_classification(
    data: EvaluationData, given: Given, answers: Answers, selected: str
) -> Judged:
    """Score a classification.

    Args:
        data: Records; those of ``validation`` were fitted to.
        given: What the classifier gives for them.
        answers: Of the labels that are scored.
        selected: What was fitted, in words.
    """
    names, kind = data.task.labels, data.task.kind
    assert kind != "regression"
    bootstrap = PatientBootstrap(data.patients(data.parts.test))
    validation = Part(data.targets(data.parts.validation), given.validation)
    test = Part(data.targets(data.parts.test), given.test)
    nothing: Thresholds = np.full(len(names), np.nan)
    there = answers.decisions is not None
    calls = Calls(
        answers.thresholds("best-f1") if there else nothing,
        answers.thresholds("specificity") if there else nothing,
        given.calibrated,
    )
    scored = score_at(test, names, kind, bootstrap, calls)
    labels = label_rows(data, scored, validation, test, np.zeros(len(names), np.int64))
    measured = _measured(data, given, answers, bootstrap, labels)
    metadata = data.table.iloc[data.rows(data.parts.test)]
    calibration, sets = answers.calibration, measured.label_sets
    after: dict[str, Scores] = {}
    if calibration is not None:
        after[calibration.method] = given.calibrated
    content = {
        "macro_auroc": scored.macro["auroc"],
        "macro": scored.macro,
        "macro_frequent": scored.frequent,
        "validation_macro_auroc": macro_auroc(*validation) if len(validation.targets) else None,
        "labels_scored": len(names) - len(scored.undefined_labels),
        "undefined_labels": scored.undefined_labels,
        "labels_without_threshold": np.array(names)[np.isnan(calls.best_f1)].tolist(),
        "selected": selected,
        "history": [],
        "labels": labels,
        "test_records": len(test.targets),
        "calibration": {
            "applied": _applied(calibration, given.columns),
            **describe_calibrated(test, after, None if calibration is None else calibration.method),
            "lines": _lines(names, test.targets, given.calibrated, bootstrap),
        },
        "label_sets": None if sets is None else describe_sets(sets, names),
        "answers": measured.model_dump(mode="json"),
        "subgroups": score_subgroups(*test, data.patients(data.parts.test), subgroups(metadata)),
    }
    return Judged(content, measured)


def _applied(
    calibration: CalibrationConfig | None, columns: tuple[int, ...]
) -> dict[str, Any] | None:
    """Return the calibration of the labels that are scored, in their order.

    Where a record has one of several classes and some are not scored, it is that of all classes:
    a corrected probability depends on the probabilities of all.
    """
    if calibration is None:
        return None
    is_part = calibration.kind == "single-label" and len(columns) < len(calibration.scale)
    return (calibration if is_part else calibration.of(columns)).model_dump(mode="json")


def _measured(
    data: EvaluationData,
    given: Given,
    answers: Answers,
    bootstrap: PatientBootstrap,
    labels: list[dict[str, Any]],
) -> AnswersConfig:
    """Return what the thresholds and label sets do on the records that are scored."""
    test = (data.targets(data.parts.test), given.calibrated, bootstrap.patient_of)
    decisions, sets = answers.decisions, answers.sets
    return AnswersConfig(
        decisions=None if decisions is None else measure_decisions(decisions, *test),
        label_sets=None if sets is None else measure_sets(sets, *test),
        tested=tested_labels(data, bootstrap, labels),
    )


def _lines(
    names: tuple[str, ...],
    targets: Shaped[np.ndarray, "records labels"],
    calibrated: Scores,
    bootstrap: PatientBootstrap,
) -> dict[str, Any]:
    lines = calibration_lines(targets, calibrated, bootstrap.patient_of)
    return {name: line._asdict() for name, line in zip(names, lines, strict=True)}


def judge_regression(
    data: EvaluationData, given: Given, intervals: ValueIntervalConfig | None
) -> Judged:
    """Score a regression.

    Args:
        data: Records.
        given: Values of the records to score, in the unit of the labels.
        intervals: Conformal intervals of the values, where the model folder has them.
    """
    test = data.targets(data.parts.test)
    bootstrap = PatientBootstrap(data.patients(data.parts.test))
    found = score_values(test, given.test, bootstrap)
    answers = AnswersConfig(
        value_intervals=None
        if intervals is None
        else measure_value_intervals(intervals, test, given.test, bootstrap.patient_of),
        tested=found.tested(data, bootstrap),
    )
    content = {
        **found.content(data.task.labels),
        "validation_r2": None,
        "selected": "nothing",
        "history": [],
        "test_records": len(test),
        "answers": answers.model_dump(mode="json"),
    }
    return Judged(content, answers)
