"""What is said of one record is the same in JSON and in a table, and neither ever holds NaN."""

import json
import math
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from ecgjepa.inference.prediction import Prediction
from ecgjepa.inference.schema import SCHEMA_VERSION, PredictionSchema
from ecgjepa.model.outputs import TaskConfig
from ecgjepa.signals.record import Issue

PAGE = Path(__file__).parents[2] / "docs" / "predictions.md"
FINDINGS = (
    Issue("derived_lead", "computed from I and II", "III"),
    Issue("derived_lead", "computed from I and II", "aVR"),
    Issue("missing_lead", "is not in the file", "V6"),
    Issue("resampled", "from 500 Hz to 100 Hz"),
)


def task(*labels, kind="multi-label"):
    scaled = {"centre": (0.0,) * len(labels), "spread": (1.0,) * len(labels)}
    return TaskConfig(
        name="t",
        kind=kind,
        labels=labels,
        descriptions=("",) * len(labels),
        **(scaled if kind == "regression" else {}),
    )


def full(**changes):
    return Prediction(
        **{
            "file": "a/x.hea",
            "record": "x",
            "probabilities": {"MI": 0.75, "MI; old": 0.5},
            "decisions": {"MI": True},
            "rule": "best-f1",
            "label_set": ("MI", "MI; old"),
            "findings": FINDINGS,
            "duration": 10.0,
            "sampling_rate": 500.0,
            "quality_score": 0.9,
            "distance": 1.25,
            "leads": ("I", "II", "III", "aVR", "V6"),
        }
        | changes
    )


def test_a_row_has_every_column_in_order():
    schema = PredictionSchema(task("MI", "MI; old"))
    assert schema.row(full()) == {
        "file": "a/x.hea",
        "record": "x",
        "error": None,
        "reason": None,
        "MI": 0.75,
        "MI_yes": True,
        "MI; old": 0.5,
        "MI; old_yes": None,
        "set": "MI;MI\\; old",
        "set_size": 2,
        "distance": 1.25,
        "quality": "incomplete",
        "quality_score": 0.9,
        "findings": "derived_lead;missing_lead;resampled",
        "derived_leads": "III;aVR",
        "masked_leads": "V6",
        "used_leads": "I;II;III;aVR",
        "duration": 10.0,
        "sampling_rate": 500.0,
        "rule": "best-f1",
        "schema": SCHEMA_VERSION,
    }
    assert list(schema.row(full())) == [column.name for column in schema.columns]


def test_content_says_the_same_as_the_row_and_more():
    content = PredictionSchema(task("MI", "MI; old")).content(full())
    assert content["probabilities"] == {"MI": 0.75, "MI; old": 0.5}
    assert content["decisions"] == {"MI": True}
    assert (content["set"], content["values"], content["likeliest"]) == (
        ["MI", "MI; old"],
        {},
        None,
    )
    assert content["findings"][2] == {
        "code": "missing_lead",
        "message": "is not in the file",
        "lead": "V6",
    }
    assert (content["derived_leads"], content["masked_leads"]) == (["III", "aVR"], ["V6"])


def test_a_regression_has_values_and_intervals_and_no_decisions():
    schema = PredictionSchema(task("age", kind="regression"))
    told = Prediction(file="x", probabilities={"age": 61.5}, intervals={"age": (50.0, 73.0)})
    row, content = schema.row(told), schema.content(told)
    assert [row["age"], row["age_low"], row["age_high"]] == [61.5, 50.0, 73.0]
    assert not {"age_yes", "set", "rule", "likeliest"} & set(row)
    assert content["values"] == {"age": 61.5}
    assert content["intervals"] == {"age": [50.0, 73.0]}
    assert content["probabilities"] == {}


def test_the_likeliest_label_is_told_where_a_record_has_one():
    schema = PredictionSchema(task("A", "B", kind="single-label"))
    told = Prediction(file="x", probabilities={"A": 0.3, "B": 0.7}, label_set=())
    assert schema.row(told)["likeliest"] == schema.content(told)["likeliest"] == "B"
    assert (schema.row(told)["set"], schema.row(told)["set_size"]) == ("", 0)


