"""Files of several records: each has a name, is read alone, and is a record of an archive."""

import numpy as np
import pytest
from conftest import toy_ecg
from ecg_files import describe

import ecgjepa
from ecgjepa import read_record
from ecgjepa.errors import RecordFormatError
from ecgjepa.io import records_in
from ecgjepa.io.arrays import numpy_files

COUNT = 3


@pytest.fixture(scope="module")
def digital():
    rng = np.random.default_rng(0)
    return np.stack([toy_ecg(rng, num_samples=1000) for _ in range(COUNT)])


def write_npy(path, digital):
    np.save(path, digital)
    describe(path)


def write_npy_by_samples(path, digital):
    np.save(path, digital.transpose(1, 0, 2))
    describe(path, axes=["samples", "records", "leads"])


def write_npy_by_columns(path, digital):
    np.save(path, np.asfortranarray(digital))
    describe(path)


def write_npz(path, digital):
    np.savez_compressed(path, ecg=digital, age=np.arange(5))
    describe(path)


def write_npz_of_many(path, digital):
    np.savez(path, **{f"ecg-{number}": own.T for number, own in enumerate(digital)}, age=np.ones(3))
    describe(path, variable="ecg-*")


def write_hdf5(path, digital):
    import h5py

    with h5py.File(path, "w") as file:
        file["tracings"], file["exam_id"] = digital, np.arange(COUNT)
    describe(path)


def write_hdf5_of_many(path, digital):
    import h5py

    with h5py.File(path, "w") as file:
        for number, own in enumerate(digital):
            file[f"exams/{number}"] = own
            file[f"ages/{number}"] = 50
    describe(path, variable="exams/*")


def write_matlab(path, digital):
    from scipy import io

    io.savemat(path, {"val": digital}, do_compression=True)
    describe(path, axes=["records", "samples", "leads"])


def write_matlab_of_many(path, digital):
    from scipy import io

    io.savemat(path, {f"ecg{number}": own.T for number, own in enumerate(digital)})
    describe(path, variable="ecg?")


NUMBERS = [str(number) for number in range(COUNT)]
WAYS = {
    "npy": ("x.npy", write_npy, NUMBERS),
    "npy, by samples": ("x.npy", write_npy_by_samples, NUMBERS),
    "npy, by columns": ("x.npy", write_npy_by_columns, NUMBERS),
    "npz": ("x.npz", write_npz, NUMBERS),
    "npz of many": ("x.npz", write_npz_of_many, [f"ecg-{n}" for n in NUMBERS]),
    "hdf5": ("x.h5", write_hdf5, NUMBERS),
    "hdf5 of many": ("x.h5", write_hdf5_of_many, [f"exams/{n}" for n in NUMBERS]),
    "matlab": ("x.mat", write_matlab, NUMBERS),
    "matlab of many": ("x.mat", write_matlab_of_many, [f"ecg{n}" for n in NUMBERS]),
}


@pytest.fixture(params=WAYS)
def batch(request, tmp_path, digital):
    name, write, keys = WAYS[request.param]
    write(tmp_path / name, digital)
    return tmp_path / name, keys


def test_each_record_is_read_by_its_name(batch, digital):
    path, keys = batch
    names = records_in(path)
    assert names == [f"{path}#{key}" for key in keys]
    for name, key, own in zip(names, keys, digital, strict=True):
        record = read_record(name)
        np.testing.assert_array_equal(record.signal, np.float32(own / 1000))
        assert record.record_id == f"x#{key}"
        assert record.source == name


def test_the_whole_file_is_refused_with_the_names_of_its_records(batch):
    path, keys = batch
    for asked in (str(path), f"{path}#no", f"{path}#7", f"{path}#0/0"):
        with pytest.raises(RecordFormatError, match=r"holds 3 records") as caught:
            read_record(asked)
        assert str(path) in str(caught.value)
    with pytest.raises(RecordFormatError) as caught:
        read_record(path)
    assert f"{path.name}#{keys[0]} to {path.name}#{keys[-1]}" in str(caught.value)


