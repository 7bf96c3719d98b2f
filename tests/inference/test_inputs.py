"""What a user names becomes one list of records, each once, and nothing is left out in silence."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb
from ecg_files import WRITERS

import ecgjepa
from ecgjepa.errors import InputError, LeadError, RecordFormatError, UnitError
from ecgjepa.inference.inputs.arrays import records_of_array
from ecgjepa.inference.inputs.named import find_inputs, usable_each
from ecgjepa.inference.inputs.stored import is_store
from ecgjepa.signals.acceptance import Usable
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.preprocessing import PreprocessingConfig, prepare_record

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(64)


@pytest.fixture(scope="module")
def signal():
    return toy_ecg(np.random.default_rng(0))


@pytest.fixture(scope="module")
def incoming(tmp_path_factory, signal):
    """40 WFDB, 4 MUSE, 1 DICOM, 1 JPEG, and what lies about in such folders."""
    root = tmp_path_factory.mktemp("a") / "incoming"
    for number in range(40):
        write_wfdb(root / f"{number % 3}" / f"{number:02d}.hea", signal[: 1000 + number])
    (root / "muse").mkdir()
    for number in range(4):
        WRITERS["muse"].write(root / "muse" / f"{number}.xml", signal)
    WRITERS["dicom"].write(root / "IM0001", signal)
    (root / "scan.jpg").write_bytes(JPEG)
    (root / "0" / "00.atr").write_bytes(b"\0\0")
    (root / "notes.txt").write_text("nothing")
    (root / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (root / ".DS_Store").write_bytes(b"\0")
    (root / ".trash").mkdir()
    write_wfdb(root / ".trash" / "x.hea", signal)
    return root


def test_a_folder_has_one_row_a_record(incoming):
    found = find_inputs([incoming])
    names = found.names()
    assert len(names) == len(set(names)) == 46
    assert names == sorted(names, key=lambda name: name.split("/"))
    assert sum(name.endswith(".hea") for name in names) == 40
    assert {f"{incoming}/IM0001", f"{incoming}/scan.jpg"} <= set(names)
    words = " ".join(found.notices)
    assert "2 files are not ECGs" in words
    assert "notes.txt" in words
    assert "hidden files are not used" in words


def test_the_same_record_by_many_names_is_one(incoming, tmp_path, monkeypatch):
    monkeypatch.chdir(incoming)
    names = ["0/00.dat", "0/00.hea", "./0/00", "0/00.atr", str(incoming / "0/00.hea"), "0", "0/*"]
    found = find_inputs(names).names()
    assert found[0] == "0/00.hea"
    assert len(found) == 14


def test_a_named_file_is_a_row_whatever_it_is(incoming):
    names = [incoming / "notes.txt", incoming / "nowhere.hea", incoming / "scan.jpg"]
    assert find_inputs(names).names() == [str(name) for name in names]


def test_a_pattern_stands_for_what_the_shell_would_give(incoming):
    found = find_inputs([f"{incoming}/**/*.xml"]).names()
    assert [name.rpartition("/")[2] for name in found] == ["0.xml", "1.xml", "2.xml", "3.xml"]
    whole = find_inputs([f"{incoming}/*"])
    assert sorted(whole.names()) == sorted(find_inputs([incoming]).names())
    with pytest.raises(InputError, match="no file is named so"):
        find_inputs([f"{incoming}/*.edf"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.txt", b"\xef\xbb\xbfa b.hea\r\n\r\nsub/\xc3\xbc.hea\n"),
        ("t.csv", "Patient;File\n1;a b.hea\nM\u00fcller;sub/\u00fc.hea\n".encode("cp1252")),
        ("t.tsv", "record\tfold\na b\t1\nsub/\u00fc\t2\n".encode()),
    ],
)
def test_a_list_or_a_table_names_files(tmp_path, monkeypatch, signal, name, content):
    archive = tmp_path / "archive"
    for file in ("a b.hea", "sub/\u00fc.hea"):
        write_wfdb(archive / file, signal[:500])
    (archive / name).write_bytes(content)
    expected = [f"{archive}/a b.hea", f"{archive}/sub/\u00fc.hea"]
    monkeypatch.chdir(tmp_path)
    assert find_inputs([], lists=[archive / name]).names() == expected
    assert find_inputs([f"@{archive / name}"]).names() == expected
    if name.startswith("t."):
        assert find_inputs([archive / name]).names() == expected


def test_a_list_that_misleads_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for folder in (tmp_path, tmp_path / "sub"):
        (folder / "x.xml").write_text("<a/>")
    (tmp_path / "sub" / "list.txt").write_text("x.xml\n")
    with pytest.raises(InputError, match="another one beside the list"):
        find_inputs(["@sub/list.txt"])
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match="names no file"):
        find_inputs(["@empty.txt"])
    (tmp_path / "t.csv").write_text("patient,age\n1,2\n")
    with pytest.raises(InputError, match="no column names files; found patient, age"):
        find_inputs([], lists=["t.csv"])
    assert find_inputs(["t.csv"]).names() == ["t.csv"]


def test_nothing_to_do_is_an_error(tmp_path):
    (tmp_path / "a.pdf.txt").write_text("x")
    with pytest.raises(InputError, match=r"1 file is not an ECG.*no ECG file anywhere below"):
        find_inputs([tmp_path])
    with pytest.raises(InputError, match="no ECG file, folder or list is named"):
        find_inputs([])


def test_a_file_of_several_records_has_a_row_for_each(tmp_path, signal):
    np.save(tmp_path / "x.npy", np.stack([signal[:1000] / 1000, signal[1000:2000] / 1000]))
    told = {"sampling_rate": 500, "unit": "mV", "leads": list(LEADS)}
    (tmp_path / "x.npy.json").write_text(json.dumps(told))
    write_wfdb(tmp_path / "x.hea", signal[:500])
    config = PreprocessingConfig(sampling_rate=500.0)
    several = [f"{tmp_path}/x.npy#0", f"{tmp_path}/x.npy#1"]
    assert find_inputs([tmp_path]).names() == [f"{tmp_path}/x.hea", *several]
    found = find_inputs([tmp_path / "x.npy", several[1]])
    assert found.names() == several
    for usable in (found.usable(config), usable_each([tmp_path / "x.npy"], config)):
        names, records = zip(*usable, strict=True)
        assert list(names) == several
        for start, record in zip((0, 1000), records, strict=True):
            np.testing.assert_array_equal(record.prepared.samples, signal[start : start + 1000])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, signal):
    """A folder of records with gaps and odd rates, and the store that was prepared of it."""
    root = tmp_path_factory.mktemp("b")
    for number in range(6):
        digital = signal[number * 100 :].copy()
        digital[300 : 300 + 200 * number, number] = -32768
        write_wfdb(root / "files" / f"{number}.hea", digital, rate=500 if number % 2 else 400)
    store = root / "store"
    ecgjepa.prepare(
        {"clinic": root / "files"},
        store,
        preprocessing=PreprocessingConfig(sampling_rate=100.0, highpass_hz=0.5),
    )
    return root


def test_a_store_is_what_its_files_are(prepared):
    config = PreprocessingConfig(sampling_rate=100.0, highpass_hz=0.5)
    store, files = find_inputs([prepared / "store"]), find_inputs([prepared / "files"])
    assert is_store(prepared / "store")
    assert store.names()[:2] == [f"{prepared}/store#clinic/0", f"{prepared}/store#clinic/1"]
    for (name, one), (file, other) in zip(store.usable(config), files.usable(config), strict=True):
        assert name.rpartition("/")[2] == file.rpartition("/")[2].removesuffix(".hea")
        assert isinstance(one, Usable)
        assert isinstance(other, Usable)
        np.testing.assert_array_equal(one.prepared.samples, other.prepared.samples)
        assert one.prepared.quality == other.prepared.quality
        codes = [{(i.code, i.lead) for i in each.prepared.issues} for each in (one, other)]
        assert codes[0] == codes[1]
    rest = [name for name, _ in store.usable(config, first=4)]
    assert rest == store.names()[4:]


def test_a_store_of_another_preparation_is_refused_by_name(prepared):
    config = PreprocessingConfig(sampling_rate=250.0, highpass_hz=0.5)
    with pytest.raises(InputError, match=r"sampling_rate 100\.0 there, 250\.0 of the model"):
        list(find_inputs([prepared / "store"]).usable(config))
    config = PreprocessingConfig(sampling_rate=100.0)
    with pytest.raises(InputError, match=r"highpass_hz 0\.5 of clinic there, None of the model"):
        list(find_inputs([prepared / "store"]).usable(config))


def test_an_array_is_a_record(signal):
    config = PreprocessingConfig(sampling_rate=100.0)
    values = signal.astype(float)
    values[7, 3] = np.nan
    values[9, 4] = np.inf
    (record,) = records_of_array(values, 500, LEADS, "uV")
    assert (~record.valid).sum() == 2
    assert record.valid[7, 3] == record.valid[9, 4] == False  # noqa: E712
    (volts,) = records_of_array(values / 1e6, 500, LEADS, "V")
    (whole,) = records_of_array(signal[None], 500, LEADS, "\u00b5V")
    plain = prepare_record(record, config)
    np.testing.assert_array_equal(plain.samples, prepare_record(volts, config).samples)
    np.testing.assert_array_equal(whole.signal, signal.astype(np.float32) / np.float32(1000))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"signal": np.zeros((12, 500))}, LeadError, r"seems to be \(leads, samples\)"),
        ({"signal": np.zeros(12)}, RecordFormatError, r"shape \(12,\)"),
        ({"signal": np.zeros((500, 12), complex)}, RecordFormatError, "type complex128"),
        ({"leads": ("I", "II")}, LeadError, "has 12 columns, but leads names 2"),
        ({"leads": "I"}, LeadError, "expected a list of names"),
        ({"unit": "mm"}, UnitError, "unit of the signal: unknown amplitude unit 'mm'"),
        ({"sampling_rate": 5}, RecordFormatError, "sampling rate 5 Hz"),
    ],
)
def test_an_array_that_is_no_ecg_is_refused(changes, error, words):
    given = {"signal": np.zeros((500, 12)), "sampling_rate": 500, "leads": LEADS, "unit": "mV"}
    with pytest.raises(error, match=words):
        list(records_of_array(**(given | changes)))


def test_listing_files_imports_neither_torch_nor_pandas(incoming):
    program = (
        "import sys; from ecgjepa.inference.inputs.named import find_inputs; "
        "assert len(find_inputs([sys.argv[1]]).names()) == 46; "
        "print({'torch', 'pandas', 'pyarrow', 'scipy'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program, str(incoming)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.strip() == "set()"
