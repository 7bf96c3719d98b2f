"""The models in the box answer right after installation, offline, and say how good they are."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import toy_ecg, write_wfdb
from safetensors.torch import load_file

import ecgjepa
from ecgjepa import cli
from ecgjepa.config import EncoderConfig
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.folder import load_model_folder, save_model
from ecgjepa.model.heads import Classifier, HeadConfig, build_head
from ecgjepa.model.outputs import TaskConfig
from ecgjepa.model.weights import KEPT_SINGLE, halved
from ecgjepa.sharing.box import DEFAULT_MODEL, box_folder, box_names
from ecgjepa.signals.leads import LEADS

PACKAGE = Path(ecgjepa.__file__).parent
# Runs a command line where every connection fails.
OFFLINE = """
import socket, sys
def refuse(*_, **__):
    raise OSError("no network here")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from ecgjepa.cli import main
main()
"""


def offline(*arguments, folder):
    """Run the command in a fresh process without network: exit code, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_default_model_is_in_the_box():
    assert box_names() == ("box-statements", "box-superdiagnostic", "box-superdiagnostic-leads")
    assert DEFAULT_MODEL in box_names()


@pytest.mark.parametrize("name", box_names())
def test_a_box_is_small_and_computes_in_single_precision(name):
    files = {file.name: file.stat().st_size for file in box_folder(name).iterdir()}
    weights = {"model.safetensors", "distribution.safetensors"}
    assert set(files) == {"config.json", "README.md", *weights}
    assert sum(files.values()) < 1_500_000
    stored = load_file(box_folder(name) / "model.safetensors")
    halves = [tensor for tensor in stored.values() if tensor.dtype == torch.float16]
    assert sum(tensor.numel() for tensor in halves) > 100_000
    model, config = load_model_folder(box_folder(name))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert config.calibration is not None
    assert config.answers.decisions is not None
    assert config.answers.label_sets is not None
    assert config.distribution is not None


def test_what_is_installed_stays_below_eight_megabytes():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path in PACKAGE.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                wheel.write(path, path.relative_to(PACKAGE.parent))
    assert packed.tell() < 8_000_000
    boxes = sum(file.stat().st_size for file in (PACKAGE / "sharing/boxes").rglob("*.*"))
    assert boxes < 5_000_000


