"""No record that is kept for selection or test gets into a training store, under any name."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import copy_as_challenge, toy_ecg, write_ptb_xl, write_wfdb

from ecgjepa.checking.verify import verify
from ecgjepa.databases import list_records
from ecgjepa.store import held_out as held_out_module
from ecgjepa.store.prepare import prepare


@pytest.fixture
def source(tmp_path) -> Path:
    """PTB-XL in small: 60 records of ten seconds, some in folds 9 and 10."""
    return write_ptb_xl(tmp_path / "ptb-xl", records=60, seconds=10.0)


def of_fold(source: Path, *folds: int) -> list[int]:
    table = pd.read_csv(source / "ptbxl_database.csv")
    return table.loc[table["strat_fold"].isin(folds), "ecg_id"].tolist()


def test_a_copy_under_another_name_is_refused(source, tmp_path):
    """By its samples: the archive's names say nothing."""
    test = of_fold(source, 10)[:3]
    train = of_fold(source, 1)[:2]
    copies = copy_as_challenge(source, [*test, *train], tmp_path / "copies")
    for number, path in enumerate(sorted(copies.glob("*.hea"))):
        text = path.read_text().replace(path.stem, f"x{number}")
        path.with_name(f"x{number}.hea").write_text(text)
        path.with_suffix(".mat").rename(path.with_name(f"x{number}.mat"))
        path.unlink()
    manifest = prepare({"ptb-xl": source, "mine": copies}, tmp_path / "store")
    mine = manifest.databases["mine"]
    assert mine.skipped == {"held_out_copy": len(test)}
    assert mine.stored == len(train)
    assert all("which is kept for selection or test" in skip.detail for skip in mine.quarantine)
    assert manifest.databases["ptb-xl"].left_out == len(of_fold(source, 9, 10))
    found = verify(tmp_path / "store")
    assert found.faults == []
    assert len(found.notes) == 1
    assert "2 groups of records hold the same samples" in found.notes[0]
    assert "duplicates across databases" in found.notes[0]


@pytest.mark.parametrize("change", ["gain", "rate", "drift", "rounding"])
def test_a_changed_copy_is_refused(source, tmp_path, change):
    from scipy import signal

    ecg_id = of_fold(source, 9)[0]
    path = source / f"records500/00000/{ecg_id:05d}_hr.dat"
    digital = np.fromfile(path, "<i2").reshape(-1, 12).astype(np.float64)
    options = {}
    if change == "gain":
        digital, options = digital / 5, {"gain": "200/mV"}
    elif change == "rate":
        digital, options = signal.resample_poly(digital, 4, 5, axis=0), {"rate": 400}
    elif change == "drift":
        digital += 200 * np.sin(2 * np.pi * 0.1 * np.arange(len(digital)) / 500)[:, None]
    else:
        digital = 8 * np.rint(digital / 8)
    write_wfdb(tmp_path / "mine/a.hea", np.rint(digital).astype(np.int16), **options)
    rng = np.random.default_rng(8)
    write_wfdb(tmp_path / "mine/b.hea", toy_ecg(rng))
    manifest = prepare({"ptb-xl": source, "mine": tmp_path / "mine"}, tmp_path / "store")
    assert manifest.databases["mine"].skipped == {"held_out_near_copy": 1}
    assert manifest.databases["mine"].stored == 1


def test_a_left_out_record_that_cannot_be_read_is_named(source, tmp_path, caplog):
    lost = of_fold(source, 9)[0]
    (source / f"records500/00000/{lost:05d}_hr.dat").unlink()
    prepare({"ptb-xl": source}, tmp_path / "store")
    said = [text for text in caplog.messages if "copies of it would not be recognised" in text]
    assert len(said) == 1
    assert f"left-out record {lost} of ptb-xl" in said[0]


def test_left_out_records_that_share_a_reason_are_one_line(source, tmp_path, caplog):
    """An archive has thousands of arrays that nobody has described yet."""
    lost = of_fold(source, 9)[:4]
    for number in lost:
        (source / f"records500/00000/{number:05d}_hr.dat").unlink()
    prepare({"ptb-xl": source}, tmp_path / "store")
    (said,) = [text for text in caplog.messages if "left-out records" in text and "read" in text]
    assert said.startswith(f"{len(lost)} left-out records of ptb-xl cannot be read, so copies of ")
    assert f": {', '.join(map(str, lost[:3]))} …; the first: " in said


def test_raise_does_not_stop_at_a_copy(source, tmp_path):
    """A copy is not damage: it is always left out."""
    copies = copy_as_challenge(source, of_fold(source, 9)[:1] + of_fold(source, 1), tmp_path / "c")
    manifest = prepare({"ptb-xl": source, "mine": copies}, tmp_path / "store", on_bad="raise")
    assert manifest.databases["mine"].skipped == {"held_out_copy": 1}


