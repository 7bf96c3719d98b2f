"""Arrays as programs keep them: orders of axes, batches, scales, MATLAB, HDF5, gzip, YAML."""

import gzip
import json
import zlib

import h5py
import numpy as np
import pytest
from conftest import toy_ecg
from ecg_files import describe, write_aecg, write_dicom, write_edf
from scipy import io as scipy_io

from ecgjepa import cli, read_record
from ecgjepa.databases import list_records
from ecgjepa.errors import DatabaseError, RecordFormatError, UnitError
from ecgjepa.signals.leads import LEADS


@pytest.fixture
def digital(rng):
    return toy_ecg(rng, num_samples=300)


def same(record, digital):
    assert record.leads == LEADS
    np.testing.assert_allclose(record.signal, digital / 1000, rtol=1e-5, atol=1e-7)


# ------------------------------------------------------------------------------ axes


@pytest.mark.parametrize(
    ("turn", "more"),
    [
        (lambda x: x.T, {}),
        (lambda x: x[None], {}),
        (lambda x: x.T[None], {}),
        (lambda x: np.stack([x * 0, x]), {"record": 1}),
        (lambda x: np.stack([x.T, x.T * 0]), {"record": 0}),
        (lambda x: np.stack([x, x * 0], axis=2), {"record": 0, "axes": "samples, leads, records"}),
        (lambda x: x.T, {"axes": ["leads", "samples"]}),
    ],
)
def test_any_order_of_axes(tmp_path, digital, turn, more):
    np.save(tmp_path / "x.npy", turn(digital))
    describe(tmp_path / "x.npy", **more)
    same(read_record(tmp_path / "x.npy"), digital)