def test_an_archive_stores_each(batch, digital):
    path, keys = batch
    root, store = path.parent, path.parent / "store"
    summary = ecgjepa.prepare({"clinic": root}, store).databases["clinic"]
    assert (summary.listed, summary.stored, dict(summary.skipped)) == (COUNT, COUNT, {})
    with ecgjepa.Store(store) as opened:
        assert opened.table()["record_id"].tolist() == [f"x#{key}" for key in keys]
        for row, own in enumerate(digital):
            np.testing.assert_array_equal(opened.read_record(row), own)
    assert not ecgjepa.verify(store, data={"clinic": root}).faults


def test_a_table_names_the_records_of_a_file(tmp_path, digital):
    write_npy(tmp_path / "x.npy", digital)
    (tmp_path / "t.csv").write_text("record,patient,labels\nx#0,a,AF\nx.npy#2,b,SR\n")
    listing = ecgjepa.databases.list_records("clinic", tmp_path, tmp_path / "t.csv")
    assert [entry.patient_id for entry in listing.entries()] == ["a", None, "b"]
    assert listing.absent == ()


def test_changes_of_a_file_of_many_are_noticed(tmp_path, digital):
    (tmp_path / "a").mkdir()
    write_npy(tmp_path / "a/x.npy", digital)
    ecgjepa.prepare({"clinic": tmp_path / "a"}, tmp_path / "store")
    write_npy(tmp_path / "a/x.npy", digital + 1)
    with pytest.raises(ecgjepa.errors.StoreError, match=r"x\.npy of clinic"):
        ecgjepa.prepare({"clinic": tmp_path / "a"}, tmp_path / "store")


def test_one_record_of_many_takes_no_more_memory(tmp_path, digital, monkeypatch):
    """A file may be far larger than what is read of it; a part of the array may not."""
    write_npy(tmp_path / "x.npy", np.repeat(digital, 20, axis=0))
    monkeypatch.setattr(numpy_files, "MAX_VALUES", digital[0].size)
    assert read_record(f"{tmp_path}/x.npy#59").num_samples == 1000
    monkeypatch.setattr(numpy_files, "MAX_VALUES", digital[0].size - 1)
    with pytest.raises(RecordFormatError, match="too large"):
        read_record(f"{tmp_path}/x.npy#59")
    with (tmp_path / "x.npy").open("ab") as stream:
        stream.write(b"1")
    with pytest.raises(RecordFormatError, match="announces shape"):
        read_record(f"{tmp_path}/x.npy#59")


def test_files_of_one_record_have_no_keys(tmp_path, digital):
    np.save(tmp_path / "odd#1.npy", digital[0])
    describe(tmp_path / "odd#1.npy")
    assert records_in(tmp_path / "odd#1.npy") == [f"{tmp_path}/odd#1.npy"]
    assert read_record(tmp_path / "odd#1.npy").record_id == "odd#1"
    with pytest.raises(RecordFormatError, match="holds one record"):
        read_record(f"{tmp_path}/odd#1.npy#0")
    (tmp_path / "x.json").write_text('{"resourceType": "Observation"}')
    with pytest.raises(RecordFormatError, match=r"x\.json \(FHIR\) holds one record"):
        read_record(f"{tmp_path}/x.json#0")
    with pytest.raises(RecordFormatError, match="no such file"):
        read_record(tmp_path / "nothing.npy#0")


def test_arrays_of_several_names_are_records_only_if_it_is_told(tmp_path, digital):
    """A raw and a filtered signal are not two patients."""
    np.savez(tmp_path / "x.npz", raw=digital[0], filtered=digital[0])
    describe(tmp_path / "x.npz")
    assert records_in(tmp_path / "x.npz") == [f"{tmp_path}/x.npz"]
    with pytest.raises(RecordFormatError, match=r'"variable": "\*" if each is a record'):
        read_record(tmp_path / "x.npz")
