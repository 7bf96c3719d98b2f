"""A folder as hospitals keep them: every format that is read, and broken files among them.

`prepare`, `predict` and `plot` account for each file by name, agree on why a file cannot be used,
and their counts add up to the files on the disk.
"""

import contextlib
import gzip
import os
import re
import socket

import numpy as np
import pytest
import wfdb
from conftest import toy_ecg, write_wfdb
from device_files import (
    write_cardiosoft,
    write_fhir,
    write_ishne,
    write_mfer,
    write_mortara,
    write_schiller,
)
from ecg_files import LEADS, WRITERS, describe
from inference.test_predict import save
from scp_files import write_scp

import ecgjepa
from ecgjepa.databases import list_records
from ecgjepa.errors import RecordError
from ecgjepa.io.folders import find_files
from ecgjepa.reporting.plotting import plot_with_findings
from ecgjepa.store.source_files import files_of

FORMATS = {
    "aecg": "HL7 aECG", "cardiosoft": "GE CardioSoft", "csv": "Table of text", "dicom": "DICOM",
    "edf": "EDF", "fhir": "FHIR Observation", "hdf5": "HDF5", "ishne": "ISHNE",
    "matlab": "MATLAB", "mfer": "MFER", "mortara": "Mortara ELI", "muse": "GE MUSE",
    "npy": "NumPy array", "npz": "NumPy array", "parquet": "Parquet", "schiller": "Schiller",
    "scp": "SCP-ECG", "sierra": "Philips Sierra", "tsv": "Table of text", "wfdb": "WFDB",
}  # fmt: skip
DEVICES = {
    "scp.scp": write_scp, "ishne.ecg": write_ishne, "mfer.mwf": write_mfer,
    "fhir.json": write_fhir, "cardiosoft.xml": write_cardiosoft, "mortara.xml": write_mortara,
    "schiller.xml": write_schiller,
}  # fmt: skip
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(64)
# Name below broken/, to the reason for which prepare skips it.
BROKEN = {
    "cut.dcm": "truncated", "cut.scp": "truncated", "cut.dat": "truncated",
    "empty.edf": "unreadable",
    "picture.dcm": "unsupported_format", "words.xml": "unreadable", "words.scp": "unreadable",
    "packed.xml.gz": "truncated", "pipe.dcm": "unreadable", "socket.edf": "unreadable",
    "gone.dcm": "missing_file", "flat.npy": "flat_record", "no-signal.hea": "missing_file",
    r"M\xfcller.dcm": "unreadable_name",
}  # fmt: skip


def write_sound(root, digital):
    """Write a file of each format, of some in several ways; return the number of records."""
    write_wfdb(root / "wfdb.hea", digital)
    write_wfdb(root / "challenge.hea", digital, offset=24)
    for part in ("s1", "s2"):
        write_wfdb(root / f"long/{part}.hea", digital)
    (root / "long/whole.hea").write_text(f"whole/2 12 500 {2 * len(digital)}\ns1 1000\ns2 1000\n")
    wfdb.wrsamp(
        "flac", 500, ["mV"] * 12, list(LEADS), d_signal=digital.astype(int), fmt=["516"] * 12,
        adc_gain=[1000.0] * 12, baseline=[0] * 12, write_dir=str(root / "long"),
    )  # fmt: skip
    for name, writer in WRITERS.items():
        writer.write(root / f"{name}{writer.suffix}", digital)
    for name, write in DEVICES.items():
        write(root / name, digital)
    for name in ("dicom.dcm", "muse.xml", "csv.csv"):
        (root / "packed").mkdir(exist_ok=True)
        (root / f"packed/{name}.gz").write_bytes(gzip.compress((root / name).read_bytes()))
    (root / "packed/csv.csv.json").write_bytes((root / "csv.csv.json").read_bytes())
    (root / "dicom.dcm").with_name("misnamed.edf").write_bytes((root / "dicom.dcm").read_bytes())
    np.save(root / "several.npy", np.stack([digital] * 3))
    describe(root / "several.npy")
    return 4 + len(WRITERS) + len(DEVICES) + 3 + 1 + 3


