"""Folds by hash, and shares of the labels: by patient, the same every time."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgjepa.tasks.folds import hashed_fold, with_folds
from ecgjepa.tasks.split import part_of_patients


def test_the_hash_is_what_the_documents_say():
    digest = hashlib.sha256(b"georgia/E00001").hexdigest()
    assert hashed_fold("georgia", "E00001") == int(digest[:16], 16) % 10 + 1


def test_folds_are_of_equal_size_and_differ_by_database():
    folds = np.array([hashed_fold("georgia", f"E{i:05d}") for i in range(10_000)])
    counts = np.bincount(folds, minlength=11)[1:]
    assert counts.min() > 900
    assert counts.max() < 1100
    other = np.array([hashed_fold("ningbo", f"E{i:05d}") for i in range(10_000)])
    assert 0.07 < (folds == other).mean() < 0.13


def test_published_folds_stay_and_patients_stay_together():
    table = pd.DataFrame(
        {
            "database": ["a"] * 5 + ["b"] * 3,
            "record_id": list("12345678"),
            "patient_id": ["p", "p", "q", None, "p", None, None, None],
            "fold": [np.nan] * 5 + [3, 4, np.nan],
        }
    )
    found, origin = with_folds(table)
    fold = found["fold"]
    assert fold[0] == fold[1] == fold[4] == hashed_fold("a", "p")
    assert fold[2] == hashed_fold("a", "q")
    assert fold[3] == hashed_fold("a", "4")
    assert fold[5:7].tolist() == [3, 4]
    assert np.isnan(fold[7])
    assert origin["a"].startswith("ten, by SHA-256 of the patient (4 of 5 known)")
    assert origin["b"] == "published; 1 records without one are not used"
    # More records, or another order, move nobody.
    again, _ = with_folds(table.iloc[[4, 2, 0]].reset_index(drop=True))
    assert again["fold"].tolist() == [fold[4], fold[2], fold[0]]


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=80),
    st.integers(0, 5),
    st.lists(st.floats(0.001, 1), min_size=2, max_size=4),
)
def test_shares_lie_within_each_other_and_keep_patients_whole(patients, draw, shares):
    names = np.array([f"p{number}" for number in patients])
    before = np.zeros(len(names), bool)
    for share in sorted(shares):
        chosen = part_of_patients(names, share, draw)
        assert (chosen | ~before).all()
        for name in set(names):
            assert len(set(chosen[names == name])) == 1
        whole = len(set(names))
        assert len(set(names[chosen])) == pytest.approx(max(1, share * whole), abs=1)
        before = chosen
    assert part_of_patients(names, 1.0, draw).all()


def test_seven_of_a_hundred_are_seven():
    assert part_of_patients(np.arange(100), 0.07, 0).sum() == 7
    assert (
        part_of_patients(np.arange(100), 0.1, 0) != part_of_patients(np.arange(100), 0.1, 1)
    ).any()
