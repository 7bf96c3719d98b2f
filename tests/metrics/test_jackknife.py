"""Scores without each patient in turn are those of the plain definition."""

import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from plain_jackknife import left_out

from ecgjepa.metrics.bootstrap import PatientBootstrap
from ecgjepa.metrics.jackknife import left_out_scores
from ecgjepa.metrics.paired import _OF_LABELS, _OF_VALUES, compare_models
from ecgjepa.metrics.scoring import Part, score

OF = {**_OF_LABELS, **_OF_VALUES}


def compare_with_plain(metric, targets, outputs, patients):
    bootstrap = PatientBootstrap(patients, num_resamples=2)
    found = left_out_scores(metric, targets, outputs, bootstrap.patient_of)
    plain = left_out(patients, lambda weights: OF[metric](targets, outputs, weights))
    assert found.shape == (targets.shape[1], bootstrap.num_patients)
    np.testing.assert_allclose(found, plain, rtol=1e-12, atol=1e-12)


@st.composite
def folds(draw):
    """Labels and scores with ties, of patients with any number of records."""
    records = draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    levels, people = draw(st.integers(1, 12)), draw(st.integers(1, records))
    targets = rng.random((records, 3)) < [0.1, 0.5, 1.0]
    outputs = rng.integers(0, levels + 1, (records, 3)) / levels
    return targets, outputs, rng.integers(0, people, records)


@pytest.mark.parametrize("metric", _OF_LABELS)
@hypothesis.given(folds())
def test_labels_of_any_fold(metric, fold):
    compare_with_plain(metric, *fold)


@pytest.mark.parametrize("metric", _OF_VALUES)
@hypothesis.given(folds())
def test_values_of_any_fold(metric, fold):
    targets, outputs, patients = fold
    rng = np.random.default_rng(len(targets))
    # Truths that vary by far more than rounding without any patient, or not at all: where they
    # hardly vary, R² itself is known to a few digits only.
    places = np.tile(np.arange(len(targets))[:, np.newaxis], (1, targets.shape[1]))
    values = 380.0 + 20.0 * rng.permuted(places, axis=0)
    values[:, 2] = 7.0
    compare_with_plain(metric, values, outputs, patients)


@pytest.mark.parametrize("metric", OF)
def test_many_records_of_one_patient(metric, rng):
    """As in archives of intensive care: one patient has a tenth of the records."""
    patients = np.where(np.arange(900) % 10 == 0, 0, rng.integers(0, 400, 900))
    targets = rng.random((900, 2)) < 0.3
    outputs = np.round(rng.random((900, 2)) * 0.5 + 0.4 * targets, 2)
    if metric in _OF_VALUES:
        targets = 400 + 30 * rng.standard_normal((900, 2))
    compare_with_plain(metric, targets, outputs, patients)


@pytest.mark.parametrize("metric", OF)
def test_a_comparison_by_bca_is_that_of_the_plain_jackknife(metric, rng, monkeypatch):
    patients = rng.integers(0, 60, 100)
    targets = rng.random((100, 2)) < 0.4
    outputs = [np.clip(rng.random((100, 2)) * 0.6 + 0.3 * targets, 0, 1) for _ in range(3)]
    if metric in _OF_VALUES:
        targets = targets + 0.1 * rng.standard_normal((100, 2))
    bootstrap = PatientBootstrap(patients, num_resamples=99)

    def compared():
        options = {"metric": metric, "method": "bca"}
        return compare_models(targets, outputs[:2], outputs[2:], ("a", "b"), bootstrap, **options)

    found = compared()
    monkeypatch.setattr(
        "ecgjepa.metrics.paired.left_out_scores",
        lambda name, truth, run, _: left_out(patients, lambda w: OF[name](truth, run, w)),
    )
    plain = compared()
    for name in ("first", "second"):
        assert getattr(found, name).score == pytest.approx(getattr(plain, name).score, abs=1e-12)
    assert found.difference == pytest.approx(plain.difference, abs=1e-12)
    assert found.p_value == pytest.approx(plain.p_value, abs=1e-12)


def test_it_grows_no_faster_than_the_patients(rng):
    """All weights of 30,000 patients took minutes, and memory for 900 million numbers."""
    patients = np.arange(30_000)
    targets = rng.random((30_000, 2)) < 0.1
    part = Part(targets, np.clip(rng.random(targets.shape) + 0.3 * targets, 0, 1))
    begin = time.perf_counter()
    for metric in ("auroc", "average_precision"):
        values = left_out_scores(metric, *part, patients)
        assert np.isfinite(values).all()
    assert time.perf_counter() - begin < 2


def test_scores_use_it(rng):
    patients = rng.integers(0, 50, 80)
    targets = rng.random((80, 3)) < 0.4
    part = Part(targets, rng.random((80, 3)))
    bootstrap = PatientBootstrap(patients, num_resamples=50)
    scored = score(part, part, ("a", "b", "c"), "multi-label", bootstrap)
    value, low, high = scored.macro["auroc_bca"]
    assert low < value < high
