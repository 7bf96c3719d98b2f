"""``--on-bad raise | skip | mask``: what each does with the same damage."""

from pathlib import Path

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb

from ecgjepa.errors import RecordFormatError, StoreError
from ecgjepa.signals.units import INVALID_MICROVOLT
from ecgjepa.store.prepare import prepare
from ecgjepa.store.reading import Store


@pytest.fixture
def archive(tmp_path, rng) -> Path:
    """A clean record, one with a spike in V2, one cut short, one with nothing left."""
    for name in ("clean", "spiked", "cut", "empty"):
        write_wfdb(tmp_path / f"archive/{name}.hea", toy_ecg(rng, num_samples=2000))
    folder = tmp_path / "archive"
    data = bytearray((folder / "spiked.dat").read_bytes())
    data[2 * (12 * 700 + 7) + 1] ^= 0x40
    (folder / "spiked.dat").write_bytes(bytes(data))
    (folder / "cut.dat").write_bytes((folder / "cut.dat").read_bytes()[: 24 * 1500 + 7])
    (folder / "empty.dat").write_bytes(b"")
    return folder


def test_raise(archive, tmp_path):
    with pytest.raises(RecordFormatError, match="cut"):
        prepare({"mine": archive}, tmp_path / "s", on_bad="raise")


def test_skip(archive, tmp_path):
    mine = prepare({"mine": archive}, tmp_path / "s").databases["mine"]
    assert (mine.stored, mine.skipped) == (1, {"checksum_mismatch": 1, "truncated": 2})


def test_mask(archive, tmp_path):
    mine = prepare({"mine": archive}, tmp_path / "s", on_bad="mask").databases["mine"]
    assert (mine.stored, mine.skipped) == (3, {"truncated": 1})
    issues = {code: count for code, count in mine.issues.items() if code != "noisy_lead"}
    expected = {"checksum_mismatch": 1, "invalid_lead": 1, "short_record": 3, "truncated": 1}
    assert issues == expected
    store = Store(tmp_path / "s")
    assert store.table()["record_id"].tolist() == ["clean", "cut", "spiked"]
    assert "truncated" in store.table()["issues"][1]
    assert {"checksum_mismatch:V2", "invalid_lead:V2"} <= set(store.table()["issues"][2])
    spiked = store.read_record(2)
    assert (spiked[:, 7] == INVALID_MICROVOLT).all()
    assert (np.delete(spiked, 7, axis=1) != INVALID_MICROVOLT).all()
    assert len(store.read_record(1)) == 1500


def test_too_much_damage_is_skipped_all_the_same(tmp_path, rng):
    header = write_wfdb(tmp_path / "a/x.hea", toy_ecg(rng, num_samples=500))
    data = np.fromfile(header.with_suffix(".dat"), "<i2").reshape(-1, 12)
    data[100, :6] += 1
    data.tofile(header.with_suffix(".dat"))
    write_wfdb(tmp_path / "a/y.hea", toy_ecg(rng, num_samples=500))
    mine = prepare({"mine": tmp_path / "a"}, tmp_path / "s", on_bad="mask").databases["mine"]
    assert mine.skipped == {"too_few_leads": 1}


def test_an_unknown_rule(archive, tmp_path):
    with pytest.raises((StoreError, TypeError), match="on_bad"):
        prepare({"mine": archive}, tmp_path / "s", on_bad="ignore")
