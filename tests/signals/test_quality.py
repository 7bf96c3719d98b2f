import json
from pathlib import Path

import numpy as np
import pytest
from conftest import toy_ecg
from scipy.io import loadmat

from ecgjepa.errors import LeadError
from ecgjepa.io import read_record
from ecgjepa.signals import lead_order, quality
from ecgjepa.signals.faults import FAULTS
from ecgjepa.signals.lead_order import limb_lead_issues
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.measures import measure, stack
from ecgjepa.signals.preprocessing import PreprocessingConfig, prepare_record
from ecgjepa.signals.quality import (
    quality_issues,
    quality_score,
    saturated_leads,
    score_features,
)
from ecgjepa.signals.record import Record
from ecgjepa.signals.units import INVALID_MICROVOLT

RESULT = Path(__file__).parents[2] / "benchmarks/results/2026-11-24-quality.json"


@pytest.fixture
def samples(rng) -> np.ndarray:
    """A toy ECG with half of its noise."""
    wide = toy_ecg(rng, num_samples=5003).astype(np.int32)
    return np.rint((wide[:-3] + wide[1:-2] + wide[2:-1] + wide[3:]) / 4).astype(np.int16)


def found(samples: np.ndarray) -> set[tuple[str, str | None]]:
    issues = quality_issues(measure(samples, 500.0), LEADS, len(samples))
    return {(issue.code, issue.lead) for issue in issues}


def limb_leads(samples: np.ndarray) -> set[str | None]:
    return {issue.lead for issue in limb_lead_issues(samples, measure(samples, 500.0))}


def test_an_ordinary_record_has_no_issue(samples):
    assert found(samples) == set()
    assert limb_leads(samples) == set()
    assert not saturated_leads(samples, 500.0, 1000.0).any()
    assert quality_score(measure(samples, 500.0)) > quality.LOW_SCORE


def test_weights_and_thresholds_are_those_of_the_committed_result():
    facts = json.loads(RESULT.read_text())
    assert tuple(facts["weights"]) == quality.SCORE_FEATURES
    assert list(facts["weights"].values()) == quality.SCORE_WEIGHTS.tolist()
    assert facts["intercept"] == quality.SCORE_INTERCEPT
    assert facts["score_threshold"] == quality.LOW_SCORE
    assert facts["noise_share"] == quality.MAX_NOISE_SHARE
    assert facts["second half"]["AUROC"][0] >= 0.92


@pytest.mark.parametrize("level", [0, 250, -4000])
def test_flat_lead(samples, level):
    samples[:, 7] = level
    assert found(samples) == {("flat_lead", "V2")}
    samples[2500, 7] += 1
    assert found(samples) == set()


def test_a_wholly_flat_record_says_so_of_every_lead():
    flat = np.zeros((5000, 12), np.int16)
    assert found(flat) == {("flat_lead", lead) for lead in LEADS}
    assert limb_leads(flat) == set()
    assert quality_score(measure(flat, 500.0)) < 0.01


def test_invalid_samples_and_leads(samples):
    samples[:1000, 6] = INVALID_MICROVOLT  # 20 %
    samples[:1001, 8] = INVALID_MICROVOLT
    samples[:, 9] = INVALID_MICROVOLT
    assert found(samples) == {
        ("invalid_samples", "V1"),
        ("invalid_lead", "V3"),
        ("invalid_lead", "V4"),
    }


def test_a_missing_lead_is_only_missing(samples):
    keep = [column for column, lead in enumerate(LEADS) if lead != "V5"]
    signal = samples[:, keep].astype(np.float32) / 1000
    names = tuple(LEADS[column] for column in keep)
    record = Record(signal, np.ones(signal.shape, bool), names, 500.0, "r")
    issues = prepare_record(record, PreprocessingConfig()).issues
    assert {(issue.code, issue.lead) for issue in issues} == {("missing_lead", "V5")}


@pytest.mark.parametrize(("sigma", "noisy"), [(10, False), (40, False), (300, True)])
def test_noisy_lead(samples, rng, sigma, noisy):
    samples[:, 10] += np.rint(sigma * rng.standard_normal(5000)).astype(np.int16)
    assert found(samples) == ({("noisy_lead", "V5")} if noisy else set())


@pytest.mark.parametrize("length", [9, 10])
@pytest.mark.parametrize("rail", [5000, -5000])
def test_saturated_lead_rests_at_its_extreme(samples, length, rail):
    samples[1000, 8] = -rail
    samples[2000 : 2000 + length, 8] = rail
    expected = [lead == "V3" and length == 10 for lead in LEADS]
    assert saturated_leads(samples, 500.0, 1000.0).tolist() == expected
    millivolt = samples.astype(np.float32) / 1000
    assert saturated_leads(millivolt, 500.0, 1.0).tolist() == expected


