"""A step of 0, which programs write where they know none, is refused: it is no flat ECG."""

import re

import numpy as np
import pytest
from conftest import toy_ecg
from device_files import write_cardiosoft, write_fhir, write_ishne, write_mfer, write_mortara
from ecg_files import (
    EIGHT,
    LEADS,
    aecg_set,
    describe,
    dicom_group,
    muse_waveform,
    save_aecg,
    save_dicom,
    save_muse,
    write_sierra,
)
from scp_files import write_scp

from ecgjepa import read_record
from ecgjepa.errors import RecordError


def edited(path, old, new):
    text = path.read_text()
    assert re.search(old, text)
    path.write_text(re.sub(old, new, text))
    return path


def dicom(path, digital, tag, value):
    group = dicom_group(digital)
    setattr(group.ChannelDefinitionSequence[3], tag, value)
    return save_dicom(path, [group])


def muse(path, digital, step):
    eight = digital[:, [LEADS.index(lead) for lead in EIGHT]]
    return save_muse(path, [muse_waveform(eight, LeadAmplitudeUnitsPerBit=step)])


def array(path, digital, **told):
    np.save(path, digital)
    describe(path, **told)
    return path


WITHOUT = {
    "DICOM sensitivity": lambda p, d: dicom(p / "x.dcm", d, "ChannelSensitivity", "0"),
    "DICOM correction": lambda p, d: dicom(
        p / "x.dcm", d, "ChannelSensitivityCorrectionFactor", "0"
    ),
    "aECG": lambda p, d: edited(
        save_aecg(p / "x.xml", [aecg_set(d)]), 'scale value="1"', 'scale value="0"'
    ),
    "MUSE": lambda p, d: muse(p / "x.xml", d, "0"),
    "MUSE, negative": lambda p, d: muse(p / "x.xml", d, "-1"),
    "Sierra": lambda p, d: edited(write_sierra(p / "x.xml", d), "resolution>1<", "resolution>0<"),
    "Sierra, negative": lambda p, d: edited(
        write_sierra(p / "x.xml", d), "resolution>1<", "resolution>-1<"
    ),
    "CardioSoft": lambda p, d: edited(
        write_cardiosoft(p / "x.xml", d), 'uVperLsb">1<', 'uVperLsb">0<'
    ),
    "Mortara": lambda p, d: write_mortara(p / "x.xml", d, UNITS_PER_MV="0"),
    "SCP-ECG": lambda p, d: write_scp(p / "x.scp", d, nanovolt=0),
    "ISHNE": lambda p, d: write_ishne(p / "x.ecg", d, nanovolt=0),
    "MFER": lambda p, d: write_mfer(p / "x.mwf", d, resolution=(0, -6, 0)),
    "FHIR": lambda p, d: write_fhir(p / "x.json", d, factor=0),
    "an array's unit": lambda p, d: array(p / "x.npy", d, unit="0 uV"),
    "an array's gain": lambda p, d: array(p / "x.npy", d, gain=0),
}


@pytest.mark.parametrize("kind", WITHOUT)
def test_amplitudes_that_are_not_known_are_refused(tmp_path, kind):
    path = WITHOUT[kind](tmp_path, toy_ecg(np.random.default_rng(0), num_samples=300))
    with pytest.raises(RecordError) as caught:
        read_record(path)
    assert path.name in str(caught.value)
