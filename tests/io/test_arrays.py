import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from ecg_files import describe

from ecgjepa import read_record
from ecgjepa.errors import LeadError, RecordFormatError, UnitError


@pytest.fixture
def values():
    return np.arange(30, dtype=np.float64).reshape(10, 3) / 10


def test_a_description_for_a_whole_folder(tmp_path, values):
    np.save(tmp_path / "x.npy", values)
    told = {"sampling_rate": 257.5, "unit": "mV", "leads": ["I", "II", "V1"]}
    (tmp_path / "ecg.json").write_text(json.dumps(told))
    record = read_record(tmp_path / "x.npy")
    assert (record.sampling_rate, record.leads) == (257.5, ("I", "II", "V1"))
    np.testing.assert_array_equal(record.signal, values.astype(np.float32))
    describe(tmp_path / "x.npy", leads=("I", "II", "V2"), unit="uV")
    assert read_record(tmp_path / "x.npy").leads[2] == "V2"


def test_layouts_of_memory(tmp_path, values):
    for number, array in enumerate(
        (np.asfortranarray(values), values.astype(">f4"), (values * 10).astype(np.uint8))
    ):
        np.save(tmp_path / f"{number}.npy", array)
        describe(tmp_path / f"{number}.npy", leads=("I", "II", "V1"), unit="mV")
        signal = read_record(tmp_path / f"{number}.npy").signal
        np.testing.assert_allclose(signal, np.asarray(array, float), rtol=1e-6)


def test_no_number_is_invalid(tmp_path, values):
    values[3, 1], values[4, 2] = np.nan, np.inf
    np.save(tmp_path / "x.npy", values)
    describe(tmp_path / "x.npy", leads=("I", "II", "V1"))
    record = read_record(tmp_path / "x.npy")
    assert not record.valid[3, 1]
    assert not record.valid[4, 2]
    assert record.valid.sum() == 28


def test_tables_name_their_leads(tmp_path, values):
    table = pd.DataFrame(values, columns=["time", "V1", "I"])
    table.to_csv(tmp_path / "x.csv", index=False)
    table.to_parquet(tmp_path / "x.parquet")
    for name in ("x.csv", "x.parquet"):
        describe(tmp_path / name, leads=None, unit="mV")
        record = read_record(tmp_path / name)
        assert record.leads == ("V1", "I")
        np.testing.assert_allclose(record.signal, values[:, 1:], rtol=1e-6)
        assert record.issues[0].message == "column 'time' is not used"
        describe(tmp_path / name, leads=("I", "II"))
        with pytest.raises(LeadError, match="columns are time, V1, I; expected II"):
            read_record(tmp_path / name)


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"sampling_rate": 0}, "expected .*sampling_rate"),
        ({"sampling_rate": True}, "expected .*sampling_rate"),
        ({"sampling_rate": "500"}, "expected .*sampling_rate"),
        ({"unit": None}, "expected .*unit"),
        ({"unit": "bananas"}, "unknown amplitude unit"),
        ({"leads": []}, "expected .*leads"),
        ({"leads": None}, "names no leads"),
        ({"leads": ["I", "II"]}, r"shape \(10, 3\); expected \(samples, 2\)"),
    ],
)
def test_faulty_descriptions(tmp_path, values, told, match):
    np.save(tmp_path / "x.npy", values)
    describe(tmp_path / "x.npy", **({"leads": ["I", "II", "V1"]} | told))
    if "sampling_rate" in told:
        place = tmp_path / "x.npy.json"
        place.write_text(json.dumps({**json.loads(place.read_text()), **told}))
    with pytest.raises((RecordFormatError, UnitError), match=match):
        read_record(tmp_path / "x.npy")


def test_a_description_that_is_no_json(tmp_path, values):
    np.save(tmp_path / "x.npy", values)
    for text in ("{", "[1]"):
        (tmp_path / "x.npy.json").write_text(text)
        with pytest.raises(RecordFormatError, match=r"expected|not readable"):
            read_record(tmp_path / "x.npy")


def test_pickles_and_lengths_are_refused(tmp_path, values):
    path = tmp_path / "x.npy"
    describe(path, leads=("I", "II", "V1"))
    np.save(path, np.array([[1, "a", None]], dtype=object), allow_pickle=True)
    with pytest.raises(RecordFormatError, match="holds object values"):
        read_record(path)
    np.save(path, values)
    path.write_bytes(path.read_bytes().replace(b"(10, 3)", b"(9999999999, 3)"[:7]))
    with pytest.raises(RecordFormatError):
        read_record(path)
    header = path.read_bytes()[:128].replace(b"(10, 3), }       ", b"(10**9, 3), }   ")
    path.write_bytes(header + values.tobytes())
    with pytest.raises(RecordFormatError):
        read_record(path)


def test_archives_of_several_arrays(tmp_path, values):
    path = tmp_path / "x.npz"
    describe(path, leads=("I", "II", "V1"))
    np.savez(path, only=values)
    assert read_record(path).num_samples == 10
    np.savez(path, a=values, b=values)
    with pytest.raises(RecordFormatError, match=r"holds a .*, b .*; expected one array of 3 leads"):
        read_record(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../x.txt", "hello")
    with pytest.raises(RecordFormatError):
        read_record(path)


def test_tables_that_unpack_without_bound_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ecgjepa.io.content.MAX_VALUES", 100)
    path = tmp_path / "x.parquet"
    pd.DataFrame({"I": np.zeros(500)}).to_parquet(path)
    describe(path, leads=None)
    with pytest.raises(RecordFormatError, match="500 samples of 1 leads are too many"):
        read_record(path)