def test_a_small_lead_did_not_saturate(samples):
    """A wave's rounded top may be level for long."""
    samples[2000:2040, 8] = samples[:, 8].max() + 10
    assert not saturated_leads(samples, 500.0, 1000.0).any()


def test_saturation_counts_in_seconds():
    slow = np.zeros((100, 1), np.int16)
    slow[0], slow[50:52] = -6000, 6000
    assert saturated_leads(slow, 100.0, 1000.0).all()
    slow[51] = 0
    assert not saturated_leads(slow, 100.0, 1000.0).any()
    assert not saturated_leads(slow[:1], 100.0, 1000.0).any()


@pytest.mark.parametrize(
    ("factor", "implausible"),
    [(0.1, True), (1 / 4.88, True), (0.8, False), (1, False), (2, False), (6, True), (10, True)],
)
def test_a_wrong_gain_is_implausible(samples, factor, implausible):
    scaled = np.rint(samples * factor).astype(np.int16)
    assert (("implausible_amplitude", None) in found(scaled)) is implausible
    amplitude = np.median(np.ptp(samples.reshape(10, 500, 12), axis=1))
    assert measure(samples, 500.0).beats_mv == pytest.approx(amplitude / 1e3, rel=0.2)


def test_limb_lead_residual_tells_swapped_columns_from_few_bad_samples(samples):
    real = samples.copy()
    drift = np.rint(300 * np.sin(np.arange(5000) / 400)).astype(np.int16)
    real[:, 1] += drift  # in lead II, as breathing does, and in what follows from it
    for column, weight in ((2, 1.0), (3, -0.5), (4, -0.5), (5, 1.0)):
        real[:, column] += np.rint(weight * drift).astype(np.int16)
    assert limb_leads(real) == set()
    swapped = real.copy()
    swapped[:, [4, 5]] = swapped[:, [5, 4]]
    assert limb_leads(swapped) == {"aVL", "aVF"}
    spiked = real.copy()
    spiked[:400, 2] = 20_000
    assert limb_leads(spiked) == set()
    broken = swapped.copy()
    broken[:4000, 0] = INVALID_MICROVOLT
    assert limb_leads(broken) == {"aVL", "aVF"}
    broken[:, 0] = INVALID_MICROVOLT
    assert limb_leads(broken) == set()


def test_records_judged_together_are_judged_as_each_alone(samples, rng):
    """Nothing is said of a record that the common look passes over, and scores are the same."""
    spoiled = [fault.spoil(samples, rng) for fault in FAULTS.values()]
    holed, flat = samples.copy(), samples.copy()
    holed[100:200, 3] = INVALID_MICROVOLT
    flat[:, 7] = 12
    spoiled += [samples, holed, flat, np.zeros_like(samples), np.full_like(samples, 9)]
    measured = [measure(one, 500.0) for one in spoiled]
    together = stack(measured)
    odd = quality.is_suspicious(together, 5000).tolist()
    doubtful = lead_order.is_suspicious(together, 5000).tolist()
    for one, own, is_odd, is_doubtful in zip(spoiled, measured, odd, doubtful, strict=True):
        assert is_odd or not quality_issues(own, LEADS, 5000)
        said = limb_lead_issues(one, own) + lead_order.electrode_hints(own, 5000)
        assert is_doubtful or not said
    assert not all(odd)
    assert not all(doubtful)
    assert quality.quality_scores(together) == [quality_score(own) for own in measured]


