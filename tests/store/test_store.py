import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import content, toy_ecg, write_ptb_xl, write_wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgjepa.checking.verify import verify
from ecgjepa.databases import list_records
from ecgjepa.errors import RecordFormatError, StoreError
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.signals.units import INVALID_MICROVOLT
from ecgjepa.store.prepare import prepare, prepare_cached
from ecgjepa.store.reading import Store


@pytest.fixture
def source(tmp_path) -> Path:
    return write_ptb_xl(tmp_path / "source", records=30, seconds=2.0)


def test_samples_ids_and_order_survive(source, tmp_path):
    manifest = prepare({"ptb-xl": source}, tmp_path / "store", folds="all", records_per_shard=7)
    store = Store(tmp_path / "store")
    listing = list_records("ptb-xl", source)
    table = store.table()
    assert table["record_id"].tolist() == listing.table["record_id"].tolist()
    assert len(manifest.shards) == 5
    for row, entry in enumerate(listing.entries()):
        expected = np.rint(listing.read(entry).signal * 1000).astype(np.int16)
        np.testing.assert_array_equal(store.read_record(row), expected)


def test_the_readme_of_the_store_is_true(source, tmp_path):
    """The five lines of NumPy that read a record without this package."""
    prepare({"ptb-xl": source}, tmp_path / "store", folds="all", records_per_shard=7)
    row = pd.read_parquet(tmp_path / "store/index.parquet").iloc[11]
    with (tmp_path / f"store/shard-{row.shard:05d}.i16").open("rb") as file:
        file.seek(row.offset)
        samples = np.fromfile(file, "<i2", row.num_samples * 12).reshape(-1, 12)
    np.testing.assert_array_equal(samples, Store(tmp_path / "store").read_record(11))


def test_train_keeps_the_training_folds_only(source, tmp_path):
    manifest = prepare({"ptb-xl": source}, tmp_path / "store")
    summary = manifest.databases["ptb-xl"]
    table = list_records("ptb-xl", source).table
    assert summary.folds == tuple(range(1, 9))
    assert summary.stored == table["fold"].isin(range(1, 9)).sum() < 30


def test_statistics_are_exact_and_of_training_records(source, tmp_path):
    manifest = prepare({"ptb-xl": source}, tmp_path / "store", folds="all")
    store = Store(tmp_path / "store")
    rows = np.flatnonzero(store.fold <= 8)
    samples = np.concatenate([store.read_record(int(row)) for row in rows]).astype(np.float64) / 1e3
    summary = manifest.databases["ptb-xl"]
    np.testing.assert_allclose(summary.mean, samples.mean(axis=0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(summary.std, samples.std(axis=0), rtol=1e-12)
    few = store.statistics(np.array([3, 8]))
    both = np.concatenate([store.read_record(3), store.read_record(8)]) / 1e3
    np.testing.assert_allclose(few.std, both.std(axis=0), rtol=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(-32768, 32767), min_size=3, max_size=3), min_size=1, max_size=5)
)
def test_statistics_ignore_invalid_samples(values):
    import pyarrow as pa

    from ecgjepa.signals.measures import measure
    from ecgjepa.store.statistics import SUM_COLUMNS, lead_statistics

    samples = np.array(values, np.int16)
    found = measure(samples, 500.0)
    sums = (found.valid_count, found.total, found.squares)
    kind = pa.list_(pa.int64(), 3)
    statistics = lead_statistics(
        pa.table([pa.array([list(map(int, one))], kind) for one in sums], names=SUM_COLUMNS)
    )
    for lead in range(3):
        valid = samples[:, lead][samples[:, lead] != INVALID_MICROVOLT] / 1e3
        if valid.size:
            assert statistics.mean[lead] == pytest.approx(valid.mean(), abs=1e-12)
            assert statistics.std[lead] == pytest.approx(valid.std(), abs=1e-9)
        else:
            assert np.isnan(statistics.mean[lead])


def test_the_same_input_gives_the_same_bytes(source, tmp_path):
    for name in ("a", "b"):
        prepare({"ptb-xl": source}, tmp_path / name, records_per_shard=7)
    assert content(tmp_path / "a") == content(tmp_path / "b")


