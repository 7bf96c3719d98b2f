"""One odd file never ends the work on an archive: it is counted, by a name that can be read."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb

from ecgjepa.databases import listing
from ecgjepa.errors import DatabaseError, RecordFormatError
from ecgjepa.store.prepare import prepare


@pytest.fixture
def clinic(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a", "b", "odd"):
        write_wfdb(tmp_path / f"clinic/{name}.hea", toy_ecg(rng, num_samples=1000))
    return tmp_path / "clinic"


@pytest.mark.parametrize("error", [ZeroDivisionError("1/0"), MemoryError(), KeyError("x" * 9999)])
def test_what_no_one_foresaw_is_a_skipped_record(clinic, tmp_path, monkeypatch, error):
    real = listing.read_exact

    def read(path, **options):
        if path.stem == "odd":
            raise error
        return real(path, **options)

    monkeypatch.setattr(listing, "read_exact", read)
    summary = prepare({"clinic": clinic}, tmp_path / "store").databases["clinic"]
    assert (summary.stored, summary.skipped) == (2, {"internal": 1})
    (skip,) = summary.quarantine
    assert skip.record_id == "odd"
    assert "odd.hea" in skip.detail
    assert type(error).__name__ in skip.detail
    assert len(skip.detail) < 1000
    with pytest.raises(RecordFormatError, match=r"odd\.hea") as stop:
        prepare({"clinic": clinic}, tmp_path / "other", on_bad="raise")
    assert stop.value.__cause__ is error


def test_what_concerns_all_records_still_ends_it(clinic, tmp_path, monkeypatch):
    def read(path, **options):
        raise DatabaseError("a package is missing")

    monkeypatch.setattr(listing, "read_exact", read)
    with pytest.raises(DatabaseError, match="a package is missing"):
        prepare({"clinic": clinic}, tmp_path / "store")


@pytest.fixture
def latin_1(clinic) -> Path:
    """A record whose name is Latin-1, as on old shares."""
    (clinic / "odd.hea").rename(clinic / os.fsdecode(b"M\xfcller.hea"))
    return clinic


def test_a_name_that_is_not_utf_8_is_skipped(latin_1, tmp_path):
    summary = prepare({"clinic": latin_1}, tmp_path / "store").databases["clinic"]
    assert (summary.listed, summary.stored) == (3, 2)
    assert summary.skipped == {"unreadable_name": 1}
    (skip,) = summary.quarantine
    assert skip.record_id == r"M\xfcller.hea"
    assert "not UTF-8; rename it" in skip.detail
    for name in ("a", "b"):
        (latin_1 / f"{name}.hea").unlink()
    with pytest.raises(DatabaseError, match="not UTF-8"):
        prepare({"clinic": latin_1}, tmp_path / "other")


def test_such_names_can_be_printed(latin_1, tmp_path):
    """On a terminal that takes UTF-8 alone, and refuses anything else."""
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    path = os.fsencode(latin_1) + b"/M\xfcller.hea"
    start = [sys.executable, "-m", "ecgjepa", "plot"]
    drawn = subprocess.run(
        [*start, path, "--out", os.fsencode(tmp_path) + b"/M\xfcller.png"],
        env=strict,
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in drawn.stderr
    assert drawn.returncode == 0
    assert b"fcller.png" in drawn.stdout
    refused = subprocess.run(
        [*start, path.replace(b"ller", b"sing"), "--out", tmp_path / "x.png"],
        env=strict,
        capture_output=True,
    )
    assert b"Traceback" not in refused.stderr
    assert refused.returncode == 2
