"""What an evaluation's table calls a gain."""

from types import SimpleNamespace

import pytest

from ecgjepa.terminal.results import print_evaluations


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("jepa", ["gained by pre-training"]),
        ("none", ["gained over it", "pre-trained: here the encoder of a classifier that was"]),
    ],
)
def test_a_gain_from_labels_is_not_called_one_from_pre_training(objective, expected, capsys):
    model = {"macro_auroc": [0.8, 0.7, 0.9], "undefined_labels": []}
    results = {
        "task": {"name": "rhythm"},
        "measure": "macro_auroc",
        "protocol": "linear",
        "split": {"test": [10]},
        "counts": {"test": 100, "test_patients": 100},
        "pretraining": {"objective": objective},
        "models": {"pre-trained": model, "untrained": model},
        "differences": {"pre-trained - untrained": [0.0, -0.1, 0.1]},
    }
    print_evaluations([SimpleNamespace(results=results)])
    text = capsys.readouterr().out
    for words in expected:
        assert words in text
    assert ("gained by pre-training" in text) == (objective == "jepa")
    assert max(map(len, text.splitlines())) <= 80
