import numpy as np
import pytest
from conftest import toy_ecg
from device_files import ishne_header, write_ishne
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgjepa import read_record
from ecgjepa.errors import RecordFormatError, UnitError
from ecgjepa.io.devices.ishne import read_ishne
from ecgjepa.signals.leads import LEADS


@pytest.fixture
def digital():
    return toy_ecg(np.random.default_rng(4), num_samples=250)


def codes(record):
    return [issue.code for issue in record.issues]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_samples_survive(tmp_path_factory, data):
    leads = data.draw(st.lists(st.sampled_from(LEADS), min_size=1, max_size=12, unique=True))
    num_samples = data.draw(st.integers(1, 30))
    size = num_samples * len(leads)
    values = data.draw(st.lists(st.integers(-32768, 32767), min_size=size, max_size=size))
    digital = np.array(values, np.int16).reshape(num_samples, len(leads))
    steps = data.draw(st.lists(st.integers(1, 9999), min_size=len(leads), max_size=len(leads)))
    path = write_ishne(
        tmp_path_factory.getbasetemp() / "any.ecg",
        digital,
        leads=leads,
        nanovolt=steps,
        text=data.draw(st.binary(max_size=9)),
        announced=data.draw(st.sampled_from([num_samples, size])),
    )
    record = read_ishne(path)
    assert record.leads == tuple(leads)
    np.testing.assert_array_equal(record.valid, digital != -32768)
    expected = np.where(digital == -32768, 0, digital) * (np.array(steps) / 1e6)
    np.testing.assert_array_equal(record.signal, expected.astype(np.float32))
    # One lead of 0 samples is announced by no sound file; a checksum of 0 says that there is none.
    assert set(codes(record)) <= {"no_checksum"}


def test_rate_and_leads_without_a_name(tmp_path, digital):
    leads = ("II", 1, 0, "V5")
    record = read_record(write_ishne(tmp_path / "x.ecg", digital[:, :4], leads=leads, rate=257))
    assert record.leads == ("II", "channel 2", "channel 3", "V5")
    assert record.sampling_rate == 257


def test_the_files_size_decides(tmp_path, digital):
    longer = read_record(write_ishne(tmp_path / "x.ecg", digital, announced=100))
    assert (longer.num_samples, codes(longer)) == (250, ["file_longer_than_header"])
    for announced, cut in ((250 * 12 + 1, 0), (250, 24), (250, 1), (251, 0)):
        path = write_ishne(tmp_path / "x.ecg", digital, announced=announced)
        path.write_bytes(path.read_bytes()[: -cut or None])
        for damaged in ("raise", "flag"):
            with pytest.raises(RecordFormatError, match=r"truncated: holds 2\d\d whole") as caught:
                read_record(path, damaged=damaged)
            assert caught.value.reason == "truncated"
        record = read_record(path, damaged="mask")
        assert codes(record) == ["truncated"]
        assert record.num_samples == (249 if cut else 250)
    path = write_ishne(tmp_path / "x.ecg", digital[:0], announced=250)
    for damaged in ("raise", "mask"):
        with pytest.raises(RecordFormatError, match=r"truncated: holds 0 whole"):
            read_record(path, damaged=damaged)


def test_checksums(tmp_path, digital):
    assert codes(read_record(write_ishne(tmp_path / "a.ecg", digital, stored=0))) == ["no_checksum"]
    assert codes(read_record(write_ishne(tmp_path / "b.ecg", digital, swapped=True))) == []
    path = write_ishne(tmp_path / "c.ecg", digital, text=b"remark")
    content = bytearray(path.read_bytes())
    content[523] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecordFormatError, match=r"c\.ecg: checksum of the header is") as caught:
        read_record(path)
    assert caught.value.reason == "checksum_mismatch"
    assert codes(read_record(path, damaged="flag")) == ["checksum_mismatch"]


def test_a_lead_without_a_resolution(tmp_path, digital):
    path = write_ishne(tmp_path / "x.ecg", digital[:, :2], leads=("I", 2), nanovolt=(1000, -9))
    record = read_record(path)
    assert (record.leads, codes(record)) == (("I",), ["other_channel"])
    for leads in (("I", "II"), (2, 3)):
        path = write_ishne(tmp_path / "y.ecg", digital[:, :2], leads=leads, nanovolt=(-9, 0))
        with pytest.raises(UnitError, match=r"y\.ecg: lead .* has no resolution"):
            read_record(path)


def test_what_is_no_recording_is_refused(tmp_path):
    header = ishne_header(announced=1)
    for content, match in (
        (b"ANN  1.0" + header[8:], "holds ISHNE annotations"),
        (header[:300], "truncated: 300 bytes of a header of 522"),
        (ishne_header(announced=1, rate=0), "12 leads at 0 Hz"),
        (ishne_header(announced=1, start=700), "samples at 700; expected"),
    ):
        (tmp_path / "x.ecg").write_bytes(content)
        with pytest.raises(RecordFormatError, match=match):
            read_record(tmp_path / "x.ecg")
