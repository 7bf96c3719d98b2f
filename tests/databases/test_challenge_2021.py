import json
from pathlib import Path

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb
from scipy import signal

import ecgjepa
from ecgjepa.databases import list_records
from ecgjepa.databases.challenge_2021 import PARTS
from ecgjepa.errors import DatabaseError, RecordFormatError

# Records of the real samples.
REAL = {
    "chapman-shaoxing": 19,
    "cpsc": 14,
    "cpsc-extra": 10,
    "georgia": 70,
    "ningbo": 66,
    "ptb": 10,
}


def write(
    folder: Path, name: str, comments: str = "#Age: 61\n#Sex: Male\n#Dx: 426783006\n"
) -> Path:
    """Write a one-second record as the Challenge does."""
    digital = toy_ecg(np.random.default_rng(len(name)), num_samples=500)
    header = write_wfdb(folder / f"{name}.hea", digital, gain="1000/mV", offset=24)
    header.write_text(header.read_text() + comments)
    return header


def test_entries_hold_age_sex_and_diagnoses(tmp_path):
    write(tmp_path / "g1", "E00002", "#Age: 61\n#Sex: Male\n#Dx: 426783006,164889003\n")
    write(tmp_path / "g2", "E00001", "#Age: NaN\n#Sex: Female\n#Dx: 59118001\n")
    second, first = reversed(list(list_records("georgia", tmp_path).entries()))
    assert (first.record_id, first.path, first.sex, first.age) == (
        "E00001",
        "g2/E00001.hea",
        "female",
        None,
    )
    assert (second.record_id, second.sex, second.age) == ("E00002", "male", 61.0)
    assert json.loads(second.labels) == {"164889003": 100.0, "426783006": 100.0}
    assert (second.patient_id, second.fold) == (None, None)


def test_the_training_folder_above_will_do(tmp_path):
    write(tmp_path / "georgia/g1", "E00001")
    write(tmp_path / "ptb/g1", "S0001")
    for name, record in (("ptb", "S0001"), ("georgia", "E00001")):
        listing = list_records(name, tmp_path)
        assert [listing.read(entry).record_id for entry in listing.entries()] == [record]


def test_untidy_diagnoses_count_once_and_are_noted(tmp_path):
    write(tmp_path, "JS00344", "#Dx: 427084000,,427084000, 55827005,\n")
    write(tmp_path, "JS00345", "#Age: 300\n#Sex: Unknown\n#Dx: Unknown\n")
    write(tmp_path, "JS00346")
    listing = list_records("chapman-shaoxing", tmp_path)
    untidy, unknown, _ = listing.entries()
    assert json.loads(untidy.labels) == {"427084000": 100.0, "55827005": 100.0}
    assert (json.loads(unknown.labels), unknown.age, unknown.sex) == ({}, None, None)
    assert listing.notices == (
        "partial copy: 3 of 10,247 records",
        "diagnoses of 1 records hold empty or repeated codes; each counts once",
        "1 records have no diagnosis",
    )


def test_copies_of_ptb_xl_are_refused_by_every_part(tmp_path):
    write(tmp_path, "HR00001")
    for name in PARTS:
        with pytest.raises(DatabaseError, match=r"HR00001; expected .* copies of PTB-XL's"):
            list_records(name, tmp_path)


@pytest.mark.parametrize(
    ("database", "name"),
    [("ningbo", "JS00001"), ("chapman-shaoxing", "JS10647"), ("georgia", "A0001"), ("cpsc", "Ax1")],
)
def test_records_of_another_database_are_refused(tmp_path, database, name):
    write(tmp_path, name)
    with pytest.raises(DatabaseError, match=f"1 of 1 records do not belong to it, such as {name}"):
        list_records(database, tmp_path)


def test_a_record_in_two_places_is_refused(tmp_path):
    write(tmp_path / "g1", "E00001")
    write(tmp_path / "g2", "E00001")
    with pytest.raises(DatabaseError, match=r"E00001 appears twice: .*g1.*g2"):
        list_records("georgia", tmp_path)