def test_a_file_that_failed_is_a_row_of_its_error():
    schema = PredictionSchema(task("MI"))
    failed = Prediction(file="x", error="x: damaged", reason="unreadable")
    row = schema.row(failed)
    assert list(row) == [column.name for column in schema.columns]
    known = {name: value for name, value in row.items() if value is not None}
    assert known == {
        "file": "x",
        "error": "x: damaged",
        "reason": "unreadable",
        "schema": SCHEMA_VERSION,
    }
    assert schema.content(failed)["quality"] is None


COLUMNS_OF_ALL = [
    column.name for column in PredictionSchema(task("L", kind="single-label")).columns
]
odd = st.sampled_from(
    [*COLUMNS_OF_ALL, "FILE", "A", "a", "A_yes", "a_YES", "label:A", "", ";", "é"]
)


@hypothesis.given(
    st.lists(odd | st.text(max_size=6), min_size=1, max_size=8, unique=True),
    st.sampled_from(["multi-label", "single-label", "regression"]),
    st.floats(),
)
def test_no_label_takes_the_place_of_a_column_and_nothing_is_not_a_number(labels, kind, value):
    schema = PredictionSchema(task(*labels, kind=kind))
    names = [column.name for column in schema.columns]
    assert len({name.casefold() for name in names}) == len(names)
    told = Prediction(
        file="x",
        probabilities=dict.fromkeys(labels, value),
        label_set=None if kind == "regression" else tuple(labels),
        intervals={labels[0]: (value, math.inf)} if kind == "regression" else {},
        distance=value,
        duration=value,
        quality_score=value,
    )
    row = schema.row(told)
    assert list(row) == names
    assert row["file"] == "x"
    assert sum(cell == value for cell in row.values()) >= (
        len(labels) if math.isfinite(value) else 0
    )
    text = json.dumps([row, schema.content(told)], allow_nan=False)
    assert len(json.loads(text)[1]["values" if kind == "regression" else "probabilities"]) == len(
        labels
    )


def test_rows_become_an_arrow_table_of_the_columns_types():
    for kind in ("multi-label", "single-label", "regression"):
        schema = PredictionSchema(task("A", "B", kind=kind))
        arrow = pa.schema([(c.name, pa.type_for_alias(c.type)) for c in schema.columns])
        rows = [
            schema.row(Prediction(file="x", probabilities={"A": 1.0, "B": 2.0})),
            schema.row(Prediction(file="y", error="no", reason="no")),
        ]
        table = pa.Table.from_pylist(rows, schema=arrow)
        assert table.column("A").to_pylist() == [1.0, None]
        assert table.column("schema").to_pylist() == [SCHEMA_VERSION] * 2


def test_a_name_that_is_not_utf_8_is_written_out():
    schema = PredictionSchema(task("MI"))
    told = Prediction(file="caf\udce9.hea", record="caf\udce9")
    assert schema.row(told)["file"] == schema.content(told)["file"] == "caf\\udce9.hea"
    json.dumps(schema.content(told), ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize("kind", ["single-label", "multi-label", "regression"])
def test_the_page_explains_every_column(kind):
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for column in PredictionSchema(task("LABEL", kind=kind)).columns:
        told = [line for line in lines if line.startswith("|") and f"`{column.name}`" in line]
        assert told, column.name
        assert f"| {column.type} |" in told[0]
        if not column.name.startswith("LABEL"):
            assert column.meaning in told[0], column.name
            assert not column.unit or f"in {column.unit} |" in told[0]


def test_content_leaves_no_field_of_a_prediction_out():
    content = PredictionSchema(task("MI")).content(full())
    written = {"label_set": "set", "leads": "used_leads"}
    names = {written.get(field.name, field.name) for field in fields(Prediction)}
    assert names <= set(content)


def test_the_schema_needs_no_torch():
    code = "import sys, ecgjepa.inference.schema; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
