"""The mark of a simulation, and what is said of a copy's size."""

import pytest
from conftest import toy_ecg, write_wfdb

from ecgjepa.databases import list_records
from ecgjepa.databases.listing import SIMULATED_FILE, is_simulated, size_notices


@pytest.mark.parametrize(
    ("found", "marked", "expected"),
    [
        (7, False, ()),
        (3, False, ("partial copy: 3 of 7 exams",)),
        (3, True, ("3 simulated ECGs; results on them say nothing about patients",)),
        (7, True, ("7 simulated ECGs; results on them say nothing about patients",)),
    ],
)
def test_size_notices(tmp_path, found, marked, expected):
    if marked:
        (tmp_path / SIMULATED_FILE).touch()
    notices = size_notices(tmp_path, found=found, published=7, things="exams")
    assert notices == expected


def test_any_folder_may_hold_the_mark(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / SIMULATED_FILE).touch()
    assert not is_simulated(tmp_path / "a")
    assert is_simulated(tmp_path / "a", tmp_path)


def test_an_archive_of_simulated_records_is_said_to_be_one(tmp_path, rng):
    write_wfdb(tmp_path / "r1.hea", toy_ecg(rng, num_samples=1000))
    assert list_records("clinic", tmp_path).notices == ()
    (tmp_path / SIMULATED_FILE).touch()
    (notice,) = list_records("clinic", tmp_path).notices
    assert notice == "1 simulated ECGs; results on them say nothing about patients"
