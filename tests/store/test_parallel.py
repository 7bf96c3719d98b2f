"""The same bytes, however many workers write them and whatever happens to them."""

from pathlib import Path

import pytest
from conftest import content, write_ptb_xl

from ecgjepa.checking.verify import verify
from ecgjepa.errors import RecordFormatError, StoreError
from ecgjepa.files import temporary_name
from ecgjepa.locks import holding, working_in
from ecgjepa.store.merge import merge
from ecgjepa.store.prepare import prepare, prepare_share
from ecgjepa.store.reading import Store

OPTIONS = {"folds": "all", "records_per_shard": 7}


@pytest.fixture
def source(tmp_path) -> Path:
    return write_ptb_xl(tmp_path / "source", records=30, seconds=2.0)


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_do_not_change_a_byte(source, tmp_path, workers):
    prepare({"ptb-xl": source}, tmp_path / "one", workers=1, **OPTIONS)
    seen = []
    prepare(
        {"ptb-xl": source},
        tmp_path / "many",
        workers=workers,
        progress=lambda done, total: seen.append((done, total)),
        **OPTIONS,
    )
    assert content(tmp_path / "many") == content(tmp_path / "one")
    assert seen[-1] == (30, 30)
    assert seen == sorted(seen)


def test_a_workers_error_is_the_users(source, tmp_path):
    (source / "records500/00000/00009_hr.dat").write_bytes(b"x")
    with pytest.raises(RecordFormatError, match="00009_hr") as caught:
        prepare({"ptb-xl": source}, tmp_path / "s", workers=2, on_bad="raise", **OPTIONS)
    assert caught.value.reason == "truncated"
    assert not list(tmp_path.rglob(".partial*"))
    prepare({"ptb-xl": source}, tmp_path / "t", workers=2, **OPTIONS)
    prepare({"ptb-xl": source}, tmp_path / "u", workers=1, **OPTIONS)
    assert content(tmp_path / "t") == content(tmp_path / "u")


@pytest.mark.parametrize("jobs", [1, 2, 3, 9])
def test_shares_make_the_same_store(source, tmp_path, jobs):
    prepare({"ptb-xl": source}, tmp_path / "one", **OPTIONS)
    for part in range(jobs, 0, -1):
        prepare_share({"ptb-xl": source}, tmp_path / "shared", (part, jobs), **OPTIONS)
    with pytest.raises(StoreError, match="interrupted here; run it again"):
        Store(tmp_path / "shared")
    merge(tmp_path / "shared")
    assert content(tmp_path / "shared") == content(tmp_path / "one")


def test_merge_names_missing_shards(source, tmp_path):
    prepare_share({"ptb-xl": source}, tmp_path / "s", (1, 2), **OPTIONS)
    with pytest.raises(StoreError, match=r"2 of 5 shards are not written yet \(1, 3\)"):
        merge(tmp_path / "s")
    prepare_share({"ptb-xl": source}, tmp_path / "s", (2, 2), **OPTIONS)
    shard = tmp_path / "s/shard-00003.i16"
    shard.write_bytes(shard.read_bytes()[:-24])
    with pytest.raises(StoreError, match=r"shard-00003\.i16: .* remove it and run the same"):
        merge(tmp_path / "s")
    shard.unlink()
    prepare_share({"ptb-xl": source}, tmp_path / "s", (2, 2), **OPTIONS)
    manifest = merge(tmp_path / "s")
    assert manifest == merge(tmp_path / "s")
    assert verify(tmp_path / "s").faults == []


def test_a_share_leaves_what_other_jobs_are_writing(source, tmp_path):
    prepare_share({"ptb-xl": source}, tmp_path / "s", (1, 2), **OPTIONS)
    foreign = tmp_path / "s/.partial-999999999-shard-00003.i16"
    foreign.write_bytes(b"in progress elsewhere")
    prepare_share({"ptb-xl": source}, tmp_path / "s", (2, 2), **OPTIONS)
    assert foreign.exists()
    merge(tmp_path / "s")
    assert not foreign.exists()


@pytest.mark.parametrize("share", [(0, 2), (3, 2), (1, 0)])
def test_impossible_shares(source, tmp_path, share):
    with pytest.raises(StoreError, match="expected i/n"):
        prepare_share({"ptb-xl": source}, tmp_path / "s", share, **OPTIONS)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("left", ["plan.json", "00001.json", "00003.parquet"])
def test_a_merge_killed_while_tidying_up_is_finished(source, tmp_path, left):
    prepare({"ptb-xl": source}, tmp_path / "s", **OPTIONS)
    whole = content(tmp_path / "s")
    (tmp_path / "s/parts").mkdir()
    (tmp_path / "s/parts" / left).write_text("{}")
    prepare({"ptb-xl": source}, tmp_path / "s", **OPTIONS)
    assert content(tmp_path / "s") == whole


def test_merge_of_nothing(tmp_path):
    with pytest.raises(StoreError, match="no store at"):
        merge(tmp_path / "none")


def test_killed_between_what_is_held_out_and_the_notes_on_its_files(source, tmp_path):
    prepare({"ptb-xl": source}, tmp_path / "whole", **OPTIONS)
    prepare_share({"ptb-xl": source}, tmp_path / "cut", (1, 2), **OPTIONS)
    (tmp_path / "cut/parts/held-out.source-files.parquet").unlink()
    prepare({"ptb-xl": source}, tmp_path / "cut", **OPTIONS)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_a_second_process_is_told_that_another_is_at_work(source, tmp_path):
    """As when a scheduler starts a job twice: nothing of the first is touched."""
    store = tmp_path / "s"
    with working_in(store, StoreError, "a prepare"):
        half = temporary_name(store / "shard-00000.i16")
        half.write_bytes(b"being written")
        for call in (
            lambda: prepare({"ptb-xl": source}, store, **OPTIONS),
            lambda: prepare_share({"ptb-xl": source}, store, (1, 2), **OPTIONS),
        ):
            with pytest.raises(StoreError, match="another prepare is at work there already"):
                call()
        assert half.read_bytes() == b"being written"
        half.unlink()
    assert not store.exists()


def test_a_share_and_a_merge_do_not_meet(source, tmp_path):
    store = tmp_path / "s"
    prepare_share({"ptb-xl": source}, store, (1, 2), **OPTIONS)
    with working_in(store, StoreError, "a share", shared=True):
        with pytest.raises(StoreError, match="a prepare or merge is at work"):
            merge(store)
        with pytest.raises(StoreError, match="another prepare is at work"):
            prepare({"ptb-xl": source}, store, **OPTIONS)
        prepare_share({"ptb-xl": source}, store, (2, 2), **OPTIONS)
        with (
            holding(store / "parts/share-2-of-2.lock"),
            pytest.raises(StoreError, match="at work on share 2/2 already"),
        ):
            prepare_share({"ptb-xl": source}, store, (2, 2), **OPTIONS)
    merge(store)
    assert not [path for path in store.iterdir() if path.name.startswith(".")]
