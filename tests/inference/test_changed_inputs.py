"""Outputs of files that have changed since: refused by name, or made anew; never served as new."""

import json
import os

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb
from tiny_model import save_tiny_model

import ecgjepa
from ecgjepa.errors import OutputError
from ecgjepa.inference.outputs.finished import summary_file
from ecgjepa.signals.leads import LEADS


class Killed(BaseException):
    """Ends a run at a chosen place, without any of its clean-up in files."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.mark.parametrize("suffix", [".dat", ".hea"])
def test_a_file_that_was_changed_is_noticed(model, tmp_path, suffix):
    file = write_wfdb(tmp_path / "in" / "a.hea", toy_ecg(np.random.default_rng(0)))
    out = tmp_path / "t.csv"
    ecgjepa.predict_table(tmp_path / "in", model, out)
    before = out.read_bytes()
    write_wfdb(file, toy_ecg(np.random.default_rng(1)))
    other, changed = {".dat": ".hea", ".hea": ".dat"}[suffix], file.with_suffix(suffix)
    os.utime(file.with_suffix(other), ns=(0, 0))
    os.utime(changed, ns=(0, summary_file(out).stat().st_mtime_ns + 1))
    words = rf"1 input file has changed, such as .*a\{suffix}, since it was written; --overwrite"
    with pytest.raises(OutputError, match=words):
        ecgjepa.predict_table(tmp_path / "in", model, out)
    assert out.read_bytes() == before
    assert ecgjepa.predict_table(tmp_path / "in", model, out, overwrite=True).num_resumed == 0
    assert out.read_bytes() != before
    assert ecgjepa.predict_table(tmp_path / "in", model, out).num_resumed == 1


def test_a_description_is_heeded_when_it_comes_or_changes(model, tmp_path):
    files, out = tmp_path / "in", tmp_path / "t.csv"
    files.mkdir()
    np.save(files / "a.npy", toy_ecg(np.random.default_rng(0)) / 1000)
    assert ecgjepa.predict_table(files, model, out).reasons == {"not_described": 1}
    told = {"sampling_rate": 500, "unit": "mV", "leads": list(LEADS)}
    (files / "ecg.json").write_text(json.dumps(told))
    with pytest.raises(OutputError, match="changed"):
        ecgjepa.predict_table(files, model, out)
    assert ecgjepa.predict_table(files, model, out, overwrite=True).num_used == 1
    (files / "ecg.json").write_text(json.dumps({**told, "sampling_rate": 250}))
    assert ecgjepa.predict_table(files, model, out, restart=True).num_resumed == 0


@pytest.mark.parametrize("how", ["restart", "overwrite"])
def test_anew_is_anew(model, tmp_path, how):
    out = tmp_path / "t.csv"
    file = write_wfdb(tmp_path / "a.hea", toy_ecg(np.random.default_rng(0)))
    ecgjepa.predict_table(file, model, out)
    assert ecgjepa.predict_table(file, model, out, **{how: True}).num_resumed == 0


def test_a_half_done_run_of_changed_files_is_refused(model, tmp_path):
    out, files = tmp_path / "t.csv", tmp_path / "in"
    for name in "ab":
        write_wfdb(files / f"{name}.hea", toy_ecg(np.random.default_rng(0)))

    def die(done, _):
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        ecgjepa.predict_table(files, model, out, part_inputs=1, progress=die)
    os.utime(files / "a.dat", ns=(0, 0))
    with pytest.raises(OutputError, match="since it was begun; --restart begins anew"):
        ecgjepa.predict_table(files, model, out)
    assert ecgjepa.predict_table(files, model, out, restart=True).num_resumed == 0
