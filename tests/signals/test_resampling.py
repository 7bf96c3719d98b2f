"""The resampler against SciPy's, which it replaces."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as dsp

from ecgjepa.io import read_exact
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.preprocessing import PreprocessingConfig, prepare_record, prepare_records
from ecgjepa.signals.record import MicrovoltRecord, Record
from ecgjepa.signals.resampling import low_pass, ratio_of_rates, resample_rows

# Databases record at 100, 250, 257, 257.5, 360, 400, 500 and 1000 Hz; stores are at 100 to 500 Hz.
RATES = [
    (500, 100), (1000, 500), (400, 500), (257, 500), (257, 100), (360, 500), (250, 500),
    (1000, 100), (500, 250), (100, 500), (257.5, 500), (360, 100), (500, 400), (128, 100),
]  # fmt: skip


def scipys(samples: np.ndarray, ratio: Fraction) -> np.ndarray:
    terms = ratio.numerator, ratio.denominator
    return dsp.resample_poly(samples.astype(np.float64), *terms, axis=0, padtype="line")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(RATES),
    st.integers(2, 3000),
    st.integers(1, 13),
    st.integers(-20_000, 20_000),
    st.integers(0, 2**32 - 1),
)
def test_any_signal_is_resampled_as_scipy_does(rates, length, leads, offset, seed):
    ratio = ratio_of_rates(*rates)
    drift = np.linspace(0, 5000, length)[:, None]
    noise = np.random.default_rng(seed).normal(0, 1000, (length, leads))
    samples = np.clip(np.rint(offset + drift + noise), -32767, 32767).astype(np.int16)
    expected = scipys(samples, ratio)
    found = resample_rows(samples, ratio)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 0.1  # µV
    assert resample_rows(samples.astype(np.float64), ratio).tobytes() == found.tobytes()
    # Sums are exact, so they do not depend on the shapes of products, as those of libraries do.
    for lead in range(leads):
        assert resample_rows(samples[:, [lead]], ratio).tobytes() == found[:, [lead]].tobytes()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(2, 2000))
def test_any_ratio_is_scipys(up, down, length):
    samples = np.random.default_rng(length).normal(0, 1000, (length, 2))
    ratio = Fraction(up, down)
    np.testing.assert_allclose(resample_rows(samples, ratio), scipys(samples, ratio), atol=0.1)


@pytest.mark.parametrize("rates", RATES)
def test_filter_is_scipys(rates):
    ratio = ratio_of_rates(*rates)
    widest = max(ratio.numerator, ratio.denominator)
    expected = dsp.firwin(20 * widest + 1, 1 / widest, window=("kaiser", 5.0))
    np.testing.assert_allclose(low_pass(ratio), expected, rtol=0, atol=1e-12)


def test_a_long_recording_has_no_seams():
    """It is worked on in stretches; an hour at 257 Hz has sixty of them."""
    samples = np.random.default_rng(0).integers(-3000, 3000, (257 * 3600, 1)).astype(np.int16)
    ratio = ratio_of_rates(257, 100)
    assert np.abs(resample_rows(samples, ratio) - scipys(samples, ratio)).max() < 0.02


def test_one_sample_is_that_sample_at_any_rate():
    """It has no slope; SciPy divides 0 by 0 here."""
    samples = np.array([[700, -200]], np.int16)
    found = resample_rows(samples, Fraction(5, 4))
    assert found.shape == (2, 2)
    np.testing.assert_allclose(found[0], [700, -200], rtol=2e-3)


def record(samples: np.ndarray, leads: tuple[str, ...] = LEADS) -> MicrovoltRecord:
    return MicrovoltRecord(samples, leads, 500.0, "r")


ORDERS = st.permutations(LEADS).map(tuple)


@settings(max_examples=25, deadline=None)
@given(ORDERS, st.sampled_from([100.0, 250.0, 500.0]), st.integers(2, 900), st.integers(0, 2**31))
def test_whole_microvolts_give_the_same_record_in_either_type(leads, target, length, seed):
    rng = np.random.default_rng(seed)
    top = rng.choice([2_000, 32_767])  # with the larger one, resampling exceeds 16 bits
    samples = rng.integers(-top, top + 1, (length, 12)).astype(np.int16)
    config = PreprocessingConfig(sampling_rate=target)
    exact = record(samples, leads=leads)
    one, other = prepare_record(exact, config), prepare_record(exact.as_record(), config)
    np.testing.assert_array_equal(one.samples, other.samples)
    assert one.issues == other.issues
    assert one.quality == other.quality
    standard = np.ascontiguousarray(samples[:, [leads.index(lead) for lead in LEADS]])
    sorted_first = prepare_record(record(standard), config)
    np.testing.assert_array_equal(one.samples, sorted_first.samples)
    assert one.issues == sorted_first.issues


KINDS = (
    "plain",
    "gappy",
    "seven leads",
    "short",
    "at 400 Hz",
    "reordered",
    "too large",
    "constant",
)


def varied(kind: str, rng: np.random.Generator) -> Record | MicrovoltRecord:
    """Return a record of a kind; most are the same in length, rate and leads."""
    length = 300 if kind == "short" else 1500
    samples = rng.integers(-2000, 2000, (length, 12)).astype(np.int16)
    if kind == "too large":
        samples[400:, 2] = 32_767
    if kind == "constant":
        samples[:, 5] = 7
    exact = record(samples, leads=LEADS[::-1] if kind == "reordered" else LEADS)
    if kind == "at 400 Hz":
        return replace(exact, sampling_rate=400.0)
    if kind == "seven leads":
        return replace(exact, samples=samples[:, :7].copy(), leads=LEADS[:7])
    whole = exact.as_record()
    if kind == "gappy":
        valid = whole.valid.copy()
        valid[100:700, 4] = False
        return replace(whole, valid=valid, signal=np.where(valid, whole.signal, 0))
    return exact if rng.random() < 0.7 else whole


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=12),
    st.sampled_from([100.0, 500.0]),
    st.integers(0, 2**31),
)
def test_records_together_are_what_they_are_alone(kinds, target, seed):
    rng = np.random.default_rng(seed)
    sources = [varied(kind, rng) for kind in kinds]
    config = PreprocessingConfig(sampling_rate=target)
    for source, found in zip(sources, prepare_records(sources, config), strict=True):
        alone = prepare_record(source, config)
        np.testing.assert_array_equal(found.samples, alone.samples)
        assert found.samples.flags.c_contiguous
        assert found.issues == alone.issues
        assert found.quality == alone.quality
        for one, other in zip(found.measures, alone.measures, strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_exceeds_16_bits_is_named_by_its_own_lead():
    samples = np.zeros((500, 12), np.int16)
    samples[200:, 3] = 32_767  # a step that the filter overshoots
    leads = ("I", "II", "III", "V1", "V2", "V3", "V4", "V5", "V6", "aVR", "aVL", "aVF")
    prepared = prepare_record(
        record(samples, leads=leads), PreprocessingConfig(sampling_rate=100.0)
    )
    (found,) = [issue for issue in prepared.issues if issue.code == "out_of_range"]
    assert found.lead == "V1"
    column = LEADS.index("V1")
    assert (prepared.samples == -32768).any(axis=0).nonzero()[0].tolist() == [column]


def test_resampling_is_noted_before_its_faults():
    samples = np.full((500, 12), 100, np.int16)
    samples[::2] = -100
    prepared = prepare_record(record(samples), PreprocessingConfig(sampling_rate=100.0))
    assert prepared.issues[0].message == "from 500 Hz to 100 Hz"


@pytest.mark.realdata
@pytest.mark.parametrize("target", [100.0, 500.0])
def test_real_records_are_resampled_as_scipy_does(target, real_data):
    """To 1 µV at most after rounding: only where a sum is a half does its rounding decide."""
    headers = sorted((real_data / "challenge-2021").rglob("*.hea"))[::6]
    headers += sorted((real_data / "ptb-xl").rglob("*_hr.hea"))[::25]
    assert len(headers) > 50
    config = PreprocessingConfig(sampling_rate=target)
    for header in headers:
        found = read_exact(header, damaged="flag")
        if not isinstance(found, MicrovoltRecord):
            continue
        # Every rate in use, by reading the samples as if they had been recorded at it.
        for rate in (100.0, 250.0, 257.0, 360.0, 400.0, 500.0, 1000.0):
            if rate == target:
                continue
            ratio = ratio_of_rates(rate, target)
            samples = found.samples[:2500]
            prepared = prepare_record(
                replace(found, samples=samples, sampling_rate=rate),
                config,
            )
            difference = prepared.samples - np.rint(scipys(samples, ratio))
            assert np.abs(difference).max() <= 1
            assert (difference != 0).mean() < 1e-3