@pytest.mark.parametrize("stop_after", [0, 3, 7, 8, 20, 29])
def test_an_interrupted_prepare_goes_on_where_it_stopped(source, tmp_path, stop_after):
    prepare({"ptb-xl": source}, tmp_path / "whole", folds="all", records_per_shard=7)

    def interrupt(done, total):
        if done > stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(
            {"ptb-xl": source},
            tmp_path / "cut",
            folds="all",
            records_per_shard=7,
            progress=interrupt,
        )
    if (tmp_path / "cut").exists():
        with pytest.raises(StoreError, match="interrupted here; run it again"):
            Store(tmp_path / "cut")
        assert not list((tmp_path / "cut").glob(".partial*"))
    seen = []
    prepare(
        {"ptb-xl": source},
        tmp_path / "cut",
        folds="all",
        records_per_shard=7,
        progress=lambda done, total: seen.append(done),
    )
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    # Finished shards are not written again: they are reported once, all together.
    finished = min(stop_after // 7 * 7, 28)
    assert seen == ([finished] if finished else []) + list(range(finished + 1, 31))


def test_leftovers_of_a_kill_are_cleaned_up(source, tmp_path):
    prepare({"ptb-xl": source}, tmp_path / "whole", folds="all", records_per_shard=7)

    def interrupt(done, total):
        if done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(
            {"ptb-xl": source},
            tmp_path / "cut",
            folds="all",
            records_per_shard=7,
            progress=interrupt,
        )
    (tmp_path / "cut/.partial-999999999-shard-00001.i16").write_bytes(b"half")
    (tmp_path / "cut/shard-00001.i16").write_bytes(b"no part says this is complete")
    prepare({"ptb-xl": source}, tmp_path / "cut", folds="all", records_per_shard=7)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_a_finished_store_is_left_alone_or_refused(source, tmp_path):
    first = prepare({"ptb-xl": source}, tmp_path / "store")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").iterdir()}
    assert prepare({"ptb-xl": source}, tmp_path / "store") == first
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "store").iterdir()}
    with pytest.raises(StoreError, match=r"other records or settings, which differs in records of"):
        prepare({"ptb-xl": source}, tmp_path / "store", folds="all")
    slower = PreprocessingConfig(sampling_rate=100)
    with pytest.raises(StoreError, match=r"in sampling rate \(500.0 there, 100.0 asked for\); cho"):
        prepare({"ptb-xl": source}, tmp_path / "store", preprocessing=slower)


def test_another_half_done_request_is_refused(source, tmp_path):
    def interrupt(done, total):
        if done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare({"ptb-xl": source}, tmp_path / "s", records_per_shard=7, progress=interrupt)
    with pytest.raises(StoreError, match="interrupted prepare of other records or settings"):
        prepare({"ptb-xl": source}, tmp_path / "s", records_per_shard=8)


def test_a_foreign_folder_is_refused(source, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match="exists and is not a store"):
        prepare({"ptb-xl": source}, tmp_path / "mine")
    assert content(tmp_path / "mine") == {"thesis.tex": b"precious"}


def test_cached_stores_are_found_again(source, tmp_path):
    config = PreprocessingConfig(sampling_rate=100.0)
    first = prepare_cached({"ptb-xl": source}, tmp_path / "c", folds="all", preprocessing=config)
    again = prepare_cached({"ptb-xl": source}, tmp_path / "c", folds="all", preprocessing=config)
    other = prepare_cached(
        {"ptb-xl": source}, tmp_path / "c", folds="all", preprocessing=PreprocessingConfig()
    )
    assert first == again != other
    assert Store(first).num_samples.tolist() == [200] * 30
    assert repr(Store(first)).endswith("30 records of 12 leads at 100 Hz)")


# ---------------------------------------------------------------- bad records


def break_records(source: Path) -> None:
    """Spoil records 1 to 6, each in another way."""
    folder = source / "records500/00000"
    (folder / "00001_hr.dat").unlink()
    (folder / "00002_hr.dat").write_bytes((folder / "00002_hr.dat").read_bytes()[:999])
    data = bytearray((folder / "00003_hr.dat").read_bytes())
    data[500] ^= 4
    (folder / "00003_hr.dat").write_bytes(bytes(data))
    rng = np.random.default_rng(0)
    write_wfdb(
        folder / "00004_hr.hea", toy_ecg(rng, num_samples=1000), leads=[f"x{i}" for i in range(12)]
    )
    write_wfdb(folder / "00005_hr.hea", np.full((1000, 12), 77, np.int16))
    gaps = toy_ecg(rng, num_samples=1000)
    gaps[:, :6] = INVALID_MICROVOLT
    write_wfdb(folder / "00006_hr.hea", gaps)


def test_bad_records_are_counted_named_and_left_out(source, tmp_path):
    break_records(source)
    manifest = prepare({"ptb-xl": source}, tmp_path / "store", folds="all", records_per_shard=4)
    summary = manifest.databases["ptb-xl"]
    assert summary.skipped == {
        "checksum_mismatch": 1,
        "flat_record": 1,
        "missing_file": 1,
        "too_few_leads": 1,
        "truncated": 1,
        "unusable_leads": 1,
    }
    assert {skip.record_id for skip in summary.quarantine} == {"1", "2", "3", "4", "5", "6"}
    assert all(skip.record_id.zfill(5) in skip.detail for skip in summary.quarantine)
    assert (summary.listed, summary.stored) == (30, 24)
    assert Store(tmp_path / "store").table()["record_id"].tolist() == [str(i) for i in range(7, 31)]
    assert verify(tmp_path / "store").faults == []


