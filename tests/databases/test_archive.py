import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import toy_ecg, write_wfdb

import ecgjepa
from ecgjepa.databases import list_records
from ecgjepa.errors import DatabaseError


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
        '{"NORM": 100.0, "SR": 100.0, "quality=good": 100.0}',
    )  # fmt: skip
    assert json.loads(second.labels) == {"afib": 100.0, "quality=bad": 100.0}
    assert (second.age, second.sex, third.age, third.sex) == (None, "male", None, None)
    assert json.loads(third.labels) == {"afib": 100.0}
    assert other == ("icu/a", "icu/a.hea", None, None, None, None, "{}")
    assert listing.notices == (
        "labels come from column labels, afib, quality",
        "column height is neither known nor a label; not used",
        "1 records have no row in table.csv, such as icu/a",
    )


def test_rows_without_a_file_are_absent(folder):
    listing = list_records("clinic", folder, sheet(folder, "file\n00012.hea\nward/c.hea\n"))
    assert [skip.record_id for skip in listing.absent] == ["ward/c.hea"]
    assert "1 rows of table.csv have no file in the folder" in listing.notices


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("name\nx\n", "column record or file is missing; found name"),
        ("record,path\n", None),
        ("record,record_id\nx,x\n", "column record appears twice"),
        ("record\n00012\n00012.hea\n", "record 00012 appears twice"),
        ("record\na\n", "'a' could be icu/a or ward/a; give the path"),
        ("record,fold\n00012,2.5\n", "fold of 00012 is '2.5'; expected a whole number"),
        ("record,fold\n00012,x\n", "fold of 00012 is 'x'; expected a number"),
        ("record,age\n00012,-1\n", "age of 00012 is '-1'"),
        ('record,age\n"",3\n', "a row names no record"),
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
    with pytest.raises(DatabaseError, match="no WFDB header"):
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


@pytest.mark.realdata
def test_real_records_as_an_archive_are_the_same(real_data, tmp_path):
    part = real_data / "challenge-2021/georgia"
    own = ecgjepa.prepare({"mine": part}, tmp_path / "own")
    known = ecgjepa.prepare({"georgia": part}, tmp_path / "known")
    assert own.shards == known.shards