def test_evaluation_stores_hold_all_folds_and_say_so(source, tmp_path):
    prepare({"ptb-xl": source}, tmp_path / "store", folds="all")
    found = verify(tmp_path / "store")
    assert found.faults == []
    assert "fold 9, 10 is for selection and test" in found.notes[0]


def slip_in(monkeypatch) -> None:
    """Take the guard away, as if the copies had got past it."""
    monkeypatch.setattr(held_out_module.Guard, "check", lambda self, record: record)


def test_verify_finds_what_was_slipped_in(source, tmp_path, monkeypatch):
    test = of_fold(source, 10)[:2]
    copies = copy_as_challenge(source, test, tmp_path / "copies")
    slip_in(monkeypatch)
    manifest = prepare({"ptb-xl": source, "mine": copies}, tmp_path / "store")
    assert manifest.databases["mine"].stored == 2
    faults = verify(tmp_path / "store").faults
    assert len(faults) == 2
    assert faults[0].startswith("leak: 2 records hold the samples of records kept for")
    assert f"mine HR{test[0]:05d} is a copy of record {test[0]} of ptb-xl, fold 10" in faults[0]
    assert faults[1].startswith("leak: 2 records are, by their number, in PTB-XL's held-out folds")


def test_verify_with_ptb_xl_given_finds_copies_in_a_store_without_it(source, tmp_path):
    copies = copy_as_challenge(source, of_fold(source, 10)[:2], tmp_path / "copies")
    prepare({"mine": copies}, tmp_path / "store")
    alone = verify(tmp_path / "store").faults
    assert len(alone) == 1
    assert "named like the Challenge's copies of PTB-XL, and nothing tells their folds" in alone[0]
    faults = verify(tmp_path / "store", held_out={"ptb-xl": source}).faults
    assert len(faults) == 2
    assert "leak: 2 records hold the samples" in faults[0]


def test_verify_with_ptb_xl_given_trusts_its_training_folds(source, tmp_path):
    copies = copy_as_challenge(source, of_fold(source, 1, 2), tmp_path / "copies")
    prepare({"mine": copies}, tmp_path / "store")
    assert "nothing tells their folds" in verify(tmp_path / "store").faults[0]
    assert verify(tmp_path / "store", held_out={"ptb-xl": source}).faults == []


def test_training_copies_alone_are_no_leak(source, tmp_path):
    """Their folds come from PTB-XL's table where PTB-XL is given too."""
    train, test = of_fold(source, 1, 2), of_fold(source, 9)
    copies = copy_as_challenge(source, train + test, tmp_path / "challenge" / "ptb-xl")
    databases = {"ptb-xl": source, "challenge-ptb-xl": copies.parent}
    manifest = prepare(databases, tmp_path / "store")
    copied = manifest.databases["challenge-ptb-xl"]
    assert (copied.stored, copied.left_out) == (len(train), len(test))
    found = verify(tmp_path / "store")
    assert found.faults == []
    assert f"{len(train)} groups of records hold the same samples" in found.notes[0]


def test_a_patient_of_a_test_fold_is_found_by_id(source, tmp_path):
    """A table that puts one record of a test patient into a training fold."""
    table = pd.read_csv(source / "ptbxl_database.csv")
    in_test = table[table["strat_fold"] >= 9]
    twice = in_test[in_test["patient_id"].duplicated()].index
    table.loc[twice[0], "strat_fold"] = 1
    table.to_csv(source / "ptbxl_database.csv", index=False)
    prepare({"ptb-xl": source}, tmp_path / "wrong")
    faults = verify(tmp_path / "wrong").faults
    assert len(faults) == 1
    assert "records are of patients in PTB-XL's held-out folds" in faults[0]


def test_a_changed_table_of_left_out_records_is_found(source, tmp_path):
    prepare({"ptb-xl": source}, tmp_path / "store")
    (tmp_path / "store/held-out.parquet").write_bytes(b"")
    assert "held-out.parquet has changed" in verify(tmp_path / "store").faults[0]
    manifest = json.loads((tmp_path / "store/manifest.json").read_text())
    assert len(manifest["held_out"]) == 64


@pytest.mark.realdata
def test_the_challenges_copies_of_ptb_xl(real_data, tmp_path):
    """HR00001 to HR00010 are ecg_id 1 to 10; those of folds 9 and 10 are refused as an archive."""
    source, copies = real_data / "ptb-xl", real_data / "challenge-2021/ptb-xl"
    entries = {e.record_id: e for e in list_records("ptb-xl", source).entries()}
    manifest = prepare({"ptb-xl": source, "mine": copies}, tmp_path / "store")
    names = {skip.record_id.rsplit("/", 1)[-1] for skip in manifest.databases["mine"].quarantine}
    expected = {
        f"HR{int(i):05d}"
        for i, entry in entries.items()
        if entry.fold in (9, 10) and list(copies.rglob(f"HR{int(i):05d}.hea"))
    }
    assert expected
    assert names == expected
