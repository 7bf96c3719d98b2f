"""An archive that fails in all the ways archives do, full disks, and interrupted runs."""

import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fetching.georgia import GEORGIA, MAT, NUM_FILES, contents, of_georgia

from ecgjepa.fetching import client, fetch, transfer, work
from ecgjepa.files import DiskFullError


@pytest.mark.parametrize("cuts", [1, 3])
def test_a_cut_connection_goes_on_from_where_it_was(server, georgia, tmp_path, cuts):
    server.faults[GEORGIA + MAT].extend([("cut", 1000)] * cuts)
    assert georgia().failures == ()
    assert [request.range for request in server.gets(MAT)] == [
        None,
        *(f"bytes={1000 * (n + 1)}-" for n in range(cuts)),
    ]
    tag = f'"{hashlib.sha256(of_georgia()[MAT]).hexdigest()[:12]}"'
    assert [request.if_range for request in server.gets(MAT)] == [None, *[tag] * cuts]
    assert contents(tmp_path / "g") == of_georgia()


def test_a_server_without_ranges_starts_over(server, georgia, tmp_path):
    server.ranges = False
    server.faults[GEORGIA + MAT].append(("cut", 1000))
    assert georgia().failures == ()
    assert contents(tmp_path / "g") == of_georgia()


def test_a_file_that_changed_meanwhile_starts_over(server, georgia, tmp_path):
    path = tmp_path / "g" / MAT
    path.parent.mkdir(parents=True)
    transfer.partial_of(path).write_bytes(b"old beginning")
    transfer._tag_file(transfer.partial_of(path)).write_text('"old"')
    assert georgia().failures == ()
    assert [request.if_range for request in server.gets(MAT)] == ['"old"']
    assert contents(tmp_path / "g") == of_georgia()


@pytest.mark.parametrize("start", ["all", "too much", "wrong"])
def test_odd_beginnings(server, georgia, tmp_path, start):
    content = of_georgia()[MAT]
    path = tmp_path / "g" / MAT
    path.parent.mkdir(parents=True)
    odd = {"all": content, "too much": content + b"x", "wrong": b"wrong"}[start]
    transfer.partial_of(path).write_bytes(odd)
    assert georgia().failures == ()
    assert len(server.gets(MAT)) == {"all": 1, "too much": 2, "wrong": 2}[start]
    assert contents(tmp_path / "g") == of_georgia()


def test_bytes_corrupted_once_are_fetched_again(server, georgia, tmp_path):
    server.faults[GEORGIA + MAT].append("corrupt")
    result = georgia()
    assert (result.num_fetched, result.failures) == (NUM_FILES, ())
    assert len(server.gets(MAT)) == 2
    assert contents(tmp_path / "g") == of_georgia()


def test_bytes_corrupted_always_are_reported_and_never_get_the_name(server, georgia, tmp_path):
    server.faults[GEORGIA + MAT].extend(["corrupt"] * 9)
    result = georgia()
    assert [failure.path for failure in result.failures] == [MAT]
    assert "sha256 is not the published one, after 3 downloads" in result.failures[0].reason
    assert len(server.gets(MAT)) == 3
    assert contents(tmp_path / "g") == {k: v for k, v in of_georgia().items() if k != MAT}


@pytest.mark.parametrize("length", [10, 99_999])
def test_a_wrong_length_once(server, georgia, tmp_path, monkeypatch, length):
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", 0.3)
    server.faults[GEORGIA + MAT].append(("length", length))
    server.faults[GEORGIA + "g1/E00002.mat"].append(("length", length))
    assert georgia(jobs=1).failures == ()
    assert contents(tmp_path / "g") == of_georgia()


def test_missing_and_forbidden_files_are_reported_at_once(server, georgia):
    server.faults[GEORGIA + MAT].append(404)
    server.faults[GEORGIA + "g1/E00002.mat"].append(403)
    result = georgia()
    reasons = dict(result.failures)
    assert reasons[MAT] == "HTTP 404: the server does not have it"
    assert reasons["g1/E00002.mat"].startswith("HTTP 403: the server refuses it")
    assert len(server.gets(".mat")) == 2
    assert georgia().failures == ()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server, georgia, status):
    server.faults[GEORGIA + MAT].extend([status, status])
    assert georgia().failures == ()
    assert len(server.gets(MAT)) == 3


def test_a_server_that_stays_busy_is_reported(server, georgia):
    server.faults[GEORGIA + MAT].extend([503] * 99)
    result = georgia()
    assert dict(result.failures) == {MAT: "HTTP 503 (tried 6 times)"}


