"""From a hospital's files and table to answers: prepare, pretrain, probe, predict."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SMALL_MODEL, toy_ecg, write_wfdb

from ecgjepa import cli

NAMES = [f"2019/ward {number % 3}/{number:05d}_hr" for number in range(40)]
WORDS = ("NORM", "MI", '"CD; Hypertrophie früh"', "STTC")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """An archive, and its table as a German Excel saves it: semicolons, cp1252, Windows's paths."""
    root = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        digital = toy_ecg(rng, num_samples=1500, kind=number % 4)
        write_wfdb(root / f"archive/{name}.hea", digital)
    rows = [
        f"Müller-{number // 2};Z:\\ecg\\{name.replace('/', chr(92))}.hea;{WORDS[number % 4]};"
        f"{1 + number // 2 % 10};{number}.3.2019"
        for number, name in enumerate(NAMES)
    ]
    text = "\r\n".join(["Patient;Datei;Diagnosis;Fold;Aufnahme".replace("Datei", "File"), *rows])
    (root / "archive.csv").write_bytes(text.encode("cp1252"))
    return root


@pytest.fixture(scope="module")
def ecgjepa():
    """Return a function that runs the command: exit code, and all that it prints."""

    def run(*arguments: object) -> tuple[int, str]:
        shown = io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(shown),
            redirect_stderr(shown),
        ):
            patch.setattr(sys, "argv", ["ecgjepa", *map(str, arguments)])
            try:
                cli.main()
                code = 0
            except SystemExit as stop:
                code = stop.code or 0
        return code, " ".join(shown.getvalue().split())

    return run


AT_100 = ("--sampling-rate", 100, "--workers", 1)


@pytest.fixture(scope="module")
def pretrained(place, ecgjepa) -> tuple[Path, str]:
    """A pre-training run on the archive, and what was printed while it was made."""
    store = place / "store"
    labels = ("--table", place / "archive.csv", "--labels", "diagnosis")
    code, prepared = ecgjepa("prepare", place / "archive", *labels, "--store", store, *AT_100)
    assert code == 0, prepared
    steps = ["train.steps=2", "train.warmup_steps=1", *SMALL_MODEL]
    options = [part for step in steps for part in ("--set", step)]
    code, text = ecgjepa("pretrain", "--store", store, "--out", place / "run", *options)
    assert code == 0, text
    return place / "run", prepared + text


def test_what_was_taken_for_what_is_said(place, pretrained):
    said = pretrained[1]
    assert "called archive here, after the folder" in said
    assert "archive.csv is read with semicolons between cells" in said
    assert "archive.csv is read as cp1252 (Western European)" in said
    assert (
        "labels come from column Diagnosis (5: CD, Hypertrophie früh, MI, NORM, STTC; 10 cells "
        "with several labels are divided at ';', such as "
    ) in said
    assert "not labels: Aufnahme (a date or time)" in said
    assert "4 records of fold 9 and 4 records of fold 10 are left out" in said
    index = pd.read_parquet(place / "store/index.parquet")
    assert len(index) == 32
    assert index["patient_id"][0] == "Müller-0"
    assert "refused" not in said


LABELS = ["CD", "Hypertrophie früh", "MI", "NORM", "STTC"]


def test_the_same_table_gives_folds_and_labels_to_a_probe(place, pretrained, ecgjepa):
    """Of files that no store holds: the table is the one that `prepare` took."""
    code, text = ecgjepa(
        "probe", "--model", pretrained[0], "--data", place / "archive", "--task",
        place / "archive.csv", "--labels", "Diagnosis", "--protocol", "linear", "--out",
        place / "probe-files", "--cache", place / "cache",
    )  # fmt: skip
    assert code == 0, text
    results = json.loads((place / "probe-files/results.json").read_text())
    assert [one["label"] for one in results["models"]["pre-trained"]["labels"]] == LABELS
    split = pd.read_csv(place / "probe-files/split.csv", dtype=str)
    assert split["part"].value_counts().to_dict() == {"train": 32, "validation": 4, "test": 4}
    assert set(split.loc[split["part"] == "test", "fold"]) == {"10"}


def test_a_column_of_the_store_is_a_task_and_its_model_predicts(place, pretrained, ecgjepa):
    store = place / "everything"
    labels = ("--table", f"archive={place / 'archive.csv'}", "--folds", "all")
    code, text = ecgjepa(
        "prepare", f"archive={place / 'archive'}", *labels, "--store", store, *AT_100
    )
    assert code == 0, text
    assert "this store is for evaluation" in text
    options = ("--model", pretrained[0], "--protocol", "linear", "--out", place / "probe")
    code, text = ecgjepa("probe", "--store", store, "--task", "diagnosis", *options)
    assert code == 0, text
    code, text = ecgjepa("predict", place / f"archive/{NAMES[0]}.hea", "--model", place / "probe")
    assert code == 0, text
    for label in LABELS:
        assert label in text
    assert "Diagnosis=" not in text
    code, text = ecgjepa("probe", "--store", store, "--task", "diagnose", *options)
    assert code == 2
    assert "unknown task 'diagnose'; did you mean" in text
    assert "a column of the table that the store was prepared with (Diagnosis)" in text
    options = (*options[:-1], place / "no-probe")
    code, text = ecgjepa("probe", "--store", place / "store", "--task", "diagnosis", *options)
    assert code == 2
    assert "selects and tests on [9, 10]; give the files with --data NAME=DIR, or prepare" in text


def test_a_pretraining_that_no_probe_would_take_is_told_so_first(place, pretrained, ecgjepa):
    steps = ["train.steps=2", "train.warmup_steps=1", *SMALL_MODEL]
    options = [part for step in steps for part in ("--set", step)]
    store = place / "everything"
    code, text = ecgjepa("pretrain", "--store", store, "--out", place / "seen", *options)
    assert code == 0, text
    assert text.index("holds folds [9, 10] of archive") < text.index("step 2/2")
    code, text = ecgjepa(
        "probe", "--store", store, "--task", "diagnosis", "--model", place / "seen"
    )
    assert code == 2
    assert "pre-train on a store prepared with --folds train" in text
