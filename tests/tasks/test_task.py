import json

import numpy as np
import pandas as pd
import pytest
import typer

from ecgjepa.cli.arguments import with_columns
from ecgjepa.databases import ptb_xl
from ecgjepa.databases.sheets.columns import SheetOptions
from ecgjepa.errors import TaskError
from ecgjepa.tasks.ptb_xl import NUM_LABELS, build_task
from ecgjepa.tasks.split import Split, check_split, split_task
from ecgjepa.tasks.task import TASKS, columns_of, sheet_options_of, table_of, task_name

STATEMENTS = pd.DataFrame(
    [
        ("NORM", 1, None, None, "NORM", "NORM", "normal ECG"),
        ("IMI", 1, None, None, "MI", "IMI", "inferior MI"),
        ("ASMI", 1, None, None, "MI", "AMI", "anteroseptal MI"),
        ("AMI", 1, None, None, "MI", "AMI", "anterior MI"),
        ("NDT", 1, 1, None, "STTC", "STTC", "non-diagnostic T"),
        ("PVC", None, 1, None, None, None, "premature complex"),
        ("SR", None, None, 1, None, None, "sinus rhythm"),
        ("AFIB", None, None, 1, None, None, "atrial fibrillation"),
    ],
    columns=[
        "",
        "diagnostic",
        "form",
        "rhythm",
        "diagnostic_class",
        "diagnostic_subclass",
        "description",
    ],
).set_index("")

# Ten records, worked out by hand.
CODES = [
    {"NORM": 100.0, "SR": 0.0},
    {"IMI": 0.0, "SR": 0.0},  # likelihood 0 counts
    {"ASMI": 50.0, "AMI": 15.0},  # two statements, one class
    {"NDT": 100.0, "IMI": 80.0},
    {"PVC": 100.0, "SR": 0.0},
    {"AFIB": 0.0},
    {"NORM": 80.0, "PVC": 100.0},
    {"NDT": 50.0},
    {},
    {"NORM": 100.0, "NDT": 100.0, "AFIB": 0.0},
]
LABELS = pd.Series([json.dumps(codes) for codes in CODES])

