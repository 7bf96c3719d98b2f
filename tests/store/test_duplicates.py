import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb

from ecgjepa.checking.duplicates import near_pairs
from ecgjepa.checking.verify import verify
from ecgjepa.store.held_out import MAX_DISTANCE
from ecgjepa.store.prepare import prepare


def brute_force(signatures: np.ndarray) -> set[tuple[int, int]]:
    found = set()
    for a in range(len(signatures)):
        for b in range(a + 1, len(signatures)):
            distance = int(np.bitwise_count(signatures[a] ^ signatures[b]).sum())
            if distance <= MAX_DISTANCE and signatures[a].any() and signatures[b].any():
                found.add((a, b))
    return found


def test_near_pairs_finds_what_a_full_comparison_finds(rng):
    signatures = rng.integers(0, 2**64, (300, 2), dtype=np.uint64)
    for row in range(40):  # copies with up to 5 bits flipped: one band of six has none of them
        signatures[200 + row] = signatures[row]
        for bit in rng.integers(0, 128, row % 6):
            signatures[200 + row, bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    signatures[290:] = 0
    found = {tuple(pair) for pair in near_pairs(signatures).tolist()}
    assert found == brute_force(signatures)
    assert len(found) >= 40


def test_near_pairs_of_few():
    assert near_pairs(np.empty((0, 2), np.uint64)).shape == (0, 2)
    assert near_pairs(np.ones((1, 2), np.uint64)).shape == (0, 2)


def test_many_equal_signatures_are_bounded():
    """5,000 equal ones would be 12 million pairs; each is compared with its next instead."""
    assert len(near_pairs(np.full((5000, 2), 7, np.uint64))) == 4999


@pytest.fixture
def archives(tmp_path, rng):
    first, second, third = (toy_ecg(rng) for _ in range(3))
    write_wfdb(tmp_path / "a/one.hea", first)
    write_wfdb(tmp_path / "a/two.hea", second)
    write_wfdb(tmp_path / "a/again.hea", second)
    write_wfdb(tmp_path / "b/copy.hea", first)
    write_wfdb(tmp_path / "b/scaled.hea", np.rint(third / 5).astype(np.int16), gain="200/mV")
    write_wfdb(tmp_path / "b/third.hea", third)
    return {name: tmp_path / name for name in ("a", "b")}


def test_verify_reports_duplicates_within_and_across(archives, tmp_path):
    prepare(archives, tmp_path / "store")
    found = verify(tmp_path / "store")
    assert found.faults == []
    assert found.notes == [
        "duplicates within a database: 1 group of records holds the same samples, such as "
        "a again = a two",
        "duplicates across databases: 1 group of records holds the same samples, such as "
        "a one = b copy",
        "duplicates within a database: 1 group of records holds nearly the same, such as "
        "b scaled = b third",
    ]


def test_records_with_like_signatures_but_other_samples_are_no_duplicates(
    archives, tmp_path, monkeypatch
):
    from ecgjepa.store import ingest

    ones = np.ones(16, np.uint8)
    monkeypatch.setattr(ingest, "signatures", lambda measures: [ones] * len(measures))
    prepare({"a": archives["a"]}, tmp_path / "store")
    notes = verify(tmp_path / "store").notes
    assert len(notes) == 1
    assert "again = a two" in notes[0]
