import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from limb_leads import limb_lead_residuals

from ecgjepa.errors import LeadError, UnitError
from ecgjepa.signals.leads import LEADS, lead_positions, parse_lead
from ecgjepa.signals.record import Record, standardise_leads
from ecgjepa.signals.units import millivolt_per_unit


@pytest.mark.parametrize(
    ("name", "lead", "sign"),
    [
        ("I", "I", 1),
        ("AVR", "aVR", 1),
        ("aVR", "aVR", 1),
        ("avr", "aVR", 1),
        ("-aVR", "aVR", -1),
        ("DI", "I", 1),
        ("DIII", "III", 1),
        ("MDC_ECG_LEAD_aVF", "aVF", 1),
        ("MDC_ECG_LEAD_V1", "V1", 1),
        ("Lead II", "II", 1),
        ("ECG V6", "V6", 1),
        (" v3 ", "V3", 1),
        ("C2", "V2", 1),
    ],
)
def test_aliases(name, lead, sign):
    assert parse_lead(name) == (lead, sign)


@pytest.mark.parametrize("name", ["vx", "MLII", "RESP", "", "V7", "1", "aV", "IV", "-"])
def test_other_channels_are_no_leads(name):
    assert parse_lead(name) is None


def test_duplicates_are_named():
    with pytest.raises(LeadError, match=r"aVR appears twice, as 'AVR' and 'avr'"):
        lead_positions(["I", "AVR", "avr"], source="x.hea")


def test_unknown_names_are_listed():
    with pytest.raises(LeadError, match=r"none of the lead names \['foo', 'bar'\] is known"):
        lead_positions(["foo", "bar"])


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("V", 1e3),
        ("mV", 1),
        ("mv", 1),
        ("MV", 1),
        ("uV", 1e-3),
        ("µV", 1e-3),
        ("μV", 1e-3),
        ("nV", 1e-6),
        (" mV ", 1),
    ],
)
def test_units(unit, factor):
    assert millivolt_per_unit(unit) == factor


@pytest.mark.parametrize("unit", ["", "mmHg", "adu", "kV"])
def test_unknown_unit_is_refused(unit):
    with pytest.raises(UnitError, match="unknown amplitude unit"):
        millivolt_per_unit(unit)


def _record(signal, leads, valid=None) -> Record:
    signal = signal.astype(np.float32)
    return Record(signal, np.ones_like(signal, bool) if valid is None else valid, leads, 500.0, "r")


def test_leads_are_found_by_name_not_by_place(rng):
    """MIMIC-IV-ECG stores aVF before aVL."""
    mimic = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
    signal = rng.standard_normal((50, 12))
    record = standardise_leads(_record(signal, mimic))
    assert record.leads == LEADS
    for lead in LEADS:
        expected = signal[:, mimic.index(lead)].astype(np.float32)
        np.testing.assert_array_equal(record.signal[:, LEADS.index(lead)], expected)


def test_a_spike_per_lead_survives_any_order(rng):
    order = rng.permutation(12)
    signal = np.zeros((12, 12))
    signal[np.arange(12), np.arange(12)] = 1.0 + np.arange(12)
    record = standardise_leads(_record(signal[:, order], tuple(np.array(LEADS)[order].tolist())))
    np.testing.assert_array_equal(record.signal, signal.astype(np.float32))


def test_minus_avr_is_turned_over(rng):
    signal = rng.standard_normal((20, 3))
    record = standardise_leads(_record(signal, ("I", "II", "-aVR")), ("aVR",))
    np.testing.assert_array_equal(record.signal[:, 0], -signal[:, 2].astype(np.float32))


def test_limb_leads_are_derived_from_two(rng):
    first, second = rng.standard_normal((2, 30)).astype(np.float32)
    record = standardise_leads(_record(np.column_stack([first, second]), ("I", "II")))
    by_lead = dict(zip(record.leads, record.signal.T, strict=True))
    np.testing.assert_allclose(by_lead["III"], second - first, rtol=1e-6)
    np.testing.assert_allclose(by_lead["aVR"], -(first + second) / 2, rtol=1e-6)
    np.testing.assert_allclose(by_lead["aVL"], first - second / 2, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(by_lead["aVF"], second - first / 2, rtol=1e-6, atol=1e-7)
    codes = {issue.lead: issue.code for issue in record.issues}
    assert codes["aVF"] == "derived_lead"
    assert codes["V1"] == "missing_lead"
    assert not record.valid[:, LEADS.index("V1")].any()


def test_other_channels_are_reported(rng):
    record = standardise_leads(_record(rng.standard_normal((9, 2)), ("II", "vx")), ("II",))
    assert [issue.code for issue in record.issues] == ["other_channel"]


@given(st.lists(st.floats(-5, 5), min_size=8, max_size=8), st.integers(1, 20))
def test_goldberger_sums_to_zero(values, samples):
    """aVR + aVL + aVF = 0, whatever I and II are."""
    signal = np.tile(np.array(values, np.float32)[:2], (samples, 1))
    record = standardise_leads(_record(signal, ("I", "II")), ("aVR", "aVL", "aVF"))
    np.testing.assert_allclose(record.signal.sum(axis=1), 0, atol=1e-5)


def test_residual_is_zero_for_consistent_and_large_for_swapped_columns(rng):
    eight = rng.standard_normal((400, 2))
    record = standardise_leads(_record(eight, ("I", "II")))
    signal = np.where(record.valid, record.signal, 0)
    valid = np.ones_like(record.valid)
    good = limb_lead_residuals(signal, valid)
    assert max(good.values()) < 1e-6
    swapped = signal.copy()
    swapped[:, [4, 5]] = swapped[:, [5, 4]]
    bad = limb_lead_residuals(swapped, valid)
    assert bad["aVL"] > 0.3
    assert bad["aVF"] > 0.3
    assert bad["III"] < 1e-6


def test_residual_without_valid_samples_is_nan():
    residuals = limb_lead_residuals(np.zeros((5, 12)), np.zeros((5, 12), bool))
    assert all(np.isnan(value) for value in residuals.values())
