"""Downloads from a small archive on this machine, which fails in all the ways archives do."""

import errno
import hashlib
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from fetching.archive_server import serving

from ecgjepa import cli
from ecgjepa.databases import catalogue, list_records
from ecgjepa.errors import DatabaseError, DiskSpaceError, FetchError
from ecgjepa.fetching import client, fetch, transfer, work
from ecgjepa.fetching.fetch import fetch as run
from ecgjepa.files import DiskFullError

STATE = ".ecgjepa-fetch"
GEORGIA = "/physionet.org/files/challenge-2021/1.0.3/training/georgia/"
FILES = {
    "training/georgia/g1/E00001.hea": b"E00001 12 500 5000\n",
    "training/georgia/g1/E00001.mat": bytes(range(256)) * 40,
    "training/georgia/g1/E00002.hea": b"E00002 12 500 5000\n",
    "training/georgia/g1/E00002.mat": bytes(reversed(range(256))) * 40,
    "training/georgia/RECORDS": b"g1/E00001\ng1/E00002\n",
    "training/ningbo/g1/JS10647.hea": b"another database\n",
    "dx_mapping_scored.csv": b"not below the folder\n",
}
MAT = "g1/E00001.mat"
NUM_FILES = 5


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(transfer, "RETRY_SECONDS", (0.0,) * 5)
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", 2.0)
    monkeypatch.setattr(work, "_SECONDS_BETWEEN_NEWS", 0.02)
    monkeypatch.delenv("ECGJEPA_MIRROR", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as server:
        server.publish_physionet("challenge-2021", "1.0.3", FILES)
        yield server


@pytest.fixture
def georgia(server, tmp_path):
    """Return a function that fetches Georgia from the server."""

    def fetch_georgia(**options):
        return run("georgia", tmp_path / "g", **({"base_url": server.url} | options))

    return fetch_georgia


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and STATE not in path.parts
    }


def of_georgia() -> dict[str, bytes]:
    root = "training/georgia/"
    return {name.removeprefix(root): FILES[name] for name in FILES if name.startswith(root)}


