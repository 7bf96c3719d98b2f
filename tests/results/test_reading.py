"""Files that evaluations wrote: of this version, older, later and damaged."""

import json

import numpy as np
import pandas as pd
import pytest

from ecgjepa.errors import ScoreError
from ecgjepa.results.predictions import UNKNOWN_DATABASE, read_predictions, read_table, write_table
from ecgjepa.results.reading import read_results, read_summary


def predictions(**columns) -> pd.DataFrame:
    frame = pd.DataFrame({"model": "pre-trained", "part": "test", "record_id": list("abca")})
    frame["patient_id"] = list("pqrs")
    frame["target:X"] = [True, False, True, False]
    frame["probability:X"] = [0.9, 0.8, 0.7, 0.1]
    return frame.assign(**columns)


def test_a_record_of_two_databases_comes_once_in_each(tmp_path):
    table = predictions(database=["one", "one", "one", "two"])
    with (tmp_path / "predictions.parquet").open("wb") as stream:
        write_table(table, stream)
    read = read_predictions(tmp_path)
    assert read.databases.tolist() == ["one", "one", "one", "two"]
    assert read.record_ids.tolist() == list("abca")
    pd.testing.assert_frame_equal(read_table(tmp_path)[1], table, check_like=True)
    twice = predictions(database="one")
    with (tmp_path / "predictions.parquet").open("wb") as stream:
        write_table(twice, stream)
    with pytest.raises(ScoreError, match="1 records come twice"):
        read_predictions(tmp_path)


def test_a_later_version_of_predictions_is_refused(tmp_path):
    table = predictions()
    table.attrs["ecgjepa_format_version"] = 99
    table.to_parquet(tmp_path / "predictions.parquet")
    with pytest.raises(ScoreError, match="format version 99; this ecgjepa reads version 1 and 2"):
        read_predictions(tmp_path)


def test_version_2_names_the_database(tmp_path):
    with (tmp_path / "predictions.parquet").open("wb") as stream:
        write_table(predictions(), stream)
    with pytest.raises(ScoreError, match="columns database are missing"):
        read_predictions(tmp_path)


@pytest.mark.parametrize(
    ("facts", "database"),
    [
        ({}, "ptb-xl"),
        ({"data": {"tested_on": ["mine"], "trained_on": ["mine"]}}, "mine"),
        ({"data": {"tested_on": ["a", "b"], "trained_on": ["a", "b"]}}, UNKNOWN_DATABASE),
        ({"data": {"tested_on": ["a"], "trained_on": ["b"]}}, UNKNOWN_DATABASE),
    ],
)
def test_databases_of_version_1_come_from_the_results(tmp_path, facts, database):
    predictions().to_parquet(tmp_path / "predictions.parquet")
    (tmp_path / "results.json").write_text(json.dumps({"format_version": 1, **facts}))
    assert set(read_table(tmp_path)[1]["database"]) == {database}


def test_a_split_of_other_records_is_refused(tmp_path):
    predictions().to_parquet(tmp_path / "predictions.parquet")
    split = pd.DataFrame({"database": "one", "record_id": list("abcd"), "part": "test"})
    split.to_csv(tmp_path / "split.csv", index=False)
    with pytest.raises(ScoreError, match="test records are not those"):
        read_table(tmp_path)


def test_results_of_version_1_are_those_of_version_2(tmp_path):
    old = {"format_version": 1, "models": {}, "database": {"stored": 3}}
    (tmp_path / "results.json").write_text(json.dumps(old))
    assert read_results(tmp_path) == {
        "format_version": 2,
        "measure": "macro_auroc",
        "models": {},
        "databases": {"ptb-xl": {"stored": 3}},
    }


def test_a_summary_of_version_1_has_lists_of_names(tmp_path):
    rows = [{"test_on": "a+b", "seed": 0}, {"test_on": "", "seed": 1}]
    old = {"format_version": 1, "rows": rows, "means": rows[:1]}
    (tmp_path / "summary.json").write_text(json.dumps(old))
    read = read_summary(tmp_path)
    assert read["rows"] == [{"test_on": ["a", "b"], "seed": 0}, {"test_on": [], "seed": 1}]
    assert read["means"] == read["rows"][:1]
    assert read["format_version"] == 2


@pytest.mark.parametrize("read", [read_results, read_summary])
@pytest.mark.parametrize(
    ("content", "match"),
    [
        ('{"format_version": 3}', "format version 3; this ecgjepa reads version 1 and 2"),
        ('{"format_version": true}', "format version True"),
        ("[]", "damaged: expected JSON with a format_version"),
        ("{", "damaged: expected JSON with a format_version"),
        (None, "no such file"),
    ],
)
def test_files_that_are_not_results_are_refused(tmp_path, read, content, match):
    if content is not None:
        for name in ("results.json", "summary.json"):
            (tmp_path / name).write_text(content)
    with pytest.raises(ScoreError, match=match):
        read(tmp_path)


def test_outputs_are_read_as_numbers(tmp_path):
    with (tmp_path / "predictions.parquet").open("wb") as stream:
        write_table(predictions(database=list("1234")), stream)
    read = read_predictions(tmp_path)
    np.testing.assert_array_equal(read.outputs[:, 0], [0.9, 0.8, 0.7, 0.1])
    assert read.names_databases
