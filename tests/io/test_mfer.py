import struct

import numpy as np
import pytest
from conftest import toy_ecg
from device_files import frame, mfer, tag, write_mfer
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgjepa import read_record
from ecgjepa.errors import LeadError, RecordFormatError
from ecgjepa.io.devices.mfer import read_mfer
from ecgjepa.signals.leads import LEADS


@pytest.fixture
def digital():
    return toy_ecg(np.random.default_rng(6), num_samples=240)


def codes(record):
    return [issue.code for issue in record.issues]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_samples_survive_any_layout(tmp_path_factory, data):
    kind = data.draw(st.sampled_from(["i2", "u2", "i4", "u1", "i1", "u4", "f4", "f8"]))
    leads = data.draw(st.lists(st.sampled_from(LEADS), min_size=1, max_size=12, unique=True))
    block, sequences = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5))
    low, high = (0, 255) if kind.startswith("u") else (-128, 127)
    size = block * sequences * len(leads)
    values = data.draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
    digital = np.array(values).reshape(-1, len(leads))
    interval, rate = data.draw(
        st.sampled_from(
            [((1, -3, 2), 500.0), ((0, 0, 500), 500.0), ((0, 3, 1), 1e3), ((1, -6, 4000), 250.0)]
        )
    )
    path = write_mfer(
        tmp_path_factory.getbasetemp() / "any.mwf",
        digital,
        leads=leads,
        kind=kind,
        block=block,
        order=data.draw(st.sampled_from(["big", "little"])),
        interval=interval,
        resolution=(0, -7, 25),
        preamble=data.draw(st.booleans()),
    )
    record = read_mfer(path)
    assert (record.leads, record.sampling_rate, record.issues) == (tuple(leads), rate, ())
    np.testing.assert_allclose(record.signal, digital * 0.0025, rtol=1e-6)
    assert record.valid.all()


def test_defaults_are_taken_and_told(tmp_path, digital):
    path = write_mfer(tmp_path / "x.mwf", digital, interval=None, resolution=None, order="big")
    record = read_record(path)
    assert record.sampling_rate == 1000.0
    np.testing.assert_allclose(record.signal, digital / 1000, rtol=1e-6)
    assert [issue.message for issue in record.issues] == [
        "no sampling interval is given; 1 kHz, the format's default, is taken",
        "no resolution is given; 1 µV, the format's default, is taken",
    ]


def test_null_is_no_sample(tmp_path, digital):
    digital[5, 3] = -32768
    path = write_mfer(tmp_path / "x.mfr", digital, common=tag(0x12, b"\x00\x80"))
    record = read_record(path)
    assert np.argwhere(~record.valid).tolist() == [[5, 3]]
    assert record.signal[5, 3] == 0


def test_a_channel_of_its_own(tmp_path, digital):
    """A channel may differ in resolution, unit, block and rate from the others."""
    pressure = tag(0x0C, struct.pack("<BbH", 1, 0, 1))
    finer = tag(0x0C, struct.pack("<BbH", 0, -7, 5))
    path = write_mfer(tmp_path / "x.mwf", digital, own={0: finer, 11: pressure})
    record = read_record(path)
    assert record.leads == LEADS[:11]
    np.testing.assert_allclose(record.signal[:, 0], digital[:, 0] * 0.0005, rtol=1e-6)
    np.testing.assert_allclose(record.signal[:, 1], digital[:, 1] * 0.001, rtol=1e-6)
    assert codes(record) == ["other_channel"]
    status = tag(0x0A, b"\x04") + tag(0x0D, b"\x01\x00")
    record = read_record(write_mfer(tmp_path / "z.mwf", digital, own={11: status}))
    assert (record.leads, codes(record)) == (LEADS[:11], ["other_channel"])
    slower = tag(0x0B, struct.pack("<BbH", 1, -3, 4))
    with pytest.raises(RecordFormatError, match=r"leads differ in rate \(Hz\)"):
        read_record(write_mfer(tmp_path / "y.mwf", digital, own={1: slower}))


