"""Rows 5 to 9 and 13: what the numbers mean, by gain, unit, lead and rate."""

import numpy as np
import pytest
from databases.test_code_15 import write_part, write_table
from inference.test_predict import save

import ecgjepa
from ecgjepa.errors import StoreError
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.units import INVALID_MICROVOLT


@pytest.mark.parametrize(
    ("database", "name", "gain"),
    [
        ("georgia", "E00002", "4880/mV"),
        ("ptb", "S0002", "2000000/mv"),
        ("challenge-ptb-xl", "HR00002", "200/mV"),
        ("georgia", "E00002", "0/mV"),
    ],
)
def test_row_05_headers_with_old_gains_are_refused(mine, database, name, gain):
    mine.add(name.replace("2", "1"), gain="1000/mV", offset=24)
    mine.add(name, gain=gain, offset=24)
    manifest = ecgjepa.prepare({database: mine.root}, mine.store, folds="all")
    summary = manifest.databases[database]
    assert (summary.stored, summary.skipped) == (1, {"old_gain": 1})
    assert "expected 1000. Headers from before August 2020" in summary.quarantine[0].detail
    assert f"{name}.hea" in summary.quarantine[0].detail


def test_row_05_a_copy_of_old_headers_gives_no_store(mine):
    mine.add("E00001", gain="4880/mV", offset=24)
    with pytest.raises(StoreError, match=r"no record could be used: \{'old_gain': 1\}; .*2020"):
        ecgjepa.prepare({"georgia": mine.root}, mine.store)


@pytest.mark.parametrize("gain", ["50/mV", "10000/mV"])
def test_row_05_a_wrong_gain_of_another_database_shows_in_the_amplitude(mine, gain):
    mine.add("right")
    mine.add("wrong", gain=gain)
    summary = mine.prepare(on_bad="raise")
    assert summary.issues["implausible_amplitude"] == 1
    assert "implausible_amplitude" in mine.issues("wrong")
    assert mine.issues("right") == []
    amplitudes = [mine.row(name)["amplitude_mv"] for name in ("right", "wrong")]
    assert amplitudes[1] / amplitudes[0] == pytest.approx(1000 / float(gain[:-3]), rel=0.3)


def test_row_05_a_gain_of_nought_is_noted(mine):
    mine.add("x", gain="0/mV")
    assert mine.prepare().issues["uncalibrated"] == 1


def test_row_06_units_are_understood_in_any_case_or_refused_and_never_guessed(mine):
    digital = mine.ecg()
    spellings = {"1/uV": "uV", "1/µV": "micro", "1000/mv": "mv", "1000000/V": "V", "0.001/nV": "nV"}
    for gain, name in spellings.items():
        mine.add(name, digital, gain=gain)
    for name, unit in (("mmHg", "mmHg"), ("none", "adu")):
        mine.add(name, digital, gain=f"1000/{unit}")
    summary = mine.prepare()
    assert (summary.stored, summary.skipped) == (5, {"unknown_unit": 2})
    assert "expected V, mV, uV, µV or nV in any case" in summary.quarantine[0].detail
    for name in spellings.values():
        np.testing.assert_array_equal(mine.samples(name), digital)
    assert mine.issues("mv") == ["unit_spelling"]
    assert summary.issues == {"unit_spelling": 1}


def test_row_06_the_scale_of_code_15_is_a_constant_that_is_told(tmp_path):
    write_part(tmp_path, 0, [10, 0])
    write_table(tmp_path, [10])
    (summary,) = ecgjepa.prepare({"code-15": tmp_path}, tmp_path / "s").databases.values()
    assert any(notice.startswith("amplitudes are taken as 1 mV") for notice in summary.notices)


def test_row_07_leads_are_found_by_name_and_a_swap_of_columns_is_noticed(mine):
    digital = mine.ecg()
    slow = (300 * np.sin(np.arange(5000) / 50)).astype(np.int16)
    digital[:, :6] += np.outer(slow, [2, 0, -2, -1, 2, -1]).astype(np.int16)  # moves lead I alone
    order = [0, 1, 2, 3, 5, 4, *range(6, 12)]  # MIMIC-IV-ECG
    names = [LEADS[column] for column in order]
    mine.add("mimic", digital[:, order], leads=names)
    mine.add("swapped", digital[:, order])  # the same columns, the names of the usual order
    summary = mine.prepare(on_bad="raise")
    np.testing.assert_array_equal(mine.samples("mimic"), digital)
    assert mine.issues("mimic") == []
    assert mine.issues("swapped") == ["limb_lead_residual:aVL", "limb_lead_residual:aVF"]
    assert summary.issues == {"limb_lead_residual": 1}