@pytest.mark.parametrize(
    ("shape", "more", "match"),
    [
        ((2, 300, 12), {}, "holds 2 records; name one, as x.npy#0 to x.npy#1"),
        ((2, 300, 12), {"record": 2}, "holds 2 records; its description names record 2"),
        ((300, 11), {}, r"shape \(300, 11\); expected \(samples, 12\) or \(12, samples\)"),
        ((300, 12), {"axes": ["leads", "samples"]}, r"shape \(300, 12\)"),
        ((300,), {}, r"shape \(300,\)"),
        ((300, 12), {"axes": ["leads"]}, "axes is"),
        ((300, 12), {"record": -1}, "record is"),
        ((300, 12), {"smapling": 3}, "tells smapling; known are sampling_rate, unit"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path, shape, more, match):
    np.save(tmp_path / "x.npy", np.zeros(shape))
    describe(tmp_path / "x.npy", **more)
    with pytest.raises(RecordFormatError, match=match):
        read_record(tmp_path / "x.npy")


# ------------------------------------------------------------------------------ scales


@pytest.mark.parametrize(
    ("more", "factor"),
    [
        ({"unit": "4.88 uV"}, 0.00488),
        ({"unit": "4.88uV"}, 0.00488),
        ({"unit": "1e-4 V"}, 0.1),
        ({"unit": "0.1 mV"}, 0.1),
        ({"unit": "adu", "gain": 200}, 0.005),
        ({"unit": "mV", "gain": [1000.0] * 12}, 0.001),
    ],
)
def test_a_scale_may_be_told(tmp_path, digital, more, factor):
    np.save(tmp_path / "x.npy", digital)
    describe(tmp_path / "x.npy", **more)
    np.testing.assert_allclose(read_record(tmp_path / "x.npy").signal, digital * factor, rtol=1e-6)


def test_a_baseline_may_be_told_for_each_lead(tmp_path, digital):
    baseline = [10 * column for column in range(12)]
    np.save(tmp_path / "x.npy", digital + np.array(baseline, np.int16))
    describe(tmp_path / "x.npy", unit="adu", gain=1000, baseline=baseline)
    same(read_record(tmp_path / "x.npy"), digital)


@pytest.mark.parametrize(
    ("more", "error", "match"),
    [
        ({"unit": "adu"}, RecordFormatError, "tell how many make a mV as gain"),
        ({"unit": "2 mmHg"}, UnitError, "unknown amplitude unit 'mmHg'"),
        ({"unit": "0 mV"}, UnitError, "unknown amplitude unit '0 mV'"),
        ({"gain": 0}, RecordFormatError, "gain is '0'"),
        ({"gain": [1, 2]}, RecordFormatError, "tells 2 numbers as gain"),
        ({"baseline": "x"}, RecordFormatError, "baseline is 'x'"),
        ({"sampling_rate": 0.05}, RecordFormatError, "sampling rate 0.05 Hz; expected 25 Hz"),
    ],
)
def test_faulty_scales(tmp_path, digital, more, error, match):
    np.save(tmp_path / "x.npy", digital)
    describe(tmp_path / "x.npy")
    place = tmp_path / "x.npy.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), **more}))
    with pytest.raises(error, match=match):
        read_record(tmp_path / "x.npy")


# ------------------------------------------------------------------------------ descriptions


def test_a_description_in_yaml(tmp_path, digital):
    np.save(tmp_path / "x.npy", digital)
    leads = ", ".join(LEADS)
    (tmp_path / "ecg.yaml").write_text(f"sampling_rate: 500\nunit: uV\nleads: [{leads}]\n")
    same(read_record(tmp_path / "x.npy"), digital)
    (tmp_path / "x.npy.yml").write_text(f"sampling_rate: 250\nunit: uV\nleads: [{leads}]\n")
    assert read_record(tmp_path / "x.npy").sampling_rate == 250
    (tmp_path / "x.npy.yml").write_text("a: &a [1]\nleads: *a\n")
    with pytest.raises(RecordFormatError, match="aliases are not read"):
        read_record(tmp_path / "x.npy")


def test_a_description_elsewhere(tmp_path, digital, monkeypatch):
    np.savetxt(tmp_path / "x.log", digital, fmt="%d", header=" ".join(LEADS), comments="")
    place = tmp_path / "told.json"
    describe(tmp_path / "told")
    with pytest.raises(RecordFormatError, match="format not recognised"):
        read_record(tmp_path / "x.log")
    same(read_record(tmp_path / "x.log", description=place), digital)
    with pytest.raises(RecordFormatError, match="no such description"):
        read_record(tmp_path / "x.log", description=tmp_path / "other.json")
    write_dicom(tmp_path / "x.dcm", digital)
    with pytest.raises(RecordFormatError, match=r"told\.json does not fit it"):
        read_record(tmp_path / "x.dcm", description=place)
    out = tmp_path / "x.png"
    command = ["plot", str(tmp_path / "x.log"), "--out", str(out), "--describe", str(place)]
    monkeypatch.setattr("sys.argv", ["ecgjepa", *command])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert out.stat().st_size > 10_000


# ------------------------------------------------------------------------------ MATLAB, HDF5


@pytest.mark.parametrize("options", [{"format": "4"}, {}, {"do_compression": True}])
@pytest.mark.parametrize("name", ["val", "feats", "anything"])
def test_matlab_files(tmp_path, digital, options, name):
    path = tmp_path / "x.mat"
    scipy_io.savemat(path, {"fs": 500.0, name: digital.T, "text": "abc"}, **options)
    describe(path)
    same(read_record(path), digital)


def test_matlab_structures_and_choices(tmp_path, digital):
    path = tmp_path / "x.mat"
    struct = {"sex": "male", "age": 3.0, "data": digital.T.astype(float)}
    scipy_io.savemat(path, {"ECG": struct})
    describe(path)
    same(read_record(path), digital)
    scipy_io.savemat(path, {"one": digital, "two": digital * 2})
    with pytest.raises(RecordFormatError, match=r"holds one \(300, 12\), two \(300, 12\); expect"):
        read_record(path)
    describe(path, variable="one")
    same(read_record(path), digital)
    describe(path, variable="three")
    with pytest.raises(RecordFormatError, match="names the variable 'three', but the file holds"):
        read_record(path)


def test_a_matlab_file_beside_a_header_is_its_signals(tmp_path, digital):
    from conftest import write_wfdb

    write_wfdb(tmp_path / "x.hea", digital, offset=24)
    describe(tmp_path / "x.mat", rate=100)
    assert read_record(tmp_path / "x.mat").sampling_rate == 500
    assert len(list_records("mine", tmp_path).table) == 1


def test_matlab_files_that_unpack_without_bound_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ecgjepa.io.arrays.matlab.MAX_BYTES", 10_000)
    path = tmp_path / "x.mat"
    scipy_io.savemat(path, {"val": np.zeros((12, 5000))}, do_compression=True)
    describe(path)
    with pytest.raises(RecordFormatError, match="unpacks to more than 10,000 bytes"):
        read_record(path)


@pytest.mark.parametrize("packed", [{}, {"compression": "gzip"}])
def test_hdf5_files(tmp_path, digital, packed):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("group/ecg", data=digital, **packed)
        file["other"] = np.zeros(5)
    describe(path)
    same(read_record(path), digital)
    with h5py.File(path, "w") as file:
        file.create_dataset("tracings", data=np.stack([digital * 0, digital]), **packed)
    describe(path, record=1)
    same(read_record(path), digital)


def test_matlab_7_3_stores_its_axes_in_reverse(tmp_path, digital):
    path = tmp_path / "x.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        item = file.create_dataset("val", data=np.stack([digital.T * 0, digital.T]).T)
        item.attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file")
    describe(path, record=1)
    same(read_record(path), digital)


def test_hdf5_that_lies_elsewhere_or_nowhere_is_not_read(tmp_path, digital):
    other, path = tmp_path / "other.h5", tmp_path / "x.h5"
    with h5py.File(other, "w") as file:
        file["ecg"] = digital
    with h5py.File(path, "w") as file:
        file["ecg"] = h5py.ExternalLink(str(other), "ecg")
    describe(path)
    with pytest.raises(RecordFormatError, match="holds no array of numbers; expected one array"):
        read_record(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("ecg", (1_000_000, 12), "f4", chunks=(1000, 12))
    with pytest.raises(RecordFormatError, match="too large, or was never written"):
        read_record(path)


# ------------------------------------------------------------------------------ gzip, pipes


@pytest.mark.parametrize(
    ("write", "suffix"), [(write_aecg, ".xml"), (write_dicom, ".dcm"), (write_edf, ".edf")]
)
def test_any_file_may_be_packed(tmp_path, digital, write, suffix):
    path = write(tmp_path / f"a{suffix}", toy_ecg(np.random.default_rng(1), num_samples=500))
    expected = read_record(path)
    packed = tmp_path / f"a{suffix}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    record = read_record(packed)
    np.testing.assert_array_equal(record.signal, expected.signal)
    assert record.record_id == "a"
    assert list_records("mine", tmp_path).table["record_id"].tolist() == ["a"]
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(RecordFormatError, match="packed with gzip, but damaged or cut short"):
        read_record(packed)


def test_packed_tables_and_their_descriptions(tmp_path, digital):
    text = "\n".join([",".join(LEADS), *(",".join(map(str, row)) for row in digital)])
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(text.encode()))
    describe(tmp_path / "x.csv", leads=None)
    same(read_record(tmp_path / "x.csv.gz"), digital)


def test_what_unpacks_without_bound_is_refused(tmp_path):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    content = packer.compress(b"<AnnotatedECG>")
    content += b"".join(packer.compress(bytes(1_000_000)) for _ in range(25)) + packer.flush()
    (tmp_path / "x.xml.gz").write_bytes(content)
    with pytest.raises(RecordFormatError, match="unpacks to more than 20,000,000 bytes"):
        read_record(tmp_path / "x.xml.gz")


def test_pipes_are_refused_at_once(tmp_path, digital):
    import os

    for name in ("x.dcm", "x.hea", "x.npy"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(RecordFormatError, match=r"not a regular file|no such file"):
            read_record(tmp_path / name)


def test_an_archive_says_how_tables_become_ecgs(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/x.tsv").write_text("I\tII\n1\t2\n")
    with pytest.raises(
        DatabaseError, match=r"deep/x\.tsv and its like are ECGs only if .*ecg\.json"
    ):
        list_records("mine", tmp_path)
