import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgjepa.evaluation.metrics import (
    PatientBootstrap,
    _weighted_auroc,
    as_json,
    interval,
    label_scores,
    macro_auroc,
    patient_ids,
)


@st.composite
def scored(draw):
    size = draw(st.integers(2, 40))
    targets = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    # Few distinct values, so that there are many ties.
    scores = np.array(draw(st.lists(st.integers(0, 6), min_size=size, max_size=size))) / 6
    weights = np.array(draw(st.lists(st.integers(0, 4), min_size=size, max_size=size)))
    return targets, scores, weights


@settings(max_examples=200)
@given(scored())
def test_weighted_auroc_is_scikit_learns_on_repeated_records(case):
    targets, scores, weights = case
    ours = _weighted_auroc(targets, scores, weights[None].astype(float))[0]
    repeated = np.repeat(np.arange(len(targets)), weights)
    if 0 < targets[repeated].sum() < len(repeated):
        assert ours == pytest.approx(roc_auc_score(targets[repeated], scores[repeated]), abs=1e-12)
    else:
        assert np.isnan(ours)


def test_macro_auroc_is_the_mean_over_defined_labels(rng):
    targets = rng.random((50, 4)) < 0.3
    targets[:, 2] = False
    targets[:, 3] = True
    scores = rng.random((50, 4))
    expected = np.mean([roc_auc_score(targets[:, i], scores[:, i]) for i in (0, 1)])
    assert macro_auroc(targets, scores) == pytest.approx(expected)
    assert np.isnan(macro_auroc(targets[:, 2:], scores[:, 2:]))


def test_label_scores_name_what_is_undefined(rng):
    targets = rng.random((50, 2)) < 0.3
    targets[:, 1] = False
    scores = rng.random((50, 2))
    first, second = label_scores(targets, scores, ("A", "B"))
    assert first.auroc == pytest.approx(roc_auc_score(targets[:, 0], scores[:, 0]))
    assert first.average_precision == pytest.approx(
        average_precision_score(targets[:, 0], scores[:, 0])
    )
    assert (second.label, second.num_positive) == ("B", 0)
    assert np.isnan(second.auroc)


def test_bootstrap_resamples_patients_with_all_their_records(rng):
    patients = np.array(["a", "a", "b", "c", "c", "c"])
    weights = PatientBootstrap(patients, num_resamples=500)._weights
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    drawn = weights[:, [0, 2, 3]]
    assert (drawn.sum(axis=1) == 3).all()
    np.testing.assert_allclose(drawn.mean(axis=0), 1, atol=0.15)


def test_bootstrap_is_the_plain_loop(rng):
    """Against resampling records one by one with scikit-learn, on the same draws."""
    targets = rng.random((60, 3)) < np.array([0.4, 0.2, 0.05])
    scores = rng.random((60, 3)) + 0.3 * targets
    bootstrap = PatientBootstrap(np.arange(60), num_resamples=40)
    fast = bootstrap.macro_auroc(targets, scores)
    for weights, value in zip(bootstrap._weights.astype(int), fast, strict=True):
        rows = np.repeat(np.arange(60), weights)
        per_label = [
            roc_auc_score(targets[rows, i], scores[rows, i])
            for i in range(3)
            if 0 < targets[rows, i].sum() < len(rows)
        ]
        assert value == pytest.approx(np.mean(per_label))


def test_bootstrap_is_seeded(rng):
    a, b, c = (PatientBootstrap(np.arange(9), seed=seed)._weights for seed in (0, 0, 1))
    assert (a == b).all()
    assert (a != c).any()


def test_interval_is_finite_with_a_rare_label(rng):
    """The official script gives nan: a resample without a positive poisons the summary."""
    targets = np.zeros((100, 2), bool)
    targets[:2, 0] = True
    targets[::2, 1] = True
    scores = rng.random((100, 2))
    resampled = PatientBootstrap(np.arange(100)).macro_auroc(targets, scores)
    result = interval(macro_auroc(targets, scores), resampled)
    assert result.low < result.value < result.high


def test_interval_covers_the_truth():
    """Nominal 95 % over 200 simulated test sets with known AUROC."""
    rng = np.random.default_rng(0)
    truth, covered = 0.7602, 0  # P(N(1, 1) > N(0, 1))
    for _ in range(200):
        targets = np.arange(200)[:, None] < 60
        scores = rng.standard_normal((200, 1)) + targets
        resampled = PatientBootstrap(np.arange(200), num_resamples=300).macro_auroc(targets, scores)
        result = interval(macro_auroc(targets, scores), resampled)
        covered += result.low <= truth <= result.high
    assert 180 <= covered <= 198


def test_interval_without_any_defined_resample():
    assert np.isnan(interval(float("nan"), np.full(5, np.nan)).low)


def test_unknown_patients_are_each_their_own():
    ids = patient_ids(pd.Series(["a", None, float("nan"), "a"], index=[5, 6, 7, 9]))
    assert ids.tolist() == ["a", "record 1", "record 2", "a"]


def test_nan_becomes_null_in_json():
    assert as_json({"a": [float("nan"), (1.0, float("inf"))]}) == {"a": [None, [1.0, None]]}
