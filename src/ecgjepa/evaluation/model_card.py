"""The card of a classifier's folder: what it is, how it did, and how to use it."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from ecgjepa.evaluation.card_facts import by_age_and_sex, table, training_data
from ecgjepa.metrics.classification import FEW_POSITIVES
from ecgjepa.model.answers import AnswersConfig, LabelSetConfig
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.outputs import MEASURES, TaskConfig, Thresholds

_USE = """## Use

In a clone of ecgjepa, install it and predict (`predict --help` tells the rest):

    pip install --constraint constraints.txt '.[formats]'
    ecgjepa predict FOLDER_OF_ECGS --model THIS_FOLDER --out table.csv

What each column says: docs/predictions.md. This folder is all that is needed.
"""


def model_card(config: ModelConfig, results: dict[str, Any]) -> str:
    """Return the text of ``README.md`` in a classifier's folder.

    Args:
        config: Description of the model.
        results: How it did: content of ``results.json``.
    """
    task, training = config.task, config.training
    detection = results["out_of_distribution"]
    assert task is not None
    measure, words = next(item for item in MEASURES.items() if f"test_{item[0]}" in training)
    value, low, high = training[f"test_{measure}"]
    parts = [
        f"# ECG classifier: {_cell(task.name)} ({training['protocol']})",
        "For research use only; not a medical device.",
        f"Trained on {', '.join(training['databases'])}, folds {training['split']['train']}; "
        f"selected on {training['split']['validation']}; tested on {training['split']['test']}: "
        f"{words} {value:.3f} (95 % interval over patients {low:.3f} to {high:.3f}).",
        f"Input: {', '.join(config.preprocessing.leads)} at "
        f"{config.preprocessing.sampling_rate:g} Hz; records of any rate are resampled. "
        "Preprocessing, normalisation and windows are in config.json.",
        *_answers(config.answers or AnswersConfig(), task),
        _trust(config),
        _limits(detection),
        *_lead_sets(config, words, (value, low, high)),
        "Labels, in the order of the outputs:",
        "\n".join(
            f"- {_cell(label)}: {_cell(text)}"
            for label, text in zip(task.labels, task.descriptions, strict=True)
        ),
        *by_age_and_sex(results),
        *training_data(config, results),
        _USE,
    ]
    return "\n\n".join(parts)


def _answers(answers: AnswersConfig, task: TaskConfig) -> Iterator[str]:
    if answers.tested is None:
        return
    yield "## What it answers, and how well"
    tested = answers.tested
    yield (
        f"On {tested.records:,} test records of {tested.patients:,} patients of "
        f"{', '.join(tested.databases)}, with 95 % intervals over patients. Thresholds, sets and "
        "intervals were fitted on the validation folds, and nothing was chosen on the test folds."
    )
    if task.kind == "regression":
        yield _values_table(answers, task)
        return
    if answers.decisions is not None:
        thresholds, sets = answers.decisions.thresholds, answers.label_sets
        yield _labels_table(answers, thresholds, task)
        others = [one.rule for one in answers.decisions.rules if one.rule != thresholds.rule]
        yield (
            f"yes: the probability is at or above the threshold by {thresholds.rule}; the folder "
            f"also holds {' and '.join(others) or 'no other'} (`predict --decision`). PPV and NPV "
            "hold where labels are as common as in the test. * fewer than "
            f"{FEW_POSITIVES} positive test records: such a row says little."
        )
        if thresholds.remarks:
            yield (
                "Without threshold, or in doubt: "
                + "; ".join(f"{_cell(label)}: {why}" for label, why in thresholds.remarks.items())
                + "."
            )
        if sets is not None:
            yield _sets_in_words(sets, task)


def _lead_sets(config: ModelConfig, words: str, score: tuple[float, float, float]) -> Iterator[str]:
    """Yield how a model does from the sets of leads that it was trained for."""
    if not config.lead_sets:
        return
    yield "## From fewer leads"
    yield (
        "A record that lacks leads is answered by the largest of these sets that it has; limb "
        "leads that follow from I and II count as there. Calibration, thresholds and sets of "
        "labels are fitted to each set of leads, on the validation folds; the scores are of the "
        "same test records, with the other leads hidden."
    )
    rows = [["all", str(len(config.preprocessing.leads)), _at([score], 0)]]
    rows += [
        [one.name, str(len(one.leads)), _at([one.score], 0)]
        for one in sorted(config.lead_sets, key=lambda one: -len(one.leads))
    ]
    yield table(["leads", "number with those that follow", words], rows)


def _labels_table(answers: AnswersConfig, thresholds: Thresholds, task: TaskConfig) -> str:
    tested, sets = answers.tested, answers.label_sets
    assert tested is not None
    rows = []
    for column, label in enumerate(task.labels):
        positives = tested.positives[column]
        least = thresholds.values[column]
        measured = [
            _at(scores, column)
            for scores in (
                thresholds.sensitivity,
                thresholds.specificity,
                thresholds.ppv,
                thresholds.npv,
                () if sets is None else sets.per_label,
            )
        ]
        rows.append(
            [
                _cell(label) + (" *" if positives < FEW_POSITIVES else ""),
                str(positives),
                _at(tested.auroc, column),
                "none" if least is None else f"{least:.3g}",
                *measured,
            ]
        )
    heads = ["label", "positives", "AUROC", "threshold", "sensitivity", "specificity"]
    return table([*heads, "PPV", "NPV", "coverage of its set"], rows)


def _values_table(answers: AnswersConfig, task: TaskConfig) -> str:
    tested, widths = answers.tested, answers.value_intervals
    assert tested is not None
    rows = []
    for column, label in enumerate(task.labels):
        half = None if widths is None else widths.half_widths[column]
        rows.append(
            [
                _cell(label),
                _at(tested.r2, column),
                _at(tested.mean_absolute_error, column),
                "none" if half is None else f"± {half:.3g}",
                _at(() if widths is None else widths.measured, column),
            ]
        )
    share = 90 if widths is None else 100 * widths.coverage
    heads = ["value", "R²", "mean absolute error", f"interval of {share:g} %"]
    return table([*heads, "coverage in the test"], rows)


def _sets_in_words(sets: LabelSetConfig, task: TaskConfig) -> str:
    whose = "of the records with a label, the label" if sets.kind == "per-label" else "the label"
    words = f"set: made so that in {100 * sets.coverage:g} % {whose} is in the set"
    if sets.measured is None or sets.mean_size is None or sets.share_empty is None:
        return f"{words}."
    value, low, high = (100 * one for one in sets.measured)
    return (
        f"{words}; in the test {value:.1f} % ({low:.1f} to {high:.1f}) of the true labels are, "
        f"with {sets.mean_size:.2f} labels per set and {100 * sets.share_empty:.1f} % of the sets "
        f"empty.{_in_every_set(sets, task)}"
    )


def _in_every_set(sets: LabelSetConfig, task: TaskConfig) -> str:
    labels = task.labels
    if sets.kind == "lac":
        found = list(labels) if sets.thresholds == (None,) else []
    else:
        found = [name for name, one in zip(labels, sets.thresholds, strict=True) if one is None]
    names = ", ".join(map(_cell, found))
    return f" In every set, for want of validation records: {names}." if found else ""


def _trust(config: ModelConfig) -> str:
    if config.calibration is None:
        return "Intervals and scores per value are in results.json beside this folder."
    return (
        "Probabilities are calibrated on the validation folds "
        f"({config.calibration.method}), for records like those; elsewhere, calibrate anew. "
        "Scores by site, device and signal quality are in results.json beside this folder."
    )


def _limits(detection: dict[str, Any]) -> str:
    missed = ", ".join(detection["hardly_detected"])
    return (
        "A prediction says when a record's features are farther from the training records' than "
        f"{detection['threshold']:.3g}, as {detection['share_above_threshold']:.1%} of the test "
        "records are. What was spoiled on purpose and yet hardly noticed: "
        f"{missed or 'none of what was tried'} (results.json, out_of_distribution)."
    )


def _at(scores: Sequence[tuple[float, float, float] | None], column: int) -> str:
    one = scores[column] if scores else None
    return "-" if one is None else "{:.3g} ({:.3g} to {:.3g})".format(*one)


def _cell(text: str) -> str:
    """Return text that is no markup and stays in its cell."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return re.sub(r"\s+", " ", plain)
