"""What a terminal is shown: names of files cannot command it, and JSON is JSON."""

import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgjepa import cli
from ecgjepa.errors import ConfigError, RecordFormatError
from ecgjepa.terminal.screen import print_error, print_json, print_line, print_wrapped, visible

HOSTILE = "a\x1b[31mred\x07\x9b\u202egnp.dcm\udcfc"
SHOWN = r"a\x1b[31mred\x07\x9b\x202egnp.dcm\xdcfc"


def test_control_characters_are_written_out(capsys):
    print_error(HOSTILE)
    print_line(HOSTILE + "\nforged")
    print_wrapped("error", HOSTILE)
    found = capsys.readouterr()
    assert found.err == f"ecgjepa: {SHOWN}\n"
    assert found.out == f"{SHOWN}\\nforged\nerror: {SHOWN}\n"


def test_usual_names_are_left_alone():
    usual = "Müller, 12-Kanal (µV) 心电图.dcm"
    assert visible(usual) == usual


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text):
    shown = visible(text)
    shown.encode()
    assert all(
        letter == "\n" or letter.isprintable() or letter.isspace()
        for letter in shown
        if ord(letter) < 160
    )


def test_json_is_json(capsys):
    content = {"name": HOSTILE, "score": float("nan"), "values": [1.5, float("inf")]}
    print_json(content)
    text = capsys.readouterr().out
    assert json.loads(text) == {"name": HOSTILE, "score": None, "values": [1.5, None]}
    assert not set(text) & set("\x1b\x07\x9b\u202e\udcfc")


def test_what_the_command_reports_on_the_way_is_written_out_too(monkeypatch, capsys, tmp_path):
    before = logging.getLogger().handlers[:]
    monkeypatch.setattr(sys, "argv", ["ecgjepa", "databases", "\x1b[31mx"])
    with pytest.raises(SystemExit):
        cli.main()
    logging.getLogger("ecgjepa").warning("file %s", HOSTILE)
    logging.getLogger().handlers[:] = before
    said = capsys.readouterr().err
    assert SHOWN in said
    assert "\x1b" not in said


@pytest.mark.parametrize("kind", [ConfigError, RecordFormatError])
def test_a_message_is_cut_but_keeps_its_advice(kind):
    said = str(kind("file: " + "x" * 100_000 + "; use another"))
    assert len(said) < 2000
    assert said.startswith("file: xxx")
    assert said.endswith("use another")
    assert str(kind("short")) == "short"
