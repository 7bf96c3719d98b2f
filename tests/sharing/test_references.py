"""One way to name a model everywhere: a folder, a model in the box, or one on the Hub."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import toy_ecg, write_wfdb
from tiny_model import save_tiny_model

import ecgjepa
from ecgjepa import cli
from ecgjepa.errors import ModelFolderError
from ecgjepa.sharing import box, references


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """A folder of boxes with two models of random weights."""
    folder = tmp_path_factory.mktemp("boxes")
    save_tiny_model(folder / "box-one")
    save_tiny_model(folder / "box-superdiagnostic", seed=1)
    return folder


@pytest.fixture
def shelf(boxes, monkeypatch, tmp_path):
    """Put these boxes in the place of the package's, and work in an empty folder."""
    monkeypatch.setattr(box, "_FOLDER", boxes)
    monkeypatch.chdir(tmp_path)
    return boxes


@pytest.fixture(scope="module")
def ecg(tmp_path_factory):
    import numpy as np

    return write_wfdb(tmp_path_factory.mktemp("ecg") / "e.hea", toy_ecg(np.random.default_rng(0)))


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["ecgjepa", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capsys.readouterr()
    return stop.value.code or 0, captured.out, captured.err


def test_a_folder_a_run_and_a_box_lead_to_a_model_folder(shelf, tmp_path):
    save_tiny_model(tmp_path / "run/model")
    assert references.find_model("run") == Path("run/model")
    assert references.find_model(tmp_path / "run/model") == tmp_path / "run/model"
    assert references.find_model("box-one") == shelf / "box-one"


@pytest.mark.parametrize("typed", ["", " "])
def test_an_empty_name_is_not_the_folder_here(shelf, tmp_path, typed):
    save_tiny_model(tmp_path / "model")
    with pytest.raises(ModelFolderError, match="the name of the model is empty: expected a folder"):
        references.find_model(typed)


def test_a_box_is_the_same_from_everywhere(shelf, tmp_path, caplog):
    save_tiny_model(tmp_path / "box-one", seed=9)
    assert references.resolve("box-one") == shelf / "box-one"
    assert "./box-one names the folder here" in caplog.text
    assert references.resolve("./box-one").resolve() == tmp_path / "box-one"
    assert references.resolve(Path("box-one")).resolve() == tmp_path / "box-one"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("runs/tuend", r"no model folder at runs/tuend; did you mean 'runs/tuned'\?"),
        ("rnus/tuned", r"did you mean 'runs/tuned'\?"),
        ("box-won", r"did you mean 'box-one'\?"),
        ("someone/ecg-model", "write hf:someone/ecg-model"),
        ("xyz", r"expected a folder, a model in the box \(box-one, box-superdiagnostic\) or hf:"),
        ("hf:", "expected hf:owner/name"),
        ("hf:a/b@", "expected hf:owner/name"),
    ],
)
def test_a_mistyped_name_is_told_with_what_it_may_mean(shelf, tmp_path, typed, expected):
    (tmp_path / "runs/tuned").mkdir(parents=True)
    with pytest.raises(ModelFolderError, match=expected):
        references.resolve(typed)


@pytest.mark.parametrize(("typed", "revision"), [("hf:a/b", None), ("hf:a/b@v1.0", "v1.0")])
def test_a_name_on_the_hub_is_loaded_with_its_revision(shelf, monkeypatch, typed, revision):
    asked = []

    def load(name, revision):
        asked.append((name, revision))
        return shelf / "box-one"

    monkeypatch.setattr(references, "hub", SimpleNamespace(load=load))
    assert references.find_model(typed) == shelf / "box-one"
    assert asked == [("a/b", revision)]
    assert references.name_of("hf:a/b@v1.0") == Path("a-b-v1.0")


def test_the_same_answer_by_folder_and_by_name(shelf, ecg):
    by_folder = ecgjepa.predict(ecg, shelf / "box-one")
    assert ecgjepa.predict(ecg, "box-one") == by_folder
    assert ecgjepa.predict(ecg) == ecgjepa.predict(ecg, model="box-superdiagnostic")
    assert ecgjepa.predict(ecg) != by_folder
    assert ecgjepa.embed(ecg, "box-one").equals(ecgjepa.embed(ecg, shelf / "box-one"))


def test_predict_without_a_model_says_which_one_answers(shelf, ecg, monkeypatch, capsys, tmp_path):
    code, named, _ = run(monkeypatch, capsys, "predict", ecg, "--model", "box-superdiagnostic")
    assert code == 0
    code, text, log = run(monkeypatch, capsys, "predict", ecg)
    assert (code, text) == (0, named)
    [told] = [line for line in log.splitlines() if "--model" in line]
    assert told.startswith("no --model is given: box-superdiagnostic answers")
    code, _, log = run(monkeypatch, capsys, "predict", ecg, "--out", tmp_path / "table.csv")
    assert code == 0
    assert "no --model is given: box-superdiagnostic answers" in log


def test_results_about_a_named_model_go_to_this_folder(shelf):
    from ecgjepa.evaluation.saving import result_folder

    assert result_folder("box-one", None, "all", "linear") == Path("box-one-all-linear")
    assert result_folder("hf:a/b", None, "all", "linear") == Path("a-b-all-linear")
    assert result_folder("runs/x", None, "all", "linear") == Path("runs/x-all-linear")


def test_models_are_listed(shelf, monkeypatch, capsys):
    code, text, _ = run(monkeypatch, capsys, "models")
    assert code == 0
    assert "box-one\n  task: t: A, B, C\n  input: 12 leads at 100 Hz" in text
    assert "ecgjepa predict FILE --model box-one" in text
    code, text, _ = run(monkeypatch, capsys, "models", "--json")
    found = json.loads(text)
    assert [(one["name"], one["source"], one["error"]) for one in found] == [
        ("box-one", "box", None),
        ("box-superdiagnostic", "box", None),
    ]


def test_a_damaged_model_is_listed_with_its_fault(tmp_path, monkeypatch, capsys):
    save_tiny_model(tmp_path / "boxes/box-bad")
    (tmp_path / "boxes/box-bad/config.json").write_text("{")
    monkeypatch.setattr(box, "_FOLDER", tmp_path / "boxes")
    code, text, _ = run(monkeypatch, capsys, "models")
    assert code == 1
    assert "box-bad\n  error:" in text
    assert "use:" not in text
