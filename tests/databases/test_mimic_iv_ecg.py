"""No real record of MIMIC-IV-ECG is at hand: folders are written in its layout."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import toy_ecg, write_wfdb

import ecgjepa
from ecgjepa.databases import list_records
from ecgjepa.errors import DatabaseError
from ecgjepa.signals.leads import LEADS

# The order in which the database stores them.
STORED = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
STUDIES = ((10000032, 40689238), (10000032, 44458630), (10000117, 45090959))


@pytest.fixture
def copy(tmp_path) -> Path:
    root = tmp_path / "mimic"
    rows = []
    for number, (subject, study) in enumerate(STUDIES):
        path = f"files/p{str(subject)[:4]}/p{subject}/s{study}/{study}"
        microvolt = toy_ecg(np.random.default_rng(number)) // 5 * 5
        digital = microvolt[:, [LEADS.index(lead) for lead in STORED]] // 5
        write_wfdb(root / f"{path}.hea", digital, leads=STORED, gain="200.0(0)/mV")
        rows.append((subject, study, study, "2180-07-23 08:44:00", path))
    names = ["subject_id", "study_id", "file_name", "ecg_time", "path"]
    pd.DataFrame(rows[::-1], columns=names).to_csv(root / "record_list.csv", index=False)
    (root / "machine_measurements.csv").write_text(
        "subject_id,study_id,cart_id,report_0,report_1,report_2,bandwidth,rr_interval\n"
        "10000032,40689238,6848296,Sinus rhythm,Possible LVH.,,0.005-150 Hz,659\n"
        "10000032,44458630,6848296,Sinus rhythm,Sinus rhythm,,0.005-150 Hz,659\n"
    )
    return root


def test_entries_hold_patient_and_statements(copy):
    listing = list_records("mimic-iv-ecg", copy)
    first, second, third = listing.entries()
    assert first.record_id == "40689238"
    assert first.patient_id == second.patient_id == "10000032"
    assert json.loads(first.labels) == {"Possible LVH": 100.0, "Sinus rhythm": 100.0}
    assert json.loads(second.labels) == {"Sinus rhythm": 100.0}
    assert (third.labels, third.fold, third.age, third.sex) == ("{}", None, None, None)
    assert listing.notices == ("partial copy: 3 of 800,035 records",)


def test_leads_are_put_in_order_by_name(copy, tmp_path):
    manifest = ecgjepa.prepare({"mimic-iv-ecg": copy}, tmp_path / "store")
    assert manifest.num_records == 3
    assert manifest.databases["mimic-iv-ecg"].issues == {}
    stored = np.fromfile(tmp_path / "store/shard-00000.i16", "<i2").reshape(3, 5000, 12)
    for number in range(3):
        microvolt = toy_ecg(np.random.default_rng(number)) // 5 * 5
        np.testing.assert_array_equal(stored[number], microvolt)


def test_a_partial_copy_and_no_statements(copy):
    (copy / "files/p1000/p10000117/s45090959/45090959.hea").unlink()
    (copy / "machine_measurements.csv").unlink()
    listing = list_records("mimic-iv-ecg", copy)
    assert [skip.record_id for skip in listing.absent] == ["45090959"]
    assert listing.notices == (
        "partial copy: 2 of 800,035 records",
        "machine_measurements.csv is missing; the records have no labels",
    )


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, r"record_list\.csv is missing; expected the folder"),
        ("", "not readable as CSV"),
        ("subject_id,path\n1,a\n", "column study_id is missing; found subject_id, path"),
        ("subject_id,study_id,path\n", "has no rows"),
        ("subject_id,study_id,path\n1,2,../x\n", "path holds '../x'"),
        ("subject_id,study_id,path\n1,2,\n", "path holds nan"),
        ("subject_id,study_id,path\n,2,a\n", "subject_id is empty in 1 rows"),
        ("subject_id,study_id,path\n1,2,a\n1,2,b\n", "study_id 2 appears twice"),
        ("subject_id,study_id,path\n1,2,files/a\n", "lists 1 records, but none is present"),
    ],
)
def test_faulty_tables(copy, text, match):
    (copy / "record_list.csv").unlink()
    if text is not None:
        (copy / "record_list.csv").write_text(text)
    with pytest.raises(DatabaseError, match=match):
        list_records("mimic-iv-ecg", copy)
