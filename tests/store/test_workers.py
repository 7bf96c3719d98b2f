"""A store is the same to the byte, whoever writes its shards and whatever ends them."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from clusters import local_cluster
from conftest import content, write_ptb_xl
from joblib import parallel_config

from ecgjepa.cli import app
from ecgjepa.errors import RecordFormatError, StoreError
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.merge import finish
from ecgjepa.store.prepare import prepare, prepare_share
from ecgjepa.store.shard_plan import Settings, make_plan
from ecgjepa.store.shards import is_written
from ecgjepa.store.writing import _write

distributed = pytest.importorskip("distributed")
psutil = pytest.importorskip("psutil")

OPTIONS = {"folds": "all", "records_per_shard": 5}
RECORDS = 60


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_ptb_xl(tmp_path_factory.mktemp("source"), records=RECORDS, seconds=2.0)


@pytest.fixture(scope="module")
def expected(source, tmp_path_factory) -> dict[str, bytes]:
    store = tmp_path_factory.mktemp("serial") / "store"
    prepare({"ptb-xl": source}, store, workers=1, **OPTIONS)
    return content(store)


@pytest.fixture(scope="module")
def cluster():
    with local_cluster(threads_per_worker=2) as found:
        yield found


def command(source: Path, store: Path, *more: str) -> list[str]:
    options = ["--folds", "all", "--records-per-shard", "5"]
    ecgjepa = [sys.executable, "-m", "ecgjepa", "--quiet", "prepare"]
    return [*ecgjepa, f"ptb-xl={source}", "--store", str(store), *options, *more]


def started(source: Path, store: Path) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """Start the command with two workers; return it and its workers once a shard is written."""
    process = subprocess.Popen(
        command(source, store, "--workers", "2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(store.glob("parts/0*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    return process, children


def assert_gone(children: "list[psutil.Process]") -> None:
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_no_process_is_started_for_one_worker(source, tmp_path, expected, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    monkeypatch.setattr("ecgjepa.engine.pieces.joblib.Parallel", None)
    seen = []
    prepare(
        {"ptb-xl": source},
        tmp_path / "s",
        workers=1,
        progress=lambda done, total: seen.append((done, total)),
        **OPTIONS,
    )
    assert seen == [(done, RECORDS) for done in range(1, RECORDS + 1)]
    assert content(tmp_path / "s") == expected


def test_a_killed_process_is_replaced(source, tmp_path, expected, caplog):
    killed = []

    def kill(done: int, total: int) -> None:
        if not killed:
            workers = [
                each
                for each in psutil.Process().children()
                if any("popen_loky" in word for word in each.cmdline())
            ]
            workers[0].kill()
            killed.extend(workers)

    prepare({"ptb-xl": source}, tmp_path / "s", workers=2, progress=kill, **OPTIONS)
    assert "workers failed: TerminatedWorkerError" in caplog.text
    assert content(tmp_path / "s") == expected


def test_a_killed_worker_of_a_cluster_is_replaced(source, tmp_path, expected, cluster):
    killed = []
    with distributed.Client(cluster, set_as_default=False) as client:

        def kill(done: int, total: int) -> None:
            if not killed:
                killed.extend(client.run(os.getpid).values())
                os.kill(killed[0], signal.SIGKILL)

        with parallel_config("dask", client=client):
            prepare({"ptb-xl": source}, tmp_path / "s", progress=kill, **OPTIONS)
    assert len(killed) == 2
    assert content(tmp_path / "s") == expected


def test_the_command_on_a_cluster(source, tmp_path, expected, cluster):
    where = ["--backend", "dask", "--scheduler", cluster.scheduler_address, "--workers", "3"]
    app(command(source, tmp_path / "s", *where)[3:], standalone_mode=False)
    assert content(tmp_path / "s") == expected


def test_threads(source, tmp_path, expected, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    with parallel_config("threading", n_jobs=3):
        prepare({"ptb-xl": source}, tmp_path / "s", **OPTIONS)
    assert content(tmp_path / "s") == expected


def test_an_error_ends_threads_and_leaves_no_file_half_written(source, tmp_path):
    copy = write_ptb_xl(tmp_path / "source", records=RECORDS, seconds=2.0)
    (copy / "records500/00000/00009_hr.dat").write_bytes(b"x")
    with parallel_config("threading", n_jobs=3), pytest.raises(RecordFormatError, match="00009"):
        prepare({"ptb-xl": copy}, tmp_path / "s", on_bad="raise", **OPTIONS)
    assert not list(tmp_path.rglob(".partial*"))


def test_a_killed_command_leaves_no_worker_and_resumes(source, tmp_path, expected):
    process, workers = started(source, tmp_path / "s")
    process.kill()
    process.communicate()
    assert_gone(workers)
    prepare({"ptb-xl": source}, tmp_path / "s", **OPTIONS)
    assert content(tmp_path / "s") == expected


def test_ctrl_c_ends_all_with_130(source, tmp_path, expected):
    process, workers = started(source, tmp_path / "s")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert_gone(workers)
    assert not list(tmp_path.rglob(".partial*"))
    prepare({"ptb-xl": source}, tmp_path / "s", **OPTIONS)
    assert content(tmp_path / "s") == expected


def test_a_worker_that_was_forgotten_does_not_write_into_another_store(source, tmp_path):
    """As on a cluster, where nobody ends the workers of a command that was killed."""
    store = tmp_path / "s"
    make = partial(make_plan, {"ptb-xl": source}, "all")
    prepare_share({"ptb-xl": source}, store, (1, 2), **OPTIONS)
    old = make(Settings(PreprocessingConfig(), records_per_shard=4))
    before = content(store)
    with pytest.raises(StoreError, match="another store is being prepared there now"):
        _write(old.job(store, 1), old.digest())
    assert content(store) == before
    with pytest.raises(StoreError, match="a worker finds no store"):
        _write(old.job(tmp_path / "elsewhere", 1), old.digest())
    assert not (tmp_path / "elsewhere").exists()
    ours = make(Settings(PreprocessingConfig(), records_per_shard=5))
    _write(ours.job(store, 1), ours.digest())
    assert is_written(store, 1, "raw")
    with pytest.raises(StoreError, match="not written yet"):
        finish(store)
