import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from ecgjepa.metrics.regression import label_scores, mean_r2
from ecgjepa.protocols.linear import fit_ridge
from ecgjepa.protocols.neighbours import TEMPERATURE, fit_neighbours


def test_r2_is_scikit_learns_also_on_repeated_records(rng):
    targets = rng.standard_normal((50, 2)) * [1, 30] + [0, 1e4]
    values = targets + rng.standard_normal((50, 2)) * [0.5, 20]
    assert mean_r2(targets, values) == pytest.approx(r2_score(targets, values))
    weights = rng.integers(0, 4, (20, 50))
    ours = label_scores(targets, values, weights.T.astype(np.float32))["r2"].T
    for row, expected in zip(weights, ours, strict=True):
        rows = np.repeat(np.arange(50), row)
        theirs = r2_score(targets[rows], values[rows], multioutput="raw_values")
        np.testing.assert_allclose(expected, theirs, rtol=1e-6)


def test_what_does_not_vary_has_no_r2(rng):
    targets = np.column_stack([np.full(9, 7.3), np.arange(9.0)])
    values = targets + 0.1
    assert mean_r2(targets, values) == pytest.approx(r2_score(targets[:, 1], values[:, 1]))
    assert np.isnan(mean_r2(targets[:, :1], values[:, :1]))


def test_ridge_is_scikit_learns_on_standardised_features(rng):
    features = rng.standard_normal((200, 6)) * [1, 5, 0.1, 1, 1, 1] + 3
    targets = features[:, :2] @ rng.standard_normal((2, 2)) + rng.standard_normal((200, 2))
    probe = fit_ridge(features[:120], targets[:120], features[120:], targets[120:])
    mean, std = features[:120].mean(0), features[:120].std(0)
    scores = {}
    for penalty in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0):
        model = Ridge(alpha=penalty * 120).fit((features[:120] - mean) / std, targets[:120])
        scores[penalty] = r2_score(targets[120:], model.predict((features[120:] - mean) / std))
        if penalty == probe.strength:
            np.testing.assert_allclose(
                probe.logits(features), model.predict((features - mean) / std), rtol=1e-6, atol=1e-8
            )
    assert probe.strength == max(scores, key=scores.get)


@pytest.mark.parametrize("kind", ["multi-label", "single-label", "regression"])
def test_neighbours_are_scikit_learns(rng, kind):
    features = rng.standard_normal((160, 5)) * [1, 9, 0.1, 1, 1] + 2
    if kind == "regression":
        targets = features[:, :2] + 0.1 * rng.standard_normal((160, 2))
    else:
        targets = np.eye(3, dtype=bool)[rng.integers(0, 3, 160)]
        features[:, 0] += 2 * targets[:, 0]
    found = fit_neighbours(features[:100], targets[:100], features[100:], targets[100:], kind=kind)
    mean, std = features[:100].mean(0), features[:100].std(0)
    model_type = KNeighborsRegressor if kind == "regression" else KNeighborsClassifier
    model = model_type(
        n_neighbors=found.k,
        metric="cosine",
        weights=lambda distance: np.exp((distance.min(1, keepdims=True) - distance) / TEMPERATURE),
    )
    scaled = (features - mean) / std
    if kind == "regression":
        theirs = model.fit(scaled[:100], targets[:100]).predict(scaled[100:])
    else:
        theirs = model.fit(scaled[:100], targets[:100].argmax(1)).predict_proba(scaled[100:])
    np.testing.assert_allclose(found.predict(features[100:]), theirs, atol=1e-9)


def test_fewer_records_than_neighbours(rng):
    features, targets = rng.standard_normal((3, 4)), np.array([[True], [False], [True]])
    found = fit_neighbours(features, targets, features, targets, kind="multi-label")
    assert found.k <= 3
    assert mean_absolute_error(targets.astype(float), found.predict(features)) < 1
