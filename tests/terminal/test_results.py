"""What an evaluation's table calls a gain."""

from types import SimpleNamespace

import pytest

from ecgjepa.terminal.judging import unchecked
from ecgjepa.terminal.results import print_evaluations


@pytest.mark.parametrize(
    ("objective", "is_tuned", "expected"),
    [
        ("jepa", False, ["gained by pre-training"]),
        ("jepa", True, ["gained over it", "pre-trained: here an encoder that was pre-trained and"]),
        ("none", False, ["gained over it", "pre-trained: here the encoder of a classifier that"]),
        ("none", True, ["gained over it", "pre-trained: here the encoder of a classifier that"]),
    ],
)
def test_a_gain_from_labels_is_not_called_one_from_pre_training(
    objective, is_tuned, expected, capsys
):
    model = {"macro_auroc": [0.8, 0.7, 0.9], "undefined_labels": []}
    results = {
        "task": {"name": "rhythm"},
        "measure": "macro_auroc",
        "protocol": "linear",
        "split": {"test": [10]},
        "counts": {"test": 100, "test_patients": 100},
        "pretraining": {"objective": objective},
        "encoder_trained_with_labels": is_tuned,
        "models": {"pre-trained": model, "untrained": model},
        "differences": {"pre-trained - untrained": [0.0, -0.1, 0.1]},
    }
    print_evaluations([SimpleNamespace(results=results)])
    text = capsys.readouterr().out
    for words in expected:
        assert words in text
    assert ("gained by pre-training" in text) == (objective == "jepa" and not is_tuned)
    assert text.count("pre-trained: here") == (0 if len(expected) == 1 else 1)
    assert max(map(len, text.splitlines())) <= 80


def test_what_trained_a_head_is_not_known_by_other_names():
    """Records of PTB-XL in an archive gave its own model an AUROC of 0.97, without a word."""
    elsewhere = {"trained_on": ["ptb-xl"], "tested_on": ["clinic"]}
    assert unchecked(elsewhere).startswith("whether some of these records are of ptb-xl, on which")
    assert unchecked({**elsewhere, "tested_on": ["ptb-xl"]}) == ""
