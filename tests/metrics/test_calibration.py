"""Calibration: against scikit-learn, on simulated miscalibration, and where it must give way."""

import numpy as np
import pytest
from scipy.special import expit, logit, softmax
from sklearn.linear_model import LogisticRegression

from ecgjepa.errors import ScoreError
from ecgjepa.metrics.calibration import fit_calibration
from ecgjepa.metrics.classification import (
    calibration_errors,
    log_losses,
    macro,
    macro_auroc,
    ones,
    single_label_scores,
)
from ecgjepa.model.outputs import CalibrationConfig, logits_of

LABELS = ("A", "B")


def overconfident(rng, records=2000):
    """Return targets drawn from true probabilities, and scores three times too sure of them."""
    truth = rng.normal(-1, 1.2, (records, 2))
    return rng.random((records, 2)) < expit(truth), expit(3 * truth + np.array([0.0, 1.5]))


def test_platt_undoes_a_known_distortion(rng):
    targets, scores = overconfident(rng, 20_000)
    fitted = fit_calibration(targets, scores, LABELS, kind="multi-label")
    np.testing.assert_allclose(fitted.scale, 1 / 3, rtol=0.05)
    np.testing.assert_allclose(fitted.shift, [0, -0.5], atol=0.06)
    assert fitted.fallback == {}


def test_platt_is_logistic_regression_on_smoothed_targets(rng):
    targets, scores = overconfident(rng, 200)
    fitted = fit_calibration(targets, scores, LABELS, kind="multi-label")
    z = logit(scores[:, 0])
    hits, misses = targets[:, 0].sum(), (~targets[:, 0]).sum()
    soft = np.where(targets[:, 0], (hits + 1) / (hits + 2), 1 / (misses + 2))
    twice = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.r_[z, z][:, None],
        np.r_[np.ones(200), np.zeros(200)],
        sample_weight=np.r_[soft, 1 - soft],
    )
    assert fitted.scale[0] == pytest.approx(twice.coef_[0, 0], rel=1e-4)
    assert fitted.shift[0] == pytest.approx(twice.intercept_[0], rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_unseen_records_are_better_calibrated_and_ranked_the_same(rng, method):
    fitted = fit_calibration(*overconfident(rng), LABELS, kind="multi-label", method=method)
    targets, scores = overconfident(rng)
    after = fitted.apply(scores)
    once = ones(len(targets))
    assert macro(log_losses(targets, after, once))[0] < macro(log_losses(targets, scores, once))[0]
    assert (calibration_errors(targets, after) < 0.7 * calibration_errors(targets, scores)).all()
    assert macro_auroc(targets, after) == macro_auroc(targets, scores)


def test_temperature_is_the_one_of_least_loss(rng):
    targets, scores = overconfident(rng)
    fitted = fit_calibration(targets, scores, LABELS, kind="multi-label", method="temperature")
    losses = {
        t: log_losses(targets, expit(logit(scores) / t), ones(len(targets))).mean()
        for t in np.geomspace(0.5, 10, 400)
    }
    assert 1 / fitted.scale[0] == pytest.approx(min(losses, key=losses.get), rel=0.01)
    assert len(set(fitted.scale)) == 1
    assert set(fitted.shift) == {0.0}


def test_temperature_of_a_softmax(rng):
    truth = rng.normal(0, 1.5, (3000, 3))
    classes = (softmax(truth, axis=1).cumsum(axis=1) > rng.random((3000, 1))).argmax(axis=1)
    targets = np.eye(3, dtype=bool)[classes]
    scores = softmax(2.5 * truth, axis=1)
    fitted = fit_calibration(targets, scores, ("A", "B", "C"), kind="single-label")
    np.testing.assert_allclose(fitted.scale, 1 / 2.5, rtol=0.06)
    after = fitted.apply(scores)
    np.testing.assert_allclose(after.sum(axis=1), 1)
    assert (after.argmax(axis=1) == scores.argmax(axis=1)).all()
    before, now = (single_label_scores(targets, p, ones(3000))["log_loss"] for p in (scores, after))
    assert now < before


def test_labels_that_cannot_be_fitted_get_the_temperature_and_are_named(rng):
    targets, scores = overconfident(rng, 300)
    targets, scores = np.tile(targets, (1, 3)), np.tile(scores, (1, 3))
    targets[:, 1] = False  # absent
    targets[:, 2] = np.arange(300) >= 4  # nearly always there
    targets[:, 3] = np.arange(300) < 1  # one positive
    scores[:, 4] = 0.3
    scores[:, 5] = 1 - scores[:, 5]
    labels = tuple("ABCDEF")
    fitted = fit_calibration(targets, scores, labels, kind="multi-label")
    assert fitted.fallback == {
        "B": "0 positive validation records",
        "C": "4 negative validation records",
        "D": "1 positive validation records",
        "E": "scores do not vary",
        "F": "scores of positives are not above those of negatives",
    }
    assert len(set(fitted.scale[1:])) == 1
    assert fitted.scale[0] != fitted.scale[1]
    assert fitted.shift[1:] == (0.0,) * 5
    assert np.isfinite(fitted.apply(scores)).all()


def test_separable_labels_settle(rng):
    targets = np.arange(100)[:, None] < 30
    scores = np.where(targets, 0.9, 0.2) + 0.01 * rng.random((100, 1))
    fitted = fit_calibration(targets, scores, ("A",), kind="multi-label")
    assert 0 < fitted.scale[0] < 100
    calibrated = fitted.apply(scores)
    assert calibrated[targets].min() > calibrated[~targets].max()


def test_probabilities_of_0_and_1_stay_finite_and_in_order():
    probabilities = np.array([[0.0], [1e-30], [0.5], [1 - 1e-12], [1.0]])
    for kind in ("multi-label", "single-label"):
        logits = logits_of(probabilities, kind)
        assert np.isfinite(logits).all()
        assert (np.diff(logits[:, 0]) > 0).all()
    config = CalibrationConfig(method="platt", kind="multi-label", scale=(0.5,), shift=(0.1,))
    assert (np.diff(config.apply(probabilities)[:, 0]) > 0).all()


def test_bad_input(rng):
    targets, scores = overconfident(rng, 50)
    with pytest.raises(ScoreError, match="Platt scaling is per label"):
        fit_calibration(targets, scores, LABELS, kind="single-label", method="platt")
    scores[3, 1] = np.nan
    with pytest.raises(ScoreError, match="scores of 1 of 50 records are not finite"):
        fit_calibration(targets, scores, LABELS, kind="multi-label")
    with pytest.raises(ValueError, match="scale"):
        CalibrationConfig(method="platt", kind="multi-label", scale=(-1.0,), shift=(0.0,))
