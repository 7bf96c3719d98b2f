"""Every score against scikit-learn on repeated records, ties and weights included."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from ecgjepa.errors import ScoreError
from ecgjepa.files import as_json
from ecgjepa.metrics.bootstrap import patient_ids
from ecgjepa.metrics.classification import (
    brier_scores,
    calibration_error,
    calibration_errors,
    check_scores,
    log_losses,
    macro,
    macro_auroc,
    ones,
    ranking_scores,
    reliability,
    single_label_scores,
    threshold_scores,
)
from ecgjepa.metrics.regression import regression_scores
from ecgjepa.metrics.thresholds import best_f1_thresholds, specificity_thresholds


@st.composite
def scored(draw):
    size = draw(st.integers(2, 40))
    targets = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    # Few distinct values, so that there are many ties.
    scores = np.array(draw(st.lists(st.integers(0, 6), min_size=size, max_size=size))) / 6
    weights = np.array(draw(st.lists(st.integers(0, 4), min_size=size, max_size=size)))
    return targets, scores, weights


@settings(max_examples=100)
@given(scored())
def test_ranking_scores_are_scikit_learns_on_repeated_records(case):
    targets, scores, weights = case
    ours = ranking_scores(targets[:, None], scores[:, None], weights[:, None].astype(float))
    rows = np.repeat(np.arange(len(targets)), weights)
    if 0 < targets[rows].sum() < len(rows):
        given = (targets[rows], scores[rows])
        assert ours.auroc[0, 0] == pytest.approx(reference.roc_auc_score(*given), abs=1e-12)
        expected = reference.average_precision_score(*given)
        assert ours.average_precision[0, 0] == pytest.approx(expected, abs=1e-12)
    else:
        assert np.isnan(ours.auroc).all()
        assert np.isnan(ours.average_precision).all()


@settings(max_examples=50)
@given(scored(), st.integers(0, 7))
def test_threshold_and_probability_scores_are_scikit_learns(case, threshold):
    targets, scores, weights = case
    columns = (targets[:, None], scores[:, None])
    weight = weights[:, None].astype(float)
    ours = threshold_scores(*columns, np.array([threshold / 6]), weight)
    brier, loss = brier_scores(*columns, weight), log_losses(*columns, weight)
    rows = np.repeat(np.arange(len(targets)), weights)
    truth, called = targets[rows], scores[rows] >= threshold / 6
    if 0 < truth.sum() < len(rows):
        assert ours.f1[0, 0] == pytest.approx(reference.f1_score(truth, called))
        assert ours.sensitivity[0, 0] == pytest.approx(reference.recall_score(truth, called))
        assert ours.specificity[0, 0] == pytest.approx(reference.recall_score(~truth, ~called))
        assert brier[0, 0] == pytest.approx(reference.brier_score_loss(truth, scores[rows]))
        assert loss[0, 0] == pytest.approx(
            reference.log_loss(truth, scores[rows], labels=[False, True])
        )
    else:
        assert np.isnan([*ours.f1, *ours.sensitivity, *ours.specificity, *brier, *loss]).all()


def test_columns_of_weights_do_not_mix(rng):
    targets, scores = rng.random((30, 3)) < 0.4, rng.random((30, 3))
    weights = rng.integers(0, 3, (30, 5)).astype(float)
    together = ranking_scores(targets, scores, weights)
    for column in range(5):
        alone = ranking_scores(targets, scores, weights[:, [column]])
        np.testing.assert_allclose(together.auroc[:, [column]], alone.auroc)


def test_macro_auroc_is_the_mean_over_defined_labels(rng):
    targets = rng.random((50, 4)) < 0.3
    targets[:, 2] = False
    targets[:, 3] = True
    scores = rng.random((50, 4))
    expected = np.mean([reference.roc_auc_score(targets[:, i], scores[:, i]) for i in (0, 1)])
    assert macro_auroc(targets, scores) == pytest.approx(expected)
    assert np.isnan(macro_auroc(targets[:, 2:], scores[:, 2:]))


def test_one_rule_for_absent_labels_in_every_score(rng):
    targets = rng.random((50, 3)) < 0.3
    targets[:, 1] = False
    targets[:, 2] = True
    scores, once = rng.random((50, 3)), ones(50)
    found = [
        *ranking_scores(targets, scores, once),
        *threshold_scores(targets, scores, np.full(3, 0.5), once),
        brier_scores(targets, scores, once),
        log_losses(targets, scores, once),
        calibration_errors(targets, scores)[:, None],
    ]
    for values in found:
        assert np.isfinite(values[:, 0]).tolist() == [True, False, False]
        assert macro(values)[0] == values[0, 0]


def test_calibration_error_is_that_of_scikit_learns_curve(rng):
    probability = rng.random(400) ** 3
    positive = rng.random(400) < probability**0.5
    curve = reliability(positive, probability)
    share, mean = calibration_curve(positive, probability, n_bins=15)
    filled = curve.num_records > 0
    np.testing.assert_allclose(curve.share_positive[filled], share)
    np.testing.assert_allclose(curve.mean_probability[filled], mean)
    expected = (curve.num_records[filled] * np.abs(share - mean)).sum() / 400
    assert calibration_error(positive, probability) == pytest.approx(expected)
    assert expected > 0.1


def test_probabilities_of_0_and_1_are_in_the_outer_bins():
    curve = reliability(np.array([False, True]), np.array([0.0, 1.0]))
    assert curve.num_records.tolist() == [1, *[0] * 13, 1]
    assert np.isnan(curve.share_positive[1:-1]).all()


def test_single_label_scores_are_scikit_learns(rng):
    probabilities = rng.dirichlet(np.ones(4), 60)
    classes = rng.integers(0, 4, 60)
    weights = rng.integers(0, 4, (60, 3)).astype(float)
    ours = single_label_scores(np.eye(4, dtype=bool)[classes], probabilities, weights)
    for column in range(3):
        rows = np.repeat(np.arange(60), weights[:, column].astype(int))
        truth, given = classes[rows], probabilities[rows]
        assert ours["accuracy"][column] == pytest.approx(
            reference.accuracy_score(truth, given.argmax(axis=1))
        )
        assert ours["log_loss"][column] == pytest.approx(
            reference.log_loss(truth, given, labels=range(4))
        )
        brier = ((given - np.eye(4)[truth]) ** 2).sum(axis=1).mean()
        assert ours["brier"][column] == pytest.approx(brier)


def test_regression_scores_are_scikit_learns(rng):
    truth = rng.normal(60, 15, 80)
    predicted = truth + rng.normal(1, 8, 80)
    weights = rng.integers(0, 4, (80, 3)).astype(float)
    ours = regression_scores(truth, predicted, weights)
    for column in range(3):
        rows = np.repeat(np.arange(80), weights[:, column].astype(int))
        given = (truth[rows], predicted[rows])
        assert ours["mae"][column] == pytest.approx(reference.mean_absolute_error(*given))
        assert ours["r2"][column] == pytest.approx(reference.r2_score(*given))
        assert ours["pearson"][column] == pytest.approx(pearsonr(*given)[0])


def test_regression_of_a_constant_and_of_nan(rng):
    predicted = rng.random(5)
    scores = regression_scores(np.full(5, 3.0), predicted, ones(5))
    assert scores["mae"][0] == pytest.approx(np.mean(3 - predicted))
    assert np.isnan(scores["r2"][0])
    assert np.isnan(scores["pearson"][0])
    with pytest.raises(ScoreError, match="1 of 5 predicted values are not finite"):
        regression_scores(np.ones(5), np.array([1.0, 2, 3, 4, np.nan]), ones(5))


# ---------------------------------------------------------------- thresholds


@settings(max_examples=100)
@given(scored())
def test_best_f1_is_the_best_of_all_thresholds(case):
    targets, scores, _ = case
    found = best_f1_thresholds(targets[:, None], scores[:, None])[0]
    if not 0 < targets.sum() < len(targets):
        assert np.isnan(found)
        return
    every = {t: reference.f1_score(targets, scores >= t) for t in np.unique(scores)}
    assert found == max(t for t, f1 in every.items() if f1 == max(every.values()))


@settings(max_examples=50)
@given(scored(), st.sampled_from([0.0, 0.5, 0.9, 0.95, 1.0]))
def test_specificity_is_kept_by_the_lowest_threshold(case, wanted):
    targets, scores, _ = case
    found = specificity_thresholds(targets[:, None], scores[:, None], wanted)[0]
    if not 0 < targets.sum() < len(targets):
        assert np.isnan(found)
        return
    negatives = scores[~targets]
    assert (negatives < found).mean() >= wanted - 1e-9
    lower = scores[scores < found]
    if lower.size:  # the next lower call would let too many through
        assert (negatives < lower.max()).mean() < wanted


def test_a_label_without_a_threshold_is_undefined(rng):
    targets, scores = rng.random((40, 2)) < 0.5, rng.random((40, 2))
    found = threshold_scores(targets, scores, np.array([0.5, np.nan]), ones(40))
    assert np.isfinite(found.f1[0, 0])
    assert np.isnan([found.f1[1, 0], found.sensitivity[1, 0], found.specificity[1, 0]]).all()


# ---------------------------------------------------------------- bad input


def test_scores_that_are_no_numbers_are_named(rng):
    targets, scores = rng.random((6, 2)) < 0.5, rng.random((6, 2))
    scores[2:4, 1] = np.nan
    with pytest.raises(ScoreError, match=r"scores of 2 of 6 records .* first in label 'B'"):
        check_scores(scores, targets, ("A", "B"))


def test_scores_that_do_not_fit_are_named(rng):
    with pytest.raises(ScoreError, match=r"targets \(6, 2\) and 3 labels do not fit together"):
        check_scores(rng.random((6, 3)), rng.random((6, 2)) < 0.5, ("A", "B", "C"))
    with pytest.raises(ScoreError, match="no records to score"):
        check_scores(np.zeros((0, 1)), np.zeros((0, 1), bool), ("A",))


def test_unknown_patients_are_each_their_own():
    ids = patient_ids(pd.Series(["a", None, float("nan"), "a"], index=[5, 6, 7, 9]))
    assert ids.tolist() == ["a", "record 1", "record 2", "a"]


def test_nan_becomes_null_in_json():
    assert as_json({"a": [float("nan"), (1.0, float("inf"))]}) == {"a": [None, [1.0, None]]}
