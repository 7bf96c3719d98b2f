"""A table of labels: what is read from it, and what is refused by name."""

import numpy as np
import pandas as pd
import pytest

from ecgjepa.errors import TaskError
from ecgjepa.tasks.described import Known, describe
from ecgjepa.tasks.label_table import labels_of_table, read_task_table, task_of

INDEX = pd.DataFrame({"database": ["a"] * 4, "record_id": ["r1", "r2", "r3", "r4"]})
GONE = ("a", "gone")


def build(tmp_path, text, kind="multi-label", index=INDEX, **known):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return task_of_table(path, kind, index, **known)


def task_of_table(path, kind, index, *, quarantined=frozenset(), num_absent=0, absent=None):
    known = Known(quarantined, frozenset(), num_absent, absent)
    described = describe(read_task_table(str(path)), index, known)
    return task_of(str(path), kind, described, len(index))


def test_columns_of_zero_and_one(tmp_path):
    task = build(tmp_path, "record,af,mi\nr3,1,0\nr1,0,1.0\nr4,,1\n")
    assert (task.name, task.kind, task.labels) == ("labels", "multi-label", ("af", "mi"))
    assert task.rows.tolist() == [0, 2]  # in the store's order
    assert task.targets.tolist() == [[False, True], [True, False]]
    assert task.num_unlabelled == 2
    assert task.notices == (
        "labels come from column af; mi",
        "1 record without a row in labels.csv: left out",
        "1 record with an empty cell: left out",
    )


def test_words_between_semicolons(tmp_path):
    task = build(tmp_path, "record_id,labels\nr1,mi; af\nr2,\nr4,af\n")
    assert task.labels == ("af", "mi")
    assert task.rows.tolist() == [0, 3]  # An empty cell is unknown, not "none of them".
    assert task.targets.tolist() == [[True, True], [True, False]]
    assert task.notices[-1] == "1 record with an empty cell: left out"


def test_classes(tmp_path):
    task = build(tmp_path, "record,quality\nr1,good\nr2,bad\nr3,good\n", "single-label")
    assert task.labels == ("bad", "good")
    assert task.targets.argmax(1).tolist() == [1, 0, 1]


def test_numbers(tmp_path):
    task = build(tmp_path, "ecg_id,qt,pr\nr2,400,1.5e2\nr1,380,160\nr3,,1\n", "regression")
    assert task.labels == ("qt", "pr")
    np.testing.assert_array_equal(task.targets, [[380, 160], [400, 150]])


DECIMAL_COMMAS = "record;QT-Zeit [ms]\nr1;380,5\nr2;401,25\nr3;420,0\n"


def test_numbers_with_decimal_commas_are_reported_as_numbers(tmp_path):
    """As a list of labels, `380,5` would be two; of a measured time, none is a date."""
    task = build(tmp_path, DECIMAL_COMMAS, "regression")
    assert task.targets[:, 0].tolist() == [380.5, 401.25, 420]
    assert "numbers come from column QT-Zeit [ms] (380.5 to 420)" in task.notices
    assert not any("several labels" in notice for notice in task.notices)


def test_numbers_that_are_taken_for_labels_are_questioned(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(DECIMAL_COMMAS)
    described = describe(read_task_table(f"{path}:QT-Zeit [ms]"), INDEX, Known())
    task = task_of(f"{path}:QT-Zeit [ms]", "multi-label", described, len(INDEX))
    assert (
        "column QT-Zeit [ms] holds numbers such as '380,5', each taken for a label here; probe "
        "--kind regression predicts numbers"
    ) in task.notices


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("multi-label", "record,dx,sees\nr1,mi; af,a\nr2,af,b\nr3,,a\n"),
        ("multi-label", "record,af,mi\nr1,1,0\nr2,0,1\n"),
        ("single-label", "record,dx\nr1,mi\nr2,af\n"),
        ("single-label", "record,dx\nr1,yes\nr2,no\n"),
        ("regression", "record,qt\nr1,380\nr2,400\n"),
    ],
)
def test_the_labels_of_a_table_are_known_before_its_records(tmp_path, kind, text):
    task = build(tmp_path, text, kind)
    assert sorted(labels_of_table(str(tmp_path / "labels.csv"), kind)) == sorted(task.labels)


