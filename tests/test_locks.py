import errno
import os
import subprocess
import sys

import pytest

from ecgjepa.errors import StoreError
from ecgjepa.locks import LOCK_FILE, holding, working_in


def test_one_holder_at_a_time_and_none_after_a_failure(tmp_path, caplog, monkeypatch):
    path = tmp_path / "locks" / "a"
    with holding(path) as first, holding(path) as second, holding(tmp_path / "b") as other:
        assert (first, second, other) == (True, False, True)

    def fail():
        with holding(path):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with holding(path) as again:
        assert again

    def without_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("ecgjepa.locks.fcntl.flock", without_locks)
    with holding(path) as is_ours:
        assert is_ours
    assert "cannot be locked" in caplog.text


def test_who_waits_gets_the_lock_when_the_process_that_had_it_is_dead(tmp_path):
    held = tmp_path / "held"
    code = (
        "import sys, time, pathlib, ecgjepa.locks as locks\n"
        "with locks.holding(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(held)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with holding(held) as is_ours:
            assert not is_ours
        holder.kill()
        with holding(held, wait=True) as is_ours:
            assert is_ours


def test_a_second_process_learns_who_is_at_work(tmp_path):
    folder = tmp_path / "store"
    with working_in(folder, StoreError, "another prepare"):
        expected = rf"another prepare is at work .*\(process {os.getpid()} on .+\)"
        with (
            pytest.raises(StoreError, match=expected),
            working_in(folder, StoreError, "another prepare"),
        ):
            pass
        with (
            pytest.raises(StoreError, match="another prepare"),
            working_in(folder, StoreError, "another prepare", shared=True),
        ):
            pass
    assert not folder.exists(), "an empty folder that nobody works in is left behind"


def test_those_that_share_a_folder_keep_out_one_that_does_not(tmp_path):
    (tmp_path / "kept").write_text("x")
    with (
        working_in(tmp_path, StoreError, "a share", shared=True),
        working_in(tmp_path, StoreError, "a share", shared=True),
        pytest.raises(StoreError, match="a merge is at work"),
        working_in(tmp_path, StoreError, "a merge"),
    ):
        pass
    with working_in(tmp_path, StoreError, "a merge"):
        assert (tmp_path / LOCK_FILE).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
