"""Label sets: finite-sample coverage on simulated exchangeable records."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

from ecgjepa.errors import ScoreError
from ecgjepa.metrics.conformal import fit_label_sets, fit_single_label_sets, measure_coverage


def multi_label(rng, records):
    targets = rng.random((records, 3)) < np.array([0.5, 0.3, 0.1])
    return targets, 1 / (1 + np.exp(-rng.standard_normal((records, 3)) - targets))


def single_label(rng, records):
    logits = rng.normal(0, 1.5, (records, 4))
    chances = softmax(logits, axis=1)
    classes = (chances.cumsum(axis=1) > rng.random((records, 1))).argmax(axis=1)
    return np.eye(4, dtype=bool)[classes], softmax(1.7 * logits, axis=1)  # overconfident


def test_per_label_coverage_is_what_was_asked_for():
    """Over calibration sets, coverage of a label is Beta distributed; its mean is known."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        fitted = fit_label_sets(*multi_label(rng, 200), coverage=0.9)
        targets, scores = multi_label(rng, 500)
        found.append(measure_coverage(targets, fitted.predict(scores)).per_label)
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(200)
    # At least 0.9, and at most 1 / (positives + 1) above it: some 100, 60 and 20 positives.
    assert (mean > 0.9 - 3 * error).all()
    assert (mean < 0.9 + 1 / np.array([80, 45, 10]) + 3 * error).all()


def test_single_label_coverage_is_within_its_binomial_bound():
    """Of 200 new records, one to each of 200 calibrations: independent, so binomial."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        calibration = single_label(rng, 99)
        fitted = fit_single_label_sets(*calibration, coverage=0.9)
        targets, scores = single_label(rng, 1)
        covered += measure_coverage(targets, fitted.predict(scores)).overall
    low, high = stats.binom.interval(0.998, 200, 0.9)
    assert low <= covered <= high


def test_overconfident_sets_without_calibration_would_not_cover():
    """The sets that trust the probabilities: shows that the test above can fail."""
    rng = np.random.default_rng(0)
    targets, scores = single_label(rng, 4000)
    order = np.argsort(-scores, axis=1)
    mass = np.take_along_axis(scores, order, axis=1).cumsum(axis=1)
    kept = np.zeros_like(targets)
    np.put_along_axis(kept, order, np.c_[np.zeros(4000), mass[:, :-1]] < 0.8, axis=1)
    fitted = fit_single_label_sets(*single_label(rng, 4000), coverage=0.97)
    assert measure_coverage(targets, kept).overall < 0.95
    assert measure_coverage(targets, fitted.predict(scores)).overall > 0.955


def test_threshold_is_the_finite_sample_quantile():
    """By hand: of 9 positives, 0.9 needs all; of 10, one of them may fall out."""
    for count, expected in ((9, 0.1), (10, 0.1), (19, 0.2)):
        scores = (np.arange(count)[:, None] + 1) / 10
        fitted = fit_label_sets(np.ones((count, 1), bool), scores, coverage=0.9)
        assert fitted.thresholds[0] == pytest.approx(expected)


def test_a_label_with_too_few_positives_is_in_every_set(rng):
    targets = np.zeros((100, 3), bool)
    targets[:8, 0] = True
    targets[:50, 1] = True
    scores = rng.random((100, 3))
    fitted = fit_label_sets(targets, scores, coverage=0.9)
    assert np.isneginf(fitted.thresholds).tolist() == [True, False, True]
    sets = fitted.predict(scores)
    assert sets[:, [0, 2]].all()
    measured = measure_coverage(targets, sets)
    assert measured.per_label[0] == 1
    assert np.isnan(measured.per_label[2])


def test_measured_coverage_by_hand():
    targets = np.array([[True, False], [True, True], [False, True]])
    sets = np.array([[True, True], [False, True], [False, False]])
    found = measure_coverage(targets, sets)
    assert found.per_label.tolist() == [0.5, 0.5]
    assert (found.overall, found.mean_size) == (0.5, 1.0)
    assert found.share_empty == pytest.approx(1 / 3)


def test_surer_models_get_smaller_sets(rng):
    targets, scores = single_label(rng, 2000)
    sizes = [
        measure_coverage(targets, fit_single_label_sets(targets, s).predict(s)).mean_size
        for s in (scores, rng.dirichlet(np.ones(4), 2000))
    ]
    assert sizes[0] < 0.8 * sizes[1]


def test_bad_input(rng):
    targets, scores = multi_label(rng, 20)
    with pytest.raises(ScoreError, match=r"coverage 90: expected a share between 0 and 1"):
        fit_label_sets(targets, scores, coverage=90)
    with pytest.raises(ScoreError, match="records have not exactly one label"):
        fit_single_label_sets(targets, scores)
    with pytest.raises(ScoreError, match="probabilities are not finite"):
        fit_label_sets(targets, np.full((20, 3), np.nan))
