"""Every real record is read and prepared as it was when ``tests/golden/readers.json`` was made."""

import json

import numpy as np
import pytest
from golden.make_readers import FILE, combined, digest_of_all, listings, packed, snapshot

GOLDEN = json.loads(FILE.read_text(encoding="utf-8"))
SINGLY = [name for name, of_database in GOLDEN.items() if "records" in of_database]
# Of filtered and resampled records: processors differ in the last bit, which may tip a rounding.
TOLERANCE_MV = 1e-3


def differences(found: dict, expected: dict) -> list[str]:
    """Return the facts that differ, by name."""
    names = [name for name in expected if not name.endswith("_mv")]
    wrong = [name for name in names if found.get(name) != expected[name]]
    for name in set(expected) - set(names):
        if np.abs(np.subtract(found[name], expected[name])).max() > TOLERANCE_MV:
            wrong.append(name)
    return wrong


def test_differences_are_seen():
    expected = {"read": "a", "mean_mv": [0.5, 0.1]}
    assert differences(expected, expected) == []
    assert differences({"read": "b", "mean_mv": [0.5005, 0.1]}, expected) == ["read"]
    assert differences({"read": "a", "mean_mv": [0.5, 0.102]}, expected) == ["mean_mv"]


@pytest.mark.parametrize("name", SINGLY)
def test_the_snapshot_agrees_with_itself(name):
    assert combined(GOLDEN[name]["records"]) == GOLDEN[name]["digest"]
    assert len(GOLDEN[name]["records"]) >= (4 if name == "formats" else 10)


@pytest.fixture(scope="module")
def by_name(real_data):
    return dict(listings(real_data))


@pytest.mark.realdata
@pytest.mark.parametrize("name", SINGLY)
def test_real_records_are_read_and_prepared_as_before(by_name, name):
    found = snapshot(by_name[name])["records"]
    expected = GOLDEN[name]["records"]
    assert list(found) == list(expected)
    wrong = {record: differences(found[record], expected[record]) for record in expected}
    assert {record: names for record, names in wrong.items() if names} == {}


@pytest.mark.slow
@pytest.mark.realdata
def test_packed_records_are_read_and_prepared_as_before(real_data, tmp_path):
    if not (real_data / "unpack.py").is_file():
        pytest.skip("there is no unpack.py")
    found = {name: (len(one), digest_of_all(one)) for name, one in packed(real_data, tmp_path)}
    expected = {name: (GOLDEN[name]["num_records"], GOLDEN[name]["digest"]) for name in found}
    assert found == expected
    assert {name: number for name, (number, _) in found.items()} == {
        "ptb-xl-with-extra": 2730,
        "cinc-2011": 748,
    }
