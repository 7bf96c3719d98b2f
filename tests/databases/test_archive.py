import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import toy_ecg, write_wfdb
from ecg_files import WRITERS

import ecgjepa
from ecgjepa.databases import archive, list_all, list_records
from ecgjepa.errors import DatabaseError
from ecgjepa.tasks.index_tasks import build_index_task


@pytest.fixture
def folder(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("00012", "ward/a", "ward/b", "icu/a"):
        write_wfdb(tmp_path / f"mine/{name}.hea", toy_ecg(rng, num_samples=500))
    return tmp_path / "mine"


def sheet(folder: Path, text: str) -> Path:
    path = folder.parent / "table.csv"
    path.write_text(text)
    return path


def test_without_a_table(folder):
    listing = list_records("clinic", folder)
    assert [entry.record_id for entry in listing.entries()] == [
        "00012",
        "icu/a",
        "ward/a",
        "ward/b",
    ]
    entry = next(listing.entries())
    assert entry[2:] == (None, None, None, None, "{}")
    assert listing.read(entry).num_samples == 500
    assert listing.notices == ()


def test_a_table_beside_the_records_is_not_read_in_silence(folder):
    (folder / "labels.csv").write_text("record\n00012\n")
    assert "labels.csv was not read; to use it, give --table clinic=FILE" in (
        list_records("clinic", folder).notices
    )


def test_a_table_tells_patient_fold_age_sex_and_labels(folder):
    table = sheet(
        folder,
        "record,patient_id,fold,age,sex,labels,afib,quality,height\n"
        "00012,0007,1,61.5,F,NORM; SR,0,good,180\n"
        "ward/a.hea,8,2,,m,,1,bad,170.5\n"
        "b,9,2,nan,x,,true,,\n",
    )
    listing = list_records("clinic", folder, table)
    first, other, second, third = listing.entries()
    assert first == (
        "00012", "00012.hea", "0007", 1, 61.5, "female",
        '{"NORM": 100.0, "SR": 100.0, "afib=no": 100.0, "quality=good": 100.0}',
    )  # fmt: skip
    unknown = {"NORM": None, "SR": None}
    assert json.loads(second.labels) == {"afib": 100.0, "quality=bad": 100.0, **unknown}
    assert (second.age, second.sex, third.age, third.sex) == (None, "male", None, None)
    unknown |= {"quality=bad": None, "quality=good": None}
    assert json.loads(third.labels) == {"afib": 100.0, **unknown}
    assert other == ("icu/a", "icu/a.hea", None, None, None, None, "{}")
    assert listing.notices == (
        "sex is 'x' and its like in 1 rows: taken as unknown",
        "labels come from column labels (2: NORM, SR; 1 cell with several labels is divided at "
        "';', such as 'NORM; SR'); afib; quality (2: bad, good)",
        "not labels: height (numbers); --labels COLUMN takes one, and no others",
        "column labels is empty in 2 rows: unknown there, not absent",
        "column quality is empty in 1 rows: unknown there, not absent",
        "1 record has no row in table.csv: icu/a",
    )


def test_an_empty_cell_of_true_and_false_is_unknown(folder):
    cells = "record,slow,fast\n00012,True,False\nward/a,True,\nicu/a,False,True\nb,,False\n"
    listing = list_records("clinic", folder, sheet(folder, cells))
    labels = {entry.record_id: json.loads(entry.labels) for entry in listing.entries()}
    assert labels["ward/a"] == {"slow": 100.0, "fast": None}
    (last,) = (name for name in labels if name.endswith("b"))
    assert labels[last] == {"slow": None, "fast=no": 100.0}
    assert labels["00012"] == {"slow": 100.0, "fast=no": 100.0}
    index = pd.DataFrame({"database": "clinic", "labels": [json.dumps(x) for x in labels.values()]})
    task = build_index_task("codes", index, {"clinic": dict(listing.label_columns)})
    assert task.labels == ("fast", "slow")
    kept = [list(labels)[row] for row in task.rows]
    assert kept == ["00012", "icu/a"]
    assert task.num_unlabelled == 2
    assert "2 records are left out: an empty cell makes one of their labels unknown" in task.notices


def test_zeros_that_a_spreadsheet_dropped_are_hinted_at(folder):
    listing = list_records("clinic", folder, sheet(folder, "record,fold\n12,1\nb,2\n"))
    assert any(
        "differ only in zeros, such as 12 and 00012: did a spreadsheet drop them?" in notice
        for notice in listing.notices
    )


def test_rows_without_a_file_are_absent(folder):
    listing = list_records("clinic", folder, sheet(folder, "file\n00012.hea\nward/c.hea\n"))
    assert [skip.record_id for skip in listing.absent] == ["ward/c.hea"]
    assert "1 row of table.csv has no file in the folder: ward/c.hea" in listing.notices


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "name\nx\n",
            "expected one column that names the record, such as record or file; found name",
        ),
        ("record,path\n", None),
        ("record,record_id\nx,x\n", "columns record and record_id both tell the record"),
        ("record\n00012\n00012.hea\n", "record 00012 appears twice"),
        ("record\na\n", "'a' could be icu/a or ward/a; give the path"),
        ("record,fold\n00012,2.5\n", "fold of 00012 is '2.5'; expected a whole number"),
        (
            "record,fold\n00012,x\n",
            "fold of 00012 is 'x'; expected a whole number, 0 or more, or train",
        ),
        ("record,age\n00012,-1\n", "age of 00012 is '-1'"),
        ('record,age\n"",3\n', "row 1 names no record"),
        ("", "not readable as CSV"),
    ],
)
def test_faulty_tables(folder, text, match):
    table = sheet(folder, text)
    if match is None:
        assert len(list_records("clinic", folder, table).table) == 4
    else:
        with pytest.raises(DatabaseError, match=match):
            list_records("clinic", folder, table)


