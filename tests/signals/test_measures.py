import numpy as np
import pytest
from conftest import toy_ecg
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import signal as dsp

from ecgjepa.io import read_record
from ecgjepa.signals.measures import measure, measure_each, middle
from ecgjepa.signals.passes import column_extremes, fold_rows
from ecgjepa.signals.preprocessing import PreprocessingConfig, prepare_record
from ecgjepa.signals.quality import quality_score
from ecgjepa.signals.signatures import signature
from ecgjepa.signals.units import INVALID_MICROVOLT

# Short records and low rates: whole seconds, odd rests, and less than one block all occur.
records = hnp.arrays(
    np.int16,
    st.tuples(st.integers(1, 60), st.integers(1, 4)),
    elements=st.one_of(
        st.integers(-32767, 32767),
        st.integers(-3, 3),
        st.sampled_from([INVALID_MICROVOLT, -32767, 32767]),
    ),
)
rates = st.sampled_from([1.0, 10.0, 25.0, 40.0, 257.0])


def blocks_of(values: np.ndarray, size: int) -> list[np.ndarray]:
    """Whole blocks of rows, or all rows where there is no whole block."""
    size = max(1, min(size, len(values)))
    return [values[start : start + size] for start in range(0, len(values) - size + 1, size)]


def upper_median(values) -> np.ndarray:
    return np.sort(np.asarray(values), axis=0)[len(values) // 2]


@settings(max_examples=300, deadline=None)
@given(records, rates)
def test_every_number_against_plain_numpy(samples, rate):
    measures = measure(samples, rate)
    valid = samples != INVALID_MICROVOLT
    exact = np.where(valid, samples, 0).astype(object)  # Python integers never overflow
    np.testing.assert_array_equal(measures.valid_count, valid.sum(axis=0))
    np.testing.assert_array_equal(measures.total, exact.sum(axis=0))
    np.testing.assert_array_equal(measures.gram, (exact.T @ exact).astype(np.float64))
    np.testing.assert_array_equal(measures.squares, (exact * exact).sum(axis=0))
    for lead in range(samples.shape[1]):
        seen = samples[valid[:, lead], lead]
        low, high = (seen.min(), seen.max()) if seen.size else (0, 0)
        assert (measures.low[lead], measures.high[lead]) == (low, high)

    mean = np.rint(exact.sum(axis=0).astype(float) / np.maximum(valid.sum(axis=0), 1))
    filled = np.where(valid, samples, mean)
    expected = [block.mean(axis=0) for block in blocks_of(filled, round(0.2 * rate))]
    np.testing.assert_allclose(measures.block_means, expected, rtol=1e-12, atol=1e-9)
    means = [b.mean(axis=0) for b in blocks_of(np.array(expected), 5)]
    np.testing.assert_allclose(measures.drift, np.ptp(means, axis=0), rtol=1e-9, atol=1e-8)

    change = np.abs(np.diff(filled, axis=0))
    noise = [block.mean(axis=0) for block in blocks_of(change, round(0.05 * rate))]
    expected_noise = upper_median(noise) if len(change) else np.zeros(samples.shape[1])
    expected_noise = expected_noise * rate / 500
    np.testing.assert_allclose(measures.noise, expected_noise, rtol=1e-12)

    wide = samples.astype(np.int64)
    seconds = blocks_of(wide, round(rate))
    ranges = [
        np.where((second == INVALID_MICROVOLT).any(axis=0), 0, np.ptp(second, axis=0))
        for second in seconds
    ]
    np.testing.assert_array_equal(measures.ranges, ranges)
    typical = upper_median(ranges)
    moving = np.sort(typical[typical > 0])
    assert measures.beats_mv == (moving[len(moving) // 2] / 1e3 if moving.size else 0.0)


def test_sums_are_exact_at_full_amplitude():
    """Half an hour at 500 Hz; in float32 this would be off by far."""
    samples = np.full((900_000, 2), 32767, np.int16)
    samples[::2, 1] = -32767
    measures = measure(samples, 500.0)
    assert measures.total.tolist() == [900_000 * 32767, 0]
    assert measures.gram.astype(int).tolist() == [[900_000 * 32767**2, 0], [0, 900_000 * 32767**2]]
    assert measures.noise.tolist() == [0.0, 65534.0]


def test_a_gap_is_neither_noise_nor_drift(rng):
    samples = toy_ecg(rng)
    broken = samples + np.int16(2000)  # an offset, so that filling with 0 would be a step
    whole = measure(broken, 500.0)
    broken[1100:1400, 3] = INVALID_MICROVOLT
    found = measure(broken, 500.0)
    assert found.noise[3] == pytest.approx(whole.noise[3], rel=0.1)
    assert found.drift[3] < whole.drift[3] + 150
    assert np.flatnonzero(found.ranges[:, 3] == 0).tolist() == [2]  # the third second only


@pytest.mark.parametrize("offset", range(16))
def test_same_bytes_at_any_place_in_memory(offset):
    """The processor's vectors start elsewhere when the memory does."""
    rng = np.random.default_rng(3)
    samples = toy_ecg(rng)[:4987]
    samples[100:300, 5] = INVALID_MICROVOLT
    memory = np.zeros(samples.nbytes + 64, np.uint8)
    view = memory[2 * offset : 2 * offset + samples.nbytes].view(np.int16).reshape(samples.shape)
    view[:] = samples
    first, second = measure(samples, 500.0), measure(view, 500.0)
    for one, other in zip(first, second, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    assert signature(first).tobytes() == signature(second).tobytes()
    assert quality_score(first) == quality_score(second)
    columns = np.asfortranarray(samples)
    assert measure(columns, 500.0).gram.tobytes() == first.gram.tobytes()


@settings(max_examples=60)
@given(st.data())
def test_records_measured_together_have_the_numbers_of_each_alone(data):
    rate = data.draw(st.sampled_from([25.0, 100.0, 257.0, 500.0, 1000.0]))
    shape = data.draw(st.tuples(st.integers(1, 3000), st.sampled_from([1, 3, 12])))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    amplitude = data.draw(st.sampled_from([1, 300, 32767]))  # changes of the last exceed 16 bits
    records = [
        rng.integers(-amplitude, amplitude + 1, shape).astype(np.int16)
        for _ in range(data.draw(st.integers(1, 5)))
    ]
    for gap in data.draw(st.lists(st.integers(0, len(records) - 1))):
        records[gap][rng.integers(shape[0]) :, rng.integers(shape[1])] = INVALID_MICROVOLT
    for own, together in zip(records, measure_each(records, rate), strict=True):
        for one, other in zip(measure(own, rate), together, strict=True):
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@given(hnp.arrays(np.int16, st.tuples(st.integers(1, 50), st.integers(1, 13))), st.integers(1, 5))
def test_folding_rows_and_extremes(samples, blocks):
    rows = len(samples) // blocks * blocks
    if rows:
        expected = samples[:rows].reshape(blocks, -1, samples.shape[1]).max(axis=1)
        np.testing.assert_array_equal(fold_rows(samples[:rows], blocks, np.maximum), expected)
    low, high = column_extremes(samples)
    np.testing.assert_array_equal(low, samples.min(axis=0))
    np.testing.assert_array_equal(high, samples.max(axis=0))
    np.testing.assert_array_equal(middle(samples), upper_median(samples))


def bits_apart(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.unpackbits(one ^ other).sum())


def sign(samples: np.ndarray, rate: float = 500.0) -> np.ndarray:
    return signature(measure(np.rint(samples).astype(np.int16), rate))


def copies(samples: np.ndarray) -> dict[str, np.ndarray]:
    """Signatures of the same recording after what other databases do to it."""
    slow = dsp.resample_poly(samples.astype(float), 1, 5, axis=0, padtype="line")
    sections = dsp.butter(4, 0.5, btype="highpass", fs=500, output="sos")
    return {
        "100 Hz": sign(slow, 100.0),
        "resampled": sign(dsp.resample_poly(slow, 5, 1, axis=0, padtype="line")),
        "gain 200": sign(np.rint(samples / 5) * 5),
        "filtered": sign(dsp.sosfiltfilt(sections, samples.astype(float), axis=0)),
        "offset": sign(samples + 300.0),
    }


def test_signatures_of_copies_are_near_and_of_strangers_far():
    rng = np.random.default_rng(1)
    strangers = [toy_ecg(rng, kind=number % 4) for number in range(40)]
    signatures = [sign(samples) for samples in strangers]
    for samples, own in zip(strangers[:10], signatures, strict=False):
        assert max(bits_apart(own, copy) for copy in copies(samples).values()) <= 16
    apart = [bits_apart(a, b) for i, a in enumerate(signatures) for b in signatures[:i]]
    assert 55 < np.mean(apart) < 70
    # Toy hearts beat like clockwork, so a few of them coincide.
    assert np.mean(np.array(apart) <= 16) < 0.01


GOLDEN = "90d22c72061fbab28c7cc155d658cdf1"


def test_signature_does_not_depend_on_libraries():
    """Written down: a store's signatures are compared with those of later versions."""
    time = np.arange(5000)[:, None]
    samples = (time * (3 + np.arange(12)) * 7919 // 100 % 1201 - 600).astype(np.int16)
    assert bytes(sign(samples)).hex() == GOLDEN
    assert not sign(samples[:2400]).any()  # less than five seconds say too little
    assert sign(samples[:2500]).any()


def test_signature_where_little_is_known(rng):
    samples = toy_ecg(rng)
    whole = sign(samples)
    assert not sign(np.zeros((5000, 12))).any()
    assert not sign(np.full((1, 12), 7)).any()
    flat = samples.copy()
    flat[:, 7] = 0
    flat[:, 9] = INVALID_MICROVOLT
    assert sign(flat).any()
    assert 0 < bits_apart(sign(flat), whole) < 64
    longer = np.vstack([samples, samples[:2000]])
    np.testing.assert_array_equal(sign(longer), whole)
    eight = samples[:, [0, 1, 6, 7, 8, 9, 10, 11]]
    np.testing.assert_array_equal(sign(eight), whole)
    assert sign(samples[:, :1]).any()


@pytest.mark.realdata
def test_signatures_of_real_records(real_data):
    headers = sorted((real_data / "ptb-xl").glob("records500/**/*.hea"))[:60]
    if not headers:
        pytest.skip("no PTB-XL")
    samples = [prepare_record(read_record(path), PreprocessingConfig()).samples for path in headers]
    signatures = [sign(one) for one in samples]
    for one, own in zip(samples[:20], signatures, strict=False):
        found = {kind: bits_apart(own, copy) for kind, copy in copies(one).items()}
        assert found["resampled"] <= 4
        assert found["gain 200"] <= 4
        assert found["offset"] == 0
        assert max(found["filtered"], found["100 Hz"]) <= 18
    apart = [bits_apart(a, b) for i, a in enumerate(signatures) for b in signatures[:i]]
    assert 60 < np.mean(apart) < 68
    assert min(apart) > 18