def test_a_folder_without_records(tmp_path):
    (tmp_path / "readme.txt").touch()
    with pytest.raises(DatabaseError, match=r"expected files such as georgia/g1/E00001\.hea"):
        list_records("georgia", tmp_path)


def test_a_damaged_header_is_listed_and_fails_when_read(tmp_path):
    write(tmp_path, "E00001")
    (tmp_path / "E00002.hea").write_text("nonsense")
    listing = list_records("georgia", tmp_path)
    good, bad = listing.entries()
    assert listing.read(good).num_samples == 500
    with pytest.raises(RecordFormatError, match="no sampling rate"):
        listing.read(bad)


def test_drift_is_removed_from_st_petersburg_alone(tmp_path):
    """No real record is at hand: one minute at 257 Hz on an offset and drift of millivolts."""
    num_samples = 60 * 257
    wander = 2000 + 3000 * np.sin(2 * np.pi * 0.05 * np.arange(num_samples) / 257)
    ecg = toy_ecg(np.random.default_rng(0), num_samples=num_samples, rate=257)
    digital = (ecg + wander[:, None]).astype(np.int16)
    for name in ("I0001", "S0001"):
        write_wfdb(tmp_path / f"{name}/{name}.hea", digital, rate=257, gain="1000/mV", offset=24)
    databases = {"st-petersburg": tmp_path / "I0001", "ptb": tmp_path / "S0001"}
    manifest = ecgjepa.prepare(databases, tmp_path / "store")
    assert manifest.databases["st-petersburg"].highpass_hz == 0.5
    assert manifest.databases["ptb"].highpass_hz is None
    with ecgjepa.Store(tmp_path / "store") as store:
        left_alone, filtered = (store.read_record(row) for row in range(2))
    assert len(filtered) == len(left_alone) == 30_000
    assert np.ptp(left_alone[:, 0].astype(float)) > 6000

    # The same as SciPy does it, away from the ends, to the store's rounding.
    sections = signal.butter(4, 0.5, "highpass", fs=257, output="sos")
    expected = signal.sosfiltfilt(sections, digital.astype(float), axis=0, padlen=27)
    expected = signal.resample_poly(expected, 500, 257, axis=0, padtype="line")
    np.testing.assert_allclose(filtered, expected, atol=1.0)

    # Asked for, it is the same for all.
    both = ecgjepa.prepare(
        databases,
        tmp_path / "both",
        preprocessing=ecgjepa.PreprocessingConfig(highpass_hz=0.5),
    )
    assert both.databases["ptb"].std == both.databases["st-petersburg"].std


@pytest.mark.realdata
@pytest.mark.parametrize("database", sorted(REAL))
def test_real_records(real_data, database):
    root = real_data / "challenge-2021"
    listing = list_records(database, root)
    assert len(listing.table) == REAL[database]
    assert f"partial copy: {REAL[database]:,} of" in listing.notices[0]
    rates = {listing.read(entry).sampling_rate for entry in listing.entries()}
    assert rates == {1000.0 if database == "ptb" else 500.0}
    assert all(json.loads(entry.labels) for entry in listing.entries())


@pytest.mark.realdata
def test_real_records_in_one_store(real_data, tmp_path):
    folder = real_data / "challenge-2021"
    manifest = ecgjepa.prepare(dict.fromkeys(REAL, folder), tmp_path / "store")
    assert manifest.num_records == sum(REAL.values())
    flat = manifest.databases["ningbo"].issues["flat_lead"]
    assert flat > 0
    assert manifest.databases["ptb"].issues["resampled"] == REAL["ptb"]
    assert "resampled" not in manifest.databases["georgia"].issues


@pytest.mark.realdata
def test_the_real_copy_of_ptb_xl_is_refused(real_data):
    with pytest.raises(DatabaseError, match="37 of 37 records do not belong to it"):
        list_records("georgia", real_data / "challenge-2021/ptb-xl")
