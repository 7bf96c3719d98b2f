"""The command that follows: it can be copied into a shell, and fits 80 columns."""

import json
import shlex
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgjepa.terminal.next_steps import (
    _as_lines,
    after_preparation,
    after_pretraining,
    print_next,
    task_of,
)
from ecgjepa.terminal.screen import as_folds
from ecgjepa.terminal.training import print_run


@given(st.lists(st.text("ab- '$=/", min_size=1, max_size=50), min_size=1, max_size=9))
def test_a_shell_reads_the_words_that_were_meant(words):
    text = _as_lines("next", [shlex.quote(word) for word in words])
    command = text.removeprefix("next:").replace("\\\n", " ")
    assert shlex.split(command) == words


@given(st.lists(st.text("abc", min_size=1, max_size=20), min_size=1, max_size=12))
def test_it_fits_the_terminal(words):
    assert max(map(len, _as_lines("next", words).splitlines())) <= 79


def test_names_that_command_a_terminal_are_written_out(capsys):
    print_next("ecgjepa", "report", "a\x1b[31mred")
    assert "\x1b" not in capsys.readouterr().out


def test_what_follows_a_store_names_the_objective_of_its_preset(tmp_path, capsys):
    manifest = SimpleNamespace(num_records=3)
    after_preparation(manifest, tmp_path, "s4-cpc")
    told = capsys.readouterr().out.replace("\\\n", " ")
    assert "--preset s4-cpc" in told
    assert "--out runs/cpc" in told


def test_what_follows_a_run_names_what_is_known(tmp_path, capsys):
    run = tmp_path / "jepa"
    after_pretraining(run, ["ptb-xl"], {"ptb-xl": tmp_path / "d"})
    told = " ".join(capsys.readouterr().out.replace("\\\n", " ").split())
    assert told == (
        f"next: ecgjepa probe --model {run} --data ptb-xl={tmp_path / 'd'} --task superdiagnostic "
        f"--out {run}-probe"
    )
    after_pretraining(run, ["clinic"], {})
    assert "clinic=DIR --task TABLE.csv --labels COLUMN" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize(
    ("database", "task"),
    [("ptb-xl", "superdiagnostic"), ("georgia", "challenge-2021"), ("code-15", "code-15")],
)
def test_the_task_of_a_database(database, task):
    assert task_of(database) == task


@pytest.mark.parametrize(
    ("folds", "words"),
    [((9,), "fold 9"), ((8, 9), "folds 8, 9"), ((1, 2, 3), "folds 1 to 3"), ([1, 3], "folds 1, 3")],
)
def test_folds_in_words(folds, words):
    assert as_folds(folds) == words


@pytest.mark.parametrize(
    ("collapsed", "words"),
    [
        ([False, False], "no sign of a collapse"),
        ([False, True], "collapsing at 1 of 2 logged steps, last at step 20. Try a lower train."),
    ],
)
def test_the_end_of_a_run_says_what_its_numbers_mean(tmp_path, capsys, collapsed, words):
    from ecgjepa.config import load_preset
    from ecgjepa.objectives.build import objective_of

    config = load_preset("tiny")
    written = objective_of(config).words().model_copy(update={"picture": None})
    (tmp_path / "objective.json").write_text(written.model_dump_json())
    lines = [
        {
            "step": 10 * (n + 1),
            "loss": 0.5 + n,
            "spread": 0.25,
            "collapsed": one,
            "loss_to_mean": 0.999,
        }
        for n, one in enumerate(collapsed)
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    print_run(tmp_path)
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines()[1:])) <= 79
    told = " ".join(told.split())
    assert "loss: 0.5000 at step 10, 1.5000 at the end" in told
    assert "It may rise on the way" in told
    assert "spread: 0.250, the share of the target features' size" in told
    assert words in told
    assert "caution: the loss is 0.999 of that of predicting the mean" in told
