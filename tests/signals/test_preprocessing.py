from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as dsp

from ecgjepa.errors import RecordFormatError
from ecgjepa.signals.gaps import fill_short_gaps
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.microvolt import from_microvolt, to_microvolt
from ecgjepa.signals.preprocessing import (
    PreprocessingConfig,
    prepare_record,
    remove_baseline,
    resample,
)
from ecgjepa.signals.record import Record
from ecgjepa.signals.units import INVALID_MICROVOLT


def record_of(signal, *, rate=500.0, valid=None, leads=None) -> Record:
    signal = np.asarray(signal, np.float32)
    valid = np.ones(signal.shape, bool) if valid is None else valid
    return Record(signal, valid, leads or LEADS[: signal.shape[1]], float(rate), "r")


@pytest.mark.parametrize(("rate", "target"), [(1000, 500), (400, 500), (257, 500), (500, 100)])
def test_resampling_is_scipys_polyphase(rng, rate, target):
    signal = rng.standard_normal((1031, 2)).astype(np.float32)
    ratio = Fraction(target, rate)
    expected = dsp.resample_poly(signal, ratio.numerator, ratio.denominator, axis=0, padtype="line")
    result = resample(record_of(signal, rate=rate), float(target))
    np.testing.assert_allclose(result.signal, expected, rtol=0, atol=1e-4)  # mV
    assert result.sampling_rate == target
    assert abs(result.num_samples / target - 1031 / rate) < 1 / target


def test_resampling_keeps_a_slow_ramp_at_the_edges():
    """FFT resampling wraps around; a drift must not ring at both ends."""
    ramp = np.linspace(0, 0.5, 4000)[:, None]
    result = resample(record_of(ramp, rate=400), 500.0)
    expected = np.interp(np.arange(5000) / 500, np.arange(4000) / 400, ramp[:, 0])
    assert np.abs(result.signal[:-2, 0] - expected[:-2]).max() < 1e-3


def test_resampling_does_not_alias():
    """A 180 Hz tone has no place at 100 Hz."""
    tone = np.sin(2 * np.pi * 180 * np.arange(5000) / 500)[:, None]
    result = resample(record_of(tone), 100.0)
    assert np.abs(result.signal[20:-20]).max() < 0.01


def test_odd_ratio_is_refused():
    with pytest.raises(RecordFormatError, match="no simple fraction"):
        resample(record_of(np.zeros((100, 1)), rate=499.98765), 500.0)


def test_invalid_samples_stay_invalid_through_resampling():
    valid = np.ones((1000, 1), bool)
    valid[400:500] = False
    result = resample(record_of(np.ones((1000, 1)), rate=500, valid=valid), 100.0)
    invalid = np.flatnonzero(~result.valid[:, 0])
    assert invalid[0] in (79, 80)
    assert invalid[-1] in (99, 100)
    assert (result.signal[~result.valid] == 0).all()
    # What is valid is not disturbed by the gap.
    np.testing.assert_allclose(result.signal[result.valid], 1.0, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(500, 100), (400, 500), (257, 500), (1000, 500)]),
    st.integers(0, 900),
    st.integers(1, 80),
)
def test_every_invalid_sample_blocks_its_place(rates, start, length):
    rate, target = rates
    valid = np.ones((1000, 1), bool)
    valid[start : start + length] = False
    result = resample(record_of(np.ones((1000, 1)), rate=rate, valid=valid), float(target))
    times = np.arange(result.num_samples) / target
    inside = (times >= start / rate) & (times <= (min(start + length, 1000) - 1) / rate)
    assert not result.valid[inside, 0].any()
    far = np.abs(times - (start + length / 2) / rate) > (length / 2 + 1) / rate + 2 / target
    assert result.valid[far, 0].all()


def test_short_gaps_are_bridged_and_long_ones_kept():
    signal = np.tile(np.arange(1000.0)[:, None] / 100, (1, 1))
    valid = np.ones((1000, 1), bool)
    valid[100:120] = False  # 40 ms
    valid[300:321] = False  # 42 ms
    valid[:5] = False  # at the edge: no two ends
    broken = np.where(valid, signal, 0)
    result = fill_short_gaps(record_of(broken, valid=valid), 0.04)
    np.testing.assert_allclose(result.signal[100:120, 0], signal[100:120, 0], atol=1e-5)
    assert result.valid[100:120].all()
    assert not result.valid[300:321].any()
    assert not result.valid[:5].any()


def test_baseline_removal_is_sosfiltfilt(rng):
    signal = rng.standard_normal((3000, 3)).astype(np.float32)
    sections = dsp.butter(4, 0.5, btype="highpass", fs=500, output="sos")
    expected = dsp.sosfiltfilt(sections, signal.astype(np.float64), axis=0, padlen=27)
    result = remove_baseline(record_of(signal), 0.5)
    np.testing.assert_allclose(result.signal, expected, atol=1e-5)


def test_baseline_removal_takes_away_an_offset():
    result = remove_baseline(record_of(np.full((5000, 1), 3.0)), 0.5)
    assert np.abs(result.signal).max() < 1e-3


@given(
    st.lists(
        st.one_of(st.integers(-32767, 32767), st.just(INVALID_MICROVOLT)), min_size=1, max_size=30
    )
)
def test_microvolts_round_trip(values):
    stored = np.array(values, np.int16)[:, None]
    signal, valid = from_microvolt(stored)
    again, issues = to_microvolt(record_of(signal, valid=valid))
    np.testing.assert_array_equal(again, stored)
    assert issues == ()


