"""What ``results.json`` reports of a classifier that was judged as it is.

It has every field of a probe's results, so whatever reads those reads these. Scores are of the
probabilities before calibration, as a probe's are; calls are of those after it, as a prediction's.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from ecgjepa.judging.answers import Answers
from ecgjepa.metrics.answers import describe_sets, measure_sets, measure_value_intervals
from ecgjepa.metrics.bootstrap import Interval, PatientBootstrap, interval
from ecgjepa.metrics.calibrating import describe_calibrated
from ecgjepa.metrics.calibration_line import calibration_lines
from ecgjepa.metrics.classification import FEW_POSITIVES, Scores, macro, macro_auroc, ones
from ecgjepa.metrics.regression import label_scores, mean_r2
from ecgjepa.metrics.scoring import Calls, Part, Scored, score_at
from ecgjepa.metrics.subgroups import score_subgroups, subgroups
from ecgjepa.metrics.thresholds import Thresholds, measure_decisions
from ecgjepa.model.answers import AnswersConfig, Tested, ValueIntervalConfig
from ecgjepa.tasks.records import EvaluationData

_REGRESSION = {"r2": "r2", "mean_absolute_error": "mae", "pearson": "pearson"}


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
    """

    validation: Scores
    test: Scores
    calibrated: Scores


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
    labels = _labels(data, scored, validation, test)
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
            "applied": None if calibration is None else calibration.model_dump(mode="json"),
            **describe_calibrated(test, after, None if calibration is None else calibration.method),
            "lines": _lines(names, test.targets, given.calibrated, bootstrap),
        },
        "label_sets": None if sets is None else describe_sets(sets, names),
        "answers": measured.model_dump(mode="json"),
        "subgroups": score_subgroups(*test, data.patients(data.parts.test), subgroups(metadata)),
    }
    return Judged(content, measured)


def _labels(
    data: EvaluationData, scored: Scored, validation: Part, test: Part
) -> list[dict[str, Any]]:
    found = []
    for column, numbers in enumerate(scored.labels):
        positives = int(test.targets[:, column].sum())
        found.append(
            {
                "label": data.task.labels[column],
                "description": data.task.descriptions[column],
                "train_positives": 0,
                "validation_positives": int(validation.targets[:, column].sum()),
                "test_positives": positives,
                "few_positives": positives < FEW_POSITIVES,
                **numbers,
                "average_precision": numbers["average_precision"].value,
                "average_precision_interval": numbers["average_precision"],
            }
        )
    return found


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
        tested=_tested(
            data,
            bootstrap,
            positives=tuple(label["test_positives"] for label in labels),
            auroc=_defined([label["auroc"] for label in labels]),
            average_precision=_defined([label["average_precision_interval"] for label in labels]),
        ),
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
    point = label_scores(test, given.test, ones(len(test)))
    drawn = label_scores(test, given.test, bootstrap.weights)
    spread = {
        name: [
            interval(float(value), row)
            for value, row in zip(point[key][:, 0], drawn[key], strict=True)
        ]
        for name, key in _REGRESSION.items()
    }
    answers = AnswersConfig(
        value_intervals=None
        if intervals is None
        else measure_value_intervals(intervals, test, given.test, bootstrap.patient_of),
        tested=_tested(
            data,
            bootstrap,
            r2=_defined(spread["r2"]),
            mean_absolute_error=_defined(spread["mean_absolute_error"]),
        ),
    )
    undefined = ~np.isfinite(point["r2"][:, 0])
    content = {
        "r2": interval(mean_r2(test, given.test), macro(drawn["r2"])),
        "validation_r2": None,
        "labels_scored": int((~undefined).sum()),
        "undefined_labels": np.array(data.task.labels)[undefined].tolist(),
        "selected": "nothing",
        "history": [],
        "labels": [
            {"label": label} | {name: found[column] for name, found in spread.items()}
            for column, label in enumerate(data.task.labels)
        ],
        "test_records": len(test),
        "answers": answers.model_dump(mode="json"),
    }
    return Judged(content, answers)


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