@pytest.mark.parametrize("name", box_names())
def test_a_card_says_how_good_the_model_is_and_where_it_is_from(name):
    _, config = load_model_folder(box_folder(name))
    card = (box_folder(name) / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n---\n\n# box-")
    for words in (
        "not a medical device",
        "2,730 of PTB-XL's 21,799 records",
        "folds [1, 2, 3, 4, 5, 6, 7]; selected on [8]; tested on [9, 10]: macro AUROC 0.",
        "nothing was chosen on the test folds",
        "| sex | female |",
        "| age | 60-79 |",
        "licence CC BY 4.0",
        "doi:10.13026/kfzx-aw45",
        "doi:10.1038/s41597-020-0495-6",
        "Test records by device: CS-12",
        f"ecgjepa predict FILE_OR_FOLDER --model {name}",
    ):
        assert words in card, words
    assert "results.json" not in card  # it is not in the package
    for label in config.task.labels:
        assert f"\n| {label}" in card
    value, low, high = config.training["test_macro_auroc"]
    assert low < value < high
    assert config.training["split"]["test"] == [9, 10]


def test_predict_answers_offline_and_says_how_well(tmp_path):
    write_wfdb(tmp_path / "my.hea", toy_ecg(np.random.default_rng(0)))
    real = os.environ.get("ECGJEPA_REALDATA")
    samples = [] if real is None else [Path(real) / "formats"]
    code, text, log = offline("predict", "my.hea", *samples, folder=tmp_path)
    assert code == 0, log
    assert "no --model is given: box-superdiagnostic answers" in log
    assert text.count("\n  set:") == (1 if real is None else 5)
    assert "\nResearch use only. Probabilities are calibrated (platt, fold 8).\n" in text
    assert "\ntested: macro AUROC 0.911 (0.892 to 0.928) on 386 test records" in text


def test_models_tells_what_is_in_the_box(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ecgjepa", "models", "--json"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert set(found) >= set(box_names())
    box = found["box-superdiagnostic"]
    assert box["labels"] == ["CD", "HYP", "MI", "NORM", "STTC"]
    assert (box["task"], box["sampling_rate"], len(box["leads"])) == ("superdiagnostic", 100.0, 12)
    assert (box["licence"], box["data_licences"]) == ("apache-2.0", {"ptb-xl": "CC BY 4.0"})
    score = box["score"]
    assert 0.85 < score["low"] < score["value"] < score["high"] < 1
    assert (score["records"], score["databases"]) == (386, ["ptb-xl"])


def test_a_real_record_gets_the_answer_that_it_got_when_the_box_was_made(real_data):
    record = real_data / "ptb-xl/records500/00000/00001_hr.hea"
    [found] = ecgjepa.predict(record)
    assert found.probabilities["NORM"] == pytest.approx(0.97799, abs=1e-4)


@pytest.mark.parametrize(
    ("leads", "answering", "used"),
    [
        (LEADS[:6], "I+II", LEADS[:6]),
        (("I", "II"), "I+II", LEADS[:6]),
        (("I", "II", "V2"), "I+II", LEADS[:6]),
        (("I",), "I", ("I",)),
        (("II",), "II", ("II",)),
        (("V2",), None, ()),
    ],
)
def test_few_leads_are_refused_with_the_name_of_the_box_that_answers(
    tmp_path, leads, answering, used
):
    ecg = toy_ecg(np.random.default_rng(0))[:, [LEADS.index(lead) for lead in leads]]
    file = write_wfdb(tmp_path / "few.hea", ecg, leads=leads)
    for name in ("box-superdiagnostic", "box-statements"):
        [refused] = ecgjepa.predict(file, name)
        assert (refused.reason, refused.probabilities) == ("too_few_leads", {})
        assert "The model needs at least 8 of its 12 leads; limb leads that follow" in refused.error
        told = refused.error.partition(". What answers this record: ")[2]
        wanted = (
            "" if answering is None else f"--model box-superdiagnostic-leads (from {answering})"
        )
        assert told == wanted
    [found] = ecgjepa.predict(file, "box-superdiagnostic-leads")
    assert found.used_leads == used
    assert (found.error is None) == bool(used)
    if not used:
        assert "at least 8 of its 12 leads, or I+II, or I, or II; limb leads" in found.error


def test_the_scores_of_every_set_are_those_of_the_committed_benchmark():
    config = load_model_folder(box_folder("box-superdiagnostic-leads"))[1]
    results = PACKAGE.parents[1] / "benchmarks/results/2026-11-30-fewer-leads.json"
    final = json.loads(results.read_text())["runs"][1]
    assert final["folds"] == [9, 10]
    measured = final["macro_auroc"]["box-superdiagnostic-leads"]
    assert config.training["test_macro_auroc"][0] == pytest.approx(measured["12"][0], abs=5e-4)
    for one in config.lead_sets:
        assert one.score == pytest.approx(measured[one.name], abs=1e-3)


def test_half_precision_changes_no_answer_and_keeps_what_a_recurrence_is_made_of(tmp_path):
    torch.manual_seed(0)
    _, described = load_model_folder(box_folder(DEFAULT_MODEL))
    encoder = build_encoder(
        EncoderConfig(architecture="s4d", patch_size=5, dim=32, depth=2, num_heads=2)
    )
    head = HeadConfig(kind="pooled", num_labels=3)
    labels = ("A", "B", "C")
    config = described.model_copy(
        update={
            "encoder": encoder.config,
            "head": head,
            "task": TaskConfig(name="t", kind="multi-label", labels=labels, descriptions=labels),
            "calibration": None,
            "answers": None,
            "distribution": None,
        }
    )
    model = Classifier(encoder, build_head(head, encoder)).eval()
    for half in (False, True):
        save_model(tmp_path / str(half), model, config, "card", half=half)
    ecg = toy_ecg(np.random.default_rng(1)).astype(np.float64) / 1000
    whole, small = (
        ecgjepa.load_model(tmp_path / folder).predict_signal(
            ecg, sampling_rate=500, leads=config.preprocessing.leads
        )
        for folder in ("False", "True")
    )
    for label in labels:
        assert small.probabilities[label] == pytest.approx(whole.probabilities[label], abs=1e-3)
        assert small.probabilities[label] != whole.probabilities[label]
    sizes = [(tmp_path / half / "model.safetensors").stat().st_size for half in ("False", "True")]
    assert sizes[1] < 0.8 * sizes[0]
    kept = load_file(tmp_path / "True/model.safetensors")
    names = {name.rpartition(".")[2] for name, one in kept.items() if one.dtype == torch.float32}
    assert names == set(KEPT_SINGLE)


def test_a_weight_that_half_precision_cannot_hold_stays_as_it_is():
    weights = {"a": torch.tensor([1.0, 1e6]), "b": torch.tensor([1.0]), "n": torch.tensor([3])}
    found = halved(weights)
    assert found["a"].dtype == torch.float32
    assert found["b"].dtype == torch.float16
    assert found["n"].dtype == torch.int64
