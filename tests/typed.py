"""Run a command line as people type it."""

import shlex
import sys

import pytest

from ecgjepa import cli


def run(command: str, patch: pytest.MonkeyPatch, *, code: int = 0) -> None:
    """Run a command that begins with ``ecgjepa`` and check its exit code."""
    words = shlex.split(command)
    assert words[0] == "ecgjepa"
    patch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert (stop.value.code or 0) == code, command
