"""Copies of test records that pre-training saw are found by what they hold, whatever their name."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL_MODEL, write_ptb_xl, write_wfdb

import ecgjepa
from ecgjepa.checking.seen import find_seen, write_seen
from ecgjepa.errors import TaskError
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.prepare import prepare
from ecgjepa.store.reading import Store


def samples(source: Path, number: int) -> np.ndarray:
    return np.fromfile(source / f"records500/00000/{number:05d}_hr.dat", "<i2").reshape(-1, 12)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_ptb_xl(tmp_path_factory.mktemp("source"), records=40, seconds=10.0)


@pytest.fixture(scope="module")
def clinic(source, tmp_path_factory) -> Path:
    """Copies of some records under names of one's own: exact, and at another gain."""
    folder = tmp_path_factory.mktemp("clinic")
    for number in range(1, 41):
        digital = samples(source, number)
        if number % 2:
            digital = np.rint(digital / 5).astype(np.int16)
        gain = "200(0)/mV" if number % 2 else "1000(0)/mV"
        write_wfdb(folder / f"patient{number:03d}.hea", digital, gain=gain)
    return folder


@pytest.fixture(scope="module")
def run(clinic, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    config = PreprocessingConfig(sampling_rate=100.0)
    prepare({"clinic": clinic}, folder / "store", preprocessing=config)
    steps = ["train.steps=2", "train.warmup_steps=1", "train.checkpoint_every=2"]
    return ecgjepa.pretrain(folder / "store", folder / "run", overrides=[*SMALL_MODEL, *steps])


def test_exact_and_changed_copies_are_found(source, clinic, tmp_path):
    prepare({"clinic": clinic}, tmp_path / "seen")
    prepare({"ptb-xl": source}, tmp_path / "own", folds="all")
    write_seen(Store(tmp_path / "seen"), tmp_path / "seen.parquet")
    assert (tmp_path / "seen.parquet").stat().st_size < 40 * 32 + 3000
    assert b"patient" not in (tmp_path / "seen.parquet").read_bytes()
    rows = np.array([0, 1, 30])
    store = Store(tmp_path / "own")
    assert list(find_seen(tmp_path / "seen.parquet", store, rows)) == [
        (0, "clinic"),
        (1, "clinic"),
        (30, "clinic"),
    ]
    other = write_ptb_xl(tmp_path / "other", records=20, seed=7)
    prepare({"ptb-xl": other}, tmp_path / "strangers", folds="all")
    found = find_seen(tmp_path / "seen.parquet", Store(tmp_path / "strangers"), np.arange(20))
    assert list(found) == []


def probe(model: Path, source: Path, cache: Path, **options):
    return ecgjepa.run_protocol(
        model,
        {"ptb-xl": source},
        task="superdiagnostic",
        protocol="linear",
        cache=cache,
        **options,
    )


def test_a_probe_on_copies_is_refused(source, run, tmp_path, caplog):
    words = r"copies of \d+ of the \d+ validation and test records: .*\(in clinic\).*--allow-seen"
    with pytest.raises(TaskError, match=words):
        probe(run, source, tmp_path)
    with pytest.raises(TaskError, match=words):
        probe(next((run / "checkpoints").iterdir()), source, tmp_path)
    probe(run, source, tmp_path, allow_seen=True)
    assert "was pre-trained on copies of" in caplog.text


def test_the_model_folder_keeps_it_and_nothing_replaces_it(source, run, tmp_path):
    assert load_encoder(run).config.seen_file == run / "model/seen.parquet"
    copy = shutil.copytree(run / "model", tmp_path / "model")
    with (copy / "seen.parquet").open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(TaskError, match=r"seen\.parquet: has changed"):
        probe(copy, source, tmp_path)
