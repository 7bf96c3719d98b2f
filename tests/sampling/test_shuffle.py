from itertools import pairwise, permutations

import numpy as np
import pytest
from conftest import write_ptb_xl
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgjepa.config import load_preset
from ecgjepa.sampling.mixture import Mixture, shuffle_rng
from ecgjepa.sampling.shuffle import permute, shuffled_draws, turns
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.prepare import prepare
from ecgjepa.store.reading import Store

# Of the paper: MIMIC-IV-ECG and nine others, down to 74 records.
PAPER = {
    800_035: 0.7, 128_033: 0.1, 17_439: 0.05, 10_292: 0.0375, 34_905: 0.028125, 6_867: 0.025,
    516: 0.01875, 74: 0.01875, 3_441: 0.0125, 10_247: 0.009375,
}  # fmt: skip
SIZES, WEIGHTS = np.array(list(PAPER)), np.array(list(PAPER.values()))


@st.composite
def mixtures(draw):
    shares = draw(st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=10))
    weights = np.array(shares) / sum(shares)
    phases = np.random.default_rng(draw(st.integers(0, 1000))).random(len(shares))
    return weights, phases


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(0, 2**64 - 1))
def test_every_place_is_taken_once(size, key):
    places = permute(np.arange(size), np.full(size, size), np.full(size, key, np.uint64))
    assert sorted(places.tolist()) == list(range(size))


def test_all_orders_are_equally_likely():
    keys = np.random.default_rng(0).integers(2**64, size=48_000, dtype=np.uint64)
    orders = np.stack([permute(np.full(48_000, i), np.full(48_000, 4), keys) for i in range(4)], 1)
    counts = {order: (orders == order).all(axis=1).sum() for order in permutations(range(4))}
    # Chi-squared with 23 degrees of freedom exceeds 49.7 once in a thousand.
    assert sum((count - 2000) ** 2 / 2000 for count in counts.values()) < 49.7


def test_neighbours_do_not_stay_together():
    size = 20_000
    places = permute(np.arange(size), np.full(size, size), np.full(size, 7, np.uint64))
    for lag in (1, 2, 100):
        assert abs(np.corrcoef(places[:-lag], places[lag:])[0, 1]) < 4 / np.sqrt(size)
    assert abs(np.corrcoef(places, np.arange(size))[0, 1]) < 4 / np.sqrt(size)


@settings(deadline=None)
@given(mixtures(), st.integers(0, 10**9), st.lists(st.integers(0, 60), min_size=1, max_size=4))
def test_ranges_of_draws_fit_together(mixture, first, lengths):
    """Wherever they are cut; and no database skips or repeats one of its own draws."""
    edges = first + np.cumsum([0, *lengths])
    whole = turns(*mixture, first, int(edges[-1]))
    pieces = [turns(*mixture, int(a), int(b)) for a, b in pairwise(edges)]
    for one, joined in zip(whole, zip(*pieces, strict=True), strict=True):
        np.testing.assert_array_equal(one, np.concatenate(joined))
    for database in range(len(mixture[0])):
        numbers = whole[1][whole[0] == database]
        np.testing.assert_array_equal(np.diff(numbers), np.ones(max(len(numbers) - 1, 0)))


@settings(deadline=None)
@given(mixtures(), st.integers(0, 3000))
def test_every_database_keeps_its_share(mixture, count):
    weights, _ = mixture
    database, number = turns(*mixture, 0, count)
    assert len(database) == count
    counts = np.bincount(database, minlength=len(weights))
    assert (np.abs(counts - count * weights) <= len(weights)).all()
    assert all(number[database == d].tolist() == list(range(c)) for d, c in enumerate(counts))


def test_every_record_comes_once_per_epoch():
    """In the paper's mixture: 6 batches of 2,048 are 3 epochs of 74 records, 2 of 4 of 516 …"""
    batches = [
        shuffled_draws(shuffle_rng(0), WEIGHTS, SIZES, step * 2048, (step + 1) * 2048)
        for step in range(60)
    ]
    database, place = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    for number, size in enumerate(SIZES):
        places = place[database == number]
        for first in range(0, len(places), size):
            epoch = places[first : first + size]
            assert len(set(epoch.tolist())) == len(epoch)
            assert epoch.max() < size
    first, second = place[database == 7][:74], place[database == 7][74:148]
    assert sorted(first) == sorted(second) == list(range(74))
    assert (first != second).any()


def test_a_step_does_not_need_the_steps_before_it():
    late = shuffled_draws(shuffle_rng(3), WEIGHTS, SIZES, 2048 * 99_999, 2048 * 100_000)
    np.testing.assert_array_equal(
        late, shuffled_draws(shuffle_rng(3), WEIGHTS, SIZES, 2048 * 99_999, 2048 * 100_000)
    )
    other = shuffled_draws(shuffle_rng(4), WEIGHTS, SIZES, 2048 * 99_999, 2048 * 100_000)
    assert (late[1] != other[1]).any()
    shares = np.bincount(late[0], minlength=10) / 2048
    np.testing.assert_allclose(shares, WEIGHTS, atol=10 / 2048)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shuffle")
    source = write_ptb_xl(folder / "source", records=30, seconds=3.0)
    config = PreprocessingConfig(sampling_rate=100.0)
    prepare({"ptb-xl": source}, folder / "store", folds="all", preprocessing=config)
    return Store(folder / "store")


def test_a_shuffled_run_sees_every_record_before_any_again(store):
    data = load_preset("tiny", ["data.window_seconds=2", "data.sampling=shuffle"]).data
    mixture = Mixture(store, data)
    draws = [mixture.draw(0, step, 10) for step in range(9)]
    rows = np.concatenate([draw.rows for draw in draws]).reshape(3, 30)
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.tile(range(30), (3, 1)))
    assert len({tuple(epoch) for epoch in rows.tolist()}) == 3
    starts = np.concatenate([draw.starts for draw in draws])
    assert len(set(starts.tolist())) > 20
    assert starts.max() <= 100


def test_records_that_are_too_short_are_not_in_the_order(store):
    data = load_preset("tiny", ["data.window_seconds=2", "data.sampling=shuffle"]).data
    some = Store(store.path)
    some.num_samples = np.where(np.arange(30) % 3, 300, 150)
    rows = Mixture(some, data).draw(0, 0, 20).rows
    assert sorted(rows.tolist()) == [row for row in range(30) if row % 3]