def test_raise_stops_at_the_first_bad_record_and_leaves_nothing(source, tmp_path):
    break_records(source)
    with pytest.raises(RecordFormatError, match="00001_hr"):
        prepare({"ptb-xl": source}, tmp_path / "store", folds="all", on_bad="raise")
    assert not (tmp_path / "store").exists()


def test_nothing_usable_is_an_error(source, tmp_path):
    for path in (source / "records500/00000").glob("*.dat"):
        path.write_bytes(b"")
    with pytest.raises(StoreError, match=r"no record could be used: \{'truncated': 30\}"):
        prepare({"ptb-xl": source}, tmp_path / "store", folds="all")


def test_no_record_in_the_folds_is_an_error(source, tmp_path):
    with pytest.raises(StoreError, match="nothing to store"):
        prepare({"ptb-xl": source}, tmp_path / "store", folds=[])


def test_issues_are_in_the_index_and_counted(source, tmp_path):
    digital = toy_ecg(np.random.default_rng(0), num_samples=1000)
    digital[:, 7] = 12
    digital[100:150, 2] = INVALID_MICROVOLT
    write_wfdb(source / "records500/00000/00002_hr.hea", digital)
    manifest = prepare({"ptb-xl": source}, tmp_path / "store", folds="all")
    store = Store(tmp_path / "store")
    found = store.table()["issues"][1].tolist()
    assert found == ["invalid_samples:III", "flat_lead:V2", "low_quality", "short_record"]
    counts = {"flat_lead": 1, "invalid_samples": 1, "low_quality": 1, "short_record": 30}
    assert manifest.databases["ptb-xl"].issues == counts
    np.testing.assert_array_equal(store.read_record(1), digital)


