"""What small files may cost: memory and time are bounded by what they hold (harmless stand-ins)."""

import time
import tracemalloc

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb
from ecg_files import describe, write_aecg, write_sierra

from ecgjepa import read_record
from ecgjepa.errors import RecordFormatError, UnitError
from ecgjepa.io import content, opening


@pytest.fixture
def digital(rng):
    return toy_ecg(rng, num_samples=300)


@pytest.fixture
def most(monkeypatch):
    """Lower the cap on values so that small files exceed it."""

    def lower(number):
        for module in ("content", "arrays.numpy_files", "arrays.matlab", "arrays.hdf5"):
            monkeypatch.setattr(f"ecgjepa.io.{module}.MAX_VALUES", number)
        monkeypatch.setattr("ecgjepa.io.wfdb.samples.MAX_VALUES", number)

    return lower


def test_a_sparse_signal_file_is_not_read_whole(tmp_path, digital, most):
    header = write_wfdb(tmp_path / "x.hea", digital)
    header.write_text(header.read_text().replace("500 300", "500", 1))
    with header.with_suffix(".dat").open("r+b") as stream:
        stream.truncate(2_000_000)
    most(500_000)
    with pytest.raises(RecordFormatError, match="83,333 samples of 12 leads are too many"):
        read_record(header)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.mat"])
def test_arrays_of_too_many_values_are_refused_before_they_are_unpacked(tmp_path, most, name):
    from scipy import io

    values = np.zeros((100_000, 12), np.int8)
    path = tmp_path / name
    if name == "x.npy":
        np.save(path, values)
    elif name == "x.npz":
        np.savez_compressed(path, values)
    else:
        io.savemat(path, {"val": values}, do_compression=True)
    describe(path)
    most(10_000)
    tracemalloc.start()
    with pytest.raises(RecordFormatError, match=r"too large|too many|holds .* bytes of an array"):
        read_record(path)
    # Not the 9.6 MB that the values would take as floating point numbers.
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_xml_of_many_tags_is_refused(tmp_path, digital, monkeypatch):
    monkeypatch.setattr("ecgjepa.io.xml._MOST_TAGS", 1000)
    path = write_aecg(tmp_path / "x.xml", digital)
    assert read_record(path).num_samples == 300
    path.write_text(path.read_text().replace("</series>", "<a/>" * 1000 + "</series>"))
    with pytest.raises(RecordFormatError, match="more than 1,000 tags or attributes"):
        read_record(path)


def test_sierra_files_of_too_many_samples_are_refused(tmp_path, digital):
    path = write_sierra(tmp_path / "x.xml", digital)
    text = path.read_text()
    before, after = text.split('durationperchannel="', 1)
    path.write_text(f'{before}durationperchannel="200000"{after[after.index(chr(34)) + 1 :]}')
    with pytest.raises(RecordFormatError, match="announces 100000 samples"):
        read_record(path)


def test_one_place_refuses_rates_and_sizes():
    assert content.accept_rate("x", 25) == 25
    assert content.accept_rate("x", 50_000) == 50_000
    for rate in (24.99, 50_001, float("nan"), float("inf"), -500):
        with pytest.raises(RecordFormatError, match=r"x: sampling rate .* expected 25 Hz"):
            content.accept_rate("x", rate)
    content.accept_size("x", content.MAX_VALUES // 12, 12)
    with pytest.raises(RecordFormatError, match="expected at most 125,000,000 values"):
        content.accept_size("x", content.MAX_VALUES // 12 + 1, 12)


def test_endings_and_names_of_packed_files(tmp_path):
    assert opening.ending("a.b.CSV.gz") == opening.ending("x.csv") == ".csv"
    assert opening.without_ending("d/x.xml.gz") == opening.without_ending("d/x.xml") == "d/x"
    assert opening.record_name(tmp_path / "x.y.csv.gz") == "x.y"


LONG = {
    "a cell of digits": "I,II\n1,2\n3," + "9" * 60_000 + "z\n5,6\n",
    "a name of blanks": "I" + " " * 60_000 + "x,II\n1,2\n3,4\n",
    "a name of underscores": "I" + "_" * 60_000 + "x,II\n1,2\n3,4\n",
    "blanks in a row": "I,II\n1,2\n1" + " " * 60_000 + "x\n3,4\n",
}


@pytest.mark.parametrize("kind", LONG)
def test_long_cells_are_judged_in_linear_time(tmp_path, kind):
    """Patterns that could match in many ways tried all of them, for minutes."""
    (tmp_path / "x.csv").write_text(LONG[kind])
    describe(tmp_path / "x.csv", leads=None, unit="mV")
    begun = time.process_time()
    try:
        assert read_record(tmp_path / "x.csv").num_samples == 2
    except RecordFormatError as error:
        assert len(str(error)) < 1_000  # noqa: PT017 either is right, if it is quick
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("unit", ["1" * 60_000, " " * 60_000 + "?V", "1" + " " * 60_000 + "?"])
def test_long_units_are_judged_in_linear_time(tmp_path, unit, digital):
    np.save(tmp_path / "x.npy", digital)
    describe(tmp_path / "x.npy", unit=unit)
    begun = time.process_time()
    with pytest.raises(UnitError) as caught:
        read_record(tmp_path / "x.npy")
    assert len(str(caught.value)) < 1_000
    assert time.process_time() - begun < 2


def test_a_frame_of_endless_length_is_refused(tmp_path, digital):
    write_wfdb(tmp_path / "s.hea", digital)
    (tmp_path / "x.hea").write_text("x/1 12 1e-308 300\ns 300\n")
    with pytest.raises(RecordFormatError, match="expected one rate"):
        read_record(tmp_path / "x.hea")
