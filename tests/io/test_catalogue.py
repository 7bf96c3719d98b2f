"""The table of formats: recognised by content, true to the docs, and complete."""

import gzip
import importlib.util
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb
from device_files import (
    write_cardiosoft,
    write_fhir,
    write_ishne,
    write_mfer,
    write_mortara,
    write_schiller,
)
from scp_files import write_scp

import ecgjepa
from ecgjepa import cli, read_record
from ecgjepa.databases import list_records
from ecgjepa.errors import ConfigError, RecordFormatError
from ecgjepa.io import EXPECTED, PACKAGES
from ecgjepa.io.catalogue import NOT_READ, find_format

DOCS = Path(__file__).parents[2] / "docs/formats.md"
DEVICES = {".scp": write_scp, ".ecg": write_ishne, ".mwf": write_mfer, ".json": write_fhir}


def test_the_docs_repeat_the_table():
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", DOCS.read_text(), re.M | re.S))
    for each in ecgjepa.formats():
        text = " ".join(sections[each.name].split())
        facts = {
            "Endings": " ".join(f"`{ending}`" for ending in each.endings),
            "Recognised by": each.known_by,
            "Needs": f"`{each.package}`" if each.package else "nothing else",
            "Units": each.units,
            "Leads": each.leads,
            "Rate": each.rate,
            "Patient": each.patient,
            "Gaps": each.gaps,
        }
        for name, fact in facts.items():
            assert f"- {name}: {fact}." in text, (each.name, name)
    for each in NOT_READ:
        assert f"| {each.name} | {each.advice} |" in DOCS.read_text()


def test_what_is_needed_is_what_can_be_installed():
    for each in ecgjepa.formats():
        if each.package:
            assert importlib.util.find_spec(each.package), each.package
        assert all(ending in PACKAGES for ending in each.endings if ending != ".hea")
        assert each.name in EXPECTED
    names = [each.name for each in ecgjepa.formats()]
    assert len(set(names)) == len(names)


def test_formats_are_found_by_name_and_ending():
    assert find_format("scp-ecg").name == find_format(".SCP").name == "SCP-ECG"
    with pytest.raises(ConfigError, match=r"'xml' is several; name HL7 aECG, Philips Sierra"):
        find_format("xml")
    with pytest.raises(ConfigError, match=r"'heart' is no format; name WFDB"):
        find_format("heart")


STARTS = {
    "PDF": b"%PDF-1.7\n",
    "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "TIFF": b"II*\0\x08\0\0\0",
    "GIF": b"GIF89a",
    "HL7 version 2": b"\x0bMSH|^~\\&|MUSE|",
    "Contec ECG": b"0000037\0\0\x002020-11-15 12:59:50\0",
    "AliveCor ATC": b"ALIVE\0\0\0\x02\0\0\0",
    "GDF": b"GDF 2.20",
    "a web page": b"\n<!DOCTYPE html>\n<html>",
    "an Office document": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
}


@pytest.mark.parametrize("ending", [".scp", ".dcm", ".bin"])
def test_what_is_only_recognised_is_refused_with_advice(tmp_path, ending):
    assert set(STARTS) == {each.name for each in NOT_READ}
    for each in NOT_READ:
        path = tmp_path / f"x{ending}"
        path.write_bytes(STARTS[each.name] + bytes(200))
        words = re.escape(f"x{ending}: is {each.name}, which is not read: {each.advice}")
        with pytest.raises(RecordFormatError, match=words) as caught:
            read_record(path)
        assert caught.value.reason == "unsupported_format"


def test_an_archive_of_recorders_files(tmp_path):
    """All are listed by their names; JSON that is not a FHIR, and WFDB's annotations, are not."""
    digital = toy_ecg(np.random.default_rng(1), num_samples=300)
    for number, (ending, write) in enumerate(DEVICES.items()):
        write(tmp_path / f"{number}{ending.upper() if number == 1 else ending}", digital)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "notes.json").write_text('{"made": "by hand"}')
    (tmp_path / "fifth.hea").write_text("fifth 1 500 0\n")
    (tmp_path / "fifth.ecg").write_bytes(b"\0\0")
    listing = list_records("mine", tmp_path)
    names = sorted(entry.path for entry in listing.entries())
    assert names == ["0.scp", "1.ECG", "2.mwf", "3.json", "fifth.hea"]
    first = read_record(tmp_path / "0.scp").signal
    for name in names[1:4]:
        np.testing.assert_allclose(read_record(tmp_path / name).signal, first, rtol=1e-6)


def test_other_endings_and_wfdb_beside_them(tmp_path):
    digital = toy_ecg(np.random.default_rng(1), num_samples=300)
    for ending in (".bin", ".dcm", ""):
        assert read_record(write_scp(tmp_path / f"x{ending}", digital)).num_samples == 300
    for name, (ending, write) in zip("abcd", DEVICES.items(), strict=True):
        packed = gzip.compress(write(tmp_path / f"{name}{ending}", digital).read_bytes())
        (tmp_path / f"{name}{ending}.gz").write_bytes(packed)
        record = read_record(tmp_path / f"{name}{ending}.gz")
        assert (record.num_samples, record.record_id) == (300, name)
    # Annotations of a WFDB record may end as another format's files do.
    write_wfdb(tmp_path / "slp.hea", digital)
    (tmp_path / "slp.ecg").write_bytes(b"\0\x04\0\0")
    assert read_record(tmp_path / "slp.ecg").num_samples == 300


def test_every_file_of_a_mixed_archive_is_accounted_for(tmp_path):
    """Stored, or skipped with the reason; what is not an ECG by its name is counted as such."""
    rng, root = np.random.default_rng(2), tmp_path / "mine"
    root.mkdir()
    for number, (ending, write) in enumerate(DEVICES.items()):
        whole = write(root / f"{number}{ending}", toy_ecg(rng, num_samples=5000)).read_bytes()
        (root / f"cut{number}{ending}").write_bytes(whole[: len(whole) // 2])
    for number, write in enumerate((write_cardiosoft, write_mortara, write_schiller)):
        write(root / f"v{number}.xml", toy_ecg(rng, num_samples=5000))
    (root / "contec.ecg").write_bytes(STARTS["Contec ECG"] + bytes(100))
    (root / "print.pdf").write_bytes(STARTS["PDF"])
    found = ecgjepa.prepare({"mine": root}, tmp_path / "store").databases["mine"]
    assert found.stored == 7
    assert found.skipped == {"truncated": 3, "unreadable": 1, "unsupported_format": 1}
    assert any("1 file is not an ECG by its name" in notice for notice in found.notices)


@pytest.fixture
def shown(monkeypatch, capsys):
    """Return a function that runs the command: what it prints."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["ecgjepa", "formats", *arguments])
        cli.app(standalone_mode=False)
        return capsys.readouterr().out

    return run


def test_the_command(shown):
    assert "SCP-ECG           .scp             -           section 0 at its beginning\n" in shown()
    assert max(map(len, shown().splitlines())) <= 80
    assert "units: resolution in nV of each lead" in shown("ISHNE")
    found = json.loads(shown("--json"))
    assert [each["name"] for each in found["read"]] == [each.name for each in ecgjepa.formats()]
    assert found["not_read"][0] == {"name": "PDF", "advice": NOT_READ[0].advice}
    assert json.loads(shown("mfer", "--json"))["endings"] == [".mwf", ".mfr", ".mfer"]
