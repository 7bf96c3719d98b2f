"""A finished table of predictions grows by new files, and by nothing else."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import toy_ecg, write_wfdb
from tiny_model import save_tiny_model

import ecgjepa
from ecgjepa.errors import OutputError
from ecgjepa.inference.encoding import LoadedEncoder
from ecgjepa.inference.outputs import parts
from ecgjepa.inference.predict import Model

READ = {
    "csv": pd.read_csv,
    "parquet": pd.read_parquet,
    "jsonl": lambda path: pd.read_json(path, lines=True),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("growing") / "model")


@pytest.fixture
def folder(tmp_path, rng):
    for name in ("b", "d", "f"):
        write_wfdb(tmp_path / "in" / f"{name}.hea", toy_ecg(rng, num_samples=1500))
    (tmp_path / "in/d.dat").write_bytes(b"x")
    return tmp_path / "in"


def add(folder, *names):
    for name in names:
        write_wfdb(folder / f"{name}.hea", toy_ecg(np.random.default_rng(7), num_samples=1500))


@pytest.fixture
def predicted(monkeypatch):
    """Collect the files that a model looks at."""
    seen, real = [], Model.answers

    def answers(self, usable, on_bad="skip"):
        for prediction in real(self, usable, on_bad):
            seen.append(Path(prediction.file).name)
            yield prediction

    monkeypatch.setattr(Model, "answers", answers)
    return seen


@pytest.mark.parametrize("kind", READ)
def test_new_files_alone_are_predicted_and_come_last(kind, folder, model, tmp_path, predicted):
    out = tmp_path / f"table.{kind}"
    ecgjepa.predict_table(folder, model, out)
    add(folder, "a", "e")
    predicted.clear()
    written = ecgjepa.predict_table(folder, model, out)
    assert predicted == ["a.hea", "e.hea"]
    assert (written.num_inputs, written.num_rows, written.num_resumed) == (5, 5, 3)
    assert [failure.file for failure in written.failures] == [str(folder / "d.hea")]
    table = READ[kind](out)
    assert [Path(file).name for file in table["file"]] == [
        "b.hea", "d.hea", "f.hea", "a.hea", "e.hea",
    ]  # fmt: skip
    whole = ecgjepa.predict_table(folder, model, tmp_path / f"whole.{kind}").path
    expected = READ[kind](whole).set_index("file").loc[table["file"]].reset_index()[list(table)]
    pd.testing.assert_frame_equal(table, expected)
    predicted.clear()
    again = ecgjepa.predict_table(folder, model, out)
    assert (again.num_resumed, predicted) == (5, [])
    add(folder, "c")
    assert ecgjepa.predict_table(folder, model, out).num_resumed == 5
    assert predicted == ["c.hea"]


def test_a_killed_run_over_new_files_resumes(folder, model, tmp_path, predicted, monkeypatch):
    out = tmp_path / "table.csv"
    ecgjepa.predict_table(folder, model, out)
    before = out.read_text()
    add(folder, "a", "e")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(parts.Parts, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            ecgjepa.predict_table(folder, model, out)
    assert out.read_text() == before
    predicted.clear()
    assert ecgjepa.predict_table(folder, model, out).num_rows == 5
    assert predicted == []
    assert out.read_text().startswith(before)


def features(out, pool):
    """Return the rows of an output as a frame."""
    ids = ["file", "start"] if pool == "window" else ["file"]
    if out.suffix == ".parquet":
        return pd.read_parquet(out).set_index(ids)
    if out.suffix == ".npy":
        index = pd.read_csv(out.with_name(f"{out.stem}.ids.csv")).set_index(ids).index
        return pd.DataFrame(np.load(out), index)
    with np.load(out) as content:
        frame = pd.DataFrame(content["features"])
        frame["file"] = content["file"][content["record"]]
        if pool == "window":
            frame["start"] = content["start"]
    return frame.set_index(ids)


@pytest.mark.parametrize("pool", ["record", "window"])
@pytest.mark.parametrize("kind", ["parquet", "npz", "npy"])
def test_features_grow_as_predictions_do(kind, pool, folder, model, tmp_path, monkeypatch):
    """Twice, with a file in the middle that cannot be used; only what is new is encoded."""
    seen, encode = [], LoadedEncoder.encode

    def encoded(self, usable):
        for file, found in encode(self, usable):
            seen.append(Path(file).name)
            yield file, found

    monkeypatch.setattr(LoadedEncoder, "encode", encoded)
    out, asked = tmp_path / f"features.{kind}", {"pool": pool, "dtype": "float16"}
    ecgjepa.embed_table(folder, model, out, **asked)
    for new in (["a", "e"], ["c"]):
        add(folder, *new)
        seen.clear()
        written = ecgjepa.embed_table(folder, model, out, **asked)
        assert seen == [f"{name}.hea" for name in new]
        assert [Path(failure.file).name for failure in written.failures] == ["d.hea"]
    found = features(out, pool)
    names = found.index.get_level_values("file")
    assert [Path(name).stem for name in dict.fromkeys(names)] == ["b", "f", "a", "e", "c"]
    whole = ecgjepa.embed_table(folder, model, tmp_path / f"whole.{kind}", **asked)
    expected = features(whole.path, pool)
    assert (written.num_rows, written.num_inputs) == (len(expected), whole.num_inputs)
    rows = list(dict.fromkeys(names))
    pd.testing.assert_frame_equal(found, expected.loc[rows])
    seen.clear()
    assert ecgjepa.embed_table(folder, model, out, **asked).num_resumed == 6
    assert seen == []
    add(folder, "b")
    with pytest.raises(OutputError, match="changed"):
        ecgjepa.embed_table(folder, model, out, **asked)


def test_features_of_another_kind_or_half_lost_do_not_grow(folder, model, tmp_path):
    out = tmp_path / "features.npy"
    ecgjepa.embed_table(folder, model, out)
    add(folder, "a")
    with pytest.raises(OutputError, match=r"differs in .*pool"):
        ecgjepa.embed_table(folder, model, out, pool="window")
    (tmp_path / "features.ids.csv").unlink()
    with pytest.raises(OutputError, match="--overwrite"):
        ecgjepa.embed_table(folder, model, out)


@pytest.mark.parametrize(
    "change",
    [{"inputs": 10**12}, {"inputs": "x"}, {"failures": []}, {"failures": [{"file": "d"}]}],
    ids=str,
)
def test_a_summary_that_does_not_fit_its_output_grows_nothing(change, folder, model, tmp_path):
    out = tmp_path / "features.npz"
    ecgjepa.embed_table(folder, model, out)
    add(folder, "a")
    summary = tmp_path / "features.npz.summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | change))
    with pytest.raises(OutputError, match="--overwrite"):
        ecgjepa.embed_table(folder, model, out)


@pytest.mark.parametrize("change", ["file", "fewer", "table", "option"])
def test_nothing_grows_if_more_than_new_files_differs(change, folder, model, tmp_path):
    out, options = tmp_path / "table.csv", {}
    ecgjepa.predict_table(folder, model, out)
    add(folder, "a")
    if change == "file":
        add(folder, "b")
    elif change == "fewer":
        shutil.move(folder / "f.hea", tmp_path / "f.hea")
        shutil.move(folder / "f.dat", tmp_path / "f.dat")
    elif change == "table":
        out.write_text(out.read_text().replace("0.", "1.", 1))
    else:
        options["on_bad"] = "mask"
    before = out.read_text()
    with pytest.raises(OutputError, match="--overwrite"):
        ecgjepa.predict_table(folder, model, out, **options)
    assert out.read_text() == before
    assert ecgjepa.predict_table(folder, model, out, **options, overwrite=True).num_resumed == 0


@pytest.mark.parametrize("kind", READ)
def test_what_is_no_longer_a_table_is_named_and_may_be_replaced(kind, folder, model, tmp_path):
    out = tmp_path / f"table.{kind}"
    ecgjepa.predict_table(folder, model, out)
    out.write_bytes(b"\xff not a table")
    with pytest.raises(OutputError, match="was changed since it was written"):
        ecgjepa.predict_table(folder, model, out)
    assert ecgjepa.predict_table(folder, model, out, overwrite=True).num_rows == 3
    assert len(READ[kind](out)) == 3