def test_all_files_of_the_database_and_no_other(server, georgia, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    seen = []
    result = georgia(progress=lambda done, total: seen.append((done, total)))
    assert (result.num_fetched, result.num_present, result.failures) == (NUM_FILES, 0, ())
    assert result.num_bytes == sum(map(len, of_georgia().values()))
    assert contents(tmp_path / "g") == of_georgia()
    assert seen[0] == (0, 1)
    assert seen[-1] == (1, 1)
    assert "licence: CC BY 4.0" in caplog.text
    assert "doi:10.13026/34va-7q14" in caplog.text
    assert "aws s3 sync --no-sign-request s3://physionet-open/challenge-2021/1.0.3/" in caplog.text


def test_connections_are_kept(server, georgia):
    georgia(jobs=2)
    assert len(server.requests) > NUM_FILES + 1
    assert len({request.connection for request in server.requests}) <= 2


def test_a_second_run_fetches_and_hashes_nothing(server, georgia, monkeypatch):
    georgia()
    server.requests.clear()
    monkeypatch.setattr(work, "digest_of_file", None)
    result = georgia()
    assert (result.num_fetched, result.num_present) == (0, NUM_FILES)
    assert server.requests == []


def test_files_that_came_another_way_are_hashed_once(server, georgia, tmp_path, monkeypatch):
    for name, content in of_georgia().items():
        path = tmp_path / "g" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    result = georgia()
    assert (result.num_fetched, result.num_present) == (0, NUM_FILES)
    assert [request.path for request in server.gets() if GEORGIA in request.path] == []
    monkeypatch.setattr(work, "digest_of_file", None)
    assert georgia().num_present == NUM_FILES


def test_a_changed_file_is_fetched_again(georgia, tmp_path, caplog):
    georgia()
    path = tmp_path / "g" / MAT
    path.write_bytes(b"x" * path.stat().st_size)
    result = georgia()
    assert (result.num_fetched, result.num_present) == (1, NUM_FILES - 1)
    assert "E00001.mat does not fit its checksum" in caplog.text
    assert contents(tmp_path / "g") == of_georgia()


def test_recheck_finds_a_change_that_kept_size_and_time(georgia, tmp_path):
    georgia()
    path = tmp_path / "g" / MAT
    before = path.stat()
    path.write_bytes(b"x" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert georgia().num_fetched == 0
    assert georgia(recheck=True).num_fetched == 1
    assert contents(tmp_path / "g") == of_georgia()


def test_a_torn_journal_only_costs_hashing(server, georgia, tmp_path):
    georgia()
    journal = tmp_path / "g" / STATE / "georgia-1.0.3.verified"
    journal.write_bytes(journal.read_bytes()[:-7])
    server.requests.clear()
    assert georgia().num_present == NUM_FILES
    assert server.requests == []


@pytest.mark.parametrize("cuts", [1, 3])
def test_a_cut_connection_goes_on_from_where_it_was(server, georgia, tmp_path, cuts):
    server.faults[GEORGIA + MAT].extend([("cut", 1000)] * cuts)
    assert georgia().failures == ()
    assert [request.range for request in server.gets(MAT)] == [
        None,
        *(f"bytes={1000 * (n + 1)}-" for n in range(cuts)),
    ]
    tag = f'"{hashlib.sha256(of_georgia()[MAT]).hexdigest()[:12]}"'
    assert [request.if_range for request in server.gets(MAT)] == [None, *[tag] * cuts]
    assert contents(tmp_path / "g") == of_georgia()


def test_a_server_without_ranges_starts_over(server, georgia, tmp_path):
    server.ranges = False
    server.faults[GEORGIA + MAT].append(("cut", 1000))
    assert georgia().failures == ()
    assert contents(tmp_path / "g") == of_georgia()


def test_a_file_that_changed_meanwhile_starts_over(server, georgia, tmp_path):
    path = tmp_path / "g" / MAT
    path.parent.mkdir(parents=True)
    transfer.partial_of(path).write_bytes(b"old beginning")
    transfer._tag_file(transfer.partial_of(path)).write_text('"old"')
    assert georgia().failures == ()
    assert [request.if_range for request in server.gets(MAT)] == ['"old"']
    assert contents(tmp_path / "g") == of_georgia()


@pytest.mark.parametrize("start", ["all", "too much", "wrong"])
def test_odd_beginnings(server, georgia, tmp_path, start):
    content = of_georgia()[MAT]
    path = tmp_path / "g" / MAT
    path.parent.mkdir(parents=True)
    odd = {"all": content, "too much": content + b"x", "wrong": b"wrong"}[start]
    transfer.partial_of(path).write_bytes(odd)
    assert georgia().failures == ()
    assert len(server.gets(MAT)) == {"all": 1, "too much": 2, "wrong": 2}[start]
    assert contents(tmp_path / "g") == of_georgia()


def test_bytes_corrupted_once_are_fetched_again(server, georgia, tmp_path):
    server.faults[GEORGIA + MAT].append("corrupt")
    result = georgia()
    assert (result.num_fetched, result.failures) == (NUM_FILES, ())
    assert len(server.gets(MAT)) == 2
    assert contents(tmp_path / "g") == of_georgia()


def test_bytes_corrupted_always_are_reported_and_never_get_the_name(server, georgia, tmp_path):
    server.faults[GEORGIA + MAT].extend(["corrupt"] * 9)
    result = georgia()
    assert [failure.path for failure in result.failures] == [MAT]
    assert "sha256 is not the published one, after 3 downloads" in result.failures[0].reason
    assert len(server.gets(MAT)) == 3
    assert contents(tmp_path / "g") == {k: v for k, v in of_georgia().items() if k != MAT}


@pytest.mark.parametrize("length", [10, 99_999])
def test_a_wrong_length_once(server, georgia, tmp_path, monkeypatch, length):
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", 0.3)
    server.faults[GEORGIA + MAT].append(("length", length))
    server.faults[GEORGIA + "g1/E00002.mat"].append(("length", length))
    assert georgia(jobs=1).failures == ()
    assert contents(tmp_path / "g") == of_georgia()


def test_missing_and_forbidden_files_are_reported_at_once(server, georgia):
    server.faults[GEORGIA + MAT].append(404)
    server.faults[GEORGIA + "g1/E00002.mat"].append(403)
    result = georgia()
    reasons = dict(result.failures)
    assert reasons[MAT] == "HTTP 404: the server does not have it"
    assert reasons["g1/E00002.mat"].startswith("HTTP 403: the server refuses it")
    assert len(server.gets(".mat")) == 2
    assert georgia().failures == ()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server, georgia, status):
    server.faults[GEORGIA + MAT].extend([status, status])
    assert georgia().failures == ()
    assert len(server.gets(MAT)) == 3


def test_a_server_that_stays_busy_is_reported(server, georgia):
    server.faults[GEORGIA + MAT].extend([503] * 99)
    result = georgia()
    assert dict(result.failures) == {MAT: "HTTP 503 (tried 6 times)"}


def test_it_waits_between_attempts(server, georgia, monkeypatch):
    waits = []
    monkeypatch.setattr(transfer, "RETRY_SECONDS", (1.0, 2.0, 4.0))
    monkeypatch.setattr(client.Client, "wait", lambda self, seconds: waits.append(seconds))
    server.faults[GEORGIA + MAT].extend([503, 503, 503])
    assert georgia().failures == ()
    assert waits == [1.0, 2.0, 4.0]


def test_silence_counts_as_broken(server, georgia, monkeypatch, tmp_path):
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", 0.2)
    server.faults[GEORGIA + MAT].append(("stall", 1000))
    assert georgia().failures == ()
    assert [request.range for request in server.gets(MAT)] == [None, "bytes=1000-"]


def test_a_server_that_is_gone_is_given_up(server, georgia, monkeypatch):
    monkeypatch.setattr(work, "MOST_FAILURES_IN_A_ROW", 3)
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", 0.2)
    georgia(only=("nothing",))  # The list is there, then the server goes.
    server.shutdown()
    server.server_close()
    result = georgia(jobs=1)
    assert result.gave_up
    assert len(result.failures) == 3
    assert "tried 6 times" in result.failures[0].reason


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


def test_a_sample_has_whole_records_and_the_tables(georgia, tmp_path):
    georgia(limit=1)
    assert set(contents(tmp_path / "g")) == {"RECORDS", "g1/E00001.hea", MAT}
    georgia(only=("g1/E00002*", "g9/*"))
    assert set(contents(tmp_path / "g")) == set(of_georgia())
    assert georgia(limit=0).plan.num_files == 1


def test_a_dry_run_leaves_nothing(server, georgia, tmp_path):
    result = georgia(dry_run=True)
    plan = result.plan
    assert (plan.num_files, plan.num_missing, plan.num_verified) == (NUM_FILES, NUM_FILES, 0)
    assert plan.num_bytes == sum(map(len, of_georgia().values()))
    assert plan.basis == "as told by the server"
    assert not (tmp_path / "g").exists()
    georgia(limit=1)
    plan = georgia(dry_run=True).plan
    assert (plan.num_missing, plan.num_verified) == (2, 3)
    assert plan.examples == ("g1/E00002.hea", "g1/E00002.mat")


def test_sizes_of_many_files_are_estimated(server, tmp_path):
    files = {f"training/georgia/g1/E{n:05d}.mat": bytes(100) for n in range(500)}
    server.publish_physionet("challenge-2021", "1.0.3", files)
    plan = run("georgia", tmp_path / "g", base_url=server.url, dry_run=True).plan
    assert plan.num_bytes == 50_000
    assert plan.is_estimate
    assert plan.basis == "estimated from the sizes of 32 files"
    assert sum(request.method == "HEAD" for request in server.requests) == 32


def test_without_sizes_the_catalogue_is_asked(server, georgia):
    server.heads = False
    plan = georgia(dry_run=True).plan
    assert plan.num_bytes == catalogue.describe("georgia").download_bytes
    assert "the server tells no sizes" in plan.basis


def test_a_disk_that_is_too_small_is_refused_before_anything(
    server, georgia, tmp_path, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=20_000))
    with pytest.raises(DiskSpaceError, match=r"are needed .*but 20 kB are free.*--limit"):
        georgia()
    assert contents(tmp_path / "g") == {}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=50_000))
    assert georgia().num_fetched == NUM_FILES


