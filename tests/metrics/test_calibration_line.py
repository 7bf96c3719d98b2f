"""Slope and intercept of probabilities, against scikit-learn, a definition and simulations."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from ecgjepa.metrics.calibration_line import calibration_lines


def line(positive, probability, patient=None):
    patient = np.arange(len(positive)) if patient is None else patient
    (found,) = calibration_lines(positive[:, None], probability[:, None], patient)
    return found


@pytest.fixture
def drawn(rng):
    """Probabilities that are too extreme and too low: the truth has slope 0.5, intercept 1."""
    x = rng.normal(-1, 2, 3000)
    return rng.random(3000) < expit(0.5 * x + 1), expit(x)


def test_slope_is_that_of_a_logistic_regression(drawn):
    positive, probability = drawn
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(probability)[:, None], positive)
    found = line(positive, probability)
    assert found.slope.value == pytest.approx(fitted.coef_[0, 0], rel=1e-5)
    assert found.slope.low < 0.5 < found.slope.high


def test_intercept_makes_the_mean_right(drawn):
    positive, probability = drawn
    found = line(positive, probability).intercept
    assert expit(logit(probability) + found.value).mean() == pytest.approx(positive.mean())
    assert found.low > 0, "the probabilities are too low"


def test_right_probabilities_have_slope_1_and_intercept_0_as_often_as_the_interval_says(rng):
    inside = []
    for _ in range(200):
        p = expit(rng.normal(-0.5, 1.5, 300))
        found = line(rng.random(300) < p, p)
        inside.append(
            [
                found.slope.low <= 1 <= found.slope.high,
                found.intercept.low <= 0 <= found.intercept.high,
            ]
        )
    assert (np.mean(inside, axis=0) > 0.9).all()
    assert (np.mean(inside, axis=0) < 0.99).all()


def test_records_that_come_again_make_no_interval_narrower(drawn):
    positive, probability = (one[:500] for one in drawn)
    once = line(positive, probability)
    again = line(np.repeat(positive, 3), np.repeat(probability, 3), np.repeat(np.arange(500), 3))
    for single, several in zip(once, again, strict=True):
        assert several == pytest.approx(single, abs=1e-9)
    careless = line(np.repeat(positive, 3), np.repeat(probability, 3))
    assert careless.slope.high - careless.slope.low < 0.7 * (once.slope.high - once.slope.low)


@pytest.mark.parametrize("case", ["few", "separable", "constant"])
def test_what_cannot_be_fitted_has_no_slope(rng, case):
    p = rng.uniform(0.1, 0.9, 100)
    positive = {"few": np.arange(100) < 9, "separable": p > 0.5, "constant": p > 0.5}[case]
    if case == "constant":
        p = np.full(100, 0.3)
    found = line(positive, p)
    assert np.isnan(found.slope).all()
    assert np.isnan(found.intercept).all() == (case == "few")
