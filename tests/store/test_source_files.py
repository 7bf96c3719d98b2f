"""A store answers for the files it was made from: changed ones are never answered with old ones."""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import content, toy_ecg, write_ptb_xl, write_wfdb

from ecgjepa.checking.verify import verify
from ecgjepa.cli import main
from ecgjepa.databases import list_all
from ecgjepa.errors import StoreError
from ecgjepa.files import write_json
from ecgjepa.io import read_record
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store import resuming, source_files
from ecgjepa.store.manifest import SOURCE_FILES
from ecgjepa.store.prepare import prepare, prepare_cached
from ecgjepa.store.reading import Store
from ecgjepa.store.shard_plan import Settings, make_plan

CONFIG = PreprocessingConfig()


def archive(folder: Path, *, seed: int = 0, records: int = 6) -> Path:
    rng = np.random.default_rng(seed)
    for number in range(records):
        write_wfdb(folder / f"rec{number}.hea", toy_ecg(rng, num_samples=1000))
    return folder


def double(header: Path) -> None:
    """Change a record's samples, not its size; checksums are right again."""
    digital = np.fromfile(header.with_suffix(".dat"), "<i2").reshape(-1, 12)
    write_wfdb(header, digital // 2)


def stored(store: Path) -> dict[str, bytes]:
    """Return the bytes of a store, which its list of source files is not part of."""
    return {name: data for name, data in content(store).items() if name != SOURCE_FILES}


def interrupted(databases: dict, store: Path, *, after: int, **options) -> None:
    def interrupt(done, total):
        if done > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(databases, store, records_per_shard=2, progress=interrupt, **options)


def test_changed_samples_are_never_answered_with_the_old_store(tmp_path):
    clinic = archive(tmp_path / "clinic")
    prepare({"clinic": clinic}, tmp_path / "store")
    before = content(tmp_path / "store")
    double(clinic / "rec3.hea")
    with pytest.raises(StoreError, match=r"changed since: .*rec3\.hea of clinic"):
        prepare({"clinic": clinic}, tmp_path / "store")
    assert content(tmp_path / "store") == before


def test_another_archive_that_numbers_alike_is_not_the_same_one(tmp_path):
    first, second = archive(tmp_path / "a", seed=1), archive(tmp_path / "b", seed=2)
    prepare({"clinic": first}, tmp_path / "store")
    with pytest.raises(StoreError, match="12 files"):
        prepare({"clinic": second}, tmp_path / "store")


def test_times_are_not_contents(tmp_path, monkeypatch):
    clinic = archive(tmp_path / "clinic")
    manifest = prepare({"clinic": clinic}, tmp_path / "store")
    before = stored(tmp_path / "store")
    for path in clinic.iterdir():
        os.utime(path, ns=(1, 10**18))
    source_files._digest.cache_clear()
    assert prepare({"clinic": clinic}, tmp_path / "store") == manifest
    assert stored(tmp_path / "store") == before
    # They were noted anew: the next time nothing is read.
    monkeypatch.setattr(source_files, "_digest", None)
    assert prepare({"clinic": clinic}, tmp_path / "store") == manifest


def test_a_copied_and_a_moved_database_are_the_same_one(tmp_path):
    clinic = archive(tmp_path / "clinic")
    manifest = prepare({"clinic": clinic}, tmp_path / "store")
    shutil.copytree(clinic, tmp_path / "copy", copy_function=shutil.copyfile)
    assert prepare({"clinic": tmp_path / "copy"}, tmp_path / "store") == manifest
    clinic.rename(tmp_path / "moved")
    assert prepare({"clinic": tmp_path / "moved"}, tmp_path / "store") == manifest
    prepare({"clinic": tmp_path / "copy"}, tmp_path / "other")
    assert stored(tmp_path / "other") == stored(tmp_path / "store")


@pytest.mark.parametrize("folds", ["all", "train"])
def test_a_shard_whose_files_changed_is_written_again(tmp_path, caplog, folds):
    source = write_ptb_xl(tmp_path / "source", records=12, seconds=2.0)
    interrupted({"ptb-xl": source}, tmp_path / "cut", after=4, folds=folds)
    double(source / "records500/00000/00001_hr.hea")
    prepare({"ptb-xl": source}, tmp_path / "cut", records_per_shard=2, folds=folds)
    prepare({"ptb-xl": source}, tmp_path / "whole", records_per_shard=2, folds=folds)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert "changed since shard 0 was written" in caplog.text


def test_a_left_out_record_that_changed_is_looked_at_again(tmp_path, caplog):
    source = write_ptb_xl(tmp_path / "source", records=30, seconds=10.0)
    interrupted({"ptb-xl": source}, tmp_path / "cut", after=4)
    held_out = pq.read_table(tmp_path / "cut/held-out.parquet")["record_id"][0].as_py()
    double(source / f"records500/00000/{int(held_out):05d}_hr.hea")
    prepare({"ptb-xl": source}, tmp_path / "cut", records_per_shard=2)
    prepare({"ptb-xl": source}, tmp_path / "whole", records_per_shard=2)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert "left-out records have changed" in caplog.text


def test_the_cache_notices_changed_files(tmp_path, caplog):
    clinic, cache = archive(tmp_path / "clinic"), tmp_path / "cache"

    def cached() -> Path:
        return prepare_cached({"clinic": clinic}, cache, folds="all", preprocessing=CONFIG)

    first = cached()
    expected = Store(first).read_record(2) // 2
    fingerprint = Store(first).fingerprint
    assert cached() == first
    assert Store(first).fingerprint == fingerprint
    double(clinic / "rec2.hea")
    again = cached()
    np.testing.assert_array_equal(Store(again).read_record(2), expected)
    assert Store(again).fingerprint != fingerprint
    assert "prepared again" in caplog.text


def test_two_archives_of_one_name_share_no_cache(tmp_path):
    a, b = archive(tmp_path / "a/clinic", seed=1), archive(tmp_path / "b/clinic", seed=2)
    stores = [
        prepare_cached({"clinic": root}, tmp_path / "c", folds="all", preprocessing=CONFIG)
        for root in (a, b)
    ]
    assert len(set(stores)) == 2
    for root, store in zip((a, b), stores, strict=True):
        digital = np.fromfile(root / "rec0.dat", "<i2").reshape(-1, 12)
        np.testing.assert_array_equal(Store(store).read_record(0), digital)


def test_verify_compares_the_files(tmp_path, capsys, monkeypatch):
    clinic = archive(tmp_path / "clinic")
    prepare({"clinic": clinic}, tmp_path / "store")
    assert verify(tmp_path / "store", data={"clinic": clinic}).faults == []
    double(clinic / "rec1.hea")
    (clinic / "rec4.dat").unlink()
    (fault,) = verify(tmp_path / "store", data={"clinic": clinic}).faults
    assert "rec1.dat" in fault
    assert "rec4.dat" in fault
    assert verify(tmp_path / "store").faults == []
    command = ["ecgjepa", "verify", str(tmp_path / "store"), "--data", f"clinic={clinic}"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "files differ" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(StoreError, match="holds clinic, but a folder is given for ward"):
        verify(tmp_path / "store", data={"ward": clinic})
    with pytest.raises(StoreError, match="does not exist"):
        verify(tmp_path / "store", data={"clinic": clinic / "none"})


def test_what_earlier_versions_made_is_used_with_a_notice(tmp_path, caplog):
    """Their hash held their version, and they noted no files."""
    clinic = archive(tmp_path / "clinic")
    prepare({"clinic": clinic}, tmp_path / "store")
    (tmp_path / "store" / SOURCE_FILES).unlink()
    path = tmp_path / "store/manifest.json"
    manifest = json.loads(path.read_text())
    plan = make_plan({"clinic": clinic}, "train", Settings(CONFIG, on_bad="skip"))
    old = {"plan": plan.digest("0.0.9"), "software_version": "0.0.9"}
    write_json(path, manifest | old)
    assert prepare({"clinic": clinic}, tmp_path / "store").plan == old["plan"]
    assert "was made by ecgjepa 0.0.9" in caplog.text
    assert "did not note what the files were like" in caplog.text
    notes = verify(tmp_path / "store", data={"clinic": clinic}).notes
    assert any("nothing was noted" in note for note in notes)
    write_json(path, manifest | old | {"software_version": "0.0.8"})
    with pytest.raises(StoreError, match="other records or settings"):
        prepare({"clinic": clinic}, tmp_path / "store")


def test_an_interrupted_prepare_of_an_earlier_version_is_finished(tmp_path, caplog):
    clinic = archive(tmp_path / "clinic")
    interrupted({"clinic": clinic}, tmp_path / "store", after=4)
    path = tmp_path / "store/parts/plan.json"
    facts = json.loads(path.read_text())
    plan = make_plan({"clinic": clinic}, "train", Settings(CONFIG, records_per_shard=2))
    del facts["software_version"]
    write_json(path, facts | {"plan": plan.digest("0.1.0")})
    for notes in (tmp_path / "store/parts").glob("*.source-files.parquet"):
        notes.unlink()
    assert prepare({"clinic": clinic}, tmp_path / "store", records_per_shard=2).num_records == 6
    assert "did not note what the files were like" in caplog.text
    assert not (tmp_path / "store" / SOURCE_FILES).exists()
    assert verify(tmp_path / "store").faults == []


@pytest.mark.parametrize("offset", [0, 24, 5000])
def test_a_file_that_was_read_whole_is_not_read_again_and_has_its_own_digest(
    tmp_path, monkeypatch, offset
):
    digital = toy_ecg(np.random.default_rng(0), num_samples=1000)
    header = write_wfdb(tmp_path / "x.hea", digital, offset=offset)
    again = []
    monkeypatch.setattr(
        source_files, "_digest", lambda place, *_: again.append(Path(place).name) or bytes(16)
    )
    noted, (listing,) = source_files.Notes(), list_all({"clinic": tmp_path}, None)
    for entry in listing.entries():
        with noted.of(listing, entry):
            read_record(header)
    rows = {row["path"]: row["digest"] for row in noted.table().to_pylist()}
    assert again == (["x.mat"] if offset > 4096 else [])
    for name in set(rows) - set(again):
        assert rows[name] == hashlib.sha256((tmp_path / name).read_bytes()).digest()[:16]


@pytest.mark.parametrize("is_read", [False, True])
def test_a_file_that_changes_while_it_is_read_counts_as_changed(tmp_path, is_read):
    header = write_wfdb(tmp_path / "x.hea", toy_ecg(np.random.default_rng(0), num_samples=1000))
    noted, (listing,) = source_files.Notes(), list_all({"clinic": tmp_path}, None)
    for entry in listing.entries():
        with noted.of(listing, entry):
            if is_read:
                read_record(header)
            double(header)
    os.utime(header.with_suffix(".dat"), ns=(1, 10**18))
    found = source_files.find_changes(noted.table(), {"clinic": tmp_path})
    assert ("clinic", "x.dat") in found.changed


def test_each_file_of_a_record_is_opened_once(tmp_path, monkeypatch):
    header = write_wfdb(tmp_path / "x.hea", toy_ecg(np.random.default_rng(0), num_samples=1000))
    opened, real = [], os.open
    monkeypatch.setattr(
        os, "open", lambda path, *rest: opened.append(str(path)) or real(path, *rest)
    )
    noted, (listing,) = source_files.Notes(), list_all({"clinic": tmp_path}, None)
    opened.clear()
    for entry in listing.entries():
        with noted.of(listing, entry):
            read_record(header)
    noted.table()
    assert sorted(opened) == [str(header.with_suffix(".dat")), str(header)]


def test_files_of_a_record(tmp_path):
    """Whatever a record consists of: a change of any part of it is noticed."""
    samples = toy_ecg(np.random.default_rng(0), num_samples=1000)
    for name in ("s1", "s2"):
        write_wfdb(tmp_path / f"deep/{name}.hea", samples[:500])
    (tmp_path / "deep/long.hea").write_text("long/2 12 500 1000\ns1 500\ns2 500\n")
    parts = {f"deep/{name}" for name in ("long.hea", "s1.hea", "s1.dat", "s2.hea", "s2.dat")}
    assert set(source_files.files_of(tmp_path, "deep/long.hea")) == parts
    np.save(tmp_path / "x.npy", samples)
    (tmp_path / "x.npy.json").write_text("{}")
    (tmp_path / "ecg.json").write_text("{}")
    assert set(source_files.files_of(tmp_path, "x.npy")) == {"x.npy", "x.npy.json", "ecg.json"}
    (tmp_path / "exams_part0.hdf5").write_bytes(b"")
    assert source_files.files_of(tmp_path, "exams_part0.hdf5#3") == [
        "exams_part0.hdf5",
        "ecg.json",
    ]
    (tmp_path / "loop.hea").write_text("loop/2 12 500 10\nloop 5\nloop 5\n")
    assert set(source_files.files_of(tmp_path, "loop.hea")) == {"loop.hea", "loop"}
    (tmp_path / "odd.hea").write_text("odd 2 500\n../x.dat 16\n/etc/none 16\n")
    assert source_files.files_of(tmp_path, "odd.hea") == ["odd.hea"]


def test_a_file_that_was_missing_and_came_is_a_change(tmp_path):
    clinic = archive(tmp_path / "clinic")
    moved = (clinic / "rec5.dat").rename(tmp_path / "aside")
    assert prepare({"clinic": clinic}, tmp_path / "store").num_records == 5
    moved.rename(clinic / "rec5.dat")
    with pytest.raises(StoreError, match=r"rec5\.dat of clinic"):
        prepare({"clinic": clinic}, tmp_path / "store")


def test_a_store_that_may_not_be_written_is_used(tmp_path, monkeypatch):
    clinic = archive(tmp_path / "clinic")
    manifest = prepare({"clinic": clinic}, tmp_path / "store")
    for path in clinic.iterdir():
        os.utime(path)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(resuming, "write_notes", refuse)
    assert prepare({"clinic": clinic}, tmp_path / "store") == manifest


def test_a_description_that_comes_counts_as_a_change(tmp_path, caplog):
    """`prepare` asks for it: the same command must not give the old store again."""
    clinic = archive(tmp_path / "clinic")
    np.save(clinic / "array.npy", toy_ecg(np.random.default_rng(9), num_samples=1000))
    cached = {"folds": "all", "preprocessing": CONFIG}
    caplog.set_level("INFO", "ecgjepa")
    manifest = prepare({"clinic": clinic}, tmp_path / "store")
    before = prepare_cached({"clinic": clinic}, tmp_path / "cache", **cached)
    assert manifest.databases["clinic"].skipped == {"not_described": 1}
    assert len(Store(before).table()) == 6
    assert caplog.messages.count("preparing 7 records of clinic, once") == 1
    assert prepare({"clinic": clinic}, tmp_path / "store") == manifest
    told = {"sampling_rate": 500, "unit": "uV", "leads": list(LEADS)}
    write_json(clinic / "ecg.json", told)
    with pytest.raises(StoreError, match=r"have changed since: 1 file \(ecg.json of clinic\)"):
        prepare({"clinic": clinic}, tmp_path / "store")
    assert len(Store(prepare_cached({"clinic": clinic}, tmp_path / "cache", **cached)).table()) == 7