def test_databases_are_told_apart(tmp_path):
    index = pd.DataFrame({"database": ["a", "b"], "record_id": ["r1", "r1"]})
    task = build(tmp_path, "database,record,x\nb,r1,1\na,r1,0\n", index=index)
    assert task.targets[:, 0].tolist() == [False, True]
    with pytest.raises(TaskError, match=r"'r1' is in several databases; .* column 'database'"):
        build(tmp_path, "record,x\nr1,1\n", index=index)


def test_bad_and_absent_records_are_counted_and_named(tmp_path):
    text = "record,x\nr1,1\nr2,0\nbroken,1\ngone,0\n"
    task = build(tmp_path, text, quarantined={("a", "broken")}, num_absent=1, absent=lambda: {GONE})
    assert task.rows.tolist() == [0, 1]
    assert task.notices[:2] == (
        "1 records of labels.csv could not be stored: they are bad ('broken')",
        "1 records of labels.csv are absent from this copy: 'gone'",
    )


def test_a_bad_record_of_another_database_is_another_record(tmp_path):
    """Two databases may use the same names: what is bad in one says nothing of the other."""
    known = {"quarantined": {("b", "r1"), ("b", "r9")}}
    task = build(tmp_path, "database,record,x\na,r1,1\nb,r1,0\n", **known)
    assert task.rows.tolist() == [0]
    assert task.notices[0] == "1 records of labels.csv could not be stored: they are bad ('r1')"
    with pytest.raises(TaskError, match="1 of 2 records are not in the store, such as 'r9'"):
        build(tmp_path, "database,record,x\na,r1,1\na,r9,0\n", **known)
    # Without the database, the row may be of the record that could not be stored.
    with pytest.raises(TaskError, match="'r1' is in several databases; add a column 'database'"):
        build(tmp_path, "record,x\nr1,1\nr2,0\n", **known)


def test_a_misspelt_name_does_not_pass_for_an_absent_record(tmp_path):
    """However many records the copy lacks: those have names."""
    known = {"num_absent": 500, "absent": lambda: {GONE}}
    with pytest.raises(TaskError, match=r"1 of 3 records are not in the database, such as 'r22'"):
        build(tmp_path, "record,x\nr1,1\nr22,0\ngone,0\n", **known)
    # The name alone is not enough where the file tells the database.
    with pytest.raises(TaskError, match="1 of 2 records are not in the database, such as 'gone'"):
        build(tmp_path, "database,record,x\na,r1,1\nb,gone,0\n", **known)
    assert build(tmp_path, "database,record,x\na,r1,1\na,gone,0\n", **known).rows.tolist() == [0]


def test_all_rows_but_a_few_may_be_absent_if_they_are_known_to_be(tmp_path):
    names = [f"r{number}" for number in range(1, 100)]
    text = "record,x\n" + "".join(f"{name},{row % 2}\n" for row, name in enumerate(names))
    task = build(tmp_path, text, absent=lambda: {("a", name) for name in names[4:]})
    assert task.rows.tolist() == [0, 1, 2, 3]
    assert task.notices[:1] == (
        "95 records of labels.csv are absent from this copy: 'r5', 'r6', 'r7' …",
    )


