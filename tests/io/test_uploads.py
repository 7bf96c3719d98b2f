"""The content of a file in memory is the ECG of the file, and leaves nothing behind."""

import gzip
import io
import tempfile

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb
from ecg_files import WRITERS

import ecgjepa
from ecgjepa.errors import ConfigError, RecordFormatError
from ecgjepa.io import opening, uploads

NEEDS_DESCRIPTION = {"npy", "npz", "csv", "parquet", "tsv", "matlab", "hdf5"}


@pytest.fixture(scope="module")
def signal():
    return toy_ecg(np.random.default_rng(0), num_samples=1000)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", WRITERS)
def test_content_is_the_file(kind, tmp_path, signal, temporary):
    own = WRITERS[kind]
    path = own.write(tmp_path / f"x{own.suffix}", signal)
    description = next(tmp_path.glob("*.json"), None) if kind in NEEDS_DESCRIPTION else None
    expected = ecgjepa.read_record(path, description=description)
    content = path.read_bytes()
    name = f"C:\\Users\\me\\x{own.suffix}"
    with path.open("rb", buffering=0) as stream:
        for source in (content, memoryview(content), io.BytesIO(content), stream):
            found = ecgjepa.read_record(source, name=name, description=description)
            np.testing.assert_array_equal(found.signal, expected.signal)
            assert (found.leads, found.sampling_rate) == (expected.leads, expected.sampling_rate)
            assert (found.record_id, found.source) == ("x", f"x{own.suffix}")
            assert found.issues == expected.issues


def test_a_name_is_needed_only_where_the_content_does_not_tell(tmp_path, signal, temporary):
    content = WRITERS["dicom"].write(tmp_path / "x.dcm", signal).read_bytes()
    assert ecgjepa.read_record(content).record_id == "upload"
    assert ecgjepa.read_record(gzip.compress(content), name="x.dcm.gz").record_id == "x"


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"x 12 500 5000\n", "a/x.hea", "^x.hea: is the header of a WFDB record.*into one folder"),
        (b"nothing", None, "^upload: format not recognised"),
        (b"", "../../etc/passwd", "^passwd: is empty"),
        (b"\xff\xd8\xff", "x\x1b.jpg", "^x_.jpg: is JPEG, which is not read"),
        (b"<RestingECG>", "..x.xml", "^x.xml: "),
    ],
)
def test_what_is_no_ecg_is_refused_by_its_name(content, name, words, temporary):
    with pytest.raises(RecordFormatError, match=words) as refusal:
        ecgjepa.read_record(content, name=name)
    assert str(temporary) not in str(refusal.value)


def test_content_is_bounded_and_binary(monkeypatch, temporary, tmp_path, signal):
    monkeypatch.setattr(uploads, "MAX_BYTES", 10)
    monkeypatch.setattr(opening, "MAX_BYTES", 10)

    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    for source in (b"x" * 11, Endless(), io.BytesIO(b"x" * 11)):
        with pytest.raises(RecordFormatError, match=r"y\.xml: has more than 10 bytes"):
            ecgjepa.read_record(source, name="y.xml")
    with pytest.raises(RecordFormatError, match="expected bytes"):
        ecgjepa.read_record(io.StringIO("<a/>"))
    path = write_wfdb(tmp_path / "x.hea", signal)
    with pytest.raises(ConfigError, match="a file has its own name"):
        ecgjepa.read_record(path, name="y.hea")
