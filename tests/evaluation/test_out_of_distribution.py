import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from ecgjepa.errors import ScoreError
from ecgjepa.evaluation.out_of_distribution import evaluate_detection, fit_distribution


def features(rng, records=300, dim=6):
    return rng.standard_normal((records, dim)) @ rng.standard_normal((dim, dim)) * 5 + 100


def test_distance_is_scipys_with_scikit_learns_covariance(rng):
    known = features(rng)
    fitted = fit_distribution(known)
    standardised = (known - known.mean(0)) / known.std(0)
    reference = LedoitWolf(assume_centered=True).fit(standardised)
    inverse = np.linalg.inv(reference.covariance_)
    expected = [mahalanobis(row, np.zeros(6), inverse) / np.sqrt(6) for row in standardised[:20]]
    np.testing.assert_allclose(fitted.distances(known[:20]), expected)
    assert fitted.shrinkage == reference.shrinkage_


def test_records_of_the_training_distribution_are_at_about_1(rng):
    known = rng.standard_normal((4000, 20))
    fitted = fit_distribution(known[:2000])
    assert np.mean(fitted.distances(known[2000:]) ** 2) == pytest.approx(1, abs=0.05)


def test_scale_of_the_features_does_not_matter(rng):
    known = features(rng)
    scale = 10.0 ** np.arange(-3, 3)
    plain, scaled = fit_distribution(known), fit_distribution(known * scale)
    np.testing.assert_allclose(plain.distances(known), scaled.distances(known * scale), rtol=1e-6)


def test_what_is_elsewhere_is_found(rng):
    """A shift along a direction of little variance, invisible to plain distance."""
    mixing = np.diag([10.0, 10, 10, 1, 1, 0.1])
    known, inside, outside = (rng.standard_normal((400, 6)) @ mixing for _ in range(3))
    outside[:, 5] += 0.4
    fitted = fit_distribution(known)
    found = evaluate_detection(fitted.distances(inside), fitted.distances(outside))
    targets = np.r_[np.zeros(400), np.ones(400)]
    scores = np.r_[fitted.distances(inside), fitted.distances(outside)]
    assert found["auroc"].value == pytest.approx(roc_auc_score(targets, scores))
    assert 0.9 < found["auroc"].low < found["auroc"].value < found["auroc"].high
    passed = np.mean(fitted.distances(inside) <= found["threshold"])
    assert passed == pytest.approx(0.95, abs=0.003)
    assert found["share_detected"] == np.mean(fitted.distances(outside) > found["threshold"])
    lengths = np.linalg.norm(np.r_[inside, outside], axis=1)
    assert roc_auc_score(targets, lengths) < 0.6


def test_records_of_a_patient_widen_the_interval(rng):
    inside, outside = rng.standard_normal(100), rng.standard_normal(100) + 0.5
    alone = evaluate_detection(np.repeat(inside, 5), np.repeat(outside, 5))["auroc"]
    patients = np.repeat(np.arange(100), 5)
    together = evaluate_detection(
        np.repeat(inside, 5),
        np.repeat(outside, 5),
        inside_patients=patients,
        outside_patients=patients,
    )["auroc"]
    assert together.value == alone.value
    assert together.high - together.low > 1.7 * (alone.high - alone.low)


def test_more_features_than_records_and_a_constant_one(rng):
    known = features(rng, records=20, dim=50)
    known[:, 3] = 7
    distances = fit_distribution(known).distances(features(rng, records=5, dim=50))
    assert np.isfinite(distances).all()
    wide = rng.standard_normal((500, 3))
    wide[:, 1] = 0
    assert np.isfinite(fit_distribution(wide).distances(wide + 1)).all()


def test_bad_input(rng):
    known = features(rng)
    known[[2, 5], 1] = np.nan
    with pytest.raises(ScoreError, match="2 of 300 training records have features"):
        fit_distribution(known)
    with pytest.raises(ScoreError, match="1 training records; a covariance takes at least 2"):
        fit_distribution(known[:1])
    with pytest.raises(ScoreError, match="2 of 6 new records"):
        fit_distribution(features(rng)).distances(known[:6])
    with pytest.raises(
        ScoreError, match="outside: expected at least one distance, all finite; found 0"
    ):
        evaluate_detection(np.ones(3), np.zeros(0))