def test_amplitudes_beyond_16_bits_become_invalid_and_are_reported():
    stored, issues = to_microvolt(record_of([[0.5], [33.0], [-40.0], [32.767]]))
    assert stored[:, 0].tolist() == [500, INVALID_MICROVOLT, INVALID_MICROVOLT, 32767]
    assert [issue.code for issue in issues] == ["out_of_range"]
    assert "2 samples beyond" in issues[0].message


def stored(record: Record, **settings) -> np.ndarray:
    return prepare_record(record, PreprocessingConfig(leads=record.leads, **settings)).samples


@pytest.mark.parametrize("rate", [100, 250, 257, 257.5, 360, 400, 1000])
def test_stored_samples_are_what_scipy_resamples(rng, rate):
    """257 Hz to 500 Hz is 500/257, not a rounded ratio: half an hour ends where it should."""
    signal = np.cumsum(rng.standard_normal((3001, 2)), axis=0).astype(np.float32) / 50
    ratio = Fraction(500) / Fraction(rate)
    expected = dsp.resample_poly(signal, ratio.numerator, ratio.denominator, axis=0, padtype="line")
    result = stored(record_of(signal, rate=rate))
    difference = result - np.rint(expected.astype(np.float64) * 1000)
    assert np.abs(difference).max() <= 1  # where the sum is a half, its rounding decides
    assert (difference != 0).mean() < 0.01
    assert len(result) == int(np.ceil(3001 * ratio))


def test_no_drift_of_time_over_half_an_hour():
    """INCART: 30 min at 257 Hz. A beat keeps its place to the sample."""
    signal = np.zeros((257 * 1800, 1))
    beats = np.arange(100, 257 * 1800, 257 * 60)
    signal[beats] = 1.0
    result = stored(record_of(signal, rate=257))[:, 0]
    assert len(result) == 500 * 1800
    for beat in beats:
        place = beat * 500 / 257
        near = result[int(place) - 50 : int(place) + 50]
        assert abs(near.argmax() + int(place) - 50 - place) <= 0.5


def test_stored_samples_are_what_scipy_filters(rng):
    signal = (np.cumsum(rng.standard_normal((4000, 2)), axis=0) / 50).astype(np.float32)
    sections = dsp.butter(4, 0.5, btype="highpass", fs=257, output="sos")
    filtered = dsp.sosfiltfilt(sections, signal.astype(np.float64), axis=0, padlen=27)
    expected = dsp.resample_poly(filtered.astype(np.float32), 500, 257, axis=0, padtype="line")
    result = stored(record_of(signal, rate=257), highpass_hz=0.5)
    np.testing.assert_array_equal(result, np.rint(expected * np.float32(1000)))


@pytest.mark.parametrize(("milliseconds", "bridged"), [(2, True), (40, True), (42, False)])
def test_stored_gaps(rng, milliseconds, bridged):
    signal = rng.uniform(-1, 1, (2000, 2)).astype(np.float32)
    valid = np.ones(signal.shape, bool)
    stop = 700 + milliseconds // 2
    valid[700:stop, 0] = False
    result = stored(record_of(np.where(valid, signal, 0), valid=valid))
    expected = np.rint(signal * np.float32(1000))
    if bridged:
        ends = signal[[699, stop], 0].astype(float)
        line = np.interp(np.arange(700, stop), [699, stop], ends)
        np.testing.assert_allclose(result[700:stop, 0], line * 1000, atol=0.6)
    else:
        assert (result[700:stop, 0] == INVALID_MICROVOLT).all()
    expected[700:stop, 0] = result[700:stop, 0]
    np.testing.assert_array_equal(result, expected)


def test_out_of_range_samples_are_stored_as_invalid_and_counted():
    signal = np.zeros((1000, 2), np.float32)
    signal[::2] = 1.0
    signal[10:13, 1] = (32.7674, 32.7676, -32.7676)
    prepared = prepare_record(record_of(signal), PreprocessingConfig(leads=("I", "II")))
    assert prepared.samples[10:13, 1].tolist() == [32767, INVALID_MICROVOLT, INVALID_MICROVOLT]
    assert prepared.measures.valid_count.tolist() == [1000, 998]
    codes = {(issue.code, issue.lead) for issue in prepared.issues}
    assert {("out_of_range", "II"), ("invalid_samples", "II")} <= codes


def test_prepared_flags_flat_invalid_and_inconsistent_leads(rng):
    first, second = 0.3 * rng.standard_normal((2, 1000)).astype(np.float32)
    chest = 0.3 * rng.standard_normal((1000, 6)).astype(np.float32)
    chest[:, 1] = 0.25
    limb = np.column_stack(
        [first, second, second - first, -(first + second) / 2, first, second - first / 2]
    )
    signal = np.column_stack([limb, chest]).astype(np.float32)
    valid = np.ones(signal.shape, bool)
    valid[:300, 8] = False
    prepared = prepare_record(record_of(signal, valid=valid), PreprocessingConfig())
    found = {(issue.code, issue.lead) for issue in prepared.issues if issue.lead is not None}
    found = {(code, lead) for code, lead in found if code != "noisy_lead"}
    assert found == {("flat_lead", "V2"), ("invalid_lead", "V3"), ("limb_lead_residual", "aVL")}