def test_score_features_by_plain_numpy(samples, rng):
    samples[1000:1400, 4] = 3000
    samples[:, 9] = np.rint(100 * rng.standard_normal(5000))
    samples[:, 11] = 5
    measures = measure(samples, 500.0)
    rest, drift, noise, burst, agreement = score_features(measures)
    seconds = samples.reshape(10, 500, 12).astype(np.int64)
    ranges = np.ptp(seconds, axis=1)
    assert rest == pytest.approx((ranges == 0).mean())
    middle = np.sort(ranges, axis=0)[5]
    beats = np.sort(middle[middle > 0])[11 // 2]
    drifts = np.ptp(seconds.mean(axis=1), axis=0) / beats
    assert drift == pytest.approx(np.log(drifts.max() + 0.1))
    assert noise == pytest.approx(np.log(measures.noise.max() / beats + 0.01))
    little = 0.1 * beats
    assert burst == pytest.approx(np.log((ranges.max(axis=0) + little) / (middle + little)).mean())
    correlation = np.abs(np.corrcoef(np.delete(samples, 11, axis=1).T.astype(float)))
    np.fill_diagonal(correlation, 0)
    assert agreement == 0.0  # the flat lead goes with no other
    np.testing.assert_allclose(
        np.delete(quality._best_correlations(stack([measures]))[0], 11),
        correlation.max(axis=0),
        atol=1e-9,
    )
    z = score_features(measures) @ quality.SCORE_WEIGHTS + quality.SCORE_INTERCEPT
    assert quality_score(measures) == pytest.approx(1 / (1 + np.exp(-z)))


def test_score_and_noise_do_not_care_about_the_gain(samples):
    """The recordings that people judged are themselves of doubtful gain."""
    tall = (3 * samples).astype(np.int16)
    assert np.abs(tall).max() < 32767
    own, other = (score_features(measure(one, 500.0)) for one in (samples, tall))
    np.testing.assert_allclose(own, other, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 12), (2, 12), (499, 12), (5000, 1), (30, 3)])
@pytest.mark.parametrize("value", [0, 32767, INVALID_MICROVOLT])
def test_score_of_odd_records_is_a_number(shape, value):
    measures = measure(np.full(shape, value, np.int16), 500.0)
    assert 0.0 <= quality_score(measures) <= 1.0


def test_score_ignores_an_offset(samples):
    assert quality_score(measure(samples + np.int16(5000), 500.0)) == pytest.approx(
        quality_score(measure(samples, 500.0))
    )


FLAT = ("JS11438", "JS20004", "JS20008", "JS45542", "JS45544", "JS45551")


@pytest.mark.realdata
@pytest.mark.parametrize("name", FLAT)
def test_known_flat_leads_of_ningbo(real_data, name):
    headers = sorted((real_data / "challenge-2021").rglob(f"{name}.hea"))
    if not headers:
        pytest.skip(f"no {name}")
    issues = prepare_record(read_record(headers[0]), PreprocessingConfig()).issues
    flat = np.ptp(loadmat(headers[0].with_suffix(".mat"))["val"], axis=1) == 0
    assert 3 <= flat.sum() <= 6
    expected = [lead for lead, is_flat in zip(LEADS, flat, strict=True) if is_flat]
    assert [issue.lead for issue in issues if issue.code == "flat_lead"] == expected


@pytest.mark.realdata
def test_flags_on_real_records(real_data):
    """Ordinary databases: limb leads agree, amplitudes are plausible, swaps are seen."""
    headers = sorted((real_data / "challenge-2021").rglob("*.hea"))
    if not headers:
        pytest.skip("no Challenge 2021")
    swaps = []
    for path in headers:
        try:
            prepared = prepare_record(read_record(path), PreprocessingConfig())
        except LeadError:
            continue
        codes = {issue.code for issue in prepared.issues}
        assert "limb_lead_residual" not in codes, path
        # JS23463: a pacemaker's spikes of 12 mV. JS45545: beats of 4.4 mV.
        assert ("implausible_amplitude" in codes) == (path.stem in ("JS23463", "JS45545"))
        swapped = prepared.samples[:, [1, 0, *range(2, 12)]]
        swaps.append(bool(limb_lead_issues(swapped, measure(swapped, 500.0))))
    assert np.mean(swaps) > 0.97


def test_noise_and_spikes_do_not_hide_a_wrong_gain(samples, rng):
    """They are averaged over 10 ms, so a small recording stays small."""
    small = np.rint(samples / 4.88).astype(np.int16)
    spoiled = small + np.rint(40 * rng.standard_normal(small.shape)).astype(np.int16)
    spoiled[::600] += 900
    assert ("implausible_amplitude", None) in found(spoiled)


@pytest.mark.realdata
@pytest.mark.parametrize("factor", [1 / 4.88, 5.0])
def test_most_wrong_gains_of_real_records_are_seen(real_data, factor):
    """Georgia's first headers of 2020 had 4880/mV in the place of 1000/mV."""
    headers = sorted((real_data / "challenge-2021/georgia").rglob("*.hea"))
    if not headers:
        pytest.skip("no Georgia")
    seen = []
    for path in headers:
        samples = prepare_record(read_record(path), PreprocessingConfig()).samples
        scaled = np.clip(np.rint(samples * factor), -32767, 32767).astype(np.int16)
        seen.append(("implausible_amplitude", None) in found(scaled))
    assert np.mean(seen) > 0.9
