import errno
import os
import subprocess
import sys

import pytest

from ecgjepa.files import DiskFullError, remove_partial, replacing, replacing_folder, write_text
from ecgjepa.locks import holding


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def write_half():
        with replacing(target) as stream:
            stream.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_folder_leaves_the_old_one_and_nothing_else(tmp_path):
    target = tmp_path / "run"
    with replacing_folder(target) as partial:
        (partial / "x").write_text("old")

    def write_half():
        with replacing_folder(target) as partial:
            (partial / "x").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert (target / "x").read_text() == "old"
    with replacing_folder(target) as partial:
        (partial / "y").write_text("new")
    assert [path.name for path in target.iterdir()] == ["y"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_so_and_cleaned_up(tmp_path, monkeypatch, code):
    def full(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=r"no space left .*a\.bin.*run the same command"):
        write_text(tmp_path / "a.bin", "x")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    (tmp_path / ".partial-1-a").write_text("x")
    (tmp_path / ".partial-1-b").mkdir()
    (tmp_path / "keep").write_text("x")
    remove_partial(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["keep"]


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

    monkeypatch.setattr("ecgjepa.files.fcntl.flock", without_locks)
    with holding(path) as is_ours:
        assert is_ours
    assert "cannot be locked" in caplog.text


def test_who_waits_gets_the_lock_when_the_process_that_had_it_is_dead(tmp_path):
    held = tmp_path / "held"
    code = (
        "import sys, time, pathlib, ecgjepa.files as files\n"
        "with files.holding(pathlib.Path(sys.argv[1])):\n"
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
