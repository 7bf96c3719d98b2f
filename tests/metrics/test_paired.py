"""Paired differences: against a plain loop, the truth of simulated models, and bad files."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

import ecgjepa
from ecgjepa.errors import ScoreError
from ecgjepa.metrics.bootstrap import PatientBootstrap, bca_correction, bca_interval, interval
from ecgjepa.metrics.paired import compare_models, p_value

LABELS = ("A", "B", "C")


def models(rng, records=80):
    """Return targets (C has no positive) and the scores of a good and a bad model."""
    targets = rng.random((records, 3)) < np.array([0.5, 0.2, 0.0])
    noise = rng.standard_normal((2, records, 3))
    return targets, 1 / (1 + np.exp(-noise[0] - 2 * targets)), 1 / (1 + np.exp(-noise[1] - targets))


def test_difference_is_the_plain_loop(rng):
    """Runs are averaged within each resample, of the same patients for both models."""
    targets, good, bad = models(rng)
    runs = [good, np.clip(good + 0.1 * rng.random(good.shape), 0, 1)]
    bootstrap = PatientBootstrap(rng.integers(0, 50, 80), num_resamples=50)
    found = compare_models(targets, runs, [bad], LABELS, bootstrap)

    def plain(scores, rows):
        return np.mean([roc_auc_score(targets[rows, i], scores[rows, i]) for i in (0, 1)])

    every = np.arange(80)
    means = [np.mean([plain(run, every) for run in runs]), plain(bad, every)]
    assert found.first.score.value == pytest.approx(means[0])
    assert found.second.score.value == pytest.approx(means[1])
    assert found.difference.value == pytest.approx(means[0] - means[1])
    resampled = []
    for weights in bootstrap.weights.T.astype(int):
        rows = np.repeat(every, weights)
        resampled.append(np.mean([plain(run, rows) for run in runs]) - plain(bad, rows))
    np.testing.assert_allclose(found.difference[1:], np.quantile(resampled, [0.025, 0.975]))
    assert found.first.runs == pytest.approx([plain(run, every) for run in runs])
    assert found.first.std_over_runs == pytest.approx(np.std(found.first.runs, ddof=1))
    assert np.isnan(found.second.std_over_runs)
    assert found.undefined_labels == ("C",)
    assert (found.records, found.patients) == (80, bootstrap.num_patients)
    assert [label.few_positives for label in found.labels] == [False, False, True]
    assert np.isnan(found.labels[2].difference.value)


def test_runs_do_not_narrow_the_interval_as_patients_would(rng):
    targets, good, bad = models(rng)
    bootstrap = PatientBootstrap(np.arange(80), num_resamples=200)
    once = compare_models(targets, [good], [bad], LABELS, bootstrap)
    thrice = compare_models(targets, [good] * 3, [bad] * 3, LABELS, bootstrap)
    assert thrice.difference == pytest.approx(once.difference)
    assert thrice.p_value == once.p_value
    assert thrice.first.std_over_runs == pytest.approx(0)


@pytest.mark.parametrize("metric", ["auroc", "average_precision", "brier", "log_loss"])
@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_models_swapped_change_sign(rng, metric, method):
    targets, good, bad = models(rng)
    bootstrap = PatientBootstrap(np.arange(80), num_resamples=99)
    one = compare_models(targets, [good], [bad], LABELS, bootstrap, metric=metric, method=method)
    other = compare_models(targets, [bad], [good], LABELS, bootstrap, metric=metric, method=method)
    value, low, high = one.difference
    assert other.difference == pytest.approx((-value, -high, -low))
    assert other.p_value == one.p_value
    assert low < value < high
    assert (value > 0) == (metric in ("auroc", "average_precision"))


def test_a_model_against_itself(rng):
    targets, good, _ = models(rng)
    found = compare_models(targets, [good], [good], LABELS, PatientBootstrap(np.arange(80)))
    assert found.difference == (0, 0, 0)
    assert found.p_value == 1


def test_p_value_agrees_with_the_interval():
    """It is below 0.05 where the percentile interval excludes 0, but for a resample at the edge."""
    assert p_value(np.linspace(0.1, 1, 999)) == pytest.approx(2 / 1000)
    differences = np.arange(1000) - 20.5  # 21 of them below 0
    assert p_value(differences) == pytest.approx(2 * 22 / 1001)
    assert np.quantile(differences, 0.025) > 0
    assert p_value(np.arange(1000) - 30.5) > 0.05
    assert np.isnan(p_value(np.full(3, np.nan)))


def test_the_one_case_where_p_and_the_percentile_interval_can_disagree():
    """The rule of docs/statistics.md, over every number of 1,000 resamples below 0."""
    for below, first_above in ((20, 1.0), (24, 1e-9), (25, 1.0), (25, 1e-9), (26, 1.0), (40, 1.0)):
        differences = np.concatenate(
            (np.full(below, -1.0), np.linspace(first_above, 5, 1000 - below))
        )
        p, low = p_value(differences), interval(1.0, differences).low
        assert p == pytest.approx(2 * (1 + below) / 1001)
        assert (p < 0.05) == (below <= 24)
        if below != 25:
            assert (p < 0.05) == (low > 0)
        else:
            assert (low > 0) == (first_above == 1.0)


def skewed(rng, resamples):
    """Return value, resamples and jackknife of a mean of skewed numbers, somewhere about 0."""
    sample = rng.exponential(size=25) ** 1.5
    sample -= sample.mean() + rng.normal(0, 2.2 * sample.std() / 5)
    left_out = (sample.sum() - sample) / 24
    drawn = rng.choice(sample, (resamples, 25)).mean(axis=1)
    sign = rng.choice([-1, 1])
    return sign * sample.mean(), sign * drawn, sign * left_out


def test_p_below_a_twentieth_means_an_interval_that_excludes_0():
    """By either method, on simulated means; the reverse fails at the edge alone."""
    rng = np.random.default_rng(0)
    significant, edge = {"percentile": 0, "bca": 0}, {"percentile": 0, "bca": 0}
    for _ in range(400):
        value, drawn, left_out = skewed(rng, 199)
        for method, found, p in (
            ("percentile", interval(value, drawn), p_value(drawn)),
            (
                "bca",
                bca_interval(value, drawn, left_out),
                p_value(drawn, bca_correction(value, drawn, left_out)),
            ),
        ):
            excludes = found.low > 0 or found.high < 0
            assert excludes or p >= 0.05
            significant[method] += p < 0.05
            edge[method] += excludes and p >= 0.05
    assert min(significant.values()) > 100
    assert max(edge.values()) < 30  # of 400, with 199 resamples


def test_bca_p_values_invert_scipys_interval(rng):
    """SciPy's BCa interval of confidence 1 - p ends at 0, but for a few of 20,000 resamples."""
    for errors in (-3, -2, -1.5, 1.5, 2, 2.5):
        sample = rng.exponential(size=40)
        sample += errors * sample.std() / np.sqrt(40) - sample.mean()
        theirs = stats.bootstrap(
            (sample,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
        )
        left_out = (sample.sum() - sample) / 39
        drawn = theirs.bootstrap_distribution
        p = p_value(drawn, bca_correction(sample.mean(), drawn, left_out))
        again = stats.bootstrap(
            (sample,),
            np.mean,
            n_resamples=0,
            bootstrap_result=theirs,
            method="BCa",
            confidence_level=1 - p,
        ).confidence_interval
        assert 2 / 20_001 < p < 0.5
        assert min(np.abs(again)) < 0.02 * sample.std() / np.sqrt(40)
        assert abs(p - p_value(drawn)) > 1e-3  # the percentile interval says another thing


def test_p_values_at_the_ends():
    """Never 0 and never above 1, also where the correction is extreme or there is none."""
    drawn = np.linspace(0.1, 1, 99)
    for value in (0.01, 0.5, 2.0):
        left_out = np.array([0.1, 0.1, 0.1, 5.0])
        p = p_value(drawn, bca_correction(value, drawn, left_out))
        assert 2 / 100 <= p <= 1
    constant = np.zeros(99)
    assert p_value(constant, bca_correction(0.0, constant, np.zeros(4))) == 1
    one_patient = compare_models(
        np.array([[True], [False]]),
        [np.array([[0.9], [0.1]])],
        [np.array([[0.2], [0.1]])],
        ("A",),
        PatientBootstrap(np.zeros(2), num_resamples=9),
        method="bca",
    )
    assert np.isnan(one_patient.difference.low)
    assert np.isnan(one_patient.p_value)


def test_a_comparison_by_bca_has_the_p_value_of_its_interval():
    """On simulated test sets where the two methods do not agree about 0."""
    rng = np.random.default_rng(3)
    targets = (np.arange(40) % 3 == 0)[:, None]
    disagree = 0
    for _ in range(40):
        losses = 0.6 * rng.exponential(size=(40, 1)), np.ones((40, 1))
        first, second = (np.where(targets, np.exp(-x), 1 - np.exp(-x)) for x in losses)
        bootstrap = PatientBootstrap(np.arange(40), num_resamples=199)
        by = {
            method: compare_models(
                targets, [first], [second], ("A",), bootstrap, metric="log_loss", method=method
            )
            for method in ("percentile", "bca")
        }
        for found in by.values():
            excludes = found.difference.low > 0 or found.difference.high < 0
            assert excludes or found.p_value >= 0.05
        disagree += by["percentile"].p_value < 0.05 <= by["bca"].p_value
    assert disagree > 0


def test_p_values_are_uniform_without_a_difference():
    """Two models of the same quality and correlated errors on 120 simulated test sets."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(120):
        targets = (np.arange(100) < 40)[:, None]
        shared, own = rng.standard_normal((100, 1)), rng.standard_normal((2, 100, 1))
        first, second = (shared + own[i] + targets for i in (0, 1))
        bootstrap = PatientBootstrap(np.arange(100), num_resamples=99)
        values.append(compare_models(targets, [first], [second], ("A",), bootstrap).p_value)
    assert stats.kstest(values, "uniform").pvalue > 0.01
    assert np.sum(np.array(values) < 0.05) <= 14  # binomial (120, 0.05): 0.999 of it


def test_a_real_difference_is_found():
    rng = np.random.default_rng(0)
    targets, good, bad = models(rng, records=400)
    found = compare_models(targets, [good], [bad], LABELS, PatientBootstrap(np.arange(400)))
    assert found.difference.low > 0
    assert found.p_value < 0.01


# ---------------------------------------------------------------- files


@pytest.fixture
def table(rng):
    """Predictions as an evaluation writes them; two records of unknown patients."""
    targets, good, bad = models(rng, records=30)
    patients = [f"p{i // 2}" for i in range(28)] + [None, None]
    frames = []
    for name, scores in (("pre-trained", good), ("untrained", bad)):
        frame = pd.DataFrame({"model": name, "part": "test", "patient_id": patients})
        frame["record_id"] = [str(i) for i in range(30)]
        for column, label in enumerate(LABELS):
            frame[f"target:{label}"] = targets[:, column]
            frame[f"probability:{label}"] = scores[:, column]
        frames += [frame, frame.assign(part="validation")]
    return pd.concat(frames, ignore_index=True)


def save(table, folder):
    folder.mkdir()
    table.to_parquet(folder / "predictions.parquet")
    return folder


def test_files_in_any_order_compare(table, tmp_path):
    first = save(table, tmp_path / "a")
    shuffled = table.sample(frac=1, random_state=0)[[*table.columns[:4], *table.columns[:3:-1]]]
    second = save(shuffled, tmp_path / "b")
    found = ecgjepa.compare_predictions(first, second, second_model="untrained", num_resamples=50)
    same = ecgjepa.compare_predictions(
        first / "predictions.parquet", [first], second_model="untrained", num_resamples=50
    )
    assert found.as_dict() == same.as_dict()
    assert (found.records, found.patients) == (30, 16)
    assert repr(found).startswith("Comparison(macro auroc, 30 records of 16 patients: 0.")
    assert len(repr(found)) < 160
    assert found.as_dict()["labels"][2]["difference"] == [None, None, None]
    assert found.as_dict()["first"]["std_over_runs"] is None


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda t: t.drop(columns=["target:A", "probability:A"]),
            r"its labels are not those of .*a: 1 missing \(A\);.* same --task",
        ),
        (
            lambda t: t[t["record_id"] != "3"],
            r"test records .*a: 1 missing \(3\); .*same --data and",
        ),
        (
            lambda t: t.assign(**{"target:A": t["target:A"] ^ (t["record_id"] == "5")}),
            "1 of 30 records have other true labels",
        ),
        (
            lambda t: t.assign(**{"probability:B": t["probability:B"].where(t.index % 30 != 4)}),
            "scores of 1 of 30 records are not finite, first in label 'B'",
        ),
        (lambda t: pd.concat([t, t.head(2)]), "2 records come twice"),
        (lambda t: t[t["model"] != "pre-trained"], "no test predictions of model 'pre-trained'"),
        (lambda t: t.drop(columns="patient_id"), "columns patient_id are missing"),
    ],
)
def test_files_that_do_not_fit_are_refused(table, tmp_path, change, match):
    first, second = save(table, tmp_path / "a"), save(change(table), tmp_path / "b")
    with pytest.raises(ScoreError, match=match):
        ecgjepa.compare_predictions(first, second)


def test_what_is_no_file_of_predictions(table, tmp_path):
    first = save(table, tmp_path / "a")
    (tmp_path / "x").write_text("x")
    with pytest.raises(ScoreError, match="no such file"):
        ecgjepa.compare_predictions(first, tmp_path / "none")
    with pytest.raises(ScoreError, match="no readable Parquet file"):
        ecgjepa.compare_predictions(first, tmp_path / "x")
    with pytest.raises(ScoreError, match="at least one folder"):
        ecgjepa.compare_predictions(first, [])
    with pytest.raises(ScoreError, match="unknown metric 'f2'"):
        ecgjepa.compare_predictions(first, first, metric="f2")
