import re

import numpy as np
import pytest
from conftest import toy_ecg
from ecg_files import aecg_set, save_aecg
from limb_leads import limb_lead_residuals

from ecgjepa import read_record
from ecgjepa.errors import RecordFormatError, UnitError
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.record import standardise_leads


@pytest.fixture
def digital():
    return toy_ecg(np.random.default_rng(5), num_samples=300)


@pytest.mark.realdata
def test_a_real_file(real_data):
    path = real_data / "formats/hl7-aecg/subject1_0.xml"
    record = read_record(path)
    assert (record.sampling_rate, record.duration) == (500.0, 10.0)
    assert [issue.code for issue in record.issues] == ["other_waveform"]
    # Its first digits, by eye: lead I begins -2 -2 -2 -2 -3 -4, in steps of 2.5 µV.
    np.testing.assert_allclose(record.signal[:6, 0], [-0.005] * 4 + [-0.0075, -0.01], rtol=1e-6)
    # The first 12 lists of digits in the text are the rhythm's.
    lists = re.findall(r"<digits>([^<]*)</digits>", path.read_text())[:12]
    digits = np.array([text.split() for text in lists], float).T
    np.testing.assert_array_equal(record.signal, (digits * 2.5 / 1000).astype(np.float32))
    standard = standardise_leads(record)
    assert max(limb_lead_residuals(standard.signal, standard.valid).values()) < 0.005


def test_origin_scale_and_unit(tmp_path, digital):
    text = aecg_set(digital).replace('value="0" unit="uV"', 'value="0.5" unit="mV"', 1)
    text = text.replace('scale value="1"', 'scale value="4.88"', 1)
    signal = read_record(save_aecg(tmp_path / "x.xml", [text])).signal
    np.testing.assert_allclose(signal[:, 0], 0.5 + 0.00488 * digital[:, 0], rtol=1e-5)
    np.testing.assert_allclose(signal[:, 1], digital[:, 1] / 1000, rtol=1e-6)


@pytest.mark.parametrize(
    ("step", "unit", "rate"), [("0.002", "s", 500), ("1", "ms", 1000), ("4000", "us", 250)]
)
def test_sampling_rate_is_exact(tmp_path, digital, step, unit, rate):
    path = save_aecg(tmp_path / "x.xml", [aecg_set(digital, step=step, unit=unit)])
    assert read_record(path).sampling_rate == rate


def test_sets_sampled_together_are_joined_and_others_refused(tmp_path, digital):
    parts = [
        aecg_set(digital[:, first : first + 6], leads=LEADS[first : first + 6]) for first in (0, 6)
    ]
    assert read_record(save_aecg(tmp_path / "x.xml", parts)).num_samples == 300
    parts[1] = parts[1].replace("20260101", "20260102")
    with pytest.raises(RecordFormatError, match="not recorded at the same time"):
        read_record(save_aecg(tmp_path / "x.xml", parts))


@pytest.mark.parametrize(
    ("old", "new", "error", "match"),
    [
        ('unit="uV"', 'unit="mm"', UnitError, "unknown amplitude unit 'mm'"),
        ("SLIST_PQ", "GLIST_PQ", RecordFormatError, "sequence MDC_ECG_LEAD_I is 'GLIST_PQ'"),
        ('value="0.002"', 'value="0"', RecordFormatError, "time increment is '0' 's'"),
        ('unit="s"', 'unit="min"', RecordFormatError, "time increment is '0.002' 'min'"),
        ("TIME_ABSOLUTE", "OTHER", RecordFormatError, "is 'GLIST_TS'; expected SLIST_PQ"),
        ("<digits>", "<digits>1 ", RecordFormatError, "leads have .300, 301. samples"),
        ("<digits>", "<digits>x ", RecordFormatError, "are not all numbers"),
    ],
)
def test_faulty_files(tmp_path, digital, old, new, error, match):
    path = save_aecg(tmp_path / "x.xml", [aecg_set(digital).replace(old, new, 1)])
    with pytest.raises(error, match=match):
        read_record(path)


def test_no_rhythm(tmp_path, digital):
    path = save_aecg(tmp_path / "x.xml", [aecg_set(digital)], code="REPRESENTATIVE_BEAT")
    with pytest.raises(RecordFormatError, match="no rhythm waveform"):
        read_record(path)


def test_a_calibration_pulse_of_a_converted_file_is_left_out(tmp_path, digital):
    pulse = np.repeat([0, 1000, 0], [50, 100, 50])[:, None].astype(digital.dtype)
    whole = np.concatenate([digital, np.tile(pulse, (1, digital.shape[1]))])
    record = read_record(save_aecg(tmp_path / "x.xml", [aecg_set(whole)]))
    assert record.num_samples == len(digital)
    assert [issue.code for issue in record.issues] == ["calibration_pulse"]
    whole[-120, 3] += 20
    assert read_record(save_aecg(tmp_path / "y.xml", [aecg_set(whole)])).num_samples == len(whole)


def test_series_inside_each_other_are_read_once(tmp_path, digital):
    path = save_aecg(tmp_path / "x.xml", [aecg_set(digital)])
    text = path.read_text()
    inner = text[text.index("<series>") : text.index("</series>") + len("</series>")]
    path.write_text(text.replace("</series>", f"<component>{inner}</component></series>"))
    record = read_record(path)
    assert record.num_samples == len(digital)
    assert record.issues == ()
