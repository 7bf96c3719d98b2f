"""Pieces are done once each, whoever does them and whatever ends the workers."""

import json
import os
from functools import partial

import numpy as np
import pytest
from clusters import local_cluster
from engine_tasks import fail, leave_a_trace, note, note_unless_deadly, result
from joblib import parallel_config
from joblib.parallel import BACKENDS, get_active_backend
from threadpoolctl import threadpool_info, threadpool_limits

from ecgjepa.engine import pieces, workforce
from ecgjepa.engine.backends import using_backend
from ecgjepa.engine.pieces import do_pieces
from ecgjepa.engine.workforce import choose_workforce
from ecgjepa.errors import EngineError

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster():
    with local_cluster(threads_per_worker=1) as found:
        yield found


def run(folder, task, numbers, at_once=2, **kwargs):
    seen = []
    do_pieces(
        task,
        numbers,
        lambda number: (folder, number),
        at_once=at_once,
        is_done=lambda number: result(folder, number).exists(),
        finished=seen.append,
        **kwargs,
    )
    return seen, {n: json.loads(result(folder, n).read_text()) for n in numbers}


def overlaps(found) -> int:
    """Return how many pieces were worked on at a time, at most."""
    times = sorted((each["begin"], each["end"]) for each in found.values())
    return max(sum(begin <= start < end for begin, end in times) for start, _ in times)


def test_processes_of_this_machine(tmp_path):
    seen, found = run(tmp_path, note, range(6))
    assert sorted(seen) == list(range(6))
    assert 1 <= len({each["process"] for each in found.values()}) <= 2
    assert overlaps(found) <= 2
    assert {count for each in found.values() for count in each["threads"]} <= {1}


def test_threads_leave_the_limit_of_linear_algebra_as_it_was(tmp_path):
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpool_limits(2), parallel_config("threading"):
        _, found = run(tmp_path, note, range(8), at_once=3)
        assert {count for each in found.values() for count in each["threads"]} == {1}
        assert {pool["num_threads"] for pool in threadpool_info()} == {2}
    assert overlaps(found) > 1


def test_a_cluster_works_on_so_many_at_a_time_as_was_asked_for(tmp_path, cluster):
    with using_backend("dask", cluster.scheduler_address):
        seen, found = run(tmp_path, note, range(5), at_once=1)
    assert sorted(seen) == list(range(5))
    assert overlaps(found) == 1


def test_a_cluster_that_would_leave_the_work_to_this_process(tmp_path, monkeypatch, caplog):
    """As Ray's backend does, whose number of jobs is one unless joblib is given another."""

    class Far(BACKENDS["threading"]):
        def effective_n_jobs(self, n_jobs):
            return 3 if n_jobs == -1 else n_jobs

    with parallel_config(Far()):
        assert choose_workforce(None, 20, 0) == (None, False)
        _, found = run(tmp_path, note, range(6), at_once=None)
        monkeypatch.setattr(Far, "effective_n_jobs", lambda *_: 1)
        assert choose_workforce(None, 20, 0) == (1, True)
        assert "leaves the work to this process" in caplog.text
    assert overlaps(found) > 1


def test_a_cluster_does_equal_pieces_each(tmp_path, cluster):
    with using_backend("dask", cluster.scheduler_address):
        do_pieces(
            leave_a_trace,
            range(4),
            lambda number: tmp_path,
            at_once=None,
            is_done=lambda number: True,
            finished=lambda number: None,
        )
    assert len(list(tmp_path.iterdir())) == 4


def test_a_worker_that_ends_is_replaced_and_one_that_always_ends_is_named(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(pieces, "_PATIENCE", 3)
    seen = []
    with pytest.raises(EngineError, match=r"failed 3 times .*Not done: piece 3\. Was a worker"):
        do_pieces(
            note_unless_deadly,
            range(6),
            lambda number: (tmp_path, number),
            at_once=2,
            is_done=lambda number: result(tmp_path, number).exists(),
            finished=seen.append,
        )
    assert sorted(seen) == [0, 1, 2, 4, 5]
    assert "TerminatedWorkerError" in caplog.text


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_an_error_of_a_task_ends_all_and_comes_as_it_is(tmp_path, backend):
    with parallel_config(backend), pytest.raises(Exception, match="this and that") as caught:
        run(tmp_path, fail, range(400))
    words = "".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert "in a worker" in words
    assert 'raise AwkwardError("this", "that")' in words
    assert len(list(tmp_path.glob("*.json"))) < 20


def test_results_that_cannot_be_seen_here(tmp_path):
    """As on a cluster whose machines do not share the folder."""
    with (
        parallel_config("threading"),
        pytest.raises(EngineError, match="written, but they cannot be seen here"),
    ):
        do_pieces(
            note,
            range(2),
            lambda number: (tmp_path, number),
            at_once=2,
            is_done=lambda number: False,
            finished=lambda number: None,
        )


def test_who_works(monkeypatch):
    monkeypatch.setattr(workforce.joblib, "cpu_count", lambda: 8)
    choose = partial(choose_workforce, pieces=20)
    assert choose(None, worthwhile=3) == (3, False)
    assert choose(None, worthwhile=0) == (1, True)
    assert choose(5, worthwhile=0) == (5, False)
    assert choose(1, worthwhile=9) == (1, True)
    assert choose(50, worthwhile=9) == (20, False)
    with parallel_config("threading", n_jobs=-2):
        assert choose(None, worthwhile=0) == (7, False)
        assert choose(2, worthwhile=0) == (2, False)
    with parallel_config("sequential"):
        assert choose(None, worthwhile=9).is_here


def test_who_works_on_a_cluster(cluster, tmp_path, monkeypatch):
    with using_backend("dask", cluster.scheduler_address):
        assert choose_workforce(None, 20, 0) == (None, False)
        assert choose_workforce(1, 20, 0) == (1, False)
        backend, _ = get_active_backend()
        monkeypatch.setattr(type(backend), "effective_n_jobs", lambda *_: 1)
        assert choose_workforce(None, 20, 0) == (None, False)
        _, found = run(tmp_path, note, range(2), at_once=None)
        assert os.getpid() not in {each["process"] for each in found.values()}

        def none(*_):
            raise TimeoutError("no worker after 10 seconds")

        monkeypatch.setattr(type(backend), "effective_n_jobs", none)
        with pytest.raises(EngineError, match="cannot be reached: no worker after 10"):
            choose_workforce(None, 20, 0)


@pytest.mark.parametrize(
    ("name", "scheduler", "words"),
    [
        ("slurm", None, "expected loky, threading, dask"),
        ("dask", None, "go together"),
        (None, "tcp://127.0.0.1:1", "go together"),
        ("loky", "tcp://127.0.0.1:1", "go together"),
        ("dask", "tcp://127.0.0.1:1", "no Dask scheduler answers"),
        ("dask", "no:such:address", "no Dask scheduler answers"),
    ],
)
def test_a_backend_that_is_not_there(name, scheduler, words, monkeypatch):
    monkeypatch.setattr("ecgjepa.engine.backends._SCHEDULER_SECONDS", 0.5)
    with pytest.raises(EngineError, match=words), using_backend(name, scheduler):
        pass


def test_workers_of_another_version(cluster, monkeypatch):
    monkeypatch.setattr("ecgjepa.engine.backends.__version__", "0.0.1")
    address = cluster.scheduler_address
    with (
        pytest.raises(EngineError, match=r"reports ecgjepa .*; expected ecgjepa 0\.0\.1"),
        using_backend("dask", address),
    ):
        pass