def test_a_disk_that_fills_up_stops_everything(server, georgia, tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, block):
            super().write(block[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = Path.open

    def open_full(path, mode="r", **options):
        is_mat = path.name.endswith("E00001.mat") and mode in ("wb", "ab")
        return Full(path, mode) if is_mat else real(path, mode, **options)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(DiskFullError, match=r"no space left .*goes on from here"):
        georgia()
    monkeypatch.setattr(Path, "open", real)
    assert MAT not in contents(tmp_path / "g")
    assert georgia().failures == ()
    assert server.gets(MAT)[-1].range == "bytes=100-"
    assert contents(tmp_path / "g") == of_georgia()


def test_an_interrupted_run_goes_on(server, georgia, tmp_path, monkeypatch):
    """Ctrl-C reaches the main thread while a worker waits for bytes."""
    server.faults[GEORGIA + MAT].append(("stall", 4000))
    arrived = []
    monkeypatch.setattr(work.Work, "_count", lambda self, num_bytes: arrived.append(num_bytes))

    def interrupt(*_):
        if server.blocked.is_set() and sum(arrived) == sum(map(len, of_georgia().values())) - 6240:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        georgia(progress=interrupt)
    monkeypatch.undo()
    assert MAT not in contents(tmp_path / "g")
    assert transfer.partial_of(tmp_path / "g" / MAT).stat().st_size == 4000
    server.requests.clear()
    result = georgia()
    assert (result.num_fetched, result.num_bytes, result.failures) == (1, 6240, ())
    assert [request.range for request in server.gets()] == ["bytes=4000-"]
    assert contents(tmp_path / "g") == of_georgia()


def test_a_killed_run_goes_on(server, georgia, tmp_path):
    server.faults[GEORGIA + MAT].append(("stall", 4000))
    arguments = ["fetch", "georgia", "--to", str(tmp_path / "g"), "--base-url", server.url]
    source = str(Path(fetch.__file__).parents[2])
    child = subprocess.Popen(
        [sys.executable, "-m", "ecgjepa", *arguments],
        env=os.environ | {"PYTHONPATH": source},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    partial = transfer.partial_of(tmp_path / "g" / MAT)
    try:
        assert server.blocked.wait(20)
        for _ in range(100):
            if partial.exists() and partial.stat().st_size:
                break
            threading.Event().wait(0.02)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert MAT not in contents(tmp_path / "g")
    done = partial.stat().st_size if partial.exists() else 0
    server.requests.clear()
    assert georgia().failures == ()
    assert [r.range for r in server.gets(MAT)] == [f"bytes={done}-" if done else None]
    assert contents(tmp_path / "g") == of_georgia()


def test_a_second_fetch_into_the_folder_is_refused(server, georgia, tmp_path):
    messages = []

    def again(*_):
        try:
            georgia()
        except FetchError as error:
            messages.append(str(error))

    georgia(progress=again)
    assert "another fetch is at work there" in messages[0]


def test_the_mirror_of_the_environment(server, georgia, monkeypatch):
    monkeypatch.setenv("ECGJEPA_MIRROR", server.url + "/")
    assert georgia(base_url=None).num_fetched == NUM_FILES
    with pytest.raises(FetchError, match="expected an address that begins with http"):
        georgia(base_url="mirror.example")


def test_a_proxy_of_the_environment(server, georgia, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "localhost")
    assert georgia(base_url="http://mirror.example").num_fetched == NUM_FILES


def test_only_known_and_open_databases(server, tmp_path, monkeypatch):
    with pytest.raises(DatabaseError, match="did you mean 'ptb-xl'"):
        run("ptb_xl", tmp_path, base_url=server.url)
    closed = replace(catalogue.describe("georgia"), access="credentialed")
    monkeypatch.setitem(catalogue.CATALOGUE, "georgia", closed)
    with pytest.raises(FetchError, match=r"not openly accessible.*an account.*physionet\.org"):
        run("georgia", tmp_path, base_url=server.url)
    assert server.requests == []


def test_a_file_in_place_of_the_folder(server, tmp_path):
    (tmp_path / "g").write_text("x")
    with pytest.raises(FetchError, match="is a file"):
        run("georgia", tmp_path / "g", base_url=server.url)


def zipped(members: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


HDF5 = {f"exams_part{n}.hdf5": bytes([n]) * 5000 for n in range(2)}
ZIPS = {f"exams_part{n}.zip": zipped({f"exams_part{n}.hdf5": bytes([n]) * 5000}) for n in range(2)}


@pytest.fixture
def code_15(server, tmp_path):
    server.publish_zenodo("4916206", ZIPS | {"exams.csv": b"exam_id\n"})

    def fetch_code_15(**options):
        return run("code-15", tmp_path / "c", **({"base_url": server.url} | options))

    return fetch_code_15


def test_code_15_is_fetched_and_unpacked(server, code_15, tmp_path):
    result = code_15()
    assert result.num_fetched == 3
    assert result.unpacked == tuple(HDF5)
    assert contents(tmp_path / "c") == ZIPS | HDF5 | {"exams.csv": b"exam_id\n"}
    assert result.plan.basis == "by the published list"
    assert result.plan.unpacked_bytes > sum(map(len, ZIPS.values()))
    server.requests.clear()
    result = code_15()
    assert (result.num_fetched, result.num_present, result.unpacked) == (0, 3, ())
    assert server.requests == []
    (tmp_path / "c/exams_part1.hdf5").unlink()
    assert code_15().unpacked == ("exams_part1.hdf5",)
    (tmp_path / "c/exams_part0.hdf5").write_bytes(b"x" * 5000)
    assert code_15(recheck=True).unpacked == ("exams_part0.hdf5",)
    assert contents(tmp_path / "c") == ZIPS | HDF5 | {"exams.csv": b"exam_id\n"}


def test_code_15_packed_and_in_part(code_15, tmp_path):
    result = code_15(unpack=False, limit=1)
    assert set(contents(tmp_path / "c")) == {"exams.csv", "exams_part0.zip"}
    assert result.plan.unpacked_bytes == 0


def test_a_corrupted_zip_is_known_by_its_md5(server, code_15):
    path = "/zenodo.org/api/records/4916206/files/exams_part0.zip/content"
    server.faults[path].extend(["corrupt"] * 3)
    result = code_15()
    assert dict(result.failures) == {
        "exams_part0.zip": "its md5 is not the published one, after 3 downloads"
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({"../evil": b"x"}), "holds '../evil', which is"),
        (zipped({"/etc/evil": b"x"}), "holds '/etc/evil', which is"),
        (b"no zip", "cannot be unpacked"),
    ],
)
def test_an_unsafe_zip_is_not_unpacked(server, code_15, tmp_path, content, message):
    server.publish_zenodo("4916206", {"exams_part0.zip": content})
    result = code_15()
    assert message in result.failures[0].reason
    assert contents(tmp_path / "c") == {"exams_part0.zip": content}
    assert not (tmp_path / "evil").exists()


def test_links_and_damage_inside_a_zip(server, code_15, tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    damaged = zipped({"a.hdf5": b"abcdef" * 100}, zipfile.ZIP_STORED).replace(b"abc", b"abX", 1)
    server.publish_zenodo("4916206", {"link.zip": stream.getvalue(), "damaged.zip": damaged})
    reasons = dict(code_15().failures)
    assert "no plain file" in reasons["link.zip"]
    assert "Bad CRC-32" in reasons["damaged.zip"]
    assert set(contents(tmp_path / "c")) == {"link.zip", "damaged.zip"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([{"key": "../x", "size": 1, "checksum": "md5:0"}], "does not lie inside"),
        ([{"key": "x", "size": 1, "checksum": "crc:0"}], "has no MD5 or SHA-256"),
        ([{"key": "x"}], "not the description of a Zenodo record"),
        (None, "not the description of a Zenodo record"),
    ],
)
def test_a_strange_zenodo_record_is_refused(server, code_15, files, message):
    server.files["/zenodo.org/api/records/4916206"] = json.dumps({"files": files}).encode()
    with pytest.raises(FetchError, match=message):
        code_15()


def test_no_redirect_away_from_encryption():
    """A client that asked for https:// does not follow to http://."""

    class Answer:
        status = 302
        length = 0

        def getheader(self, name):
            return "http://elsewhere.example/x"

    asked = client.Client(threading.Event())
    asked._send = lambda *_: Answer()
    with pytest.raises(client.RefusedError, match="which is not encrypted"):
        asked.get("https://physionet.org/x")
    with pytest.raises(client.RefusedError, match="from one address to the next"):
        asked.get("http://mirror.example/x")


def test_the_command(server, tmp_path, monkeypatch, capsys):
    before = logging.getLogger().handlers[:]

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["ecgjepa", "fetch", "georgia", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert all(len(line) <= 80 or line.startswith("  aws ") for line in lines)
        return stop.value.code or 0, captured.out

    to = ["--to", str(tmp_path / "g"), "--base-url", server.url]
    try:
        code, text = command(*to, "--dry-run", "--limit", "1")
        assert code == 0
        assert "georgia: 3 files; nothing was fetched or checked" in text
        assert "to fetch: 3 files, 0.0 MB" in text
        server.faults[GEORGIA + MAT].append(404)
        code, text = command(*to)
        assert code == 1
        assert "georgia: 4 files fetched, 0 there" in text
        assert "failed: g1/E00001.mat: HTTP 404: the server does not have it" in text
        code, text = command(*to, "--json")
        assert code == 0
        assert json.loads(text)["num_fetched"] == 1
        assert json.loads(text)["plan"]["num_verified"] == 4
        code, _ = command("--to", str(tmp_path / "g"), "--base-url", "nowhere")
        assert code == 2
    finally:
        logging.getLogger().handlers[:] = before


def test_what_was_fetched_can_be_listed(server, ptb_xl, tmp_path):
    published = {name: content for name, content in contents(ptb_xl).items() if "00" in name}
    tables = {path.name: path.read_bytes() for path in ptb_xl.glob("*.csv")}
    server.publish_physionet("ptb-xl", "1.0.3", published | tables)
    result = run("ptb-xl", tmp_path / "p", base_url=server.url, limit=7, only=("records500/*",))
    assert result.num_fetched == 2 * 7 + 2
    listing = list_records("ptb-xl", tmp_path / "p")
    assert (len(listing.table), len(listing.absent)) == (7, 113)
    assert all(listing.read(entry).leads for entry in listing.entries())


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["georgia", "ptb", "challenge-ptb-xl"])
def test_real_records_in_the_published_layout(server, real_data, tmp_path, name):
    folder = catalogue.describe(name).origin.folder
    part = contents(real_data / "challenge-2021" / Path(folder).name)
    files = {folder + path: content for path, content in part.items()}
    server.publish_physionet("challenge-2021", "1.0.3", files)
    result = run(name, tmp_path / name, base_url=server.url)
    assert (result.num_fetched, result.failures) == (len(files), ())
    assert len(list_records(name, tmp_path / name).table) == len(files) / 2


def test_the_real_addresses():
    from ecgjepa.fetching.lists import list_url

    assert {list_url(item.origin, "https://") for item in catalogue.CATALOGUE.values()} == {
        "https://physionet.org/files/mimic-iv-ecg/1.0/SHA256SUMS.txt",
        "https://physionet.org/files/ptb-xl/1.0.3/SHA256SUMS.txt",
        "https://physionet.org/files/challenge-2021/1.0.3/SHA256SUMS.txt",
        "https://zenodo.org/api/records/4916206",
    }