def test_row_08_lead_names_have_aliases_and_no_lead_may_come_twice(mine):
    digital = mine.ecg()
    other = digital.copy()
    other[:, 3] *= -1
    names = ["DI", "d2", "MDC_ECG_LEAD_III", "-aVR", "AVL", "avf", "C1", "v2", "Lead V3", "V 4"]
    extra = np.column_stack([other, digital[:, 0]])
    mine.add(
        "aliases", extra, leads=[*[name.replace(" ", "_") for name in names], "V5", "v6", "vx"]
    )
    mine.add("twice", digital, leads=("I", "DI", *LEADS[2:]))
    mine.add("strange", digital, leads=[f"x{number}" for number in range(12)])
    summary = mine.prepare()
    assert summary.skipped == {"unusable_leads": 2}
    assert "lead I appears twice, as 'I' and 'DI'" in summary.quarantine[1].detail
    np.testing.assert_array_equal(mine.samples("aliases"), digital)
    assert mine.issues("aliases") == ["other_channel"]
    mine.refused()


def test_row_09_missing_leads_are_derived_or_masked(mine, tmp_path):
    digital = mine.ecg()
    keep = [0, 1, *range(6, 12)]
    mine.add("eight", digital[:, keep], leads=[LEADS[column] for column in keep])
    mine.add("eleven", digital[:, :11], leads=LEADS[:11])
    mine.add("two", digital[:, :2], leads=LEADS[:2])
    summary = mine.prepare()
    assert (summary.stored, summary.skipped) == (2, {"too_few_leads": 1})
    derived = [f"derived_lead:{lead}" for lead in ("III", "aVR", "aVL", "aVF")]
    assert mine.issues("eight") == derived
    np.testing.assert_allclose(mine.samples("eight"), digital, atol=1.01)
    assert mine.issues("eleven") == ["missing_lead:V6"]
    assert (mine.samples("eleven")[:, 11] == INVALID_MICROVOLT).all()
    assert summary.issues == {"derived_lead": 1, "missing_lead": 1}

    model = ecgjepa.load_model(save(tmp_path / "model"))
    eight, eleven, two = model.predict(sorted(mine.root.glob("*.hea")))
    assert (len(eight.probabilities), eight.error) == (3, None)
    assert (len(eleven.probabilities), eleven.error) == (3, None)
    assert [issue.code for issue in eleven.findings] == ["missing_lead", "resampled"]
    assert "only 6 of 12 leads are usable: V1, V2, V3, V4, V5, V6: not in the file" in two.error
    assert two.probabilities == {}


def test_row_13_rates_are_exact_and_refused_if_missing_or_not_positive(mine):
    mine.add("half", mine.ecg(10, 257.5), rate=257.5)
    for name, rate in (("none", ""), ("nought", " 0"), ("negative", " -500"), ("word", " fast")):
        header = mine.add(name)
        header.write_text(header.read_text().replace(" 500 5000", rate, 1))
    mine.add("odd", mine.ecg(10, 499.123), rate=499.123)
    summary = mine.prepare()
    assert (summary.stored, summary.skipped) == (1, {"unreadable": 5})
    assert mine.row("half")["source_sampling_rate"] == 257.5
    assert len(mine.samples("half")) == 5000
    assert summary.issues == {"resampled": 1}
    details = " ".join(skip.detail for skip in summary.quarantine)
    for words in ("has no sampling rate", "'0' is no positive", "'-500' is no", "no simple"):
        assert words in details


def test_row_13_resampling_does_not_alias(mine):
    """What is too fast for the new rate must vanish, not appear as something slower."""
    time = np.arange(10_000) / 1000
    fast = np.outer(1000 * np.sin(2 * np.pi * 130 * time), np.ones(12)).astype(np.int16)
    mine.add("fast", fast, rate=1000)
    mine.prepare(preprocessing=ecgjepa.PreprocessingConfig(sampling_rate=100.0))
    assert np.abs(mine.samples("fast")[50:-50]).max() < 10
