"""``--describe`` of `prepare`: one description for all archives of the call, or for one."""

import json

import numpy as np
import pytest
from conftest import toy_ecg
from ecg_files import LEADS, describe

import ecgjepa
from ecgjepa.errors import DatabaseError


@pytest.fixture
def two_archives(tmp_path, rng):
    digital = [toy_ecg(rng, num_samples=1000) for _ in range(2)]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / f"{name}/x.npy", digital[0])
        np.savetxt(tmp_path / f"{name}/y.csv", digital[1], "%d", ",", header=",".join(LEADS))
    told = {"sampling_rate": 500, "unit": "uV", "leads": list(LEADS)}
    (tmp_path / "told.json").write_text(json.dumps(told))
    (tmp_path / "half.json").write_text(json.dumps(told | {"unit": "0.5 uV"}))
    return tmp_path


def prepare_command(command, root, *options):
    store = root / f"store-{len(list(root.glob('store-*')))}"
    names = [f"{name}={root / name}" for name in ("a", "b")]
    code, _, shown = command("prepare", *names, "--store", store, "--workers", 1, *options)
    return code, shown, store


def test_a_description_of_the_call(two_archives, command):
    root = two_archives
    code, _, store = prepare_command(
        command, root, "--describe", root / "told.json", "--describe", f"b={root}/half.json"
    )
    assert code == 0
    with ecgjepa.Store(store) as opened:
        names = opened.table()[["database", "record_id"]].agg("/".join, axis=1).tolist()
        assert names == ["a/x", "a/y", "b/x", "b/y"]
        whole, half = opened.read_record(0).astype(int), opened.read_record(2).astype(int)
    assert np.abs(whole - 2 * half).max() <= 1
    manifest = (store / "manifest.json").read_text()
    assert str(root) not in manifest


def test_another_description_is_another_request(two_archives):
    root = two_archives
    told = dict.fromkeys("ab", root / "told.json")
    folders = {name: root / name for name in "ab"}
    ecgjepa.prepare(folders, root / "store", descriptions=told, workers=1)
    ecgjepa.prepare(folders, root / "store", descriptions=told, workers=1)
    with pytest.raises(ecgjepa.errors.StoreError):
        ecgjepa.prepare(folders, root / "store", descriptions=told | {"b": root / "half.json"})


def test_descriptions_that_do_not_fit_the_call(two_archives, command):
    root = two_archives
    file = root / "told.json"
    code, shown, _ = prepare_command(command, root, "--describe", file, "--describe", file)
    assert code == 2
    assert "given already" in shown
    code, shown, _ = prepare_command(command, root, "--describe", root / "none.json")
    assert code == 2
    assert "no such description" in shown
    with pytest.raises(DatabaseError, match="no folder"):
        ecgjepa.prepare({"a": root / "a"}, root / "s", descriptions={"c": file})
    code, _, shown = command(
        "prepare", f"ptb-xl={root}/a", "--store", root / "s", "--describe", file
    )
    assert code == 2
    assert "archive of your own" in shown


def test_what_lies_beside_a_file_gives_way_with_a_notice(two_archives):
    root = two_archives
    describe(root / "a/x.npy", unit="mV")
    listing = ecgjepa.databases.list_records("a", root / "a", description=root / "told.json")
    assert any("1 file has a description beside" in notice for notice in listing.notices)
    x = next(entry for entry in listing.entries() if entry.record_id == "x")
    assert np.abs(listing.read(x).signal).max() < 10