def test_a_full_disk_leaves_no_half_store(source, tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 6:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left on the disk while writing"):
        prepare({"ptb-xl": source}, tmp_path / "store", folds="all", records_per_shard=7)
    assert not list(tmp_path.rglob(".partial*"))
    monkeypatch.undo()
    prepare({"ptb-xl": source}, tmp_path / "store", folds="all", records_per_shard=7)
    assert verify(tmp_path / "store").faults == []


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_windows_are_cut_where_they_should(source, tmp_path, rng, threads):
    prepare({"ptb-xl": source}, tmp_path / "store", folds="all", records_per_shard=7)
    store = Store(tmp_path / "store", num_threads=threads)
    rows, starts = rng.integers(0, 30, 64), rng.integers(0, 1000, 64)
    out = np.zeros((64, 150, 12), np.int16)
    store.read(rows, starts, out)
    for row, start, window in zip(rows, starts, out, strict=True):
        whole = store.read_record(int(row))
        expected = np.full((150, 12), INVALID_MICROVOLT, np.int16)
        expected[: len(whole[start : start + 150])] = whole[start : start + 150]
        np.testing.assert_array_equal(window, expected)
    store.close()


@pytest.mark.parametrize("cached", ["all", "none", "half", "unknown", "not Linux"])
def test_what_is_not_in_memory_is_read_all_the_same(source, tmp_path, rng, monkeypatch, cached):
    prepare({"ptb-xl": source}, tmp_path / "store", folds="all", records_per_shard=7)
    store = Store(tmp_path / "store", num_threads=2)
    rows, starts = rng.integers(0, 30, 64), rng.integers(0, 1000, 64)
    expected, out = (np.zeros((64, 150, 12), np.int16) for _ in range(2))
    store.read(rows, starts, expected)
    real = os.preadv

    def preadv(descriptor, buffers, position, flags=0):
        if flags == 0 or cached == "all":
            return real(descriptor, buffers, position, flags)
        if cached == "none":
            raise BlockingIOError
        if cached == "unknown":
            raise OSError(95, "Operation not supported")
        return real(descriptor, [buffers[0][: len(buffers[0]) // 2]], position, flags)

    if cached == "not Linux":
        monkeypatch.delattr(os, "RWF_NOWAIT")
        monkeypatch.delattr(os, "posix_fadvise")
    else:
        monkeypatch.setattr(os, "preadv", preadv)
    store.read(rows, starts, out)
    np.testing.assert_array_equal(out, expected)


def test_an_index_at_odds_with_the_manifest_is_refused(source, tmp_path):
    prepare({"ptb-xl": source}, tmp_path / "store", records_per_shard=7)
    path = tmp_path / "store/manifest.json"
    manifest = json.loads(path.read_text())
    for key, smaller in (
        ("databases", {"other": manifest["databases"]["ptb-xl"]}),
        ("shards", {"shard-00000.i16": ""}),
    ):
        path.write_text(json.dumps(manifest | {key: smaller}))
        with pytest.raises(StoreError, match="index and manifest differ in databases or shards"):
            Store(tmp_path / "store")
    path.write_text(json.dumps(manifest | {"num_records": 5}))
    with pytest.raises(StoreError, match=r"index has \d+ rows, the manifest 5"):
        Store(tmp_path / "store")


def test_a_damaged_index_is_named(source, tmp_path):
    prepare({"ptb-xl": source}, tmp_path / "store")
    (tmp_path / "store/index.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(StoreError, match=r"index\.parquet is damaged"):
        Store(tmp_path / "store")


def test_databases_and_folds_are_numbers(source, tmp_path):
    """In the manifest's order, as the tables of constants are; -1 for no fold."""
    for name in ("one", "two"):
        write_wfdb(tmp_path / name / "a.hea", toy_ecg(np.random.default_rng(0), num_samples=900))
    manifest = prepare(
        {"ptb-xl": source, "two": tmp_path / "two", "one": tmp_path / "one"}, tmp_path / "store"
    )
    store = Store(tmp_path / "store")
    names = np.array(list(manifest.databases))[store.database_number]
    table = store.table()
    assert names.tolist() == table["database"].tolist()
    assert store.fold.tolist() == table["fold"].fillna(-1).astype(int).tolist()
    assert -1 in store.fold


def test_other_format_versions_are_refused(source, tmp_path):
    prepare({"ptb-xl": source}, tmp_path / "store")
    path = tmp_path / "store/manifest.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(StoreError, match="format version 2; this ecgjepa reads version 1"):
        Store(tmp_path / "store")


@pytest.mark.parametrize("text", ["", "{}", "[1]", "{broken", '{"format_version": 1}'])
def test_a_damaged_manifest_is_refused(source, tmp_path, text):
    prepare({"ptb-xl": source}, tmp_path / "store")
    (tmp_path / "store/manifest.json").write_text(text)
    with pytest.raises(StoreError, match=r"manifest\.json"):
        Store(tmp_path / "store")


def test_a_missing_store(tmp_path):
    with pytest.raises(StoreError, match="no store at"):
        Store(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"has no manifest\.json"):
        Store(tmp_path / "empty")


def test_a_truncated_or_missing_shard_is_named(source, tmp_path):
    prepare({"ptb-xl": source}, tmp_path / "store", folds="all")
    shard = tmp_path / "store/shard-00000.i16"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(StoreError, match=r"shard-00000\.i16: .* the shard is truncated"):
        Store(tmp_path / "store").read_record(29)
    shard.unlink()
    with pytest.raises(StoreError, match=r"shard-00000\.i16 is missing"):
        Store(tmp_path / "store").read_record(0)


# ---------------------------------------------------------------- verify


def test_verify_finds_one_changed_byte(source, tmp_path):
    prepare({"ptb-xl": source}, tmp_path / "store", records_per_shard=7)
    assert verify(tmp_path / "store").faults == []
    for name in ("shard-00001.i16", "index.parquet"):
        shutil.copytree(tmp_path / "store", tmp_path / name)
        path = tmp_path / name / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
        faults = verify(tmp_path / name).faults
        assert len(faults) == 1
        assert f"{name} has changed" in faults[0]


def test_verify_finds_missing_and_foreign_files(source, tmp_path):
    prepare({"ptb-xl": source}, tmp_path / "store", records_per_shard=7)
    (tmp_path / "store/shard-00000.i16").unlink()
    (tmp_path / "store/notes.txt").write_text("x")
    faults = verify(tmp_path / "store").faults
    assert "shard-00000.i16 is missing" in faults
    assert "notes.txt is not in the manifest" in faults


def test_verify_recounts_the_index(source, tmp_path):
    """A manifest that agrees with a wrong index by hash must still fail on the counts."""
    from ecgjepa.files import sha256_of_file

    prepare({"ptb-xl": source}, tmp_path / "store", records_per_shard=7)
    index = tmp_path / "store/index.parquet"
    table = pq.read_table(index)
    pq.write_table(table.slice(0, table.num_rows - 1), index)
    path = tmp_path / "store/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["index"] = sha256_of_file(index)
    path.write_text(json.dumps(manifest))
    text = "; ".join(verify(tmp_path / "store").faults)
    assert "rows, the manifest" in text
    assert "bytes, the index covers" in text


def test_leads_are_in_the_papers_order(source, tmp_path):
    assert prepare({"ptb-xl": source}, tmp_path / "store").preprocessing.leads == LEADS
