import json

import numpy as np
import pytest
from conftest import toy_ecg
from ecg_files import write_edf

from ecgjepa import read_record
from ecgjepa.errors import LeadError, RecordFormatError, UnitError
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.record import standardise_leads


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


def test_leads_of_unequal_rates_come_to_the_highest(tmp_path, digital):
    more = [other_channel("V6", 250, 250)]
    path = write_edf(tmp_path / "x.edf", digital[:, :11], leads=LEADS[:11], more=more)
    record = read_record(path)
    assert (record.sampling_rate, len(record.leads)) == (500.0, 12)
    assert [(issue.code, issue.lead) for issue in record.issues] == [("resampled", "V6")]
    np.testing.assert_allclose(
        record.signal[50:450, 11], np.linspace(-1, 1, 499)[50:450] / 1e3, atol=1e-5
    )


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


# ---------------------------------------------------------------- as devices write it


def edf(path, digital, labels, unit="uV", *, width=2, onsets=None, kind="", samples=100, rate=500):
    """Write EDF or BDF data records of ``samples`` by the specification, byte by byte."""
    num_records, width_notes = len(digital) // samples, 15 if onsets is not None else 0
    labels = [*labels, *(["EDF Annotations"] if width_notes else [])]
    count = len(labels)
    low, high = -(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1

    def field(text, size):
        content = text if isinstance(text, bytes) else str(text).encode()
        return content.ljust(size)

    start = b"\xffBIOSEMI" if width == 3 else field("0", 8)
    head = start + field("X", 80) + field("Startdate X", 80) + field("01.01.26", 8)
    head += field("00.00.00", 8) + field(256 * (count + 1), 8) + field(kind, 44)
    head += field(num_records, 8) + field(samples / rate, 8) + field(count, 4)
    each = ((labels, 16), ([""] * count, 80), ([unit] * count, 8))
    each += (([low] * count, 8), ([high] * count, 8)) * 2
    sizes = [samples] * (count - bool(width_notes)) + [width_notes] * bool(width_notes)
    each += (([""] * count, 80), (sizes, 8), ([""] * count, 32))
    head += b"".join(field(text, size) for texts, size in each for text in texts)
    body = b""
    for index in range(num_records):
        part = digital[index * samples : (index + 1) * samples].T.astype("<i4")
        body += part.reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
        if width_notes:
            body += f"{onsets[index]:+g}\x14\x14".encode().ljust(width * width_notes, b"\0")
    path.write_bytes(head + body)
    return path


@pytest.mark.parametrize(
    "label",
    ["{}", "ECG {}", "EKG{}", "Lead {}", "ECG-{}", "{}-Ref", "{} (mV)", "ECG Lead {}", "{}-WCT",
     "ECG.{}", "ECG:{}", "ECG {}-Ref"],
)  # fmt: skip
def test_labels_as_vendors_write_them(tmp_path, digital, label):
    record = read_record(edf(tmp_path / "x.edf", digital, [label.format(lead) for lead in LEADS]))
    names = standardise_leads(record)
    np.testing.assert_allclose(names.signal, digital / 1000, atol=1e-5)


@pytest.mark.parametrize("unit", ["µV".encode("latin-1"), "µV".encode(), b"uV", b"mV"])
def test_units_in_any_encoding(tmp_path, digital, unit):
    record = read_record(edf(tmp_path / "x.edf", digital, LEADS, unit))
    np.testing.assert_allclose(record.signal, digital / (1 if unit == b"mV" else 1e3), rtol=1e-4)


def test_a_description_maps_labels_and_tells_a_missing_unit(tmp_path, digital):
    path = edf(tmp_path / "x.edf", digital[:, :2], ["Chan 1", "Chan 2"], "")
    with pytest.raises(LeadError, match=r'x\.edf\.json, as \{"channels": \{"Chan 1": "I"'):
        read_record(path)
    told = {"channels": {"Chan 1": "V5", "Chan 2": "II"}}
    place = tmp_path / "other.json"
    place.write_text(json.dumps(told))
    with pytest.raises(UnitError, match=r"unknown amplitude unit ''.*tell it in a description"):
        read_record(path, description=place)
    place.write_text(json.dumps({**told, "unit": "uV"}))
    record = read_record(path, description=place)
    assert record.leads == ("V5", "II")
    np.testing.assert_allclose(record.signal, digital[:, :2] / 1000, atol=1e-5)


def test_bdf_has_24_bits(tmp_path, digital):
    wide = digital.astype(np.int64) * 100
    record = read_record(edf(tmp_path / "x.bdf", wide, LEADS, width=3))
    np.testing.assert_allclose(record.signal, wide / 1000, rtol=1e-5)


def test_gaps_are_kept_and_invalid(tmp_path, digital):
    onsets = [0, 0.2, 0.9, 1.1, 1.3]
    record = read_record(edf(tmp_path / "x.edf", digital, LEADS, onsets=onsets, kind="EDF+D"))
    assert record.num_samples == 750
    assert not record.valid[200:450].any()
    assert record.valid.sum() == 500 * 12
    np.testing.assert_allclose(record.signal[450:], digital[200:] / 1000, atol=1e-5)
    assert record.issues[-1].message == "1 gaps of 0.5 s in all"
    without = read_record(
        edf(tmp_path / "y.edf", digital, LEADS, onsets=[0, 0.2004, 0.4, 0.6, 0.8])
    )
    assert without.valid.all()


def test_records_out_of_order_are_refused(tmp_path, digital):
    for onsets in ([0, 0.2, 0.1, 0.6, 0.8], [0, 0.2, 0.4, 0.6, 900]):
        path = edf(tmp_path / "x.edf", digital, LEADS, onsets=onsets, kind="EDF+D")
        with pytest.raises(RecordFormatError, match=r"overlap, or are out of order|times as long"):
            read_record(path)
    with pytest.raises(RecordFormatError, match="may have gaps, but does not tell where"):
        read_record(edf(tmp_path / "y.edf", digital, LEADS, kind="EDF+D"))


def test_an_end_at_the_rail_of_all_leads_is_invalid(tmp_path, digital):
    digital[440:] = -32768
    record = read_record(edf(tmp_path / "x.edf", digital, LEADS))
    assert not record.valid[440:].any()
    assert record.valid[:440].all()
    assert "the last 0.120 s, at the end of the range in all leads" in record.issues[0].message
    digital[440:, 3] = 0
    assert read_record(edf(tmp_path / "x.edf", digital, LEADS)).valid.all()


def test_the_same_numbers_as_edfio(tmp_path, digital):
    import edfio

    path = write_edf(tmp_path / "x.edf", digital)
    theirs = np.stack([signal.data for signal in edfio.read_edf(path).signals], axis=1)
    np.testing.assert_allclose(read_record(path).signal, theirs / 1000, rtol=1e-6)


@pytest.mark.parametrize("sign", ["+", "-", "+/-", " neg", " inv"])
def test_a_label_with_a_sign_is_not_taken_for_the_lead(tmp_path, digital, sign):
    """An electrode of a pair, or a lead turned round: which is not known, and can be told."""
    path = write_edf(tmp_path / "x.edf", digital)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"ECG V1".ljust(16), f"V1{sign}".ljust(16).encode()))
    record = read_record(path)
    assert "V1" not in record.leads
    assert any(f"V1{sign}" in issue.message for issue in record.issues)
    (tmp_path / "x.edf.json").write_text(json.dumps({"channels": {f"V1{sign}": "V1"}}))
    assert "V1" in read_record(path).leads
