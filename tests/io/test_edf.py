import numpy as np
import pytest
from conftest import toy_ecg
from ecg_files import write_edf

from ecgjepa import read_record
from ecgjepa.errors import LeadError, RecordFormatError, UnitError
from ecgjepa.signals.leads import LEADS


@pytest.fixture
def digital():
    return toy_ecg(np.random.default_rng(5), num_samples=500)


def other_channel(label, rate, num_samples, unit="uV"):
    import edfio

    values = np.linspace(-1, 1, num_samples)
    return edfio.EdfSignal(values, rate, label=label, physical_dimension=unit)


def test_labels_units_and_annotations(tmp_path, digital):
    for unit, factor in (("uV", 1e-3), ("mV", 1.0)):
        record = read_record(write_edf(tmp_path / "x.edf", digital, unit=unit))
        assert record.leads == tuple(f"ECG {lead}" for lead in LEADS)
        assert (record.sampling_rate, record.issues) == (500.0, ())
        np.testing.assert_allclose(record.signal, digital * factor, atol=1e-6)


def test_other_channels_may_have_other_rates_and_units(tmp_path, digital):
    path = write_edf(tmp_path / "x.edf", digital, more=[other_channel("Resp", 25, 25, "L")])
    record = read_record(path)
    assert len(record.leads) == 12
    assert record.issues[0].message == "channel 'Resp' is not one of the 12 leads"


def test_leads_of_unequal_rates_are_refused(tmp_path, digital):
    more = [other_channel("V6", 250, 250)]
    path = write_edf(tmp_path / "x.edf", digital[:, :11], leads=LEADS[:11], more=more)
    with pytest.raises(RecordFormatError, match=r"different sampling rates .*'V6': 250\.0"):
        read_record(path)


def test_what_is_not_known_is_not_guessed(tmp_path, digital):
    with pytest.raises(UnitError, match="unknown amplitude unit 'mm'"):
        read_record(write_edf(tmp_path / "x.edf", digital, unit="mm"))
    with pytest.raises(LeadError, match=r"none of the labels .*'EEG I'"):
        read_record(write_edf(tmp_path / "x.edf", digital, prefix="EEG "))


def header_field(content: bytes, at: int, text: str) -> bytes:
    return content[:at] + text.encode().ljust(8) + content[at + 8 :]


def test_lengths_are_compared_with_the_header(tmp_path, digital):
    path = write_edf(tmp_path / "x.edf", np.tile(digital, (3, 1)))
    content = path.read_bytes()
    held = int(content[236:244])
    path.write_bytes(content[:-3000])
    with pytest.raises(RecordFormatError, match=f"truncated: holds .* of {held} data"):
        read_record(path)
    path.write_bytes(header_field(content, 236, str(held - 1)))
    assert [issue.code for issue in read_record(path).issues] == ["file_longer_than_header"]
    path.write_bytes(header_field(content, 236, "-1"))
    assert read_record(path).issues == ()


def test_a_channel_without_calibration_is_refused(tmp_path, digital):
    path = write_edf(tmp_path / "x.edf", digital)
    content = path.read_bytes()
    num_signals = int(content[252:256])
    at = 256 + num_signals * (16 + 80 + 8)
    path.write_bytes(header_field(content, at, "32767"))
    with pytest.raises(RecordFormatError, match=r"lead .* is not calibrated"):
        read_record(path)
