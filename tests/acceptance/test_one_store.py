"""All real samples at hand, and simulated MIMIC-IV-ECG and INCART trees, in one store."""

import subprocess
import sys
from pathlib import Path

import pytest

import ecgjepa
from ecgjepa.store.manifest import DatabaseSummary

pytestmark = [pytest.mark.realdata, pytest.mark.slow]

# Records of each sample, as its README counts them.
LISTED = {
    "chapman-shaoxing": 19,
    "cinc-2011": 606,  # of 748; the others are in folds 9 and 10, by hash
    "code-15": 10,
    "cpsc": 14,
    "cpsc-extra": 10,
    "georgia": 70,
    "mimic-iv-ecg": 12,
    "ningbo": 66,
    "ptb": 10,
    "st-petersburg": 2,
}


@pytest.fixture(scope="module")
def folder(real_data, tmp_path_factory) -> Path:
    """Prepare the store, in ``folder/store``."""
    if not (real_data / "unpack.py").is_file():
        pytest.skip("there is no unpack.py")
    folder = tmp_path_factory.mktemp("everything")
    unpack = [sys.executable, real_data / "unpack.py", folder]
    subprocess.run(unpack, check=True, capture_output=True)
    ecgjepa.simulate(12, folder / "mimic", layout="mimic-iv-ecg")
    ecgjepa.simulate(2, folder / "incart", layout="st-petersburg", seconds=60)
    challenge = real_data / "challenge-2021"
    databases = {name: challenge for name in LISTED if name in CHALLENGE}
    databases |= {
        "challenge-ptb-xl": challenge,
        "cinc-2011": folder / "cinc-2011",
        "code-15": real_data / "code-15",
        "mimic-iv-ecg": folder / "mimic",
        "ptb-xl": folder / "ptb-xl",
        "st-petersburg": folder / "incart",
    }
    tables = {"cinc-2011": folder / "cinc-2011/labels.csv"}
    ecgjepa.prepare(databases, folder / "store", tables=tables)
    return folder


CHALLENGE = ("chapman-shaoxing", "cpsc", "cpsc-extra", "georgia", "ningbo", "ptb")


@pytest.fixture(scope="module")
def found(folder) -> dict[str, DatabaseSummary]:
    return dict(ecgjepa.Store(folder / "store").manifest.databases)


def names_with(folder: Path, issue: str, database: str) -> set[str]:
    table = ecgjepa.Store(folder / "store").table()
    rows = table[table["database"] == database]
    has = rows["issues"].map(lambda issues: any(i.partition(":")[0] == issue for i in issues))
    return set(rows.loc[has, "record_id"])


@pytest.mark.parametrize("name", LISTED)
def test_every_record_is_counted_and_stored(found, name):
    summary = found[name]
    assert (summary.listed, summary.stored, summary.skipped) == (LISTED[name], LISTED[name], {})


def test_ptb_xl_is_there_without_its_held_out_folds(found):
    summary = found["ptb-xl"]
    assert summary.stored + summary.left_out == 2730
    assert summary.left_out == 333 + 66
    assert summary.folds == tuple(range(1, 9))
    assert summary.skipped == {}


def test_the_challenges_copies_are_what_they_are(folder, found):
    """Ten of the 37 are ecg_id 1 to 10; the others are of no fold that the table at hand knows."""
    copies = found["challenge-ptb-xl"]
    assert copies.stored + copies.left_out == 11
    assert any("26 records are not in ptbxl_database.csv" in text for text in copies.notices)
    assert copies.issues["unit_spelling"] == copies.stored  # "mv"
    notes = ecgjepa.verify(folder / "store").notes
    across = next(note for note in notes if note.startswith("duplicates across databases"))
    assert f"{copies.stored} groups of records hold the same samples" in across
    within = next(note for note in notes if note.startswith("duplicates within a database"))
    assert "ptb-xl 456 = ptb-xl 457" in within  # the absent ones of version 1.0.3


def test_nothing_is_wrong_with_the_store(folder):
    assert ecgjepa.verify(folder / "store").faults == []


def test_flat_leads_of_ningbo(folder):
    flat = {"JS11438", "JS20004", "JS20008", "JS45542", "JS45544", "JS45551"}
    assert names_with(folder, "flat_lead", "ningbo") == flat


def test_the_phantom_exam_and_the_scale_of_code_15(found):
    notices = " ".join(found["code-15"].notices)
    assert "1 phantom rows with exam_id 0" in notices
    assert "amplitudes are taken as 1 mV a unit" in notices
    assert found["code-15"].highpass_hz == 0.5


@pytest.mark.parametrize(
    ("name", "rate"), [("ptb", 1000), ("code-15", 400), ("st-petersburg", 257)]
)
def test_other_rates_are_resampled_and_said_to_be(folder, found, name, rate):
    table = ecgjepa.Store(folder / "store").table()
    rows = table[table["database"] == name]
    assert set(rows["source_sampling_rate"]) == {rate}
    assert found[name].issues["resampled"] == len(rows)


def test_people_and_scores_agree_on_quality(folder, found):
    """The archive of one's own, with its labels: of 613 acceptable and 135 others."""
    table = ecgjepa.Store(folder / "store").table()
    rows = table[table["database"] == "cinc-2011"]
    refused = rows["labels"].str.contains("unacceptable")
    assert (int((~refused).sum()), int(refused.sum())) == (496, 110)
    assert (
        rows.loc[~refused, "quality"].median() > 0.95 > 0.5 > rows.loc[refused, "quality"].median()
    )
    assert found["cinc-2011"].issues["implausible_amplitude"] > 300  # its headers' gain is doubtful
