"""A publisher or mirror that misbehaves costs one file, in words, and never the others."""

import bz2
import json
import zipfile

import pytest
from fetching.georgia import GEORGIA, MAT, NUM_FILES, contents, of_georgia
from fetching.test_unpacking import zipped

from ecgjepa.errors import FetchError
from ecgjepa.fetching import client, transfer, work
from ecgjepa.fetching.client import RefusedError, shown
from ecgjepa.fetching.fetch import fetch as run
from ecgjepa.files import DiskFullError

REST = {name: content for name, content in of_georgia().items() if name != MAT}


def answer(status, **headers):
    return "answer", status, {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://127.0.0.1:99999/x", "is not an address"),
        ("http://127.0.0.1:abc/x", "is not an address"),
        ("http://[::1/x", "is not an address"),
        ("http://m\xfcller.example/x", "has blanks or letters that no address has"),
        ("/with a blank", "has blanks or letters"),
        ("ftp://127.0.0.1/x", "is not an address of the web"),
        ("file:///etc/hostname", "is not an address of the web"),
        ("http://user:secret@127.0.0.1:99999/x?key=secret", "is not an address"),
        ("http://127.0.0.1:1/" + "x" * 5000 + "\xfc", "has blanks"),
    ],
)
def test_a_redirect_that_leads_nowhere_costs_one_file(server, georgia, tmp_path, target, reason):
    server.faults[GEORGIA + MAT].extend([answer(302, Location=target)] * 9)
    result = georgia()
    assert [failure.path for failure in result.failures] == [MAT]
    assert reason in result.failures[0].reason
    assert "127.0.0.1:" in result.failures[0].reason, "who sends there is named"
    assert "secret" not in result.failures[0].reason
    assert len(result.failures[0].reason) < 600
    assert contents(tmp_path / "g") == REST


@pytest.mark.parametrize("length", ["\xb2", "9" * 400, "-1", "many"])
def test_a_length_that_is_no_number(server, georgia, length):
    server.told_length = length
    result = georgia()
    assert result.failures == ()
    assert result.plan.basis == "by the catalogue, as the server tells no sizes"


@pytest.mark.parametrize("wait", ["\xb2", "9" * 5000, "soon", "-1"])
def test_a_wait_that_is_no_number(server, georgia, wait):
    server.faults[GEORGIA + MAT].append(answer(503, Retry_After=wait[:60_000]))
    assert georgia().failures == ()


def test_a_range_without_end(server, georgia, tmp_path):
    path = tmp_path / "g" / MAT
    path.parent.mkdir(parents=True)
    transfer.partial_of(path).write_bytes(of_georgia()[MAT][:100])
    server.faults[GEORGIA + MAT].append(answer(416, Content_Range="bytes */" + "9" * 5000))
    assert georgia().failures == ()
    assert contents(tmp_path / "g") == of_georgia()


def publish(server, files, **changes):
    server.publish_zenodo("4916206", files)
    path = "/zenodo.org/api/records/4916206"
    content = json.loads(server.files[path])
    for entry in content["files"]:
        entry |= changes.get(entry["key"].partition(".")[0], {})
    server.files[path] = json.dumps(content).encode()


@pytest.mark.parametrize("size", [float("inf"), float("nan"), -5, "5", True, 10**30, None, [1]])
def test_a_size_that_is_none(server, tmp_path, size):
    publish(server, {"a.csv": b"12345"}, a={"size": size})
    with pytest.raises(FetchError, match="not the description of a Zenodo record"):
        run("code-15", tmp_path, base_url=server.url)


def test_json_nested_too_deeply(server, tmp_path):
    server.files["/zenodo.org/api/records/4916206"] = b'{"files": ' + b"[" * 100_000
    with pytest.raises(FetchError, match="not the description of a Zenodo record"):
        run("code-15", tmp_path, base_url=server.url)


def test_a_file_that_never_ends_is_left_at_the_size_of_the_list(server, tmp_path):
    publish(server, {"a.csv": b"x" * 5_000_000, "b.csv": b"good"}, a={"size": 5})
    result = run("code-15", tmp_path, base_url=server.url)
    assert [failure.path for failure in result.failures] == ["a.csv"]
    assert "sends more than the 5 B" in result.failures[0].reason
    assert result.num_bytes < 100
    assert contents(tmp_path) == {"b.csv": b"good"}


def test_without_a_size_the_whole_database_is_the_limit(server, georgia, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "fetch_file", _with_limit(1000))
    result = georgia()
    assert {failure.path for failure in result.failures} == {MAT, "g1/E00002.mat"}
    assert all("sends more than the 1,000 B" in failure.reason for failure in result.failures)


