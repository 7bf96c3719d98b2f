"""Downloads from a small archive on this machine that works as it should."""

import json
import logging
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fetching.georgia import GEORGIA, MAT, NUM_FILES, STATE, contents, of_georgia

from ecgjepa import cli
from ecgjepa.databases import catalogue, list_records
from ecgjepa.errors import DatabaseError, DiskSpaceError, FetchError
from ecgjepa.fetching import work
from ecgjepa.fetching.fetch import fetch as run
from ecgjepa.fetching.lists import list_url


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


def test_the_command(server, tmp_path, monkeypatch, capsys):
    before = logging.getLogger().handlers[:]

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["ecgjepa", "fetch", "georgia", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert [line for line in lines if len(line) > 80 and not line.startswith("  aws ")] == []
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
    assert {list_url(item.origin, "https://") for item in catalogue.CATALOGUE.values()} == {
        "https://physionet.org/files/mimic-iv-ecg/1.0/SHA256SUMS.txt",
        "https://physionet.org/files/ptb-xl/1.0.3/SHA256SUMS.txt",
        "https://physionet.org/files/challenge-2021/1.0.3/SHA256SUMS.txt",
        "https://zenodo.org/api/records/4916206",
    }