def test_frames_that_follow_one_another_are_joined(tmp_path, digital):
    whole = mfer(digital, end=b"")
    for pointer, is_gap in ((b"", False), (tag(0x07, struct.pack("<I", 240)), False),
                            (tag(0x07, struct.pack("<I", 300)), True)):  # fmt: skip
        content = whole + pointer + frame(digital, "<i2", 240) + b"\x80\x00"
        (tmp_path / "x.mwf").write_bytes(content)
        if is_gap:
            with pytest.raises(RecordFormatError, match=r"begins at sample 300, not at 240"):
                read_record(tmp_path / "x.mwf")
        else:
            record = read_record(tmp_path / "x.mwf")
            assert record.num_samples == 480
            np.testing.assert_array_equal(record.signal[:240], record.signal[240:])


def test_what_is_no_rhythm_is_left_out(tmp_path, digital):
    beat = tag(0x08, struct.pack("<H", 9)) + frame(digital, "<i2", 240)
    (tmp_path / "x.mwf").write_bytes(mfer(digital, end=beat + b"\x80\x00"))
    record = read_record(tmp_path / "x.mwf")
    assert (record.num_samples, codes(record)) == (240, ["other_waveform"])
    with pytest.raises(RecordFormatError, match=r"no rhythm"):
        read_record(write_mfer(tmp_path / "y.mwf", digital, wave_type=40))


def test_what_is_not_read_is_refused_by_name(tmp_path, digital):
    for options, match in (
        ({"common": tag(0x0D, b"\x05\x00")}, "lead I has an offset, which"),
        ({"own": {2: tag(0x43, b"\x00\x01")}}, "lead III has a skew in time, which"),
        ({"common": tag(0x0E, b"\x01\x00")}, "samples are compressed"),
        ({"common": tag(0x0A, b"\x09")}, "samples of type 9"),
        ({"interval": (2, -3, 1)}, "of unit 2; expected Hz"),
        ({"interval": (1, -3, 0)}, "sampling interval is 0"),
        ({"common": tag(0x12, b"\0")}, "its null has 1 bytes; expected 2"),
        ({"common": tag(0x05, b"\0")}, "has 0 channels"),
        ({"end": b"\x3f\x20\x02\x04\x00"}, "defines channel 33 of 12"),
        ({"end": tag(0x04, b"\0")[:-1]}, "truncated: tag 0x04 announces 1 bytes"),
        ({"end": b"\x04\x80"}, "a length in 0 bytes"),
    ):  # fmt: skip
        path = write_mfer(tmp_path / "x.mwf", digital, **options)
        with pytest.raises(RecordFormatError, match=match):
            read_record(path)
    with pytest.raises(LeadError, match=r"none of the channels \['lead 160'\]"):
        read_record(write_mfer(tmp_path / "y.mwf", digital[:, :1], leads=(160,)))


def test_cut_files_are_refused_and_longer_ones_told(tmp_path, digital):
    content = mfer(digital)
    for size in (len(content) - 3, len(content) - 2000, 120):
        (tmp_path / "x.mwf").write_bytes(content[:size])
        with pytest.raises(RecordFormatError):
            read_record(tmp_path / "x.mwf")
    short = content[: -len(frame(digital, "<i2", 240)) - 2]
    (tmp_path / "x.mwf").write_bytes(short + frame(digital[:200], "<i2", 200))
    with pytest.raises(RecordFormatError, match=r"truncated: a frame holds 0 sequences") as caught:
        read_record(tmp_path / "x.mwf")
    assert caught.value.reason == "truncated"
    (tmp_path / "x.mwf").write_bytes(content + b"\0\0more")
    assert codes(read_record(tmp_path / "x.mwf")) == ["file_longer_than_header"]


def test_a_preamble_is_enough(tmp_path, digital):
    assert read_record(write_mfer(tmp_path / "noname", digital)).num_samples == 240
    with pytest.raises(RecordFormatError, match=r"not recognised"):
        read_record(write_mfer(tmp_path / "other", digital, preamble=False))
