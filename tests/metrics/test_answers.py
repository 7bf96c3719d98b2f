"""Thresholds, sets and intervals of model folders: fitted on some records, true of others."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, softmax

from ecgjepa.errors import ConfigError
from ecgjepa.metrics.answers import (
    fit_sets,
    fit_value_intervals,
    measure_sets,
    measure_value_intervals,
)
from ecgjepa.metrics.calibration import fit_calibration
from ecgjepa.metrics.thresholds import fit_decisions, measure_decisions
from ecgjepa.model.outputs import DecisionRule, parse_rule

LABELS = ("A", "B", "C")


def multi_label(rng, records):
    targets = rng.random((records, 3)) < np.array([0.5, 0.3, 0.15])
    return targets, expit(2.5 * (rng.standard_normal((records, 3)) + 1.5 * targets - 1))


def single_label(rng, records):
    logits = rng.normal(0, 1.5, (records, 3))
    chances = softmax(logits, axis=1)
    classes = (chances.cumsum(axis=1) > rng.random((records, 1))).argmax(axis=1)
    return np.eye(3, dtype=bool)[classes], softmax(2.0 * logits, axis=1)


@pytest.mark.parametrize(
    ("draw", "kind", "draws"),
    [(multi_label, "multi-label", 60), (single_label, "single-label", 150)],
)
def test_sets_of_calibrated_probabilities_cover_new_records(draw, kind, draws):
    """The way of a model folder: calibration and sets of the same validation records.

    Each set meets one new record of each label, or one new record: so hits are binomial.
    """
    rng = np.random.default_rng(1)
    covered = np.zeros(3 if kind == "multi-label" else 1)
    for _ in range(draws):
        targets, scores = draw(rng, 300)
        calibration = fit_calibration(targets, scores, LABELS, kind=kind)
        sets = fit_sets(targets, calibration.apply(scores), kind)
        targets, scores = draw(rng, 200)
        shown = [int(np.flatnonzero(positive)[0]) for positive in targets.T]
        if kind == "single-label":
            shown = [0]
        for place, record in enumerate(shown):
            told = dict(zip(LABELS, calibration.apply(scores)[record].tolist(), strict=True))
            true = place if kind == "multi-label" else int(targets[record].argmax())
            covered[place] += LABELS[true] in sets.apply(told)
    low, high = stats.binom.interval(0.998, draws, 0.9)
    assert ((low <= covered) & (covered <= high)).all(), covered


def test_measured_sets_say_what_applying_them_record_by_record_gives():
    rng = np.random.default_rng(0)
    sets = fit_sets(*multi_label(rng, 400), "multi-label", folds=(9,))
    targets, scores = multi_label(rng, 300)
    measured = measure_sets(sets, targets, scores, np.arange(300))
    applied = [sets.apply(dict(zip(LABELS, row, strict=True))) for row in scores.tolist()]
    held = np.array([[label in found for label in LABELS] for found in applied])
    assert measured.mean_size == held.sum(axis=1).mean()
    assert measured.share_empty == (~held.any(axis=1)).mean()
    assert measured.measured.value == held[targets].mean()
    for column, one in enumerate(measured.per_label):
        assert one.value == held[targets[:, column], column].mean()
        assert one.low < one.value <= one.high
    assert sets.measured is None


def test_a_label_without_enough_validation_records_is_in_every_set():
    targets = np.zeros((50, 3), bool)
    targets[:20, 0] = targets[:8, 1] = True
    sets = fit_sets(targets, np.full((50, 3), 0.5), "multi-label")
    assert sets.thresholds == (0.5, None, None)
    assert sets.apply({"A": 0.1, "B": 0.0, "C": 0.0}) == ("B", "C")


def test_intervals_of_a_regression_cover_new_values():
    rng = np.random.default_rng(2)
    covered = np.zeros(2)
    for _ in range(200):
        truth = rng.normal(0, [10.0, 1.0], (60, 2))
        intervals = fit_value_intervals(truth, truth + rng.standard_t(3, (60, 2)) * [3.0, 0.1])
        new = rng.normal(0, [10.0, 1.0], (1, 2))
        told = (new + rng.standard_t(3, (1, 2)) * [3.0, 0.1])[0].tolist()
        bounds = intervals.apply(dict(zip("ab", told, strict=True)))
        covered += [
            low <= value <= high for value, (low, high) in zip(new[0], bounds.values(), strict=True)
        ]
    low, high = stats.binom.interval(0.998, 200, 0.9)
    assert ((low <= covered) & (covered <= high)).all(), covered
    few = fit_value_intervals(np.zeros((8, 1)), np.ones((8, 1)))
    assert few.half_widths == (None,)
    assert few.apply({"a": 1.0}) == {}
    measured = measure_value_intervals(intervals, truth, truth + 0.01, np.arange(60))
    assert [one.value for one in measured.measured] == [1.0, 1.0]


def test_decisions_on_test_records_are_counted_by_hand():
    validation = np.r_[np.ones(10, bool), np.zeros(10, bool)][:, None]
    scores = np.r_[np.arange(10, 20), np.arange(10)][:, None] / 20
    decisions = fit_decisions(validation, scores, ("A",), folds=(9,))
    assert [one.rule for one in decisions.rules] == [
        "best-f1",
        "sensitivity=0.9",
        "specificity=0.9",
    ]
    assert [one.values[0] for one in decisions.rules][:2] == [0.5, 0.55]
    targets = np.array([1, 1, 1, 0, 0, 0, 0, 0], bool)[:, None]
    told = np.array([0.9, 0.8, 0.1, 0.7, 0.4, 0.3, 0.2, 0.1])[:, None]
    best = measure_decisions(decisions, targets, told, np.arange(8)).thresholds
    values = [getattr(best, name)[0].value for name in ("sensitivity", "specificity", "ppv", "npv")]
    assert values == pytest.approx([2 / 3, 4 / 5, 2 / 3, 4 / 5])
    silent = measure_decisions(decisions, targets, np.zeros((8, 1)), np.arange(8)).thresholds
    assert silent.ppv == (None,)
    assert silent.npv[0].value == 5 / 8


def test_few_records_give_no_threshold_of_a_share_and_a_remark():
    targets = np.zeros((100, 3), bool)
    targets[:30, 0] = targets[:9, 1] = True
    scores = np.tile(np.linspace(1, 0, 100)[:, None], 3)
    decisions = fit_decisions(targets, scores, LABELS, rule=DecisionRule("sensitivity", 0.95))
    assert decisions.chosen == "sensitivity=0.95"
    best, sensitive, specific = decisions.rules
    assert [one is None for one in best.values] == [False, False, True]
    assert best.remarks == {
        "B": "9 positive validation records, fewer than 10",
        "C": "0 positive validation records, fewer than 10",
    }
    assert [one is None for one in sensitive.values] == [False, True, True]
    assert sensitive.remarks["B"] == "9 positive validation records, fewer than 20"
    assert [one is None for one in specific.values] == [False, False, True]
    assert decisions.apply(dict.fromkeys(LABELS, 1.0)) == {"A": True}
    assert set(decisions.choose("best-f1").apply(dict.fromkeys(LABELS, 1.0))) == {"A", "B"}
    with pytest.raises(ConfigError, match=r"holds best-f1, sensitivity=0.95, specificity=0.9\."):
        decisions.choose("sensitivity=0.9")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("best-f1", "best-f1"),
        ("sensitivity>=0.95", "sensitivity=0.95"),
        ("sensitivity >= .9", "sensitivity=0.9"),
        ("specificity=0.90", "specificity=0.9"),
    ],
)
def test_a_rule_is_read_and_written_as_it_is_typed(text, found):
    assert str(parse_rule(text)) == found
    assert str(parse_rule(found)) == found


@pytest.mark.parametrize(
    "text", ["", "f1", "sensitivity", "sensitivity>=", "specificity=1", "sensitivity=0.0", "x=0.9"]
)
def test_what_is_no_rule_is_refused_with_the_rules(text):
    with pytest.raises(ConfigError, match="expected best-f1, sensitivity=X or specificity=X"):
        parse_rule(text)
