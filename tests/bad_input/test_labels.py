"""Rows 11, 12 and 19 to 23: tables that come with records, and who must not meet whom."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import write_ptb_xl, write_wfdb
from databases.test_code_15 import SHORT, write_part, write_table

import ecgjepa


def stored(store) -> pd.DataFrame:
    with ecgjepa.Store(store) as opened:
        return opened.table().set_index("record_id")


def test_row_11_zero_margins_are_stripped_and_the_true_length_is_stored(tmp_path):
    tracings = np.random.default_rng(0).normal(size=(2, 4096, 12)).astype(np.float32)
    tracings[0, : SHORT.start], tracings[0, SHORT.stop :] = 0, 0
    write_part(tmp_path, 0, [10, 20], tracings)
    write_table(tmp_path, [10, 20])
    manifest = ecgjepa.prepare({"code-15": tmp_path}, tmp_path / "store", on_bad="raise")
    rows = stored(tmp_path / "store")
    # 2,934 and 4,096 samples at 400 Hz; no zeros are left in the statistics either.
    assert rows["num_samples"].to_dict() == {"10": 3668, "20": 5120}
    assert manifest.databases["code-15"].issues["short_record"] == 1
    counts = pd.read_parquet(tmp_path / "store/index.parquet")["valid_count"]
    assert [set(count) for count in counts] == [{3668}, {5120}]


def test_row_12_phantoms_are_dropped_and_table_and_rows_compared_both_ways(tmp_path):
    write_part(tmp_path, 0, [30, 10, 0])
    write_part(tmp_path, 1, [20, 0])
    write_table(tmp_path, [10, 20, 40], trace_file=["exams_part0.hdf5"] * 3)
    summary = ecgjepa.prepare({"code-15": tmp_path}, tmp_path / "store").databases["code-15"]
    assert (summary.listed, summary.stored, summary.absent) == (3, 3, 1)
    assert sorted(stored(tmp_path / "store").index) == ["10", "20", "30"]
    words = " ".join(summary.notices)
    assert "2 phantom rows with exam_id 0 (one at the end of each part) are no exams" in words
    assert "1 exams have no row in exams.csv" in words
    assert "1 exams do not lie in the file that exams.csv names, such as 20" in words


def test_row_19_another_version_of_ptb_xl_is_told_by_its_count(tmp_path, command):
    count = 21_837
    root = write_ptb_xl(tmp_path / "p", records=2)
    table = pd.read_csv(root / "ptbxl_database.csv")
    table = table.iloc[np.minimum(np.arange(count), 1)].reset_index(drop=True)
    table["ecg_id"] = np.arange(1, count + 1)
    table.loc[2:, "filename_hr"] = "records500/none"
    table.to_csv(root / "ptbxl_database.csv", index=False)
    code, text, message = command("prepare", f"ptb-xl={root}", "--store", tmp_path / "s")
    assert code == 0
    notice = f"version 1.0.1 ({count:,} records); results are usually reported on 1.0.3"
    assert f"ptb-xl: {notice}" in message
    assert "manifest.json" in text
    assert f"absent from this copy: {count - 2:,} records" in text


@pytest.fixture
def ptb_xl_and_copies(tmp_path):
    """PTB-XL in small; an archive with a copy of a training record and one of a test record."""
    root = write_ptb_xl(tmp_path / "ptb-xl", records=24)
    folds = pd.read_csv(root / "ptbxl_database.csv").set_index("ecg_id")["strat_fold"]
    for name, fold in (("train", 1), ("test", 10)):
        ecg_id = folds.index[folds == fold][0]
        digital = np.fromfile(root / f"records500/00000/{ecg_id:05d}_hr.dat", "<i2")
        write_wfdb(tmp_path / f"mine/{name}.hea", digital.reshape(-1, 12), offset=24)
    return {"ptb-xl": root, "mine": tmp_path / "mine"}


@pytest.mark.parametrize("on_bad", ["raise", "skip", "mask"])
def test_row_20_no_copy_of_a_test_record_is_stored(ptb_xl_and_copies, tmp_path, on_bad):
    manifest = ecgjepa.prepare(ptb_xl_and_copies, tmp_path / "store", on_bad=on_bad)
    mine = manifest.databases["mine"]
    assert (mine.stored, mine.skipped) == (1, {"held_out_copy": 1})
    assert "which is kept for selection or test" in mine.quarantine[0].detail
    found = ecgjepa.verify(tmp_path / "store")
    assert found.faults == []
    table = stored(tmp_path / "store")
    assert not set(table["fold"].dropna()) & {9, 10}
    # PTB-XL's patients each lie in one fold, so none is on both sides.
    whole = pd.read_csv(ptb_xl_and_copies["ptb-xl"] / "ptbxl_database.csv")
    tested = whole.loc[whole["strat_fold"] >= 9, "patient_id"].map("{:.0f}".format)
    assert not set(table["patient_id"].dropna()) & set(tested)


def test_row_21_the_same_record_in_two_databases_is_reported(ptb_xl_and_copies, tmp_path):
    ecgjepa.prepare(ptb_xl_and_copies, tmp_path / "store")
    (note,) = ecgjepa.verify(tmp_path / "store").notes
    assert note.startswith("duplicates across databases: 1 group of records holds the same samples")
    assert "mine train = ptb-xl 1" in note


def test_row_22_untidy_diagnoses_are_read_and_reported(mine):
    header = mine.add("JS00344", offset=24)
    header.write_text(header.read_text() + "#Dx: 427084000,,427084000, 55827005,\n")
    manifest = ecgjepa.prepare({"chapman-shaoxing": mine.root}, mine.store)
    summary = manifest.databases["chapman-shaoxing"]
    assert "diagnoses of 1 records hold empty or repeated codes; each counts once" in (
        summary.notices
    )
    labels = json.loads(stored(mine.store).loc["JS00344", "labels"])
    assert labels == {"427084000": 100.0, "55827005": 100.0}


def test_row_22_a_likelihood_of_nought_stays_apart_from_absence(tmp_path):
    """PTB-XL writes 0 where the likelihood is not known."""
    root = write_ptb_xl(tmp_path / "p", records=2)
    ecgjepa.prepare({"ptb-xl": root}, tmp_path / "store", folds="all")
    assert json.loads(stored(tmp_path / "store").loc["1", "labels"]) == {"NDT": 100.0, "SR": 0.0}


def test_row_23_ages_beyond_89_and_unknown_ages_and_sexes_stay_what_they_are(tmp_path):
    root = write_ptb_xl(tmp_path / "p", records=4)
    table = pd.read_csv(root / "ptbxl_database.csv")
    table["age"] = [300, np.nan, 0, 89]
    table["sex"] = [0, 1, np.nan, 1]
    table.to_csv(root / "ptbxl_database.csv", index=False)
    ecgjepa.prepare({"ptb-xl": root}, tmp_path / "store", folds="all")
    rows = stored(tmp_path / "store")
    # 300 is the group above 89, told apart from both an age and a missing one.
    assert rows["age"].fillna(-1).tolist() == [300, -1, 0, 89]
    assert rows["sex"].fillna("missing").tolist() == ["male", "female", "missing", "female"]


def test_row_23_one_garbled_sex_does_not_make_all_unknown(tmp_path):
    root = write_ptb_xl(tmp_path / "p", records=4)
    table = pd.read_csv(root / "ptbxl_database.csv", dtype={"sex": object})
    table.loc[2, "sex"] = "f?"
    table.to_csv(root / "ptbxl_database.csv", index=False)
    with pytest.raises(ecgjepa.errors.DatabaseError, match=r"sex is 'f\?'; expected a number"):
        ecgjepa.prepare({"ptb-xl": root}, tmp_path / "store")
