"""Intervals of shares: exact for independent records, not too sure where patients have several."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ecgjepa.metrics.proportions import shares


def column(*values):
    return np.array(values, bool)[:, None]


@given(st.integers(1, 60), st.data())
def test_one_record_a_patient_gives_the_exact_interval(number, data):
    hits = data.draw(st.integers(0, number))
    flags = (np.arange(number) < hits)[:, None]
    (found,) = shares(
        flags, np.ones((number, 1), bool), np.random.default_rng(0).permutation(number)
    )
    exact = stats.binomtest(hits, number).proportion_ci(0.95, method="exact")
    assert found == pytest.approx((hits / number, exact.low, exact.high), abs=1e-9)


def test_records_of_one_patient_count_as_one_where_all_are_hits():
    (found,) = shares(column(*[1] * 12), column(*[1] * 12), np.repeat([0, 1, 2], 4))
    exact = stats.binomtest(3, 3).proportion_ci(0.95, method="exact")
    assert found == pytest.approx((1.0, exact.low, 1.0))
    (alone,) = shares(column(1, 0, 1), column(1, 1, 1), np.zeros(3, int))
    assert alone == pytest.approx((2 / 3, *_exact(2 / 3, 1)))


def _exact(share, size):
    hits = share * size
    return (
        stats.beta.ppf(0.025, hits, size - hits + 1),
        stats.beta.ppf(0.975, hits + 1, size - hits),
    )


def test_twins_of_every_record_make_nothing_surer():
    rng = np.random.default_rng(0)
    hits, patients = rng.random((40, 1)) < 0.7, np.arange(40)
    (single,) = shares(hits, np.ones_like(hits), patients)
    twins = np.r_[hits, hits]
    (double,) = shares(twins, np.ones_like(twins), np.r_[patients, patients])
    assert double.value == single.value
    assert double.high - double.low == pytest.approx(single.high - single.low, rel=0.03)


def test_what_is_not_counted_does_not_matter_and_nothing_is_none():
    hits, counted = column(1, 0, 1, 0), column(1, 1, 0, 0)
    both = np.c_[hits & counted, np.zeros((4, 1), bool)]
    found, nothing = shares(both, np.c_[counted, np.zeros((4, 1), bool)], np.arange(4))
    assert found.value == 0.5
    assert nothing is None


@pytest.mark.parametrize(("patients", "each", "share"), [(8, 1, 0.9), (12, 3, 0.8), (60, 2, 0.95)])
def test_intervals_hold_the_true_share_as_often_as_they_claim(patients, each, share):
    """4,000 data sets in which records of a patient are alike."""
    rng = np.random.default_rng(0)
    chance = rng.beta(4 * share, 4 * (1 - share), (patients, 4000))
    hits = (rng.random((each, patients, 4000)) < chance).reshape(-1, 4000)
    patient_of = np.tile(np.arange(patients), each)
    found = np.array(shares(hits, np.ones_like(hits), patient_of))
    held = ((found[:, 1] <= share) & (share <= found[:, 2])).mean()
    assert held > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 4000)
