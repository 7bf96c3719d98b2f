"""Folds mean one thing: what an evaluation selects and tests on, `prepare` keeps for that."""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import toy_ecg, write_wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

import ecgjepa
from ecgjepa.databases import list_records
from ecgjepa.databases.folds import choose
from ecgjepa.databases.listing import Entry, Listing
from ecgjepa.errors import DatabaseError
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.reading import Store
from ecgjepa.tasks.folds import hash_of, is_published, with_folds
from ecgjepa.tasks.reserved import refuse_held_out

NAMES = [f"r{number:02d}" for number in range(24)]
AT_100 = PreprocessingConfig(sampling_rate=100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        write_wfdb(root / f"{name}.hea", toy_ecg(rng, num_samples=1500, kind=number % 4))
    return root


def prepared(folder, tmp_path, columns, folds="train", **options):
    """Prepare the archive with a table and return the summary and the records' folds."""
    path = tmp_path / "table.csv"
    pd.DataFrame({"record": NAMES, **columns}).to_csv(path, index=False)
    tables = {"clinic": path} if columns else None
    manifest = ecgjepa.prepare(
        {"clinic": folder}, tmp_path / "store", tables=tables, folds=folds, preprocessing=AT_100,
        workers=1, **options,
    )  # fmt: skip
    rows = pd.read_parquet(tmp_path / "store/index.parquet")
    return manifest.databases["clinic"], dict(zip(rows["record_id"], rows["fold"], strict=True))


def words(summary) -> str:
    return "\n".join(summary.notices)


DIAGNOSIS = {"diagnosis": ["MI", "NORM", "CD", "STTC"] * 6}
PATIENTS = {"patient": [f"p{number // 2}" for number in range(24)]}
SPLIT = {"split": ["train"] * 16 + ["val"] * 4 + ["test"] * 4}


def test_patients_under_any_name_stay_together(folder, tmp_path):
    """In one fold each, by the column that the user names, and cells divided as told."""
    columns = {"pat_key": PATIENTS["patient"], "diagnosis": ["MI / CD", "NORM", "CD", "STTC"] * 6}
    _, folds = prepared(folder, tmp_path, columns, "all", patient="pat_key", divide="/")
    rows = pd.read_parquet(tmp_path / "store/index.parquet")
    told = dict(zip(rows["record_id"], rows["patient_id"], strict=True))
    assert [told[name] for name in NAMES] == PATIENTS["patient"]
    first = json.loads(rows.set_index("record_id")["labels"]["r00"])
    assert set(first) == {"diagnosis=MI", "diagnosis=CD"}
    assert len(folds) == 24


def test_with_folds_the_validation_and_test_folds_are_left_out(folder, tmp_path):
    summary, folds = prepared(folder, tmp_path, DIAGNOSIS | PATIENTS | SPLIT)
    assert sorted(folds) == NAMES[:16]
    assert (summary.folds, summary.held_out_folds, summary.left_out) == ((1,), (9, 10), 8)
    assert "4 records of fold 9 and 4 records of fold 10 are left out" in words(summary)
    assert ecgjepa.verify(tmp_path / "store").faults == []


def test_without_folds_they_are_those_that_evaluation_makes(folder, tmp_path):
    summary, folds = prepared(folder, tmp_path, DIAGNOSIS | PATIENTS)
    everyone = pd.DataFrame(
        {"database": "clinic", "record_id": NAMES, "patient_id": PATIENTS["patient"], "fold": None}
    )
    expected, origin = with_folds(everyone)
    kept = expected[~expected["fold"].isin([9, 10])]
    assert folds == dict(zip(kept["record_id"], kept["fold"], strict=True))
    assert 0 < len(folds) < 24
    assert summary.hashed_folds == hash_of(origin["clinic"]) == "patient"
    assert "they are ten, by a hash of the patient (24 of 24 known), the same as" in words(summary)
    # An evaluation of the store itself keeps these folds, and knows that they are by hash.
    table, origin = with_folds(Store(tmp_path / "store").table(), {"clinic": "patient"})
    assert dict(zip(table["record_id"], table["fold"], strict=True)) == folds
    assert not is_published(origin["clinic"])
    assert hash_of(origin["clinic"]) == "patient"


def test_without_labels_everything_is_stored_and_that_is_said(folder, tmp_path):
    summary, folds = prepared(folder, tmp_path, {})
    assert (len(folds), summary.folds) == (24, None)
    assert "no table labels these records, so all of them are stored" in words(summary)


def test_folds_are_never_ignored(folder, tmp_path):
    summary, folds = prepared(folder, tmp_path, {}, folds=[1, 2, 3, 4, 5, 6, 7, 8])
    assert 0 < len(folds) < 24
    assert set(folds.values()) <= set(range(1, 9))
    assert summary.hashed_folds == "record"
    assert "by a hash of the patient (0 of 24 known)" in words(summary)


def test_everything_is_stored_on_request_and_the_cost_is_said(folder, tmp_path, caplog):
    summary, folds = prepared(folder, tmp_path, DIAGNOSIS | SPLIT, folds="all")
    assert len(folds) == 24
    assert "for pre-training prepare another one with --folds train" in words(summary)
    caplog.clear()
    with Store(tmp_path / "store") as store, caplog.at_level(logging.WARNING):
        refuse_held_out(store)
    assert "holds folds [9, 10] of clinic" in caplog.text
    assert "stop now and prepare a store with --folds train" in caplog.text


@pytest.mark.parametrize(
    ("columns", "folds", "match"),
    [
        (DIAGNOSIS, "all", "holds all records of clinic, and no folds"),
        ({}, "train", "holds all records of clinic, which no table labels"),
        (DIAGNOSIS, "train", None),
        (DIAGNOSIS | SPLIT, "train", None),
    ],
)
def test_pretraining_says_before_it_starts_what_cannot_be_evaluated(
    folder, tmp_path, caplog, columns, folds, match
):
    prepared(folder, tmp_path, columns, folds)
    caplog.clear()
    with Store(tmp_path / "store") as store:
        refuse_held_out(store)
    assert (match in caplog.text) if match else not caplog.text


def test_a_store_of_an_older_version_opens(folder, tmp_path):
    prepared(folder, tmp_path, DIAGNOSIS | SPLIT, folds="all")
    path = tmp_path / "store/manifest.json"
    content = json.loads(path.read_text())
    for name in ("label_columns", "hashed_folds"):
        del content["databases"]["clinic"][name]
    path.write_text(json.dumps(content))
    assert ecgjepa.Store(tmp_path / "store").manifest.databases["clinic"].label_columns == {}


def test_a_patient_on_both_sides_is_found_before_anything_is_read(folder, tmp_path):
    both = {"patient": ["x", *[f"p{number}" for number in range(22)], "x"]}
    with pytest.raises(DatabaseError, match=r"1 patients have .* r00 in fold 1 and r23 in fold 10"):
        prepared(folder, tmp_path, DIAGNOSIS | SPLIT | both)
    assert not (tmp_path / "store").exists()
    _, folds = prepared(folder, tmp_path, DIAGNOSIS | SPLIT | both, folds="all")
    assert len(folds) == 24


def test_records_of_no_fold_are_stored_unless_their_patients_test(folder, tmp_path):
    split = {"split": ["train"] * 12 + [""] * 4 + ["val"] * 4 + ["test"] * 4}
    own = {"patient": [*PATIENTS["patient"][:12], "p10", "new", "", "", *PATIENTS["patient"][16:]]}
    summary, folds = prepared(folder, tmp_path, DIAGNOSIS | split | own)
    assert set(folds) == {*NAMES[:12], "r13", "r14", "r15"}
    assert "1 of no fold but of their patients are left out" in words(summary)
    assert "3 records of no fold are stored, for no evaluation uses them" in words(summary)


def test_pseudonymised_folds_are_of_the_pseudonyms(folder, tmp_path):
    key = tmp_path / "key"
    summary, folds = prepared(folder, tmp_path, DIAGNOSIS | PATIENTS, pseudonymise=key)
    assert summary.hashed_folds == "patient, pseudonymised"
    index = Store(tmp_path / "store").table().assign(fold=None)
    again, _ = with_folds(index)
    assert dict(zip(again["record_id"], again["fold"], strict=True)) == folds


names = st.lists(st.text("abc01", min_size=1, max_size=4), unique=True, min_size=1, max_size=30)


@settings(max_examples=25, deadline=None)
@given(names, st.data())
def test_the_fold_of_a_store_is_the_fold_of_an_evaluation(ids, data):
    """Whoever the patients are, and wherever the archive lies."""
    patients = data.draw(st.lists(st.sampled_from(["p", "q", "r", None]), min_size=len(ids),
                                  max_size=len(ids)))  # fmt: skip
    rows = [
        Entry(name, name, who, None, None, None, "{}")
        for name, who in zip(ids, patients, strict=True)
    ]
    table = pd.DataFrame(rows, columns=list(Entry._fields))
    listing = Listing("clinic", Path("clinic"), table, label_columns={"x": ("x",)})
    whole, chosen = choose(listing, "train", is_own=True, beside_folds=False)
    expected, origin = with_folds(table.assign(database="clinic"))
    assert whole.table["fold"].tolist() == expected["fold"].tolist()
    assert whole.hashed_folds == hash_of(origin["clinic"])
    assert set(chosen.table["fold"]) <= set(range(1, 9))
    assert len(chosen) == (~expected["fold"].isin([9, 10])).sum()


def test_a_database_without_folds(folder, tmp_path):
    """Beside one with folds all its records are stored; alone, its folds by hash are chosen."""
    table = list_records("clinic", folder).table
    alone = Listing("georgia", folder, table)
    whole, chosen = choose(alone, "train", is_own=False, beside_folds=False)
    assert (len(chosen), whole.notices) == (24, ())
    whole, chosen = choose(alone, [1, 2], is_own=False, beside_folds=True)
    assert len(chosen) == 24
    assert "georgia has no folds of its own, so all of its records are stored" in chosen.notices[0]
    whole, chosen = choose(alone, [1, 2], is_own=False, beside_folds=False)
    assert set(chosen.table["fold"]) == {1, 2}
