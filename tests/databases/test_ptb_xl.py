import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import write_ptb_xl

from ecgjepa.databases import list_records, ptb_xl
from ecgjepa.errors import DatabaseError, RecordFormatError


@pytest.fixture
def copy(tmp_path) -> Path:
    return write_ptb_xl(tmp_path / "ptb-xl", records=12, seconds=1.0)


def change(root: Path, **columns) -> None:
    path = root / "ptbxl_database.csv"
    pd.read_csv(path).assign(**columns).to_csv(path, index=False)


def test_entries_hold_patient_fold_sex_and_labels(copy):
    listing = list_records("ptb-xl", copy)
    entries = list(listing.entries())
    assert [entry.record_id for entry in entries] == [str(n) for n in range(1, 13)]
    first = entries[0]
    assert first.patient_id == "1000"
    assert first.fold == 1
    assert first.sex == "female"
    assert first.age == 41.0
    assert first.labels == '{"NDT": 100.0, "SR": 0.0}'
    record = listing.read(first)
    assert (record.record_id, record.patient_id) == ("1", "1000")
    assert record.num_samples == 500


def test_records_are_listed_in_order(copy):
    ids = [entry.record_id for entry in list_records("ptb-xl", copy).entries()]
    assert ids == [str(n) for n in range(1, 13)]


def test_a_partial_copy_is_counted(copy):
    for path in sorted((copy / "records500/00000").glob("*.hea"))[:5]:
        path.unlink()
    listing = list_records("ptb-xl", copy)
    assert len(listing.table) == 7
    assert len(listing.absent) == 5
    assert "5 of 12 records of the table have no 500 Hz file" in " ".join(listing.notices)
    assert "partial copy: its table has 12 records; version 1.0.3 has 21,799" in listing.notices


@pytest.mark.parametrize(
    ("count", "notice"),
    [(21_799, None), (21_801, "version 1.0.2"), (21_837, "version 1.0.1"), (500, "partial copy")],
)
def test_versions_are_told_by_their_size(tmp_path, count, notice):
    notices = ptb_xl._notices(tmp_path, count, count, 500)
    assert (notices == ()) if notice is None else notice in notices[0]


def test_simulated_records_are_said_to_be(copy):
    (copy / "SIMULATED.txt").write_text("x")
    notices = list_records("ptb-xl", copy).notices
    assert notices == ("12 simulated ECGs; results on them say nothing about patients",)


def test_100_hz_files_are_used_where_there_are_no_others(copy):
    table = pd.read_csv(copy / "ptbxl_database.csv")
    for low, high in zip(table.filename_lr, table.filename_hr, strict=True):
        (copy / low).parent.mkdir(parents=True, exist_ok=True)
        for ending in (".hea", ".dat"):
            shutil.move(copy / (high + ending), copy / (low + ending))
        text = (copy / f"{low}.hea").read_text().replace("_hr", "_lr").replace("12 500", "12 100")
        (copy / f"{low}.hea").write_text(text)
        (copy / f"{low}.hea").parent.joinpath(f"{Path(low).name}.dat")
    shutil.rmtree(copy / "records500")
    listing = list_records("ptb-xl", copy)
    assert listing.read(next(listing.entries())).sampling_rate == 100
    assert any("nothing above 50 Hz" in notice for notice in listing.notices)


def refused(root: Path, match: str) -> None:
    with pytest.raises(DatabaseError, match=match):
        list_records("ptb-xl", root)


def test_missing_folder(tmp_path):
    refused(tmp_path / "no", "does not exist")


def test_empty_folder(tmp_path):
    refused(tmp_path, "is empty")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").write_text("")
    refused(tmp_path / "x", "is a file")


def test_missing_table(copy):
    (copy / "ptbxl_database.csv").unlink()
    refused(copy, "ptbxl_database.csv is missing; expected the folder that holds")


@pytest.mark.parametrize("column", ["scp_codes", "strat_fold", "patient_id", "filename_hr"])
def test_missing_column(copy, column):
    path = copy / "ptbxl_database.csv"
    pd.read_csv(path).drop(columns=column).to_csv(path, index=False)
    refused(copy, column)


@pytest.mark.parametrize("fold", ["seven", 0, 11, 2.5, None])
def test_impossible_fold(copy, fold):
    folds = pd.read_csv(copy / "ptbxl_database.csv")["strat_fold"].astype(object)
    folds[3] = fold
    change(copy, strat_fold=folds)
    refused(copy, r"strat_fold of ecg_id 4 is .* \(1 such rows\); expected a whole number")


@pytest.mark.parametrize("codes", ["NORM", "{'NORM'}", "{1", "__import__('os').getcwd()"])
def test_unreadable_labels(copy, codes):
    change(copy, scp_codes=codes)
    refused(copy, "scp_codes of ecg_id 1 is .* expected a dictionary")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "records500/../../x"])
def test_paths_out_of_the_folder(copy, name):
    change(copy, filename_hr=name)
    refused(copy, "expected a path inside the folder")


def test_duplicated_record(copy):
    change(copy, ecg_id=7)
    refused(copy, "ecg_id 7 appears twice")


def test_no_record_present(copy):
    shutil.rmtree(copy / "records500")
    (copy / "records500").mkdir()
    refused(copy, "none of their 500 Hz files is present")


def test_garbage_table(copy):
    (copy / "ptbxl_database.csv").write_text("")
    refused(copy, "not readable as CSV")


def test_missing_statements(copy):
    (copy / "scp_statements.csv").unlink()
    with pytest.raises(DatabaseError, match=r"scp_statements\.csv is missing"):
        ptb_xl.read_statements(copy)


def test_a_missing_signal_file_is_found_at_reading(copy):
    (copy / "records500/00000/00001_hr.dat").unlink()
    listing = list_records("ptb-xl", copy)
    with pytest.raises(RecordFormatError, match="signal file") as caught:
        listing.read(next(listing.entries()))
    assert caught.value.reason == "missing_file"


@pytest.mark.realdata
def test_the_real_500(real_data):
    listing = list_records("ptb-xl", real_data / "ptb-xl")
    folds = listing.table["fold"].value_counts().sort_index().tolist()
    assert folds == [58, 51, 34, 42, 47, 33, 44, 44, 81, 66]
    assert listing.table["patient_id"].nunique() == 466
    at_100 = ptb_xl.list_records(real_data / "ptb-xl", source_rate=100)
    assert at_100.read(next(at_100.entries())).sampling_rate == 100


@pytest.mark.parametrize("names", [[np.nan, np.nan], [1.5, 2.5]])
def test_a_column_of_numbers_names_no_files(tmp_path, names):
    """A comma too many shifts the columns: pandas then takes the paths for numbers."""
    write_ptb_xl(tmp_path, records=2, seconds=1.0)
    table = pd.read_csv(tmp_path / "ptbxl_database.csv")
    table.assign(filename_hr=names).to_csv(tmp_path / "ptbxl_database.csv", index=False)
    with pytest.raises(DatabaseError, match=r"ptbxl_database\.csv"):
        list_records("ptb-xl", tmp_path)


@pytest.mark.parametrize("number", ["9" * 400, "-" + "9" * 400, "1e300", "9" * 19])
def test_numbers_that_no_record_has(copy, number):
    """Whole numbers beyond any float were an OverflowError, and others became another number."""
    table = pd.read_csv(copy / "ptbxl_database.csv", dtype=str)
    table.loc[2, "ecg_id"] = number
    table.to_csv(copy / "ptbxl_database.csv", index=False)
    refused(copy, "ecg_id is")
