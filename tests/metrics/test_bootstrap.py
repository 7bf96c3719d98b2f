"""Intervals: against plain loops, SciPy, and the truth of simulated data."""

import numpy as np
import pytest
from plain_jackknife import left_out
from resampling import macro_aurocs
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgjepa.errors import ScoreError
from ecgjepa.metrics.bootstrap import PatientBootstrap, bca_interval, interval
from ecgjepa.metrics.classification import macro, macro_auroc, ranking_scores


def fold(rng, patients=40, records=60, labels=3):
    """Return targets, scores and patients; the last label is rare, one patient has many records."""
    targets = rng.random((records, labels)) < np.array([0.4, 0.2, 0.05])[:labels]
    scores = np.round(rng.random((records, labels)) + 0.3 * targets, 1)
    return targets, scores, rng.integers(0, patients, records).astype(str)


def interval_by(method, bootstrap, patients, statistic):
    found = bootstrap.interval(statistic)
    if method == "percentile":
        return found
    without = left_out(patients, statistic)
    return bca_interval(found.value, bootstrap.resample(statistic), without)


def test_patients_keep_their_records():
    patients = np.array(["a", "a", "b", "c", "c", "c"])
    weights = PatientBootstrap(patients, num_resamples=500).weights
    assert (weights[0] == weights[1]).all()
    assert (weights[3] == weights[5]).all()
    drawn = weights[[0, 2, 3]]
    assert (drawn.sum(axis=0) == 3).all()
    np.testing.assert_allclose(drawn.mean(axis=1), 1, atol=0.15)


def test_resamples_are_the_plain_loop(rng):
    """Against drawing whole patients one by one and scikit-learn, on the same draws."""
    targets, scores, patients = fold(rng)
    bootstrap = PatientBootstrap(patients, num_resamples=40)
    fast = macro_aurocs(bootstrap, targets, scores)
    precision = ranking_scores(targets, scores, bootstrap.weights).average_precision
    for resample, weights in enumerate(bootstrap.weights.T):
        names, first = np.unique(patients, return_index=True)
        drawn = [
            name
            for name, count in zip(names, weights[first], strict=True)
            for _ in range(int(count))
        ]
        assert len(drawn) == bootstrap.num_patients
        rows = np.concatenate([np.flatnonzero(patients == name) for name in drawn])
        areas = []
        for label in range(3):
            if 0 < targets[rows, label].sum() < len(rows):
                areas.append(roc_auc_score(targets[rows, label], scores[rows, label]))
                assert precision[label, resample] == pytest.approx(
                    average_precision_score(targets[rows, label], scores[rows, label])
                )
            else:
                assert np.isnan(precision[label, resample])
        assert fast[resample] == pytest.approx(np.mean(areas))


def test_point_and_interval_come_from_the_same_statistic(rng):
    targets, scores, patients = fold(rng)
    bootstrap = PatientBootstrap(patients, num_resamples=200)
    found = bootstrap.interval(lambda w: macro(ranking_scores(targets, scores, w).auroc))
    assert found.value == macro_auroc(targets, scores)
    resampled = macro_aurocs(bootstrap, targets, scores)
    assert found[1:] == tuple(np.quantile(resampled, [0.025, 0.975]))


def test_bca_is_scipys(rng):
    """On the mean and the variance of skewed numbers, with SciPy's own resamples."""
    sample = rng.exponential(size=50)
    for statistic in (np.mean, np.var):
        theirs = stats.bootstrap(
            (sample,), statistic, n_resamples=999, method="BCa", rng=np.random.default_rng(1)
        )
        without = np.array([statistic(np.delete(sample, i)) for i in range(50)])
        ours = bca_interval(statistic(sample), theirs.bootstrap_distribution, without)
        np.testing.assert_allclose(ours[1:], theirs.confidence_interval, rtol=1e-12)
        plain = interval(statistic(sample), theirs.bootstrap_distribution)
        assert ours.low > plain.low  # the skew is corrected for


