"""Tasks from a store's index, worked out by hand, and on the real samples of each database."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from ecgjepa.databases import list_records
from ecgjepa.errors import TaskError
from ecgjepa.tasks.index_tasks import SCORED, build_index_task

AF, SINUS, CRBBB, RBBB, CLBBB, LBBB = (
    "164889003",
    "426783006",
    "713427006",
    "59118001",
    "733534002",
    "164909002",
)
LVH = "164873001"  # not scored


def index(labels, database="georgia", **columns):
    count = len(labels)
    return pd.DataFrame(
        {
            "database": [database] * count,
            "record_id": [f"R{i}" for i in range(count)],
            "patient_id": [None] * count,
            "age": [np.nan] * count,
            "labels": [json.dumps(dict.fromkeys(codes, 100.0)) for codes in labels],
            **columns,
        }
    )


def named(task):
    return {
        int(row): " ".join(np.array(task.labels)[targets])
        for row, targets in zip(task.rows, task.targets, strict=True)
    }


def test_thirty_scored_codes_are_twenty_six_diagnoses():
    assert len({code for code, _, _ in SCORED}) == 30
    counts = Counter(label for _, label, _ in SCORED)
    assert len(counts) == 26
    assert {label for label, count in counts.items() if count == 2} == {
        "CLBBB",
        "CRBBB",
        "PAC",
        "PVC",
    }


def test_challenge_labels_by_hand():
    table = index([[AF], [CRBBB], [RBBB, SINUS], [CLBBB, LBBB], [LVH], [], ["63593006"]])
    task = build_index_task("challenge-2021", table)
    assert len(task.labels) == 26
    assert list(task.labels) == sorted(task.labels)
    # Another diagnosis alone is an answer, no diagnosis is none.
    assert named(task) == {0: "AF", 1: "CRBBB", 2: "CRBBB NSR", 3: "CLBBB", 4: "", 6: "PAC"}
    assert task.num_unlabelled == 1
    assert "no record has the label AFL" in task.notices[0]


@pytest.mark.parametrize("database", ["ptb-xl", "code-15", "mimic-iv-ecg"])
def test_challenge_codes_are_not_everywhere(database):
    with pytest.raises(TaskError, match=f"SNOMED CT codes, which {database} does not have"):
        build_index_task("challenge-2021", index([[AF]], database))


def test_code_15_by_hand():
    table = index(
        [["AF"], ["NORM"], [], [], ["RBBB", "SB"]],
        "code-15",
        patient_id=["1", "2", "3", None, "4"],
    )
    task = build_index_task("code-15", table)
    assert task.labels == ("1dAVb", "AF", "LBBB", "RBBB", "SB", "ST")
    # Row 2 was looked at and has none of the six; row 3 is in no table.
    assert named(task) == {0: "AF", 1: "", 2: "", 4: "RBBB SB"}
    assert task.num_unlabelled == 1
    with pytest.raises(TaskError, match="defined on code-15; found georgia"):
        build_index_task("code-15", index([["AF"]]))


def test_codes_are_what_occurs():
    task = build_index_task("codes", index([["b", "a"], ["c"], []], "mine"))
    assert task.labels == ("a", "b", "c")
    assert named(task) == {0: "a b", 1: "c"}
    with pytest.raises(TaskError, match="none of the 2 records has a code"):
        build_index_task("codes", index([[], []], "mine"))


def test_age_leaves_out_what_is_none():
    task = build_index_task("age", index([[]] * 5, age=[40.0, np.nan, 300.0, 0.5, 89.0]))
    assert task.kind == "regression"
    assert task.rows.tolist() == [0, 3, 4]
    assert task.targets[:, 0].tolist() == [40.0, 0.5, 89.0]
    assert task.num_unlabelled == 2
    assert task.notices == ("1 ages above 122 stand for others and are left out",)
    with pytest.raises(TaskError, match="none of the 1 records has an age"):
        build_index_task("age", index([[]]))


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("database", "folder", "rows"),
    [
        ("georgia", "challenge-2021/georgia", 70),
        ("ningbo", "challenge-2021/ningbo", 66),
        ("chapman-shaoxing", "challenge-2021/chapman_shaoxing", 19),
        ("cpsc", "challenge-2021/cpsc_2018", 14),
        ("cpsc-extra", "challenge-2021/cpsc_2018_extra", 10),
        ("ptb", "challenge-2021/ptb", 10),
    ],
)
def test_real_challenge_records_have_scored_diagnoses(real_data, database, folder, rows):
    listing = list_records(database, real_data / folder)
    table = listing.table.assign(database=database)
    task = build_index_task("challenge-2021", table)
    assert len(task.rows) == rows
    # Against the codes as they stand in the index, one by one.
    label_of = {code: label for code, label, _ in SCORED}
    for row, targets in zip(task.rows, task.targets, strict=True):
        codes = json.loads(table["labels"].iloc[row])
        assert set(np.array(task.labels)[targets]) == {label_of[c] for c in codes if c in label_of}
    assert task.targets.any()


@pytest.mark.realdata
def test_real_code_15(real_data):
    listing = list_records("code-15", real_data / "code-15")
    exams = pd.read_csv(real_data / "code-15/exams.csv", dtype={"exam_id": str})
    exams = exams.set_index("exam_id")
    task = build_index_task("code-15", listing.table.assign(database="code-15"))
    assert len(task.rows) == 10
    for row, targets in zip(task.rows, task.targets, strict=True):
        truth = exams.loc[listing.table["record_id"].iloc[row], list(task.labels)]
        assert targets.tolist() == truth.astype(bool).tolist()
