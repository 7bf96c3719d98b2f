import numpy as np
import pytest
from conftest import toy_ecg
from ecg_files import dicom_group, save_dicom
from limb_leads import limb_lead_residuals

from ecgjepa import read_record
from ecgjepa.errors import RecordFormatError, UnitError
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.record import standardise_leads


@pytest.fixture
def digital():
    return toy_ecg(np.random.default_rng(5), num_samples=300)


@pytest.mark.realdata
def test_a_real_file_is_read_as_pydicom_does(real_data):
    import pydicom

    path = real_data / "formats/dicom/anonymous_ecg.dcm"
    record = read_record(path)
    assert (record.sampling_rate, record.duration) == (1000.0, 10.0)
    assert record.leads == LEADS
    assert [issue.code for issue in record.issues] == ["other_waveform"]
    expected = pydicom.dcmread(path).waveform_array(0) / 1000  # its group 0 is the rhythm, in µV
    np.testing.assert_array_equal(record.signal, expected.astype(np.float32))
    assert max(limb_lead_residuals(record.signal, record.valid).values()) < 0.005
    assert 0.3 < np.ptp(record.signal[:, 1]) < 5


@pytest.mark.parametrize("scheme", ["MDC", "SCPECG", "99OWN"])
def test_leads_by_either_code_or_by_meaning(tmp_path, digital, scheme):
    record = read_record(save_dicom(tmp_path / "x.dcm", [dicom_group(digital, scheme=scheme)]))
    names = [f"Lead {lead}" for lead in LEADS] if scheme == "99OWN" else list(LEADS)
    assert list(record.leads) == names


def test_the_median_beat_is_not_the_ecg(tmp_path, digital):
    groups = [dicom_group(digital[:50], label="MEDIAN BEAT"), dicom_group(digital)]
    record = read_record(save_dicom(tmp_path / "x.dcm", groups))
    assert record.num_samples == 300
    assert "not used: 1 derived waveform, such" in record.issues[0].message
    with pytest.raises(RecordFormatError, match="no rhythm waveform") as found:
        read_record(save_dicom(tmp_path / "m.dcm", groups[:1]))
    assert found.value.reason == "no_rhythm"


def test_sensitivity_correction_baseline_and_unit(tmp_path, digital):
    group = dicom_group(digital)
    channels = group.ChannelDefinitionSequence
    channels[0].ChannelSensitivity, channels[0].ChannelBaseline = "2.5", "100"
    channels[1].ChannelSensitivityCorrectionFactor = "0.5"
    channels[2].ChannelSensitivityUnitsSequence[0].CodeValue = "mV"
    channels[2].ChannelSensitivity = "0.001"
    signal = read_record(save_dicom(tmp_path / "x.dcm", [group])).signal
    np.testing.assert_allclose(signal[:, 0], (2.5 * digital[:, 0] + 100) / 1000, rtol=1e-6)
    np.testing.assert_allclose(signal[:, 1], digital[:, 1] / 2000, rtol=1e-6)
    np.testing.assert_allclose(signal[:, 2], digital[:, 2] / 1000, rtol=1e-6)


def test_padding_is_invalid(tmp_path, digital):
    digital[250:, 3] = -32768
    padding = np.array(-32768, "<i2").tobytes()
    group = dicom_group(digital, WaveformPaddingValue=padding)
    record = read_record(save_dicom(tmp_path / "x.dcm", [group]))
    assert not record.valid[250:, 3].any()
    assert record.valid.sum() == 300 * 12 - 50
    assert not record.signal[250:, 3].any()


def test_leads_sampled_together_are_joined(tmp_path, digital):
    parts = [
        dicom_group(digital[:, first : first + 3], leads=LEADS[first : first + 3])
        for first in (0, 3, 6, 9)
    ]
    record = read_record(save_dicom(tmp_path / "x.dcm", parts))
    assert record.leads == LEADS
    np.testing.assert_allclose(record.signal, digital / 1000, rtol=1e-6)


def test_leads_recorded_one_after_another_are_refused(tmp_path, digital):
    parts = [
        dicom_group(
            digital[:, first : first + 3],
            leads=LEADS[first : first + 3],
            MultiplexGroupTimeOffset=str(2500 * number),
        )
        for number, first in enumerate((0, 3, 6, 9))
    ]
    with pytest.raises(RecordFormatError, match="not recorded at the same time") as found:
        read_record(save_dicom(tmp_path / "x.dcm", parts))
    assert found.value.reason == "leads_apart"


def test_a_rhythm_strip_beside_twelve_leads_is_noted(tmp_path, digital):
    strip = dicom_group(np.tile(digital[:, 1:2], (3, 1)), leads=("II",))
    record = read_record(save_dicom(tmp_path / "x.dcm", [strip, dicom_group(digital)]))
    assert record.leads == LEADS
    assert "rhythm waveform is not used: II (900 samples)" in record.issues[0].message


