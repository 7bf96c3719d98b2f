"""Labels without a threshold by the rule are named where their decisions are empty."""

import json
import sys

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb
from tiny_model import save_tiny_model

from ecgjepa.cli import main
from ecgjepa.inference.outputs.finished import summary_file
from ecgjepa.model.folder import CONFIG_FILE


def test_labels_without_a_threshold_are_named(tmp_path, monkeypatch, capsys):
    model, out = save_tiny_model(tmp_path / "model"), tmp_path / "t.csv"
    rules = [
        {"rule": "best-f1", "values": [0.5, 0.5, 0.5], "remarks": {"A": "few"}},
        {"rule": "sensitivity=0.9", "values": [0.5, None, None], "remarks": {"A": "few", "B": "1"}},
    ]
    content = json.loads((model / CONFIG_FILE).read_text())
    content["answers"] = {"decisions": {"rules": rules, "chosen": "best-f1"}}
    (model / CONFIG_FILE).write_text(json.dumps(content))
    file = write_wfdb(tmp_path / "a.hea", toy_ecg(np.random.default_rng(0)))
    words = ["ecgjepa", "predict", str(file), "--model", str(model), "--out", str(out)]
    monkeypatch.setenv("COLUMNS", "200")
    for more, is_named in ((["--decision", "sensitivity"], True), (["--overwrite"], False)):
        monkeypatch.setattr(sys, "argv", words + more)
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        shown = " ".join(capsys.readouterr().out.split())
        named = "2 labels have no threshold by sensitivity=0.9, so no decision: B, C"
        assert (named in shown) == is_named
        assert json.loads(summary_file(out).read_text())["notices"] == [named] * is_named
        assert "Research use only." in shown
        assert "threshold in doubt: A (few)" in shown
        assert ("no threshold, so no decision: B (1)" in shown) == is_named


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--explain", "why.tif"], "picture format 'tif'; expected .png, .svg or .pdf"),
        (["--explain", "why.svg", "--label", "D"], "no label 'D': expected one of A, B, C"),
    ],
)
def test_what_cannot_be_explained_is_refused_before_the_file_is_read(
    tmp_path, monkeypatch, capsys, more, words
):
    model, file = save_tiny_model(tmp_path / "model"), tmp_path / "a.xml"
    file.write_text("no ECG, which nobody has noticed")
    asked = ["ecgjepa", "predict", str(file), "--model", str(model), *more]
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", asked)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
