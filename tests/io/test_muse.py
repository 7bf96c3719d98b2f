"""No real export was at hand: these files are written in the published layout."""

import numpy as np
import pytest
from conftest import toy_ecg
from ecg_files import EIGHT, muse_waveform, save_muse

from ecgjepa import read_record
from ecgjepa.errors import RecordFormatError, UnitError
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.record import standardise_leads


@pytest.fixture
def digital():
    return toy_ecg(np.random.default_rng(5), num_samples=300)[:, [LEADS.index(x) for x in EIGHT]]


def test_rhythm_scale_and_derived_leads(tmp_path, digital):
    median = muse_waveform(digital[:60], kind="Median")
    rhythm = muse_waveform(digital, LeadAmplitudeUnitsPerBit="4.88")
    record = read_record(save_muse(tmp_path / "x.xml", [median, rhythm]))
    assert record.leads == EIGHT
    np.testing.assert_allclose(record.signal, digital * 0.00488, rtol=1e-6)
    assert [issue.code for issue in record.issues] == ["other_waveform"]
    standard = standardise_leads(record)
    one, two = digital[:, 0] * 0.00488, digital[:, 1] * 0.00488
    np.testing.assert_allclose(standard.signal[:, 2], two - one, atol=1e-6)
    np.testing.assert_allclose(standard.signal[:, 3], -(one + two) / 2, atol=1e-6)
    assert standard.valid.all()


@pytest.mark.parametrize(
    ("rate", "exponent", "expected"), [(500, 0, 500.0), (25, 1, 250.0), (2575, -1, 257.5)]
)
def test_sampling_rate_is_exact(tmp_path, digital, rate, exponent, expected):
    wave = muse_waveform(digital, rate=rate, exponent=exponent)
    assert read_record(save_muse(tmp_path / "x.xml", [wave])).sampling_rate == expected


def test_electrodes_that_were_off_and_missing_samples_are_invalid(tmp_path, digital):
    digital[100:110, 4] = -32768
    text = muse_waveform(digital)
    head, _, tail = text.rpartition("<LeadOff>FALSE")
    record = read_record(save_muse(tmp_path / "x.xml", [f"{head}<LeadOff>TRUE{tail}"]))
    assert not record.valid[:, 7].any()
    assert not record.valid[100:110, 4].any()
    assert record.valid.sum() == 300 * 7 - 10
    assert [(issue.code, issue.lead) for issue in record.issues] == [("invalid_lead", "V6")]


@pytest.mark.parametrize(
    ("old", "new", "error", "match"),
    [
        ("MICROVOLTS", "FURLONGS", UnitError, "unknown amplitude unit 'FURLONGS'"),
        (">300<", ">301<", RecordFormatError, "lead I holds 600 bytes of 301 samples"),
        (">2</LeadSampleSize", ">4</LeadSampleSize", RecordFormatError, "has 4 bytes a sample"),
        (">0</LeadOffset", ">9</LeadOffset", RecordFormatError, "LeadOffsetFirstSample not 0"),
        (">0</SampleExponent", ">99</SampleExponent", RecordFormatError, "SampleExponent is 99"),
        (">500</SampleBase", "></SampleBase", RecordFormatError, "not readable as XML"),
        ("Rhythm", "Median", RecordFormatError, "no rhythm waveform"),
        ("<WaveFormData>\n", "<WaveFormData>\n?", RecordFormatError, "not readable as XML"),
    ],
)
def test_faulty_files(tmp_path, digital, old, new, error, match):
    path = save_muse(tmp_path / "x.xml", [muse_waveform(digital).replace(old, new, 1)])
    with pytest.raises(error, match=match):
        read_record(path)
