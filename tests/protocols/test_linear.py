import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from ecgjepa.metrics.classification import macro_auroc
from ecgjepa.protocols.linear import STRENGTHS, fit_linear_probe


def data(rng, records=300, dim=8, labels=3):
    features = rng.standard_normal((records, dim)) * rng.uniform(0.1, 10, dim) + 3
    weight = rng.standard_normal((dim, labels)) / features.std(axis=0)[:, None]
    noise = rng.standard_normal((records, labels))
    return features, (features - 3) @ weight + noise > 0.5


def test_equals_scikit_learn_on_standardised_features(rng):
    features, targets = data(rng)
    probe = fit_linear_probe(
        features[:200], targets[:200], features[200:], targets[200:], single_label=False
    )
    mean, std = features[:200].mean(0), features[:200].std(0)
    for label in range(3):
        model = LogisticRegression(C=probe.strength, max_iter=5000, tol=1e-8).fit(
            (features[:200] - mean) / std, targets[:200, label]
        )
        expected = model.decision_function((features[200:] - mean) / std)
        np.testing.assert_allclose(probe.logits(features[200:])[:, label], expected, atol=1e-4)


def test_strength_is_chosen_on_validation(rng):
    features, targets = data(rng, dim=60)
    args = (features[:100], targets[:100], features[100:], targets[100:])
    probe = fit_linear_probe(*args, single_label=False)
    mean, std = features[:100].mean(0), features[:100].std(0)
    scores = {}
    for strength in STRENGTHS:
        logits = np.column_stack(
            [
                LogisticRegression(C=strength, max_iter=5000, tol=1e-8)
                .fit((features[:100] - mean) / std, targets[:100, i])
                .decision_function((features[100:] - mean) / std)
                for i in range(3)
            ]
        )
        scores[strength] = macro_auroc(targets[100:], logits)
    assert probe.strength == max(scores, key=scores.get)
    assert probe.validation_score == pytest.approx(max(scores.values()))


def test_labels_that_never_or_always_occur_get_a_constant_score(rng):
    features, targets = data(rng)
    targets[:200, 0] = False
    targets[:200, 1] = True
    probe = fit_linear_probe(
        features[:200], targets[:200], features[200:], targets[200:], single_label=False
    )
    logits = probe.logits(features[200:])
    np.testing.assert_allclose(logits[:, 0], -10)
    np.testing.assert_allclose(logits[:, 1], 10)
    assert np.ptp(logits[:, 2]) > 0.1


@pytest.mark.parametrize("present", [1, 2, 3, 4])
def test_single_label_is_multinomial(rng, present):
    features = rng.standard_normal((300, 5))
    classes = rng.integers(0, present, 300)
    features[np.arange(300), classes] += 2
    targets = np.eye(4, dtype=bool)[classes]
    probe = fit_linear_probe(
        features[:200], targets[:200], features[200:], targets[200:], single_label=True
    )
    logits = probe.logits(features[200:])
    if present == 1:
        assert (logits.argmax(axis=1) == classes[200:]).all()
    else:
        assert probe.validation_score > 0.85
        assert macro_auroc(targets[200:], softmax(logits, axis=1)) == probe.validation_score
        assert logits[:, present:].max(initial=-10.0) <= -9.99


@pytest.mark.parametrize("value", [7, 0.1, 0])
def test_a_constant_feature_is_no_problem(rng, value):
    features, targets = data(rng)
    features = features.astype(np.float32)
    features[:, 0] = value
    probe = fit_linear_probe(
        features[:200], targets[:200], features[200:], targets[200:], single_label=False
    )
    assert np.isfinite(probe.weight).all()
    np.testing.assert_allclose(probe.weight[:, 0], 0, atol=1e-6)


def test_single_precision_and_more_features_than_records(rng):
    features, targets = data(rng, records=120, dim=200)
    double = fit_linear_probe(
        features[:60], targets[:60], features[60:], targets[60:], single_label=False
    )
    single = fit_linear_probe(
        features[:60].astype(np.float32),
        targets[:60],
        features[60:].astype(np.float32),
        targets[60:],
        single_label=False,
    )
    assert single.strength == double.strength
    np.testing.assert_allclose(
        single.logits(features[60:]), double.logits(features[60:]), rtol=1e-3, atol=1e-3
    )
