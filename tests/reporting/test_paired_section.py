"""Evaluations of a task stand side by side on the page, compared patient by patient."""

import shutil

import numpy as np
import pandas as pd
import pytest

import ecgjepa


@pytest.fixture
def other(evaluation, tmp_path):
    """Another evaluation of the same records, whose scores know the labels better."""
    folder = tmp_path / "other"
    shutil.copytree(evaluation, folder)
    change(folder, lambda t: t.assign(**{"probability:B": 0.2 + 0.6 * t["target:B"]}))
    return folder


def change(folder, how):
    file = folder / "predictions.parquet"
    how(pd.read_parquet(file)).to_parquet(file)


def test_a_page_compares_the_models_of_a_task(page_text, evaluation, other):
    found = ecgjepa.compare_predictions(other, evaluation)
    value, low, high = found.difference
    assert value > 0
    text = page_text([evaluation, other])
    assert "Models compared" in text
    assert f"the same {found.records} test records of {found.patients} patients" in text
    row = f"{found.first.score.value:.3f} {found.second.score.value:.3f} {value:+.3f} "
    assert row in text
    assert f"({low:+.3f} to {high:+.3f})" in text
    gap = next(label.difference for label in found.labels if label.label == "B")
    assert f"({gap.low:+.3f} to {gap.high:+.3f})" in text
    assert "Not compared" not in text


def test_a_label_without_difference_is_a_dash(page_text, evaluation, other):
    assert np.isnan(ecgjepa.compare_predictions(other, evaluation).labels[2].difference.value)
    text = page_text([evaluation, other])
    assert "nan" not in text
    assert "C * -" in text.partition("difference per label")[2]


def test_what_does_not_compare_is_named(page_text, evaluation, other):
    change(other, lambda t: t[t["record_id"] != t["record_id"].iloc[-1]])
    text = page_text([evaluation, other])
    assert "since their test records, labels or true labels are other ones:" in text
    assert "on the same" not in text


def test_one_evaluation_is_compared_with_nothing(page_text, evaluation):
    assert "Models compared" not in page_text([evaluation])
