import errno
import os
import stat
import time

import pytest

from ecgjepa.files import (
    PARTIAL_PREFIX,
    DiskFullError,
    remove_partial,
    replacing,
    replacing_folder,
    temporary_name,
    write_text,
)


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
    (tmp_path / ".partial-999999999-a").write_text("x")
    (tmp_path / ".partial-999999999-b").mkdir()
    (tmp_path / "keep").write_text("x")
    remove_partial(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["keep"]


def test_what_a_living_process_writes_stays(tmp_path):
    """Another process of this machine, and one of another machine until it is silent for long."""
    living, foreign = os.getppid(), f"{PARTIAL_PREFIX}00000000-1-x"
    own = temporary_name(tmp_path / "y").name
    neighbour = own.replace(f"-{os.getpid()}-", f"-{living}-")
    for name in (own, neighbour, foreign):
        (tmp_path / name).write_text("x")
    remove_partial(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {neighbour, foreign}
    long_ago = time.time() - 7200
    os.utime(tmp_path / foreign, (long_ago, long_ago))
    remove_partial(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [neighbour]


def test_files_of_a_folder_may_be_read_by_whoever_may_read_the_folder(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing_folder(tmp_path / "model") as partial:
            (partial / "weights").write_text("x")
            (partial / "weights").chmod(0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model/weights").stat().st_mode) == 0o640
