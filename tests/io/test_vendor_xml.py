import numpy as np
import pytest
from conftest import toy_ecg
from device_files import write_cardiosoft, write_mortara, write_schiller

from ecgjepa import read_record
from ecgjepa.errors import RecordFormatError, UnitError
from ecgjepa.signals.leads import LEADS

WRITERS = (write_cardiosoft, write_mortara, write_schiller)


@pytest.fixture
def digital():
    return toy_ecg(np.random.default_rng(9), num_samples=200)


@pytest.mark.parametrize("write", WRITERS)
def test_the_same_ecg_in_each(tmp_path, digital, write):
    record = read_record(write(tmp_path / "x.xml", digital))
    assert (record.leads, record.sampling_rate) == (LEADS, 500.0)
    np.testing.assert_allclose(record.signal, digital / 1000, rtol=1e-6)
    left_out = [] if write is write_cardiosoft else ["other_waveform"]
    assert [issue.code for issue in record.issues] == left_out


def test_cardiosoft(tmp_path, digital):
    path = tmp_path / "x.xml"
    with pytest.raises(RecordFormatError, match=r"are in \['Hz', 'mV'\]; expected Hz and uVperLsb"):
        read_record(write_cardiosoft(path, digital, unit="mV"))
    with pytest.raises(RecordFormatError, match=r"lead I holds 200 of 5,000 samples") as caught:
        read_record(write_cardiosoft(path, digital, announced=5000))
    assert caught.value.reason == "truncated"
    more = "<StripData/><FullDisclosure/>"
    with pytest.raises(RecordFormatError, match=r"holds 2 rhythm strips; expected one"):
        read_record(write_cardiosoft(path, digital, more=more))
    path.write_text("<CardiologyXML><FullDisclosure/></CardiologyXML>")
    with pytest.raises(RecordFormatError, match=r"holds 0 rhythm strips.*FullDisclosure is not"):
        read_record(path)


def test_mortara(tmp_path, digital):
    path = tmp_path / "x.xml"
    for changes, match in (
        ({"OFFSET": "5"}, "lead I has an OFFSET"),
        ({"BITS": "12"}, r"lead I is \['12', 'SIGNED', 'BASE64'\]"),
        ({"UNITS_PER_MV": "0"}, "0.0 units per mV"),
        ({"duration": 5000}, "holds 200 of 5,000 samples"),
    ):
        with pytest.raises(RecordFormatError, match=match):
            read_record(write_mortara(path, digital, **changes))
    assert read_record(write_mortara(path, digital, duration=400)).num_samples == 200  # ms
    path.write_text("<ECG/>")
    with pytest.raises(RecordFormatError, match=r"leads have \[\] samples"):
        read_record(path)


def test_schiller(tmp_path, digital):
    path = tmp_path / "x.xml"
    for changes, match in (
        ({"exponent": 2}, "exponent other than 1"),
        ({"form": "BASE64"}, "written as 'BASE64'; expected COMMASEPARATE"),
    ):
        with pytest.raises(RecordFormatError, match=match):
            read_record(write_schiller(path, digital, **changes))
    with pytest.raises(UnitError, match=r"unknown amplitude unit 'bits'"):
        read_record(write_schiller(path, digital, unit="bits"))
    write_schiller(path, digital)
    path.write_text(path.read_text().replace("ECG_RHYTHMS", "OTHER"))
    with pytest.raises(RecordFormatError, match=r"holds 0 waveforms of type ECG_RHYTHMS"):
        read_record(path)
    path.write_text("<x><eventdata><event><wavedata/></event></eventdata></x>")
    with pytest.raises(RecordFormatError, match=r"has no type where it should be"):
        read_record(path)