def test_a_missing_table(folder):
    with pytest.raises(DatabaseError, match="no such file"):
        list_records("clinic", folder, folder / "nowhere.csv")


def test_segments_belong_to_their_record(folder):
    (folder / "long.hea").write_text("long/2 12 500 1000\nicu_1 500\nicu_2 500\n")
    for name in ("icu_1", "icu_2"):
        write_wfdb(folder / f"{name}.hea", toy_ecg(np.random.default_rng(1), num_samples=500))
    listing = list_records("clinic", folder)
    names = [entry.record_id for entry in listing.entries()]
    assert names == ["00012", "icu/a", "long", "ward/a", "ward/b"]
    assert listing.read(list(listing.entries())[2]).num_samples == 1000


def test_databases_under_another_name_are_refused(folder, ptb_xl):
    for name, meant in (("ptbxl", "ptb-xl"), ("Georgia", "georgia"), ("st_petersburg", "st-p")):
        with pytest.raises(DatabaseError, match=f"did you mean '{meant}"):
            list_records(name, folder)
    with pytest.raises(DatabaseError, match="holds PTB-XL; give it as ptb-xl="):
        list_records("clinic", ptb_xl)
    with pytest.raises(DatabaseError, match="has tables of its own"):
        list_records("ptb-xl", ptb_xl, folder / "x.csv")


def test_no_records(tmp_path):
    (tmp_path / "scan.pdf").touch()
    with pytest.raises(
        DatabaseError, match=r"no ECG file anywhere below .*WFDB.*DICOM.* \(found \.pdf\)"
    ):
        list_records("clinic", tmp_path)


def test_folds_choose_records_and_are_stored(folder, tmp_path):
    table = sheet(folder, "record,fold,patient\n00012,1,p\nward/a,2,q\nward/b,2,q\n")
    databases, tables = {"clinic": folder}, {"clinic": table}
    everything = ecgjepa.prepare(databases, tmp_path / "all", tables=tables)
    assert everything.num_records == 4
    assert everything.databases["clinic"].folds == (1, 2)
    assert ecgjepa.verify(tmp_path / "all").faults == []
    some = ecgjepa.prepare(databases, tmp_path / "some", tables=tables, folds=[2])
    assert some.num_records == 2
    index = pd.read_parquet(tmp_path / "some/index.parquet")
    assert index["record_id"].tolist() == ["ward/a", "ward/b"]
    assert index["patient_id"].tolist() == ["q", "q"]


@pytest.fixture
def mixed(tmp_path) -> Path:
    """A folder with one ECG in each format, and files that are none."""
    rng = np.random.default_rng(4)
    root = tmp_path / "mixed"
    write_wfdb(root / "wfdb/a.hea", toy_ecg(rng, num_samples=5000))
    for kind, own in WRITERS.items():
        (root / kind).mkdir()
        own.write(root / kind / f"{kind}{own.suffix}", toy_ecg(rng, num_samples=5000))
    (root / "README.md").write_text("mine")
    (root / "edf/scan.pdf").write_text("%PDF")
    (root / "csv/notes.csv").write_text("a,b")
    return root


def test_a_folder_of_mixed_formats_becomes_a_store(mixed, tmp_path):
    table = sheet(mixed, "file,patient,afib\ndicom/dicom.dcm,7,1\nmuse.xml,8,0\nnpy/npy,9,1\n")
    listing = list_records("mine", mixed, table)
    names = sorted(["wfdb/a", *(f"{kind}/{kind}" for kind in WRITERS)])
    assert [entry.record_id for entry in listing.entries()] == names
    assert listing.notices[-1].startswith("3 files are not ECGs by their names and not used (found")
    done = ecgjepa.prepare({"mine": mixed}, tmp_path / "store", tables={"mine": table}, folds="all")
    assert done.num_records == len(names)
    assert ecgjepa.verify(tmp_path / "store").faults == []
    index = pd.read_parquet(tmp_path / "store/index.parquet").set_index("record_id")
    assert index.loc["dicom/dicom", "patient_id"] == "7"
    assert json.loads(index.loc["npy/npy", "labels"]) == {"afib": 100.0}
    assert index.loc["muse/muse", "patient_id"] == "8"


