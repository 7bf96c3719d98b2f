"""Row 24 for CODE-15's HDF5 files: they can point elsewhere, or promise more than they hold."""

import tracemalloc

import numpy as np
import pytest
from databases.test_code_15 import write_part, write_table

import ecgjepa
from ecgjepa.errors import DatabaseError

h5py = pytest.importorskip("h5py")

SHAPE = (2, 4096, 12)


@pytest.fixture
def root(tmp_path):
    write_part(tmp_path, 0, [10, 20])
    write_part(tmp_path, 1, [10, 20])
    (tmp_path / "exams_part1.hdf5").rename(tmp_path / "elsewhere.hdf5")
    write_table(tmp_path, [10, 20])
    return tmp_path


def external_link(file, root):
    file["tracings"] = h5py.ExternalLink(str(root / "elsewhere.hdf5"), "/tracings")


def soft_link(file, root):
    file["other"] = np.zeros(SHAPE, np.float32)
    file["tracings"] = h5py.SoftLink("/other")


def raw_file(file, root):
    (root / "secret.bin").write_bytes(b"secret" * 100_000)
    place = [(str(root / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("tracings", SHAPE, np.float32, external=place)


def virtual(file, root):
    layout = h5py.VirtualLayout(SHAPE, np.float32)
    layout[:] = h5py.VirtualSource(str(root / "elsewhere.hdf5"), "tracings", SHAPE)
    file.create_virtual_dataset("tracings", layout)


def huge(file, root):
    del file["exam_id"]
    file.create_dataset("exam_id", (10**10,), np.int64, chunks=(1000,))
    file.create_dataset("tracings", (10**10, 4096, 12), np.float32, chunks=(1, 4096, 12))


def one_chunk(file, root):
    file.create_dataset(
        "tracings", SHAPE, np.float32, maxshape=(None, 4096, 12), chunks=(10_000, 4096, 12)
    )


def doubles(file, root):
    file["tracings"] = np.zeros(SHAPE, np.float64)


def big_endian(file, root):
    file["tracings"] = np.zeros(SHAPE, ">f4")


def group(file, root):
    file.create_group("tracings")


def named_type(file, root):
    file["tracings"] = np.dtype(np.float32)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (external_link, "a link to another place"),
        (soft_link, "a link to another place"),
        (raw_file, "stored in another file"),
        (virtual, "stored in another file"),
        (huge, "announces 10,000,000,000 exams, but is only"),
        (one_chunk, r"in chunks of \(10000, 4096, 12\)"),
        (doubles, r"tracings is float64 \(2, 4096, 12\); expected float32"),
        (big_endian, "tracings is >f4"),
        (group, "no data set"),
        (named_type, "no data set"),
    ],
)
def test_row_24_a_part_that_is_not_what_it_should_be_is_refused(root, make, found):
    with h5py.File(root / "exams_part0.hdf5", "w") as file:
        file["exam_id"] = np.array([10, 20])
        make(file, root)
    tracemalloc.start()
    try:
        with pytest.raises(DatabaseError, match=found) as caught:
            ecgjepa.prepare({"code-15": root}, root / "store")
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert "exams_part0.hdf5" in str(caught.value)


def test_row_24_a_compressed_part_is_read_as_it_is(root):
    """The bounds leave room for who repacks 60 GB."""
    with h5py.File(root / "exams_part0.hdf5", "r+") as file:
        tracings = file["tracings"][:]
        del file["tracings"]
        file.create_dataset("tracings", data=tracings, chunks=(1, 4096, 12), compression="gzip")
    assert ecgjepa.prepare({"code-15": root}, root / "store").num_records == 2