EXPECTED = {
    "superdiagnostic": (
        ["MI", "NORM", "STTC"],
        {0: "NORM", 1: "MI", 2: "MI", 3: "MI STTC", 6: "NORM", 7: "STTC", 9: "NORM STTC"},
    ),
    "subdiagnostic": (
        ["AMI", "IMI", "NORM", "STTC"],
        {0: "NORM", 1: "IMI", 2: "AMI", 3: "IMI STTC", 6: "NORM", 7: "STTC", 9: "NORM STTC"},
    ),
    "diagnostic": (
        ["AMI", "ASMI", "IMI", "NDT", "NORM"],
        {0: "NORM", 1: "IMI", 2: "AMI ASMI", 3: "IMI NDT", 6: "NORM", 7: "NDT", 9: "NDT NORM"},
    ),
    "form": (["NDT", "PVC"], {3: "NDT", 4: "PVC", 6: "PVC", 7: "NDT", 9: "NDT"}),
    "rhythm": (["AFIB", "SR"], {0: "SR", 1: "SR", 4: "SR", 5: "AFIB", 9: "AFIB"}),
    "st-mem": (["MI", "NORM", "STTC"], {0: "NORM", 1: "MI", 2: "MI", 6: "NORM", 7: "STTC"}),
    "all": (
        ["AFIB", "AMI", "ASMI", "IMI", "NDT", "NORM", "PVC", "SR"],
        {row: " ".join(sorted(codes)) for row, codes in enumerate(CODES) if codes},
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_hand_computed_labels(name):
    task = build_task(name, LABELS, STATEMENTS)
    labels, records = EXPECTED[name]
    assert list(task.labels) == labels
    assert task.rows.tolist() == list(records)
    for row, targets in zip(task.rows, task.targets, strict=True):
        assert " ".join(np.array(labels)[targets]) == records[row]
    assert task.num_unlabelled == 10 - len(records)
    assert task.kind == ("single-label" if name == "st-mem" else "multi-label")


def test_labels_do_not_depend_on_which_records_are_there():
    """A partial copy has the same outputs as the whole; labels without records are kept."""
    task = build_task("superdiagnostic", LABELS[:1], STATEMENTS)
    assert task.labels == ("MI", "NORM", "STTC")


def test_descriptions():
    assert build_task("superdiagnostic", LABELS, STATEMENTS).descriptions == (
        "myocardial infarction",
        "normal ECG",
        "ST/T change",
    )
    assert build_task("rhythm", LABELS, STATEMENTS).descriptions[0] == "atrial fibrillation"


def test_unknown_task():
    with pytest.raises(TaskError, match="unknown task 'super': expected one of all, diagnostic"):
        build_task("super", LABELS, STATEMENTS)


def test_unknown_code():
    with pytest.raises(TaskError, match="statement codes XYZ are in the records but not in"):
        build_task("all", pd.Series(['{"XYZ": 1}']), STATEMENTS)


def test_no_label_at_all():
    with pytest.raises(TaskError, match="none of the 1 records has a label"):
        build_task("form", pd.Series(['{"SR": 0}']), STATEMENTS)


FOLDS = pd.Series([1, 2, 9, 10, 1, 2, 9, 10, 3, 1])
PATIENTS = pd.Series(list("abcdefghij"))


def test_split_by_fold():
    task = build_task("superdiagnostic", LABELS, STATEMENTS)
    parts = split_task(task, FOLDS, PATIENTS, Split((1, 2), (9,), (10,)))
    assert [task.rows[part].tolist() for part in parts] == [[0, 1, 9], [2, 6], [3, 7]]


@pytest.mark.parametrize(
    ("split", "match"),
    [
        (Split((1, 2), (2,), (10,)), "folds overlap"),
        (Split((1, 2), (9,), (4,)), r"no record with a label is in the test folds \[4\]"),
        (Split((), (9,), (10,)), "is in the train folds"),
    ],
)
def test_wrong_splits(split, match):
    task = build_task("superdiagnostic", LABELS, STATEMENTS)
    with pytest.raises(TaskError, match=match):
        split_task(task, FOLDS, PATIENTS, split)


def test_only_a_probe_that_follows_a_run_does_without_test_folds():
    with pytest.raises(TaskError, match="no test folds are given"):
        check_split(Split((1, 2), (9,), ()))
    task = build_task("superdiagnostic", LABELS, STATEMENTS)
    assert split_task(task, FOLDS, PATIENTS, Split((1, 2), (9,), ())).test.size == 0


def test_a_patient_on_both_sides_is_refused():
    task = build_task("superdiagnostic", LABELS, STATEMENTS)
    patients = PATIENTS.copy()
    patients[7] = "a"
    with pytest.raises(TaskError, match="patient a is in the train and the test folds"):
        split_task(task, FOLDS, patients, Split((1, 2), (9,), (10,)))
    patients[7], patients[0] = None, None  # two unknown patients are not the same one
    split_task(task, FOLDS, patients, Split((1, 2), (9,), (10,)))


@pytest.mark.realdata
@pytest.mark.parametrize("name", TASKS)
def test_real_statements_give_the_published_numbers_of_labels(real_data, name):
    listing = ptb_xl.list_records(real_data / "ptb-xl")
    statements = ptb_xl.read_statements(real_data / "ptb-xl")
    task = build_task(name, listing.table["labels"], statements)
    assert len(task.labels) == NUM_LABELS[name]
    if name == "superdiagnostic":
        counts = dict(zip(task.labels, task.targets.sum(axis=0).tolist(), strict=True))
        assert counts == {"NORM": 297, "STTC": 96, "CD": 78, "MI": 73, "HYP": 40}
        assert task.num_unlabelled == 12


def test_a_task_tells_how_its_table_is_read():
    task = with_columns("my:x.csv", ["Befund"], divide=":;", patient="Fall", file="Datei, neu")
    assert task == "my:x.csv:Befund:file=Datei, neu:patient=Fall:divide=:;"
    assert (str(table_of(task)), columns_of(task)) == ("my:x.csv", ("Befund",))
    assert sheet_options_of(task) == SheetOptions(":;", "Fall", "Datei, neu")
    assert task_name(task) == "my:x-Befund"
    assert with_columns("x.csv", None, patient="Fall") == "x.csv:patient=Fall"
    assert columns_of("x.csv:patient=Fall") == ()
    assert sheet_options_of("x.csv:a,b") == SheetOptions()
    with pytest.raises(typer.BadParameter, match=r"--file: says how a table is read"):
        with_columns("superdiagnostic", None, file="Datei")
