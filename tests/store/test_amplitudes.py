"""Beats of a whole database that are several times too small or too large are noticed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import toy_ecg, write_ptb_xl, write_wfdb

import ecgjepa
from ecgjepa.checking.verify import verify
from ecgjepa.store.amplitudes import TYPICAL_BEATS_MV, describe
from ecgjepa.store.prepare import prepare


def archive(folder: Path, *, seed: int, gain: str, records: int = 8, rate: float = 500) -> Path:
    rng = np.random.default_rng(seed)
    for number in range(records):
        digital = np.rint(1.5 * toy_ecg(rng, num_samples=2500, rate=rate)).astype(np.int16)
        write_wfdb(folder / f"r{number}-{gain[:4]}.hea", digital, gain=gain, rate=rate)
    return folder


def notices(manifest, name: str) -> str:
    return " ".join(manifest.databases[name].notices)


def test_a_gain_of_4880_is_noticed_beside_other_databases(tmp_path, caplog):
    right = archive(tmp_path / "right", seed=1, gain="1000(0)/mV")
    wrong = archive(tmp_path / "wrong", seed=2, gain="4880(0)/mV")
    manifest = prepare({"right": right, "wrong": wrong}, tmp_path / "store")
    words = notices(manifest, "wrong")
    assert "beats of wrong are a fifth of the others'" in words
    assert "4880 in place of 1000" in words
    assert "beats of" not in notices(manifest, "right")
    assert "is the gain right?" in caplog.text
    assert any("a fifth of" in note for note in verify(tmp_path / "store").notes)
    caplog.clear()
    ecgjepa.plan("tiny", store=tmp_path / "store")
    assert "beats of wrong are a fifth of the others'" in caplog.text


@pytest.mark.parametrize(("gain", "words"), [("4880(0)/mV", "a fifth of"), ("200(0)/mV", "times")])
def test_a_database_alone_is_compared_with_what_is_usual(tmp_path, gain, words):
    manifest = prepare({"one": archive(tmp_path / "one", seed=1, gain=gain)}, tmp_path / "store")
    assert f"{words} what is usual" in notices(manifest, "one")


def test_one_device_among_several(tmp_path):
    folder = archive(tmp_path / "clinic", seed=1, gain="1000(0)/mV", records=16)
    archive(folder, seed=2, gain="4880(0)/mV", records=5)
    names = sorted(path.stem for path in folder.glob("*.hea"))
    rows = [f"{name},{'AT-6' if name.endswith('4880') else 'MAC'}" for name in names]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["record,device", *rows]) + "\n")
    manifest = prepare({"clinic": folder}, tmp_path / "store", tables={"clinic": table})
    assert "beats of clinic, device=AT-6, are a" in notices(manifest, "clinic")
    assert "device=MAC" not in notices(manifest, "clinic").replace("column device", "")


def test_sound_groups_of_any_size_are_not_suspected():
    rng = np.random.default_rng(0)
    for size in (1, 2, 4, 10, 100):
        for _ in range(200):
            own = TYPICAL_BEATS_MV * 1.2 * np.exp(0.3 * rng.standard_normal(size))
            assert describe("x", own, {"y": 0.95}) is None


def test_few_records_with_a_wrong_gain_are_enough():
    rng = np.random.default_rng(0)
    own = TYPICAL_BEATS_MV / 4.88 * np.exp(0.2 * rng.standard_normal(4))
    assert "a fifth of" in str(describe("x", own, {"y": 1.1, "z": 1.0}))


def test_a_device_that_the_database_itself_names(tmp_path):
    """PTB-XL's table has a column of devices, which no store holds."""
    root = write_ptb_xl(tmp_path / "ptb-xl", records=40, seconds=4.0)
    path = root / "ptbxl_database.csv"
    table = pd.read_csv(path)
    table["device"] = np.where(table.index % 4 == 0, "AT-6 C", "CS-12")
    table.loc[7, "device"] = None
    table.to_csv(path, index=False)
    for header in table.loc[table["device"] == "AT-6 C", "filename_hr"]:
        place = root / f"{header}.hea"
        place.write_text(place.read_text().replace("1000.0(0)/mV", "4880.0(0)/mV"))
    manifest = prepare({"ptb-xl": root}, tmp_path / "store", folds="all")
    assert "beats of ptb-xl, device=AT-6 C, are a" in notices(manifest, "ptb-xl")
    assert "CS-12" not in notices(manifest, "ptb-xl")
    notes = " ".join(verify(tmp_path / "store", data={"ptb-xl": root}).notes)
    assert "beats of ptb-xl, device=AT-6 C, are a" in notes
    assert "device" not in " ".join(verify(tmp_path / "store").notes)
