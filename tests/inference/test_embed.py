"""Features in frames and files: of records, windows and tokens, of any layer, with their names."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import toy_ecg, write_wfdb
from sklearn.linear_model import LogisticRegression
from tiny_model import save_tiny_model

import ecgjepa
from ecgjepa.cli import main
from ecgjepa.errors import ConfigError, FeatureError, OutputError, RecordFormatError
from ecgjepa.inference import encoding
from ecgjepa.inference.outputs.arrays import Layout, write_part
from ecgjepa.inference.windows import record_windows
from ecgjepa.model.folder import load_model_folder
from ecgjepa.signals.leads import LEADS

NUM_FILES = 12


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """Models and a folder of records: of two kinds, of three lengths, one damaged."""
    root = tmp_path_factory.mktemp("clinic")
    rng = np.random.default_rng(0)
    save_tiny_model(root / "model")
    save_tiny_model(root / "leads", head=False, lead_patches=True, patch_size=50)
    for number in range(NUM_FILES):
        digital = toy_ecg(rng, num_samples=(600, 2500, 5000)[number % 3], kind=number % 2)
        file = write_wfdb(root / "files" / f"{number:02d}.hea", digital)
    file.with_suffix(".dat").write_bytes(b"x")
    return root


@pytest.fixture(scope="module")
def expected(clinic):
    """Return the normalised windows of each record, the encoder, and its number of registers."""
    loaded, config = load_model_folder(clinic / "model")
    windows = {}
    for number in range(NUM_FILES - 1):
        file = str(clinic / "files" / f"{number:02d}.hea")
        found, _ = record_windows(ecgjepa.read_record(file), config)
        windows[file] = config.normalisation.build()(next(found.chunks(len(found))))
    return windows, loaded.encoder, config.encoder.num_registers


def test_a_frame_has_a_row_for_each_record_and_names_the_others(clinic, expected, caplog):
    frame = ecgjepa.embed(clinic / "files", clinic / "model")
    windows, encoder, registers = expected
    assert frame.index.tolist() == list(windows)
    assert frame.index.name == "file"
    assert frame.columns.tolist() == [f"f{number}" for number in range(16)]
    assert frame.dtypes.eq(np.float32).all()
    for file, signal in windows.items():
        with torch.inference_mode():
            means = encoder(signal)[:, registers:].mean(dim=(0, 1))
        np.testing.assert_allclose(frame.loc[file], means, atol=1e-5)
    ((file, error),) = frame.attrs["errors"].items()
    assert file == str(clinic / "files" / "11.hea")
    assert "truncated" in error
    assert "1 of 12 records cannot be used and have no row" in caplog.text
    with pytest.raises(RecordFormatError, match="truncated"):
        ecgjepa.embed(clinic / "files", clinic / "model", on_bad="raise")


def test_a_single_path_is_not_taken_letter_by_letter(clinic):
    file = str(clinic / "files" / "00.hea")
    one = ecgjepa.embed(file, clinic / "model")
    assert one.index.tolist() == [file]
    pd.testing.assert_frame_equal(one, ecgjepa.embed([file], clinic / "model"))
    assert ecgjepa.predict(file, clinic / "model")[0].file == file
    names = [found.file for found in ecgjepa.predict(str(clinic / "files"), clinic / "model")]
    assert len(names) == NUM_FILES
    proba = ecgjepa.load_model(clinic / "model").predict_proba(clinic / "files")
    assert proba.shape == (NUM_FILES - 1, 3)
    assert list(proba.attrs["errors"]) == names[-1:]


def test_windows_tokens_and_layers_are_the_encoders(clinic, expected):
    windows, encoder, registers = expected
    options = {"files": clinic / "files", "model": clinic / "model"}
    per_window = ecgjepa.embed(**options, pool="window")
    per_token = ecgjepa.embed(**options, pool="token", layer="all")
    first = ecgjepa.embed(**options, pool="token", layer=1)
    second = ecgjepa.embed(**options, pool="token", layer=2)
    assert per_window.index.names == ["file", "start"]
    assert per_token.index.names == ["file", "start", "token"]
    assert per_token.columns[[0, 15, 16]].tolist() == ["layer1_f0", "layer1_f15", "layer2_f0"]
    np.testing.assert_array_equal(per_token.iloc[:, :16], first)
    np.testing.assert_array_equal(per_token.iloc[:, 16:], second)
    for file, signal in windows.items():
        with torch.inference_mode():
            tokens = encoder(signal)[:, registers:]
        own = per_window.loc[file]
        assert own.index.tolist() == [1.25 * number for number in range(len(signal))]
        np.testing.assert_allclose(own, tokens.mean(dim=1), atol=1e-5)
        own = second.loc[file]
        assert own.index.get_level_values("token").tolist() == [*range(25)] * len(signal)
        np.testing.assert_allclose(own.to_numpy().reshape(tokens.shape), tokens, atol=1e-5)
    with pytest.raises(ConfigError, match="layer 3: the encoder has layers 1 to 2"):
        ecgjepa.embed(**options, layer=3)


def test_some_leads_of_any_layer(clinic):
    files, model = clinic / "files", clinic / "leads"
    some = ecgjepa.embed(files, model, leads=("II", "V2"), layer="all")
    assert some.shape == (NUM_FILES - 1, 32)
    tokens = ecgjepa.embed(files, model, leads=("II", "V2"), layer=1, pool="token")
    counts = tokens.groupby(level=["file", "start"]).size()
    assert counts.eq(2 * 5).all()
    np.testing.assert_allclose(tokens.groupby(level="file").mean(), some.iloc[:, :16], atol=1e-5)
    every = ecgjepa.embed(files, model, leads=LEADS)
    np.testing.assert_allclose(every, ecgjepa.embed(files, model), atol=1e-5)


def test_scikit_learn_takes_the_table(clinic, tmp_path):
    out = tmp_path / "e.parquet"
    written = ecgjepa.embed_table(clinic / "files", clinic / "model", out)
    table = pd.read_parquet(out).set_index("file")
    labels = [int(file[-5]) % 2 for file in table.index]
    fitted = LogisticRegression(C=1e6, max_iter=5000).fit(table, labels)
    assert fitted.score(table, labels) == 1.0
    assert (written.num_inputs, written.num_rows) == (NUM_FILES, NUM_FILES - 1)
    summary = json.loads((tmp_path / "e.parquet.summary.json").read_text())
    (failure,) = summary["failures"]
    assert failure["file"].endswith("11.hea")
    assert failure["reason"] == "truncated"
    assert summary["request"]["options"]["pool"] == "record"


@pytest.mark.parametrize("pool", ["record", "window", "token"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_format_holds_the_frame(clinic, tmp_path, pool, dtype):
    files, model = clinic / "files", clinic / "model"
    frame = ecgjepa.embed(files, model, pool=pool)
    if dtype == "float16":
        frame = frame.astype(np.float16)
    for suffix in (".parquet", ".npz", ".npy"):
        written = ecgjepa.embed_table(
            files, model, tmp_path / f"e{suffix}", pool=pool, dtype=dtype, part_inputs=5
        )
        assert written.num_rows == len(frame)
    table = pd.read_parquet(tmp_path / "e.parquet").set_index(frame.index.names)
    pd.testing.assert_frame_equal(table, frame, rtol=1e-3 if dtype == "float16" else 1e-4)
    array = np.load(tmp_path / "e.npy")
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, table)
    ids = pd.read_csv(tmp_path / "e.ids.csv")
    assert ids.columns.tolist() == frame.index.names
    for name in frame.index.names:
        assert ids[name].tolist() == frame.index.get_level_values(name).tolist()
    with np.load(tmp_path / "e.npz") as arrays:
        np.testing.assert_array_equal(arrays["features"], array)
        assert arrays["file"][arrays["record"]].tolist() == ids["file"].tolist()
        for name in frame.index.names[1:]:
            assert arrays[name].tolist() == ids[name].tolist()


def test_a_killed_run_resumes(clinic, tmp_path):
    class Killed(BaseException):
        pass

    def progress(done, total):
        if done > 7:
            raise Killed

    arguments = (clinic / "files", clinic / "model")
    whole, out = tmp_path / "whole.npz", tmp_path / "e.npz"
    ecgjepa.embed_table(*arguments, whole)
    with pytest.raises(Killed):
        ecgjepa.embed_table(*arguments, out, part_inputs=3, progress=progress)
    with pytest.raises(OutputError, match=r"options\.pool \(\"record\" there, \"window\" asked"):
        ecgjepa.embed_table(*arguments, out, pool="window")
    assert ecgjepa.embed_table(*arguments, out).num_resumed == 6
    with np.load(whole) as one, np.load(out) as other:
        assert one["file"].tolist() == other["file"].tolist()
        np.testing.assert_allclose(one["features"], other["features"], rtol=1e-4, atol=1e-6)


def test_nothing_usable_is_an_empty_table(clinic, tmp_path):
    bad = clinic / "files" / "11.hea"
    assert ecgjepa.embed(bad, clinic / "model").shape == (0, 16)
    for suffix in (".parquet", ".npz", ".npy"):
        written = ecgjepa.embed_table(bad, clinic / "model", tmp_path / f"e{suffix}", pool="token")
        assert (written.num_rows, len(written.failures)) == (0, 1)
    assert pd.read_parquet(tmp_path / "e.parquet").shape == (0, 19)
    assert np.load(tmp_path / "e.npy").shape == (0, 16)
    with np.load(tmp_path / "e.npz") as arrays:
        assert arrays["features"].shape == (0, 16)
        assert len(arrays["file"]) == 0


def test_what_memory_or_half_precision_cannot_hold_is_an_error(clinic, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "MOST_BYTES", 6000)
    frame = ecgjepa.embed(clinic / "files", clinic / "model", pool="token")
    assert len(frame.index.unique("file")) == 8
    assert "175 rows, one a token, would take" in next(
        words for file, words in frame.attrs["errors"].items() if file.endswith("02.hea")
    )
    large = encoding.Encoded(np.full((1, 2), 7e4, np.float32))
    layout = Layout(["f0", "f1"], ("file",), np.dtype("<f2"))
    with pytest.raises(FeatureError, match="7e\\+04 is too large for float16"):
        write_part([("x", large)], layout, tmp_path)


def test_the_command_writes_features(clinic, tmp_path, monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["ecgjepa", "embed", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0

    out = tmp_path / "e.npy"
    words = (clinic / "files", "--model", clinic / "leads", "--out", out)
    assert run(*words, "--leads", "I,II", "--layer", "1", "--pool", "window") == 1
    assert "11 of 12 records encoded" in capsys.readouterr().out
    assert np.load(out).shape[1] == 16
    for wrong in (("--pool", "mean"), ("--layer", "x"), ("--dtype", "int8")):
        assert run(*words, *wrong) == 2
        assert "expected" in capsys.readouterr().err
    good = (clinic / "files" / "00.hea", "--model", clinic / "model", "--json")
    assert run(*good, "--out", tmp_path / "g.parquet", "--layer", "all") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 1
