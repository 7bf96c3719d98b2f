"""The command, and one ONNX file that it made: tracing takes seconds, so most tests share it."""

import json
import sys

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb
from exported_models import save_model_of

from ecgjepa import cli


@pytest.fixture(scope="session")
def command():
    """Return a function that runs the command: exit code, stdout, stderr."""

    def run(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["ecgjepa", *map(str, arguments)])
            out, err = _Text(), _Text()
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            try:
                cli.main()
                code = 0
            except SystemExit as stop:
                code = stop.code or 0
        return code, "".join(out.parts), "".join(err.parts)

    return run


class _Text:
    """What is written, in order."""

    encoding = "utf-8"

    def __init__(self):
        self.parts = []

    def write(self, text):
        self.parts.append(text)
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return False


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Return the folder of a small classifier with all that a folder may hold."""
    return save_model_of(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="session")
def exported(command, folder):
    """Return the folder in which the command wrote ``m.onnx``, and the JSON that it printed."""
    to = folder.parent / "exported"
    path = to / "m.onnx"
    code, text, message = command("export", "--model", folder, "--onnx", path, "--json")
    assert code == 0, message
    (to / "m.json").write_text(text)
    assert json.loads(text)["out"] == str(path)
    return to


@pytest.fixture(scope="session")
def record(tmp_path_factory):
    """Return an ECG file of ten seconds at the model's rate."""
    digital = toy_ecg(np.random.default_rng(1), num_samples=1000, rate=100)
    return write_wfdb(tmp_path_factory.mktemp("wfdb") / "one.hea", digital, rate=100)
