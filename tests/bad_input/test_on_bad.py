"""``predict --on-bad`` as people type it: skip, mask, raise."""

import json

import pytest
from conftest import toy_ecg, write_wfdb
from inference.test_predict import save


@pytest.fixture
def files(tmp_path, rng):
    """A sound record, one whose signal file is cut short, and one without a signal file."""
    for name in ("cut", "gone", "sound"):
        write_wfdb(tmp_path / f"files/{name}.hea", toy_ecg(rng))
    cut = tmp_path / "files/cut.dat"
    cut.write_bytes(cut.read_bytes()[:100_000])
    (tmp_path / "files/gone.dat").unlink()
    save(tmp_path / "model")
    return tmp_path


def predicted(command, root, *options):
    """Return exit code, rows by the name of the file, and what was written beside them."""
    code, out, shown = command(
        "predict", root / "files", "--model", root / "model", "--json", *options
    )
    rows = json.loads(out) if out.strip() else []
    return code, {row["file"].rpartition("/")[2]: row for row in rows}, shown


@pytest.mark.parametrize("options", [(), ("--on-bad", "skip")])
def test_skip_gives_each_file_a_row_and_exits_with_1(files, command, options):
    code, rows, _ = predicted(command, files, *options)
    assert code == 1
    reasons = {name: row["reason"] for name, row in rows.items()}
    assert reasons == {"cut.hea": "truncated", "gone.hea": "missing_file", "sound.hea": None}


def test_mask_uses_what_is_left(files, command):
    code, rows, _ = predicted(command, files, "--on-bad", "mask")
    assert code == 1
    reasons = {name: row["reason"] for name, row in rows.items()}
    assert reasons == {"cut.hea": None, "gone.hea": "missing_file", "sound.hea": None}
    assert any("holds 4166 of 5000 samples" in str(each) for each in rows["cut.hea"]["findings"])
    assert "truncated" not in str(rows["sound.hea"]["findings"])


def test_raise_stops_at_the_first_by_name(files, command):
    words = ("predict", files / "files", "--model", files / "model", "--on-bad")
    code, out, shown = command(*words, "raise")
    assert code == 2
    assert "sound.hea" not in out
    assert "cut.dat: truncated" in shown
    code, _, shown = command(*words, "drop")
    assert code == 2
    assert "skip" in shown
