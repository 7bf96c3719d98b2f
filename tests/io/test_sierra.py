import base64
import re

import numpy as np
import pytest
from conftest import toy_ecg
from ecg_files import write_sierra
from limb_leads import limb_lead_residuals

from ecgjepa import read_record
from ecgjepa.errors import RecordFormatError
from ecgjepa.signals.leads import LEADS


@pytest.fixture
def digital():
    return toy_ecg(np.random.default_rng(5), num_samples=300)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "num_samples"),
    [("129DYPRG.XML", 5264), ("3191723_ZZDEMOPTONLY_1-04_orig.xml", 5300)],
)
def test_real_files_are_read_as_sierraecg_does(real_data, name, num_samples):
    import sierraecg

    path = real_data / "formats/philips-sierra-xml" / name
    record = read_record(path)
    assert (record.sampling_rate, record.leads) == (500.0, LEADS)
    expected = np.stack([lead.samples for lead in sierraecg.read_file(str(path)).leads], axis=1)
    assert expected.shape == (5500, 12)  # 11 s, of which the end is a pulse of 1 mV
    assert record.num_samples == num_samples
    in_mv = (expected[:num_samples] * 0.005).astype(np.float32)
    np.testing.assert_array_equal(record.signal, in_mv)
    pulse = expected[num_samples:]
    assert (pulse == pulse[:, :1]).all()
    assert np.unique(pulse).tolist() == [0, 200]
    assert [issue.code for issue in record.issues] == ["calibration_pulse"]
    assert max(limb_lead_residuals(record.signal, record.valid).values()) < 0.005


def test_the_pulse_is_left_out_only_if_it_is_one(tmp_path, digital):
    path = write_sierra(tmp_path / "x.xml", digital, microvolt=5, pulse=200)
    record = read_record(path)
    assert record.num_samples == 300
    assert record.issues[0].message.startswith("the last 0.360 s, a calibration pulse")
    # A pulse of 0.5 mV is not known, and a flat end is not a pulse.
    for height in (100, 1):
        path = write_sierra(tmp_path / "y.xml", digital, microvolt=5, pulse=height)
        assert read_record(path).num_samples == 480
        assert read_record(path).issues == ()
    digital[250:] = 0
    assert read_record(write_sierra(tmp_path / "z.xml", digital)).num_samples == 300


def test_negative_values_and_resolution(tmp_path, digital):
    record = read_record(write_sierra(tmp_path / "x.xml", digital, microvolt=5))
    np.testing.assert_allclose(record.signal, (digital // 5) * 0.005, rtol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (">1.03<", ">1.02<", "is SierraECG 1.02; expected"),
        ("parsedwaveforms", "otherwaveforms", "without waveforms"),
        ('"XLI"', '"Other"', "waveforms coded as Other are not read"),
        ('compressmethod="XLI"', "", "waveforms coded as None are not read"),
        ("STD-12", "OTHER", "leads are OTHER; expected I, II, III"),
        ('durationperchannel="600"', 'durationperchannel="9e99"', "not readable as XML"),
        ('durationperchannel="600"', 'durationperchannel="6000000000"', "announces 3000000000"),
        ('durationperchannel="600"', 'durationperchannel="700"', "holds 300 of 350 samples"),
    ],
)
def test_faulty_files(tmp_path, digital, old, new, match):
    path = write_sierra(tmp_path / "x.xml", digital)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RecordFormatError, match=match):
        read_record(path)


def test_damaged_chunks_neither_loop_nor_grow(tmp_path, digital):
    path = write_sierra(tmp_path / "x.xml", digital)
    text = path.read_text()
    stored = re.search(r'durationperchannel="600">([^<]*)<', text)[1]
    for length in ((-8).to_bytes(4, "little", signed=True), b"\xff\xff\xff\x7f", b"\0\0\0\0"):
        damaged = length + base64.b64decode(stored)[4:]
        path.write_text(text.replace(stored, base64.b64encode(damaged).decode()))
        with pytest.raises(RecordFormatError):
            read_record(path)