def _with_limit(most):
    def fetch_file(client, item, path, moved, *, most_bytes):
        assert most_bytes > 1e9, "twice what the catalogue says"
        return transfer.fetch_file(client, item, path, moved, most_bytes=most)

    return fetch_file


def test_one_impossible_name_costs_one_file(server, tmp_path):
    long = "x" * 300 + ".csv"
    publish(server, {long: b"1", "q": b"2", "q/r": b"3", "b.csv": b"4"})
    result = run("code-15", tmp_path, base_url=server.url, jobs=1)
    reasons = dict(result.failures)
    assert reasons.pop(long) == "File name too long"
    assert set(reasons) == {"q/r"}
    assert contents(tmp_path) == {"q": b"2", "b.csv": b"4"}


def test_what_nobody_foresaw_costs_one_file(server, georgia, tmp_path, monkeypatch):
    def fetch_file(client, item, path, moved, **options):
        if item.path == MAT:
            raise LookupError("of all things")
        return transfer.fetch_file(client, item, path, moved, **options)

    monkeypatch.setattr(work, "fetch_file", fetch_file)
    result = georgia()
    assert dict(result.failures) == {MAT: "internal error: LookupError: of all things"}
    assert result.num_fetched == NUM_FILES - 1


def test_a_full_disk_still_ends_everything(georgia, monkeypatch):
    def full(*_, **__):
        raise DiskFullError(28, "no space left")

    monkeypatch.setattr(work, "fetch_file", full)
    with pytest.raises(DiskFullError):
        georgia()


def test_a_link_under_a_temporary_name_is_not_followed(server, georgia, tmp_path):
    """In a folder that others may write to, it would overwrite whatever it leads to."""
    path = tmp_path / "g" / MAT
    path.parent.mkdir(parents=True)
    (tmp_path / "mine").write_bytes(b"precious")
    transfer.partial_of(path).symlink_to(tmp_path / "mine")
    result = georgia()
    assert "is a symbolic link; remove that link" in dict(result.failures)[MAT]
    assert (tmp_path / "mine").read_bytes() == b"precious"


DAMAGED_BZIP2 = zipped({"a.hdf5": b"abcdef" * 1000}, zipfile.ZIP_BZIP2)
DAMAGED_BZIP2 = DAMAGED_BZIP2.replace(bz2.compress(b"abcdef" * 1000)[10:20], b"0123456789", 1)


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (zipped({"q": b"1", "q/r": b"2"}), "cannot be unpacked: "),
        (DAMAGED_BZIP2, "cannot be unpacked: "),
        (zipped({"x" * 300: b"1"}), "cannot be unpacked: OSError"),
        (zipped({"a.zip": b"1"}), "holds 'a.zip', which is the name of a file that was fetched"),
        (zipped({"./a.zip": b"1"}), "holds './a.zip', which is the name of a file"),
        (zipped({"b.csv": b"1"}), "holds 'b.csv', which is the name of a file that was fetched"),
        (zipped({"good": b"1"}).replace(b"good", b"g\xff\xffd"), "holds 'g"),
    ],
)
def test_an_archive_that_cannot_be_unpacked_costs_itself(server, tmp_path, archive, reason):
    publish(server, {"a.zip": archive, "b.csv": b"listed"})
    result = run("code-15", tmp_path, base_url=server.url)
    assert all(reason in failure.reason for failure in result.failures)
    assert len(result.failures) == 1
    assert (tmp_path / "b.csv").read_bytes() == b"listed"
    assert (tmp_path / "a.zip").read_bytes() == archive


def test_no_password_in_a_message(server, georgia):
    base = server.url.replace("http://", "http://me:secret@")
    server.files.clear()
    with pytest.raises(FetchError) as caught:
        georgia(base_url=base)
    assert "secret" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)
    with pytest.raises(FetchError, match="begins with http") as caught:
        georgia(base_url="ftp://me:secret@127.0.0.1/")
    assert "secret" not in str(caught.value)


def test_what_is_shown_of_an_address():
    assert shown("https://me:pw@host:1/a@b?token=1") == "https://host:1/a@b?…"
    assert len(shown("https://host/" + "x" * 999)) == 200
    with pytest.raises(RefusedError, match="host:77777") as caught:
        client._address("https://me:pw@host:77777/a?key=1")
    assert "pw" not in str(caught.value)
    assert "key" not in str(caught.value)