def test_what_is_not_known_is_not_guessed(tmp_path, digital):
    for number, (change, error, match) in enumerate(
        (
            ("unit", UnitError, "unknown amplitude unit 'mm'"),
            ("no unit", UnitError, "channel I has no sensitivity"),
            ("short", RecordFormatError, "truncated: holds 7,200 bytes of 400 samples"),
            ("law", RecordFormatError, "samples of 8 bits as MB"),
            ("rate", RecordFormatError, "sampling rate 0 Hz; expected 25 Hz"),
            ("channels", RecordFormatError, "13 channels, but 12 definitions"),
        )
    ):
        group = dicom_group(digital)
        channel = group.ChannelDefinitionSequence[0]
        if change == "unit":
            channel.ChannelSensitivityUnitsSequence[0].CodeValue = "mm"
        elif change == "no unit":
            del channel.ChannelSensitivityUnitsSequence
        elif change == "short":
            group.NumberOfWaveformSamples = 400
        elif change == "law":
            group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 8, "MB"
        elif change == "rate":
            group.SamplingFrequency = "0"
        else:
            group.NumberOfWaveformChannels = 13
        with pytest.raises(error, match=match):
            read_record(save_dicom(tmp_path / f"{number}.dcm", [group]))


def test_other_dicom_files(tmp_path, digital):
    with pytest.raises(RecordFormatError, match="a DICOM file without waveforms"):
        read_record(save_dicom(tmp_path / "x.dcm", []))
    path = save_dicom(tmp_path / "y.dcm", [dicom_group(digital)], syntax="1.2.840.10008.1.2.1.99")
    with pytest.raises(RecordFormatError, match=r"transfer syntax .* is not read"):
        read_record(path)


# ---------------------------------------------------------------- as carts write it


def without_preamble(path, start):
    path.write_bytes(path.read_bytes()[start:])
    return path


@pytest.mark.parametrize("start", [128, 132])
def test_a_file_without_its_preamble(tmp_path, digital, start):
    path = without_preamble(save_dicom(tmp_path / "x.dcm", [dicom_group(digital)]), start)
    record = read_record(path)
    assert record.leads == LEADS
    np.testing.assert_allclose(record.signal, digital / 1000, rtol=1e-6)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_a_data_set_alone(tmp_path, digital, syntax):
    path = save_dicom(tmp_path / "x.dcm", [dicom_group(digital)], syntax=syntax)
    content = path.read_bytes()
    length = int.from_bytes(content[140:144], "little")
    record = read_record(without_preamble(path, 144 + length))
    np.testing.assert_allclose(record.signal, digital / 1000, rtol=1e-6)


def test_packed_syntaxes_are_refused_without_a_preamble_too(tmp_path, digital):
    path = save_dicom(tmp_path / "y.dcm", [dicom_group(digital)], syntax="1.2.840.10008.1.2.1.99")
    with pytest.raises(RecordFormatError, match=r"transfer syntax .* is not read"):
        read_record(without_preamble(path, 132))


@pytest.mark.parametrize(
    ("fields", "shift"),
    [
        ({"ChannelSampleSkew": "25"}, 25),
        ({"ChannelTimeSkew": "0.05"}, 25),
        ({"ChannelTimeSkew": "0.05", "ChannelSampleSkew": "0"}, 25),
        ({"ChannelSampleSkew": "20", "ChannelOffset": "0.01"}, 25),
        ({"ChannelSampleSkew": "-4"}, -4),
        ({"ChannelSampleSkew": "0", "ChannelTimeSkew": "0"}, 0),
    ],
)
def test_channels_that_start_later_are_moved(tmp_path, digital, fields, shift):
    group = dicom_group(digital)
    for name, value in fields.items():
        setattr(group.ChannelDefinitionSequence[6], name, value)
    record = read_record(save_dicom(tmp_path / "x.dcm", [group]))
    expected = np.zeros(300)
    held = slice(shift, None) if shift >= 0 else slice(None, shift)
    expected[held] = digital[slice(-shift or None) if shift >= 0 else slice(-shift, None), 6]
    np.testing.assert_allclose(record.signal[:, 6], expected / 1000, rtol=1e-6)
    assert record.valid[held, 6].all()
    assert record.valid.sum() == 3600 - abs(shift)
    assert [(issue.code, issue.lead) for issue in record.issues] == [("shifted_channel", "V1")] * (
        shift != 0
    )


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"ChannelSampleSkew": "0.5"}, "V1 starts 0.5 samples later .* expected a whole number"),
        ({"ChannelTimeSkew": "0.0005"}, "V1 starts 0.25 samples later"),
        ({"ChannelSampleSkew": "300"}, "expected a whole number below 300"),
        ({"ChannelSampleSkew": "5", "ChannelTimeSkew": "1"}, "5 samples later by its sample skew"),
    ],
)
def test_channels_that_cannot_be_moved_exactly_are_refused(tmp_path, digital, fields, match):
    group = dicom_group(digital)
    for name, value in fields.items():
        setattr(group.ChannelDefinitionSequence[6], name, value)
    with pytest.raises(RecordFormatError, match=match):
        read_record(save_dicom(tmp_path / "x.dcm", [group]))


def test_the_name_of_a_code_may_stand_for_it(tmp_path, digital):
    group = dicom_group(digital, scheme="99OWN")
    for channel, lead in zip(group.ChannelDefinitionSequence, LEADS, strict=True):
        source = channel.ChannelSourceSequence[0]
        source.CodeValue, source.CodeMeaning = f"MDC_ECG_LEAD_{lead.upper()}", ""
    record = standardise_leads(read_record(save_dicom(tmp_path / "x.dcm", [group])))
    np.testing.assert_allclose(record.signal, digital / 1000, rtol=1e-6)