def test_bca_of_patients_is_scipys_of_patients(rng):
    """With one record per patient, the whole route agrees with SciPy to the noise of the draws."""
    values = rng.exponential(size=80)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    bootstrap = PatientBootstrap(np.arange(80), num_resamples=20_000)

    def mean(weights):
        return values @ weights / weights.sum(axis=0)

    ours = bca_interval(values.mean(), bootstrap.resample(mean), left_out(np.arange(80), mean))
    np.testing.assert_allclose(ours[1:], theirs, atol=0.006)


def test_bootstrap_is_seeded():
    a, b, c = (PatientBootstrap(np.arange(9), seed=seed).weights for seed in (0, 0, 1))
    assert (a == b).all()
    assert (a != c).any()


def test_interval_is_finite_with_a_rare_label(rng):
    """The official script gives nan: a resample without a positive poisons the summary."""
    targets = np.zeros((100, 2), bool)
    targets[:2, 0] = True
    targets[::2, 1] = True
    scores = rng.random((100, 2))
    bootstrap = PatientBootstrap(np.arange(100))

    def statistic(weights):
        return macro(ranking_scores(targets, scores, weights).auroc)

    for method in ("percentile", "bca"):
        result = interval_by(method, bootstrap, np.arange(100), statistic)
        assert result.low < result.value < result.high


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_cover_the_truth(method):
    """Nominal 95 % over 200 simulated test sets of known AUROC; patients have 1 to 3 records.

    The number covered is binomial: outside 180 to 198 of 200 with probability 0.004 at 95 %.
    """
    rng = np.random.default_rng(0)
    truth, covered = stats.norm.cdf(np.sqrt(0.5)), 0
    for _ in range(200):
        patients = np.repeat(np.arange(100), rng.integers(1, 4, 100))
        # A patient's records share the label and most of the score.
        targets = (np.arange(100) < 35)[patients]
        own = rng.standard_normal(100)[patients] * np.sqrt(0.8)
        scores = own + rng.standard_normal(len(patients)) * np.sqrt(0.2) + targets
        bootstrap = PatientBootstrap(patients, num_resamples=300)
        result = interval_by(
            method,
            bootstrap,
            patients,
            lambda w, t=targets[:, None], s=scores[:, None]: ranking_scores(t, s, w).auroc[0],
        )
        covered += result.low <= truth <= result.high
    assert 180 <= covered <= 198


def test_records_drawn_one_by_one_would_not_cover():
    """The same data without the patients: shows that the test above can fail."""
    rng = np.random.default_rng(0)
    truth, covered = stats.norm.cdf(np.sqrt(0.5)), 0
    for _ in range(200):
        patients = np.repeat(np.arange(40), 5)
        targets = (np.arange(40) < 15)[patients]
        scores = rng.standard_normal(40)[patients] + 0.2 * rng.standard_normal(200) + targets
        resampled = macro_aurocs(
            PatientBootstrap(np.arange(200), num_resamples=200), targets[:, None], scores[:, None]
        )
        result = interval(macro_auroc(targets[:, None], scores[:, None]), resampled)
        covered += result.low <= truth <= result.high
    assert covered < 150


def test_degenerate_resamples():
    nothing = np.full(5, np.nan)
    assert np.isnan(interval(float("nan"), nothing).low)
    assert np.isnan(bca_interval(0.5, nothing, nothing).low)
    constant = bca_interval(0.5, np.full(9, 0.5), np.full(4, 0.5))
    assert constant == (0.5, 0.5, 0.5)
    beyond = bca_interval(1.0, np.linspace(0, 0.9, 99), np.linspace(0, 1, 9))
    assert 0.8 < beyond.low < beyond.high <= 0.9
    with pytest.raises(ScoreError, match="no records to resample"):
        PatientBootstrap(np.array([]))
