"""What every single-file format has to do, on files that the tests write."""

import sys

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb
from ecg_files import EIGHT, WRITERS, write_dicom, write_muse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ecgjepa
from ecgjepa import read_record
from ecgjepa.errors import EcgjepaError, RecordFormatError
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.record import Record, standardise_leads

FORMATS = pytest.mark.parametrize("kind", WRITERS)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One file of each format; the same ECG in all of them."""
    folder = tmp_path_factory.mktemp("formats")
    digital = toy_ecg(np.random.default_rng(3), num_samples=500)
    for kind, own in WRITERS.items():
        (folder / kind).mkdir()
        own.write(folder / kind / f"a{own.suffix}", digital)
    return folder, digital


def file_of(written, kind):
    return written[0] / kind / f"a{WRITERS[kind].suffix}"


@FORMATS
def test_each_lead_keeps_its_name_and_amplitude(tmp_path, kind):
    digital = np.zeros((500, 12), np.int16)
    for column in range(12):
        digital[20 * column + 10, column] = 100 * (column + 1)
    own = WRITERS[kind]
    record = standardise_leads(read_record(own.write(tmp_path / f"r{own.suffix}", digital)))
    assert (record.record_id, record.sampling_rate) == ("r", 500.0)
    assert record.signal.dtype == np.float32
    for column, lead in enumerate(LEADS):
        if kind != "muse" or lead in EIGHT:
            expected = digital[:, column].astype(np.float32) / np.float32(1000)
            np.testing.assert_allclose(record.signal[:, column], expected, rtol=1e-6)


@FORMATS
def test_the_same_ecg_in_every_format(written, kind):
    folder, digital = written
    record = standardise_leads(read_record(file_of(written, kind)))
    assert record.valid.all()
    # MUSE stores eight leads; the others follow from I and II, here rounded to 1 µV.
    atol = 2e-3 if kind == "muse" else 1e-6
    np.testing.assert_allclose(record.signal, digital / 1000, atol=atol)
    assert str(folder) in record.source


@FORMATS
def test_content_decides_not_the_name(written, tmp_path, kind):
    path = file_of(written, kind)
    described = ("npy", "npz", "parquet", "matlab", "hdf5")
    wrong = tmp_path / ("a.xml" if kind in ("dicom", "edf", *described) else "a.edf")
    wrong.write_bytes(path.read_bytes())
    if kind in ("csv", "tsv"):
        with pytest.raises(RecordFormatError, match="format not recognised"):
            read_record(wrong)
        return
    if kind in described:
        with pytest.raises(RecordFormatError, match=r"a\.xml\.json, or to ecg\.json .*unit"):
            read_record(wrong)
        (tmp_path / "ecg.json").write_bytes((path.parent / f"{path.name}.json").read_bytes())
    np.testing.assert_array_equal(read_record(wrong).signal, read_record(path).signal)


@pytest.mark.parametrize(
    ("kind", "package"),
    [
        ("dicom", "pydicom"),
        ("aecg", "defusedxml.ElementTree"),
        ("muse", "defusedxml.ElementTree"),
        ("sierra", "sierraecg.lzw"),
    ],
)
def test_a_missing_package_is_named(written, monkeypatch, kind, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RecordFormatError, match=r"install 'ecgjepa\[formats\]'") as found:
        read_record(file_of(written, kind))
    assert package.partition(".")[0] in str(found.value)
    assert found.value.reason == "missing_package"


@FORMATS
@given(data=st.data())
@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_damage_gives_a_record_or_a_named_error(written, tmp_path, kind, data):
    path = file_of(written, kind)
    content = mutate(path.read_bytes(), data)
    damaged = tmp_path / path.name
    damaged.write_bytes(content)
    description = path.parent / f"{path.name}.json"
    if description.exists():
        (tmp_path / description.name).write_bytes(description.read_bytes())
    try:
        assert isinstance(read_record(damaged), Record)
    except EcgjepaError as found:
        error = found
    else:
        return
    assert str(tmp_path) in str(error)


def mutate(content: bytes, data) -> bytes:
    """Cut, overwrite, delete or repeat; mostly where headers are."""
    end = data.draw(st.sampled_from([600, len(content)]))
    at = data.draw(st.integers(0, min(end, len(content) - 1)))
    kind = data.draw(st.sampled_from(["cut", "overwrite", "delete", "insert"]))
    if kind == "cut":
        return content[:at]
    piece = data.draw(st.binary(min_size=1, max_size=12))
    skip = {"overwrite": len(piece), "delete": data.draw(st.integers(1, 40)), "insert": 0}[kind]
    return content[:at] + (b"" if kind == "delete" else piece) + content[at + skip :]


def test_a_header_beside_another_format_does_not_hide_it(tmp_path):
    rng = np.random.default_rng(0)
    one, other = toy_ecg(rng, num_samples=300), toy_ecg(rng, num_samples=400)
    write_wfdb(tmp_path / "x.hea", one)
    write_dicom(tmp_path / "x.dcm", other)
    assert read_record(tmp_path / "x.dcm").num_samples == 400
    assert read_record(tmp_path / "x.dat").num_samples == read_record(tmp_path / "x").num_samples
    assert read_record(tmp_path / "x").num_samples == 300


def test_other_files_are_named_errors(tmp_path):
    for name, content, match in (
        ("scan.pdf", b"%PDF-1.7", "is PDF, which is not read: holds a print"),
        ("page.xml", b"<page/>", "root element is 'page'; expected AnnotatedECG, restingecgdata"),
        ("login.dcm", b"<!doctype html><p>", "is a web page, which is not read: the download"),
        ("broken.xml", b"<AnnotatedECG>", "not readable as XML: ParseError"),
        ("empty.dcm", b"", "empty.dcm: is empty$"),
        ("note.dcm", b"he did not come", "not recognised by its content; .* lists what is read$"),
        (
            "x.dat",
            b"\x01\x02",
            "lists what is read; if it holds signals of WFDB, x.hea is missing$",
        ),
        ("table.csv", b"I,II\n1,2\n", "its sampling rate and unit are not told"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RecordFormatError, match=match):
            read_record(tmp_path / name)


def test_xml_bombs_and_foreign_files_are_refused(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("1 2 3")
    for definition in ('"ha"', f'SYSTEM "{secret.as_uri()}"'):
        path = tmp_path / "bomb.xml"
        path.write_text(f"<!DOCTYPE x [<!ENTITY a {definition}>]><AnnotatedECG>&a;</AnnotatedECG>")
        with pytest.raises(RecordFormatError, match="defines entities"):
            read_record(path)


def test_large_files_are_refused_before_they_are_read(tmp_path):
    path = tmp_path / "large.xml"
    with path.open("wb") as stream:
        stream.write(b"<AnnotatedECG>")
        stream.truncate(60_000_000)
    with pytest.raises(RecordFormatError, match=r"60,000,000 bytes; .* at most 20,000,000"):
        read_record(path)


def test_plots_take_any_format(tmp_path):
    digital = toy_ecg(np.random.default_rng(1), num_samples=1000)
    picture = ecgjepa.plot(write_muse(tmp_path / "m.xml", digital), tmp_path / "m.png")
    assert picture.stat().st_size > 10_000
