"""Lists of files that are damaged, hostile, or only written in another way."""

import json

import pytest
from fetching.georgia import NUM_FILES, contents, of_georgia

from ecgjepa.errors import FetchError
from ecgjepa.fetching.fetch import fetch as run


def test_no_list_is_an_error(server, georgia, tmp_path):
    del server.files["/physionet.org/files/challenge-2021/1.0.3/SHA256SUMS.txt"]
    with pytest.raises(FetchError, match=r"SHA256SUMS\.txt, which lists the files: HTTP 404"):
        georgia()


SAFE = "0" * 64 + " training/georgia/g1/E00001.hea\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0" * 64 + " training/georgia/../../../evil", "does not lie inside"),
        ("0" * 64 + " training/georgia//etc/passwd", "does not lie inside"),
        ("0" * 64 + " training/georgia/g1/.partial-x", "does not lie inside"),
        ("0" * 64 + " training/georgia/.ecgjepa-fetch/lock", "does not lie inside"),
        ("0" * 64 + " training/georgia/a\\..\\b", "does not lie inside"),
        ("<html>", "expected a SHA-256 and a path"),
        ("0" * 63 + " training/georgia/a", "expected a SHA-256 and a path"),
    ],
)
def test_an_unsafe_or_damaged_list_fetches_nothing(server, georgia, tmp_path, line, message):
    server.files["/physionet.org/files/challenge-2021/1.0.3/SHA256SUMS.txt"] = (
        SAFE + line + "\n"
    ).encode()
    with pytest.raises(FetchError, match=message):
        georgia()
    assert contents(tmp_path / "g") == {}
    assert len(server.gets()) == 1


def test_a_file_listed_twice_is_refused(server, georgia):
    path = "/physionet.org/files/challenge-2021/1.0.3/SHA256SUMS.txt"
    server.files[path] *= 2
    with pytest.raises(FetchError, match="is listed twice"):
        georgia(only=("*E00001.hea",), jobs=16)


def test_other_ways_to_write_a_list(server, georgia, tmp_path):
    path = "/physionet.org/files/challenge-2021/1.0.3/SHA256SUMS.txt"
    text = server.files[path].decode()
    server.files[path] = text.replace(" ", "  ./").replace("\n", "\r\n").encode() + b"\n"
    assert georgia().num_fetched == NUM_FILES
    assert contents(tmp_path / "g") == of_georgia()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([{"key": "../x", "size": 1, "checksum": "md5:0"}], "does not lie inside"),
        ([{"key": "x", "size": 1, "checksum": "crc:0"}], "has no MD5 or SHA-256"),
        ([{"key": "x"}], "not the description of a Zenodo record"),
        (None, "not the description of a Zenodo record"),
    ],
)
def test_a_strange_zenodo_record_is_refused(server, tmp_path, files, message):
    server.files["/zenodo.org/api/records/4916206"] = json.dumps({"files": files}).encode()
    with pytest.raises(FetchError, match=message):
        run("code-15", tmp_path, base_url=server.url)