def test_it_waits_between_attempts(server, georgia, monkeypatch):
    waits = []
    monkeypatch.setattr(transfer, "RETRY_SECONDS", (1.0, 2.0, 4.0))
    monkeypatch.setattr(client.Client, "wait", lambda self, seconds: waits.append(seconds))
    server.faults[GEORGIA + MAT].extend([503, 503, 503])
    assert georgia().failures == ()
    assert waits == [1.0, 2.0, 4.0]


def test_silence_counts_as_broken(server, georgia, monkeypatch, tmp_path):
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", 0.2)
    server.faults[GEORGIA + MAT].append(("stall", 1000))
    assert georgia().failures == ()
    assert [request.range for request in server.gets(MAT)] == [None, "bytes=1000-"]


def test_a_server_that_is_gone_is_given_up(server, georgia, monkeypatch):
    monkeypatch.setattr(work, "MOST_FAILURES_IN_A_ROW", 3)
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", 0.2)
    georgia(only=("nothing",))  # The list is there, then the server goes.
    server.shutdown()
    server.server_close()
    result = georgia(jobs=1)
    assert result.gave_up
    assert len(result.failures) == 3
    assert "tried 6 times" in result.failures[0].reason


def test_no_redirect_away_from_encryption():
    """A client that asked for https:// does not follow to http://."""

    class Answer:
        status = 302
        length = 0

        def getheader(self, name):
            return "http://elsewhere.example/x"

    asked = client.Client(threading.Event())
    asked._send = lambda *_: Answer()
    with pytest.raises(client.RefusedError, match="which is not encrypted"):
        asked.get("https://physionet.org/x")
    with pytest.raises(client.RefusedError, match="from one address to the next"):
        asked.get("http://mirror.example/x")


def test_a_disk_that_fills_up_stops_everything(server, georgia, tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, block):
            super().write(block[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = transfer.open_unlinked

    def open_full(path, mode):
        return Full(path, mode) if path.name.endswith("E00001.mat") else real(path, mode)

    monkeypatch.setattr(transfer, "open_unlinked", open_full)
    with pytest.raises(DiskFullError, match=r"no space left .*resumes from here"):
        georgia()
    monkeypatch.setattr(transfer, "open_unlinked", real)
    assert MAT not in contents(tmp_path / "g")
    assert georgia().failures == ()
    assert server.gets(MAT)[-1].range == "bytes=100-"
    assert contents(tmp_path / "g") == of_georgia()


def test_an_interrupted_run_goes_on(server, georgia, tmp_path, monkeypatch):
    """Ctrl-C reaches the main thread while a worker waits for bytes."""
    server.faults[GEORGIA + MAT].append(("stall", 4000))
    arrived = []
    monkeypatch.setattr(work.Work, "_count", lambda self, num_bytes: arrived.append(num_bytes))

    def interrupt(*_):
        if server.blocked.is_set() and sum(arrived) == sum(map(len, of_georgia().values())) - 6240:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        georgia(progress=interrupt)
    monkeypatch.undo()
    assert MAT not in contents(tmp_path / "g")
    assert transfer.partial_of(tmp_path / "g" / MAT).stat().st_size == 4000
    server.requests.clear()
    result = georgia()
    assert (result.num_fetched, result.num_bytes, result.failures) == (1, 6240, ())
    assert [request.range for request in server.gets()] == ["bytes=4000-"]
    assert contents(tmp_path / "g") == of_georgia()


def test_a_killed_run_goes_on(server, georgia, tmp_path):
    server.faults[GEORGIA + MAT].append(("stall", 4000))
    arguments = ["fetch", "georgia", "--to", str(tmp_path / "g"), "--base-url", server.url]
    source = str(Path(fetch.__file__).parents[2])
    child = subprocess.Popen(
        [sys.executable, "-m", "ecgjepa", *arguments],
        env=os.environ | {"PYTHONPATH": source},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    partial = transfer.partial_of(tmp_path / "g" / MAT)
    try:
        assert server.blocked.wait(20)
        for _ in range(100):
            if partial.exists() and partial.stat().st_size:
                break
            threading.Event().wait(0.02)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert MAT not in contents(tmp_path / "g")
    done = partial.stat().st_size if partial.exists() else 0
    server.requests.clear()
    assert georgia().failures == ()
    assert [r.range for r in server.gets(MAT)] == [f"bytes={done}-" if done else None]
    assert contents(tmp_path / "g") == of_georgia()