def test_where_only_the_number_of_absent_records_is_known(tmp_path):
    """A few that look like the others may be absent ones; it is said which."""
    text = "record,x\nr1,1\nr2,0\nr3,0\nr8,0\nr9,1\n"
    task = build(tmp_path, text, num_absent=40)
    assert task.rows.tolist() == [0, 1, 2]
    assert task.notices[:1] == (
        "2 records of labels.csv are not in the store; they may be among the 40 that the copy "
        "lacks: 'r8', 'r9'",
    )
    for number, rest, found in (
        (1, text, "2 of 5"),  # more than are absent
        (40, "record,x\nr1,1\nr7,0\nr8,0\n", "2 of 3"),  # most of the file
        (40, "record,x\nr1,1\nr2,0\nr3,0\nHR/1,1\n8,0\n", "2 of 5"),  # nothing like r1
    ):
        with pytest.raises(TaskError, match=f"{found} records are not in the store"):
            build(tmp_path, rest, num_absent=number)
    with pytest.raises(TaskError, match="give the database's folder in place of the store"):
        build(tmp_path, "record,x\nr1,1\nr7,0\nr8,0\n", num_absent=40)


@pytest.mark.parametrize(
    ("text", "kind", "match"),
    [
        ("record,x\nr1,1\nr9,0\n", "multi-label", "1 of 2 records are not in the store, .*'r9'"),
        ("record,x\nr1,1\nr1,0\n", "multi-label", "record 'r1' comes twice"),
        ("record,x\nr1,2\nr2,0\n", "multi-label", r"found x \(numbers\)\. .* kind single-label or"),
        ("record,x\nr1,fast\nr2,3\n", "regression", "x is 'fast' .* expected a number"),
        ("record,x\nr1,inf\nr2,3\n", "regression", "x is 'inf'"),
        ("record,x\nr1,a\nr2,a\n", "single-label", "x holds 1 classes; expected 2 to"),
        ("record,x,y\nr1,a,b\n", "single-label", "one column of classes; found x, y"),
        ("name,x\nr1,1\n", "multi-label", "expected one column that names the record"),
        ("record,ecg_id,x\nr1,1,1\n", "multi-label", "record and ecg_id both tell the record"),
        ("record\nr1\n", "multi-label", "no column of labels .*; found no other column"),
        ("record,x, x\nr1,1,1\n", "multi-label", "column x appears twice"),
        ("record,x\nr1,\n", "multi-label", r"no column of labels .*; found x \(empty\)"),
        ("record,x\nr1,\nr9,1\n", "multi-label", "1 of 2 records are not in the store, .*'r9'"),
        ("record,labels\nr1,\n", "multi-label", r"no column of labels .*; found labels \(empty\)"),
        ("record,x\n", "multi-label", "no column of labels"),
        ("record,x\nr1,a; b\nr2,b\n", "single-label", r"x is 'a; b' \(1 rows have not one class"),
        ("", "multi-label", "not readable as CSV"),
        ("record,x\nr1,1,2,3\n", "multi-label", "rows have more cells than the header"),
    ],
)
def test_what_is_refused(tmp_path, text, kind, match):
    with pytest.raises(TaskError, match=match):
        build(tmp_path, text, kind)


def test_no_file(tmp_path):
    with pytest.raises(TaskError, match="no table of labels at"):
        task_of_table(tmp_path / "none.csv", "multi-label", INDEX)


def test_names_for_a_store_of_pseudonyms(tmp_path):
    """Whoever evaluates it must know that the table's names are not the store's."""
    (tmp_path / "t.csv").write_text("record,AF\npatient-1,1\npatient-2,0\n")
    index = pd.DataFrame({"database": "clinic", "record_id": ["r" + "0" * 24, "r" + "1" * 24]})
    with pytest.raises(TaskError, match="is a pseudonym: the table has to name records by theirs"):
        task_of_table(tmp_path / "t.csv", "multi-label", index)


def test_columns_of_other_names_are_told(tmp_path):
    (tmp_path / "labels.csv").write_text("Datei;Fall;Befund\nr1;a;mi+af\nr2;b;mi\nr3;b;af\n")
    table = f"{tmp_path / 'labels.csv'}:Befund:file=Datei:patient=Fall:divide=+"
    described = describe(read_task_table(table), INDEX, Known(frozenset(), frozenset(), 0, None))
    task = task_of(table, "multi-label", described, 4)
    assert task.labels == ("af", "mi")
    assert task.targets.tolist() == [[True, True], [False, True], [True, False]]
    assert described.table.patients == ["a", "b", "b"]