def test_files_that_share_a_stem_have_ids_of_their_own(mixed):
    digital = toy_ecg(np.random.default_rng(4), num_samples=500)
    for kind in ("dicom", "edf"):
        WRITERS[kind].write(mixed / f"wfdb/a{WRITERS[kind].suffix}", digital)
    ids = {entry.record_id for entry in list_records("mine", mixed).entries()}
    assert {"wfdb/a.hea", "wfdb/a.dcm", "wfdb/a.edf"} < ids
    (mixed / "wfdb/a.dcm.xml").touch()  # without its ending, it would be the name of another
    found = {entry.record_id for entry in list_records("mine", mixed).entries()}
    assert len(found) == len(WRITERS) + 4
    table = sheet(mixed, "record\na\n")
    with pytest.raises(DatabaseError, match=r"could be wfdb/a\.dcm or wfdb/a\.edf or wfdb/a\.hea"):
        list_records("mine", mixed, table)
    table = sheet(mixed, "file,patient\nwfdb/a.edf,5\n")
    listing = list_records("mine", mixed, table)
    patients = {entry.record_id: entry.patient_id for entry in listing.entries()}
    assert patients["wfdb/a.edf"] == "5"
    assert patients["wfdb/a.hea"] is None


def test_tables_are_ecgs_only_if_described(mixed):
    (mixed / "csv/csv.csv.json").unlink()
    ids = [entry.record_id for entry in list_records("mine", mixed).entries()]
    assert "csv/csv" not in ids
    assert "parquet/parquet" in ids


def test_the_table_may_lie_among_tables_that_are_ecgs(mixed):
    here = mixed / "csv"
    (here / "csv.csv.json").rename(here / "ecg.json")
    table = here / "notes.csv"
    table.write_text("record,patient\ncsv,3\n")
    listing = list_records("mine", here, table)
    assert [(entry.record_id, entry.patient_id) for entry in listing.entries()] == [("csv", "3")]
    assert listing.notices == ()


def test_listing_opens_no_other_file(tmp_path):
    for name in ("a.dcm", "b.XML", "c.edf", ".hidden.dcm"):
        (tmp_path / name).touch()
    listing = list_records("mine", tmp_path)
    assert [entry.path for entry in listing.entries()] == ["a.dcm", "b.XML", "c.edf"]
    assert listing.notices == ("1 file is not an ECG by its name and not used (found .dcm)",)


def test_a_missing_package_is_said_at_once(mixed, monkeypatch):
    monkeypatch.setattr(archive, "find_spec", lambda name: None if name == "pydicom" else True)
    with pytest.raises(DatabaseError, match=r"need pydicom.* install 'ecgjepa\[formats\]'"):
        list_records("mine", mixed)


def test_what_cannot_be_read_is_skipped_with_its_reason(mixed, tmp_path):
    (mixed / "dicom/dicom.dcm").write_bytes(b"no DICOM")
    (mixed / "npy/npy.npy.json").unlink()
    done = ecgjepa.prepare({"mine": mixed}, tmp_path / "store")
    assert done.databases["mine"].skipped == {"unreadable": 1, "not_described": 1}
    assert {skip.record_id for skip in done.databases["mine"].quarantine} == {
        "dicom/dicom",
        "npy/npy",
    }


@pytest.mark.realdata
def test_real_files_of_other_formats_become_a_store(real_data, tmp_path):
    done = ecgjepa.prepare({"mine": real_data / "formats"}, tmp_path / "store")
    assert (done.num_records, done.databases["mine"].skipped) == (4, {})
    assert done.databases["mine"].notices == (
        "2 files are not ECGs by their names and not used (found LICENSE)",
        "no table labels these records, so all of them are stored; an encoder that is pre-trained "
        "on them can be evaluated on them with --allow-seen only",
    )


@pytest.mark.realdata
def test_real_records_as_an_archive_are_the_same(real_data, tmp_path):
    part = real_data / "challenge-2021/georgia"
    own = ecgjepa.prepare({"mine": part}, tmp_path / "own")
    known = ecgjepa.prepare({"georgia": part}, tmp_path / "known")
    assert own.shards == known.shards


def test_a_table_without_a_folder(tmp_path):
    with pytest.raises(DatabaseError, match="a table is given for clinic, but no folder"):
        list_all({"ptb-xl": tmp_path}, {"clinic": tmp_path / "x.csv"})


def test_a_database_keeps_its_name_where_its_folder_has_the_same(tmp_path, monkeypatch):
    """Reasons in a store name files relative to the folder; the word alone is the database."""
    monkeypatch.chdir(tmp_path)
    write_wfdb(Path("archive/x.hea"), np.ones((500, 12), np.int16))
    words = "archive 004: holds the samples of archive/x.hea"
    assert list_records("archive", Path("archive")).relative(words) == (
        "archive 004: holds the samples of x.hea"
    )
    assert list_records("clinic", Path("archive")).relative(words) == (
        " 004: holds the samples of x.hea"
    )
