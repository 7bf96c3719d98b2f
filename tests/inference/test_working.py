"""Tables whose parts are made by workers: no row is lost or repeated, whoever makes it."""

import numpy as np
import pytest
from conftest import toy_ecg, write_ptb_xl, write_wfdb
from joblib import parallel_config
from tiny_model import save_tiny_model

import ecgjepa
from ecgjepa.cli import main
from ecgjepa.errors import OutputError
from ecgjepa.inference.inputs.named import find_inputs
from ecgjepa.inference.outputs import working
from ecgjepa.inference.outputs.parts import Parts, parts_folder, writing
from ecgjepa.signals.preprocessing import PreprocessingConfig

NUM_FILES = 14


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """A model, a folder of records, some of which cannot be used, and a store."""
    root = tmp_path_factory.mktemp("clinic")
    rng = np.random.default_rng(0)
    save_tiny_model(root / "model")
    for number in range(NUM_FILES):
        digital = toy_ecg(rng, num_samples=int(rng.choice([600, 2500])))
        file = write_wfdb(root / "files" / f"{number:02d}.hea", digital)
        if number % 9 == 4:
            file.with_suffix(".dat").write_bytes(b"x")
    source = write_ptb_xl(root / "ptb-xl", records=9, seconds=2.0)
    config = PreprocessingConfig(sampling_rate=100.0)
    ecgjepa.prepare({"ptb-xl": source}, root / "store", folds="all", preprocessing=config)
    return root


@pytest.mark.parametrize(
    ("verb", "name"), [(ecgjepa.predict_table, "t.csv"), (ecgjepa.embed_table, "t.npz")]
)
def test_workers_write_the_same_bytes(clinic, tmp_path, verb, name):
    inputs = [clinic / "files", clinic / "store"]
    one, many = tmp_path / "one" / name, tmp_path / "many" / name
    expected = verb(inputs, clinic / "model", one, part_inputs=4)
    seen = []
    with parallel_config("threading"):
        found = verb(
            inputs,
            clinic / "model",
            many,
            part_inputs=4,
            workers=3,
            progress=lambda done, total: seen.append((done, total)),
        )
    assert many.read_bytes() == one.read_bytes()
    assert found.failures == expected.failures
    assert len(found.failures) == 2
    assert seen == sorted(seen)
    assert seen[-1] == (NUM_FILES + 9, NUM_FILES + 9)
    assert not parts_folder(many).exists()


@pytest.mark.parametrize("workers", [None, 3])
def test_a_run_resumes_with_the_parts_that_are_missing(clinic, tmp_path, workers, monkeypatch):
    """As when one of several workers was killed: there are parts behind the gap."""
    files, model = clinic / "files", clinic / "model"
    ecgjepa.predict_table(files, model, tmp_path / "whole.csv", part_inputs=4)
    out = tmp_path / "t.csv"
    monkeypatch.setattr(working, "_spans", lambda *_: [(0, 4), (8, 12), (12, 14)])

    def stop(done, total):
        if done == 8:
            raise InterruptedError

    with parallel_config("sequential"), pytest.raises(InterruptedError):
        ecgjepa.predict_table(files, model, out, part_inputs=4, progress=stop)
    monkeypatch.undo()
    names = [place.name for place in sorted(parts_folder(out).glob("part-*"))]
    assert names == ["part-000000000-000000004", "part-000000008-000000012"]
    with parallel_config("threading"):
        written = ecgjepa.predict_table(files, model, out, part_inputs=4, workers=workers)
    assert written.num_resumed == 8
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_inputs_are_cut_across_files_and_stores(clinic):
    inputs = find_inputs([clinic / "store", clinic / "files"])
    config = PreprocessingConfig(sampling_rate=100.0)
    whole = [(name, getattr(found, "prepared", None)) for name, found in inputs.usable(config)]
    for first, stop in [(0, 3), (7, 12), (9, 23), (5, 6), (0, 23)]:
        some = working._cut(inputs, first, stop)
        assert some.names() == inputs.names()[first:stop]
        for (name, found), (other, prepared) in zip(
            some.usable(config), whole[first:stop], strict=True
        ):
            assert name == other
            if prepared is not None:
                np.testing.assert_array_equal(found.prepared.samples, prepared.samples)


def test_spans_lie_at_multiples():
    assert working._spans([(0, 10)], 4) == [(0, 4), (4, 8), (8, 10)]
    assert working._spans([(3, 5), (7, 12)], 4) == [(3, 4), (4, 5), (7, 8), (8, 12)]
    assert working._spans([], 4) == []


def test_a_worker_of_another_run_adds_nothing(tmp_path):
    """As on a cluster, where nobody ends the workers of a command that was killed."""
    out, request = tmp_path / "t.csv", {"inputs": {"number": 4}}
    with writing(out, request) as parts:
        parts.add(0, 2, 0, [], lambda folder: None)
        assert parts.missing() == [(2, 4)]
        old = Parts(out, parts.request | {"model_sha256": "of another"})
        with pytest.raises(OutputError, match="not, or no longer, of this output"):
            old.add(2, 2, 0, [], lambda folder: None)
        assert parts.missing() == [(2, 4)]
        assert parts.missing(0, 3) == [(2, 3)]
        assert not list(parts_folder(out).glob(".partial*"))


def test_workers_without_a_table_are_refused(clinic, monkeypatch, capsys):
    words = ["predict", str(clinic / "files"), "--model", str(clinic / "model"), "--workers", "2"]
    monkeypatch.setattr("sys.argv", ["ecgjepa", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "need --out" in capsys.readouterr().err
