"""Predictions as files: of labels and of a regression, and what is wrong with them."""

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, r2_score
from small_encoders import save_encoder

import ecgjepa
from ecgjepa import cli
from ecgjepa.errors import ScoreError
from ecgjepa.metrics.bootstrap import PatientBootstrap
from ecgjepa.metrics.paired import compare_models
from ecgjepa.results.predictions import read_predictions

NAMES = ("qt", "pr")
PLAIN = {
    "r2": lambda truth, value: r2_score(truth, value),
    "mean_absolute_error": lambda truth, value: mean_absolute_error(truth, value),
}


def values(rng, records=60):
    """Return true values in two units, and what a good and a bad model say of them."""
    truth = rng.standard_normal((records, 2)) * [30, 10] + [400, 150]
    noise = rng.standard_normal((2, records, 2)) * [30, 10]
    return truth, truth + 0.4 * noise[0], truth + 0.9 * noise[1]


@pytest.mark.parametrize("metric", PLAIN)
def test_a_comparison_of_regressions_is_the_plain_loop(rng, metric):
    truth, good, bad = values(rng)
    runs = [good, good + rng.standard_normal(good.shape)]
    bootstrap = PatientBootstrap(rng.integers(0, 40, 60), num_resamples=60)
    found = compare_models(truth, runs, [bad], NAMES, bootstrap, metric=metric)

    def difference(rows):
        ours, theirs = (
            np.mean([PLAIN[metric](truth[rows], run[rows]) for run in some])
            for some in (runs, [bad])
        )
        return ours - theirs

    every = np.arange(60)
    assert found.difference.value == pytest.approx(difference(every))
    resampled = np.array(
        [difference(np.repeat(every, drawn)) for drawn in bootstrap.weights.T.astype(int)]
    )
    np.testing.assert_allclose(found.difference[1:], np.quantile(resampled, [0.025, 0.975]))
    rarer = min((resampled <= 0).sum(), (resampled >= 0).sum())
    assert found.p_value == pytest.approx(min(1, 2 * (1 + rarer) / 61))
    assert found.first.runs == pytest.approx([PLAIN[metric](truth, run) for run in runs])
    assert found.metric == metric
    assert found.less_is_better == (metric == "mean_absolute_error")
    assert (found.difference.value < 0) == found.less_is_better
    for column, label in enumerate(found.labels):
        gap = np.mean([PLAIN[metric](truth[:, column], run[:, column]) for run in runs])
        gap -= PLAIN[metric](truth[:, column], bad[:, column])
        assert label.difference.value == pytest.approx(gap)
        assert (label.positives, label.few_positives) == (None, None)


@pytest.mark.parametrize("metric", PLAIN)
def test_regressions_by_bca_change_sign_when_swapped(rng, metric):
    truth, good, bad = values(rng)
    bootstrap = PatientBootstrap(np.arange(60), num_resamples=99)
    one, other = (
        compare_models(truth, [first], [second], NAMES, bootstrap, metric=metric, method="bca")
        for first, second in ((good, bad), (bad, good))
    )
    value, low, high = one.difference
    assert low < value < high
    assert other.difference == pytest.approx((-value, -high, -low))
    assert other.p_value == one.p_value


def test_values_that_do_not_vary_have_an_error_and_no_r2(rng):
    truth, good, bad = values(rng)
    truth[:, 1] = 150
    bootstrap = PatientBootstrap(np.arange(60), num_resamples=20)
    found = compare_models(truth, [good], [bad], NAMES, bootstrap)
    assert (found.metric, found.undefined_labels) == ("r2", ("pr",))
    assert found.difference.value == pytest.approx(
        r2_score(truth[:, 0], good[:, 0]) - r2_score(truth[:, 0], bad[:, 0])
    )
    found = compare_models(truth, [good], [bad], NAMES, bootstrap, metric="mean_absolute_error")
    assert found.undefined_labels == ()


# ---------------------------------------------------------------- files


def save(folder, truth, output, outputs, names=NAMES):
    frame = pd.DataFrame({"model": "pre-trained", "part": "test"}, index=range(len(truth)))
    frame["record_id"] = [str(number) for number in frame.index]
    frame["patient_id"] = frame["record_id"]
    for column, name in enumerate(names):
        frame[f"target:{name}"] = truth[:, column]
        frame[f"{output}:{name}"] = outputs[:, column]
    folder.mkdir()
    frame.to_parquet(folder / "predictions.parquet")
    return folder


@pytest.fixture
def regressions(rng, tmp_path):
    truth, good, bad = values(rng)
    return save(tmp_path / "good", truth, "value", good), save(
        tmp_path / "bad", truth, "value", bad
    )


@pytest.fixture
def labelled(rng, tmp_path):
    truth = rng.random((60, 2)) < 0.4
    return save(tmp_path / "labels", truth, "probability", rng.random((60, 2)))


def change(folder, how):
    file = folder / "predictions.parquet"
    how(pd.read_parquet(file)).to_parquet(file)


def test_two_regression_probes_compare(ptb_xl, tmp_path):
    """As results.json compares the probe with its untrained rival."""
    encoder = save_encoder(tmp_path / "model")
    probed = ecgjepa.probe(
        encoder, {"ptb-xl": ptb_xl}, tmp_path / "p", task="age", protocol="linear"
    )
    found = ecgjepa.compare_predictions(probed.path, probed.path, second_model="untrained")
    assert found.metric == "r2"
    expected = probed.results["differences"]["pre-trained - untrained"]
    assert found.difference == pytest.approx(expected)
    assert found.p_value == probed.results["p_values"]["pre-trained - untrained"]
    label = probed.results["models"]["pre-trained"]["labels"][0]
    found = ecgjepa.compare_predictions(
        probed.path, probed.path, second_model="untrained", metric="mean_absolute_error"
    )
    assert found.first.score == pytest.approx(label["mean_absolute_error"])


