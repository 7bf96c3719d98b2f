"""Names of leads that the signal contradicts, and hints at electrodes in wrong places."""

from itertools import combinations

import numpy as np
import pytest
from conftest import toy_ecg

from ecgjepa.io import read_record
from ecgjepa.signals.faults import swap_arms
from ecgjepa.signals.lead_order import electrode_hints, limb_lead_issues
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.measures import measure
from ecgjepa.signals.preprocessing import PreprocessingConfig, prepare_record
from ecgjepa.signals.units import INVALID_MICROVOLT
from ecgjepa.simulation import simulate_record

PAIRS = [*combinations(LEADS[:6], 2), ("I", "V1"), ("aVR", "V4"), ("aVF", "V6")]


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    """A recording in which most of the trace lies at zero, as denoised ones do."""
    samples = toy_ecg(np.random.default_rng(3)).astype(np.int32)
    samples[np.abs(samples) < 60] = 0
    first, second = samples[:, 0], samples[:, 1]
    samples[:, 2] = second - first
    samples[:, 3] = np.rint(-(first + second) / 2)
    samples[:, 4] = np.rint(first - second / 2)
    samples[:, 5] = np.rint(second - first / 2)
    return samples.astype(np.int16)


def judged(samples: np.ndarray) -> dict[str | None, str]:
    issues = limb_lead_issues(samples, measure(samples, 500.0))
    assert {issue.code for issue in issues} <= {"limb_lead_residual"}
    return {issue.lead: issue.message for issue in issues}


def hints(samples: np.ndarray) -> list[str]:
    issues = electrode_hints(measure(samples, 500.0), len(samples))
    return [f"{issue.lead}: {issue.message}" for issue in issues]


def with_exchanged(samples: np.ndarray, first: str, second: str) -> np.ndarray:
    changed = samples.copy()
    columns = [LEADS.index(first), LEADS.index(second)]
    changed[:, columns] = samples[:, columns[::-1]]
    return changed


def test_a_median_of_zero_hides_nothing(clean):
    assert np.median(np.abs(clean), axis=0).max() == 0
    assert judged(clean) == {}
    assert set(judged(with_exchanged(clean, "aVL", "aVR"))) == {"aVL", "aVR"}


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("offset", [0, 3000])
def test_the_exchange_that_explains_it_is_named(clean, first, second, offset):
    found = judged(with_exchanged(clean, first, second) + np.int16(offset))
    assert found
    for message in found.values():
        assert f"agree if {first} and {second} change places" in message


@pytest.mark.parametrize("lead", LEADS[:6])
def test_a_lead_upside_down_is_named(clean, lead):
    clean = clean.copy()
    clean[:, LEADS.index(lead)] *= -1
    assert all(f"{lead} is turned upside down" in words for words in judged(clean).values())
    assert judged(clean)


def test_orders_that_no_single_exchange_explains():
    """I, II, V1 to V6, III, aVR, aVL, aVF under the usual names."""
    order = [0, 1, *range(6, 12), 2, 3, 4, 5]
    record = simulate_record(["NORM"], seed=1)
    samples = prepare_record(record, PreprocessingConfig()).samples
    assert judged(samples) == {}
    found = judged(samples[:, order])
    assert set(found) == {"III", "aVR", "aVL", "aVF"}
    assert all(words.endswith("are the leads named rightly?") for words in found.values())


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_leads_scaled_apart_are_told_from_wrong_names(clean, factor):
    wide = clean.astype(np.float64)
    wide[:, 2] *= factor
    (words,) = judged(np.rint(wide).astype(np.int16)).values()
    assert f"{-factor:.2f} I {factor:+.2f} II (expected -1.00 I +1.00 II)" in words
    assert "scaled apart?" in words
    wide = clean.astype(np.float64)
    wide[:, 0] *= factor
    assert all("scaled apart?" in words for words in judged(wide.astype(np.int16)).values())


def test_artefacts_gaps_and_flat_leads_are_no_wrong_names(clean):
    spiked = clean.copy()
    spiked[:700, 2] = 20_000
    assert judged(spiked) == {}
    gaps = clean.copy()
    gaps[1000:2000, 4] = INVALID_MICROVOLT
    gaps[:, 5] = INVALID_MICROVOLT
    assert judged(gaps) == {}
    assert set(judged(with_exchanged(gaps, "III", "aVR"))) == {"III", "aVR"}
    for column in (0, 2, 4):
        flat = clean.copy()
        flat[:, column] = 17
        assert judged(flat) == {}
    assert judged(np.full((5000, 12), INVALID_MICROVOLT, np.int16)) == {}
    assert judged(clean[:3]) == {}


def test_small_leads_may_differ_by_roundings():
    rng = np.random.default_rng(0)
    small = np.rint(toy_ecg(rng) / 200).astype(np.int16)
    assert judged(small) == {}


def test_exchanged_arms_obey_the_law_but_often_leave_a_hint():
    left = []
    for seed in range(6):
        record = simulate_record(["NORM"], seed=seed)
        samples = prepare_record(record, PreprocessingConfig()).samples
        assert hints(samples) == []
        swapped = swap_arms(samples, np.random.default_rng(0))
        assert judged(swapped) == {}
        left += hints(swapped)
    assert len(left) >= 3
    assert all(hint.startswith("I: runs against V6") and "weak hint" in hint for hint in left)


@pytest.mark.realdata
def test_real_clean_recordings(real_data):
    """All exchanges are seen in filtered and denoised recordings, and named; none is made up."""
    headers = sorted((real_data / "challenge-2021/chapman_shaoxing").rglob("*.hea"))[:8]
    if not headers:
        pytest.skip("no Chapman-Shaoxing")
    config = PreprocessingConfig(highpass_hz=0.5)
    for header in headers:
        samples = prepare_record(read_record(header), config).samples
        assert judged(samples) == {}, header
        for first, second in combinations(LEADS[:6], 2):
            found = judged(with_exchanged(samples, first, second))
            assert found, (header, first, second)


@pytest.mark.realdata
def test_real_chest_leads_exchanged(real_data):
    headers = sorted((real_data / "challenge-2021/georgia").rglob("*.hea"))
    if not headers:
        pytest.skip("no Georgia")
    named = []
    for header in headers:
        samples = prepare_record(read_record(header), PreprocessingConfig()).samples
        assert not any("smoothly" in hint for hint in hints(samples)), header
        told = " ".join(hints(with_exchanged(samples, "V2", "V5")))
        named.append("with V2 and V5 exchanged" in told)
    assert np.mean(named) > 0.4
