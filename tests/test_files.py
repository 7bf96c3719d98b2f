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


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_what_is_written_may_be_read_by_whom_the_umask_allows(tmp_path, umask):
    """However a library made a file: safetensors makes its own readable by the owner alone."""
    before = os.umask(umask)
    try:
        with replacing_folder(tmp_path / "new/model") as partial:
            (partial / "weights").write_text("x")
            (partial / "weights").chmod(0o600)
            (partial / "folder").mkdir(mode=0o700)
            (partial / "folder/more").write_text("x")
        write_text(tmp_path / "new/text", "x")
    finally:
        os.umask(before)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    files, folders = 0o666 & ~umask, 0o777 & ~umask
    assert found == dict.fromkeys(("new", "model", "folder"), folders) | dict.fromkeys(
        ("weights", "more", "text"), files
    )