def write_broken(folder, sound):
    folder.mkdir()
    (folder / "cut.dcm").write_bytes((sound / "dicom.dcm").read_bytes()[:9000])
    (folder / "cut.scp").write_bytes((sound / "scp.scp").read_bytes()[:3000])
    write_wfdb(folder / "cut.hea", toy_ecg(np.random.default_rng(1), num_samples=1000))
    (folder / "cut.dat").write_bytes((folder / "cut.dat").read_bytes()[:500])
    write_wfdb(folder / "no-signal.hea", np.ones((9, 12), np.int16))
    (folder / "no-signal.dat").unlink()
    (folder / "empty.edf").write_bytes(b"")
    (folder / "picture.dcm").write_bytes(JPEG)
    (folder / "words.xml").write_text("no ECG at all")
    (folder / "words.scp").write_text("no ECG at all")
    (folder / "packed.xml.gz").write_bytes(gzip.compress(b"<RestingECG>" * 999)[:40])
    os.mkfifo(folder / "pipe.dcm")
    with contextlib.chdir(folder), socket.socket(socket.AF_UNIX) as end:
        end.bind("socket.edf")  # the path of a socket has at most 107 bytes
    (folder / "gone.dcm").symlink_to(folder / "nowhere.dcm")
    np.save(folder / "flat.npy", np.zeros((1000, 12)))
    describe(folder / "flat.npy")
    (folder / os.fsdecode(b"M\xfcller.dcm")).write_bytes((sound / "dicom.dcm").read_bytes())
    # By their names no ECGs, and counted as such.
    (folder / "scan.jpg").write_bytes(JPEG)
    (folder / "export.json").write_text('{"a": 1}')
    (folder / "notes.txt").write_text("nothing")
    (folder / ".hidden.dcm").write_bytes(b"")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("mixed") / "clinic"
    root.mkdir()
    count = write_sound(root, toy_ecg(np.random.default_rng(0), num_samples=1000))
    write_broken(root / "broken", root)
    return root, count


@pytest.fixture(scope="module")
def summary(archive):
    root, _ = archive
    manifest = ecgjepa.prepare({"clinic": root}, root.parent / "store", workers=1)
    return manifest.databases["clinic"]


def test_the_archive_holds_every_format(archive):
    assert set(FORMATS.values()) == {each.name for each in ecgjepa.formats()}
    root, _ = archive
    stems = {path.name.partition(".")[0] for path in root.iterdir()}
    assert set(FORMATS) <= stems


def test_prepare_accounts_for_every_file(archive, summary):
    root, count = archive
    assert summary.stored == count
    assert summary.listed == summary.stored + sum(summary.skipped.values())
    skipped = {skip.record_id: skip.reason for skip in summary.quarantine}
    expected = {f"broken/{name}": reason for name, reason in BROKEN.items()}
    paths = {entry.record_id: entry.path for entry in list_records("clinic", root).entries()}
    found = {paths.get(name, name).replace("cut.hea", "cut.dat"): skipped[name] for name in skipped}
    assert found == expected
    for skip in summary.quarantine:
        name = paths.get(skip.record_id, skip.record_id)
        assert name.removesuffix(".hea").rpartition("/")[2] in skip.detail
    others = find_files(root)[1]
    told = [
        re.match(r"([\d,]+) files are not ECGs by their names", each) for each in summary.notices
    ]
    assert [int(each[1]) for each in told if each] == [len(others)]
    accounted = {file for path in paths.values() for file in files_of(root, path)} | set(others)
    places = [place for place in root.rglob("*") if not place.is_dir()]
    on_disk = {str(place.relative_to(root)) for place in places}
    # What describes a file may still come, and counts as a change of the archive if it does.
    descriptions = (".json", ".yaml", ".yml")
    missing = {file for file in accounted - on_disk if not file.endswith(descriptions)}
    assert missing == {"broken/no-signal.dat"}
    assert on_disk - accounted == {os.fsdecode(b"broken/M\xfcller.dcm")}


def test_predict_and_prepare_agree_on_every_file(archive, summary, tmp_path):
    root, count = archive
    model = ecgjepa.load_model(save(tmp_path / "model"))
    found = {}
    for prediction in model.predict_each([root]):
        name = os.path.relpath(prediction.file, root)
        assert name not in found
        found[name] = prediction
        assert (prediction.error is None) == bool(prediction.probabilities)
    errors = {name: each.reason for name, each in found.items() if each.error}
    oddly_named = os.fsdecode(b"broken/M\xfcller.dcm")
    expected = {f"broken/{name}": reason for name, reason in BROKEN.items()}
    # What cannot be in an index can be predicted, and a picture gets a row that says what it is.
    expected.pop(r"broken/M\xfcller.dcm")
    expected["broken/scan.jpg"] = "unsupported_format"
    assert {name.replace("cut.hea", "cut.dat"): errors[name] for name in errors} == expected
    assert oddly_named in found
    assert len(found) == count + 1 + len(expected)


def test_plot_draws_each_or_says_why_not(archive, tmp_path):
    root, _ = archive
    refused = {}
    for entry in list_records("clinic", root).entries():
        if "/" not in entry.path and entry.path.partition(".")[0] not in FORMATS:
            continue  # one file of each format
        try:
            plotted = plot_with_findings(root / entry.path, tmp_path / "x.png")
        except RecordError as error:
            refused[entry.path] = error
        else:
            assert (plotted.refusal is None) == (entry.path != "broken/flat.npy")
    expected = {f"broken/{name}": reason for name, reason in BROKEN.items()}
    for name in ("flat.npy", r"M\xfcller.dcm"):
        del expected[f"broken/{name}"]
    for path, error in refused.items():
        assert path.removesuffix(".hea") in str(error)
    found = {path.replace("cut.hea", "cut.dat"): refused[path].reason for path in refused}
    assert found == expected
