"""Rows 1 to 4 and 14: samples that are missing, flat, saturated, huge or drifting."""

import numpy as np
import pytest
import torch

import ecgjepa
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.signals.units import INVALID_MICROVOLT


def as_the_encoder_sees(mine, name: str) -> torch.Tensor:
    """Normalise a stored record by its own database's constants, as training does."""
    summary = ecgjepa.Store(mine.store).manifest.databases["mine"]
    normaliser = NormalisationConfig(mean=summary.mean, std=summary.std).build()
    return normaliser(torch.from_numpy(mine.samples(name).copy())[None])[0]


@pytest.mark.parametrize("on_bad", ["raise", "skip", "mask"])
def test_row_01_gaps_are_bridged_up_to_40_ms_and_invalid_beyond(mine, on_bad):
    short, longer, most = mine.ecg(), mine.ecg(), mine.ecg()
    short[1000:1020, 7] = INVALID_MICROVOLT
    longer[1000:1021, 7] = INVALID_MICROVOLT
    most[:1001, 7] = INVALID_MICROVOLT
    mine.add("short", short), mine.add("longer", longer), mine.add("most", most)
    summary = mine.prepare(on_bad=on_bad)
    assert (summary.stored, summary.skipped) == (3, {})

    line = np.interp(np.arange(1000, 1020), [999, 1020], short[[999, 1020], 7])
    np.testing.assert_allclose(mine.samples("short")[1000:1020, 7], line, atol=0.51)
    assert mine.issues("short") == []
    np.testing.assert_array_equal(mine.samples("longer"), longer)
    assert mine.issues("longer") == ["invalid_samples:V2"]
    assert mine.issues("most") == ["invalid_lead:V2"]  # 20.02 % of it
    assert summary.issues == {"invalid_lead": 1, "invalid_samples": 1}
    # What is invalid is blank to the encoder.
    assert (as_the_encoder_sees(mine, "longer")[7, 1000:1021] == 0).all()


def test_row_02_an_empty_lead_is_masked_and_the_record_kept_with_eight_valid(mine):
    for empty in (1, 4, 5, 12):
        digital = mine.ecg()
        digital[:, 12 - empty :] = INVALID_MICROVOLT
        mine.add(f"{empty:02d}", digital)
    summary = mine.prepare()
    assert (summary.stored, summary.skipped) == (2, {"too_few_leads": 2})
    assert [skip.record_id for skip in summary.quarantine] == ["05", "12"]
    assert "only 7 of 12 leads are usable" in summary.quarantine[0].detail
    assert mine.issues("01") == ["invalid_lead:V6"]
    assert (mine.samples("04")[:, 8:] == INVALID_MICROVOLT).all()
    assert torch.isfinite(as_the_encoder_sees(mine, "04")).all()
    mine.refused()


def test_row_03_a_flat_lead_is_flagged_and_a_flat_record_dropped(mine):
    digital = mine.ecg()
    digital[:, 7] = 12
    mine.add("lead", digital)
    mine.add("record", np.full((5000, 12), 77, np.int16))
    summary = mine.prepare()
    assert summary.skipped == {"flat_record": 1}
    assert summary.issues == {"flat_lead": 1, "low_quality": 1}
    assert mine.issues("lead") == ["flat_lead:V2", "low_quality"]
    # V2 is flat in all of the database: its deviation is 0, and nothing is divided by it.
    assert summary.std[7] == 0
    assert (as_the_encoder_sees(mine, "lead")[7] == 0).all()
    assert torch.isfinite(as_the_encoder_sees(mine, "lead")).all()
    mine.refused()


def test_row_04_saturation_is_flagged_and_huge_values_are_cut_for_the_encoder(mine):
    plateau, spike = mine.ecg(), mine.ecg()
    plateau[1000:1020, 7] = 11_000  # 40 ms at the rail
    spike[1000, 7] = 11_000
    mine.add("plateau", plateau), mine.add("spike", spike)
    clipped = mine.ecg()
    clipped[2000:2100, 7] = INVALID_MICROVOLT
    mine.add("clipped", clipped)
    summary = mine.prepare(on_bad="raise")
    assert "saturated_lead:V2" in mine.issues("plateau")
    assert "saturated_lead:V2" not in mine.issues("spike")
    assert summary.issues["invalid_samples"] == summary.issues["saturated_lead"] == 1
    np.testing.assert_array_equal(mine.samples("spike"), spike)  # the store holds what was there
    assert as_the_encoder_sees(mine, "spike")[7, 1000] == 5.0


def test_row_14_an_offset_beyond_16_bits_is_invalid_unless_it_is_filtered_away(mine):
    """At 500 steps a mV a file reaches ±65 mV, the store ±32.767 mV."""
    high = mine.ecg() // 2
    high[:, 6:] += 20_000  # 40 mV
    mine.add("high", high, gain="500/mV")
    mine.add("one", np.where(np.arange(12) == 7, high, mine.ecg() // 2), gain="500/mV")
    summary = mine.prepare()
    assert summary.skipped == {"too_few_leads": 1}
    assert summary.issues == {"invalid_lead": 1, "out_of_range": 1}
    assert mine.issues("one") == ["out_of_range:V2", "invalid_lead:V2"]
    assert (mine.samples("one")[:, 7] == INVALID_MICROVOLT).all()

    config = ecgjepa.PreprocessingConfig(highpass_hz=0.5)
    filtered = mine.prepare(preprocessing=config)
    assert (filtered.stored, filtered.skipped, filtered.highpass_hz) == (2, {}, 0.5)
    assert "out_of_range" not in filtered.issues


def test_row_14_st_petersburg_is_filtered_by_default(mine):
    wander = 3000 * np.sin(2 * np.pi * 0.05 * np.arange(30 * 257) / 257)
    digital = (mine.ecg(30, 257) + wander[:, None]).astype(np.int16)
    mine.add("I01", digital, rate=257, gain="1000/mV", offset=24)
    manifest = ecgjepa.prepare({"st-petersburg": mine.root}, mine.store)
    assert manifest.databases["st-petersburg"].highpass_hz == 0.5
    assert np.ptp(ecgjepa.Store(mine.store).read_record(0)[2500:-2500, 0]) < 2500