def test_the_command_says_which_direction_is_better(regressions, monkeypatch, capsys):
    def run(*words):
        first, second = map(str, regressions)
        command = ["ecgjepa", "compare-predictions", first, "--against", second, *words]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    code, text, _ = run("--metric", "mean_absolute_error")
    assert not code
    assert text.startswith("mean absolute error on 60 records of 60 patients")
    first, second = regressions
    assert f"first: {first}" in " ".join(text.split())
    assert f"second: {second}" in " ".join(text.split())
    assert "less is better: below 0, the difference speaks for the first" in text
    assert "first minus second; its interval excludes 0: the first is better" in text
    code, text, _ = run()
    assert not code
    assert text.startswith("mean R² on 60 records")
    assert "less is better" not in text
    assert "its interval excludes 0: the first is better" in text
    assert f"report {first} {second} --out report.html" in " ".join(text.replace("\\", "").split())
    code, _, text = run("--metric", "auroc")
    assert code == 2
    assert "metric 'auroc' is not for predicted values" in text


def test_metrics_of_the_other_kind_are_refused(regressions, labelled):
    compared = ecgjepa.compare_predictions
    for metric in ("auroc", "average_precision", "brier", "log_loss"):
        match = f"metric '{metric}' is not for predicted values: expected one of r2, mean_abs"
        with pytest.raises(ScoreError, match=match):
            compared(*regressions, metric=metric)
    for metric in PLAIN:
        match = f"metric '{metric}' is not for probabilities of labels: expected one of auroc,"
        with pytest.raises(ScoreError, match=match):
            compared(labelled, labelled, metric=metric)
    with pytest.raises(ScoreError, match="unknown metric 'mse': expected one of r2, mean_absolut"):
        compared(*regressions, metric="mse")
    with pytest.raises(ScoreError, match="min_positives is 3, but nothing is positive in a regr"):
        compared(*regressions, min_positives=3)


def test_a_regression_does_not_compare_with_labels(regressions, labelled):
    with pytest.raises(ScoreError, match=r"holds probabilities of labels, .*good values of"):
        ecgjepa.compare_predictions(regressions[0], labelled)
    with pytest.raises(ScoreError, match=r"holds values of a regression, .*labels probabili"):
        ecgjepa.compare_predictions(labelled, regressions[0])


def test_other_true_values_are_refused(regressions):
    change(regressions[1], lambda t: t.assign(**{"target:qt": t["target:qt"] + (t.index == 7)}))
    with pytest.raises(ScoreError, match=r"1 of 60 records have other true .*good; were"):
        ecgjepa.compare_predictions(*regressions)


@pytest.mark.parametrize("kind", ["value", "probability"])
@pytest.mark.parametrize(
    ("how", "match"),
    [
        (lambda t, k: t.drop(columns=f"{k}:pr"), r"1 columns are missing: {k}:pr; the file has"),
        (lambda t, k: t.drop(columns="target:pr"), r"1 columns are missing: target:pr; the file"),
        (lambda t, k: t.filter(regex="^[^:]*$"), r"expected columns target:LABEL with probabili"),
        (lambda t, k: t.drop(columns=[f"{k}:qt", f"{k}:pr"]), "expected columns target:LABEL"),
        (
            lambda t, k: t.assign(**{"value:x": 0.5, "probability:x": 0.5}),
            "expected columns target:LABEL with probability:LABEL or, of a regression, value:LABEL",
        ),
        (
            lambda t, k: t.assign(**{"target:pr": t["target:pr"].where(t.index % 30 != 4)}),
            "the true values of 2 of 60 records are not finite, first in label 'pr'",
        ),
        (
            lambda t, k: t.assign(**{f"{k}:qt": t[f"{k}:qt"].where(t.index != 4)}),
            "the scores of 1 of 60 records are not finite, first in label 'qt'",
        ),
        (
            lambda t, k: t.assign(**{f"{k}:qt": np.inf}),
            "the scores of 60 of 60 records are not finite, first in label 'qt'",
        ),
        (lambda t, k: t.assign(**{f"{k}:qt": "high"}), "not all columns {k}:LABEL are numbers"),
    ],
)
def test_files_of_which_something_is_missing(regressions, labelled, kind, how, match):
    folder = labelled if kind == "probability" else regressions[0]
    change(folder, lambda table: how(table, kind))
    with pytest.raises(ScoreError, match=f"predictions.parquet: {match.format(k=kind)}"):
        read_predictions(folder)


def test_true_labels_are_0_or_1(labelled):
    change(labelled, lambda t: t.assign(**{"target:qt": t["target:qt"].astype(float)}))
    assert read_predictions(labelled).targets.dtype == np.bool_
    change(labelled, lambda t: t.assign(**{"target:qt": t["target:qt"].replace(1, 0.5)}))
    with pytest.raises(ScoreError, match=r"target:qt is 0\.5 in a record; expected 0 or 1 beside"):
        read_predictions(labelled)


def test_a_run_counts_once(labelled, regressions):
    good, bad = regressions
    with pytest.raises(ScoreError, match="labels: is given twice"):
        ecgjepa.compare_predictions([labelled, labelled], labelled)
    with pytest.raises(ScoreError, match="bad: is given twice"):
        ecgjepa.compare_predictions(good, [bad, bad.parent / "good" / ".." / "bad"])
