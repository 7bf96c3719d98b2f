"""Flip, cut and insert bytes anywhere: an error of ours or a sound record comes out, quickly.

Hypothesis chooses the places, and shrinks what it finds. HDF5 files are mutated in a process of
their own (`mutate_hdf5`), because h5py is C and could take the test run down with it.
"""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import wfdb
from conftest import toy_ecg, write_ptb_xl, write_wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgjepa.databases import list_records
from ecgjepa.errors import EcgjepaError
from ecgjepa.io import read_record
from ecgjepa.signals.preprocessing import PreprocessingConfig, prepare_record

# Where random bytes would not easily get.
WORDS = (
    b",", b'"', b"\n", b" ", b"nan", b"-1", b"0", b"1e400", b"1e-320", b"\0", b"\xff", b"..", b"/",
    b"~", b"{", b"(", b"'", b"x99", b":99999999", b"+99", b"(9)", b"212", b"516", b"508", b"310",
    b"9" * 12, b"9" * 30, b"9" * 5000, b"a" * 300, b"[" * 3000, b"-" * 3000,
)  # fmt: skip
MOST_BYTES = 50_000_000

edits = st.lists(
    st.tuples(
        st.integers(0, 10**6),
        st.one_of(
            st.tuples(st.just("flip"), st.integers(1, 255)),
            st.tuples(st.just("cut"), st.integers(1, 30)),
            st.tuples(st.just("insert"), st.one_of(st.binary(min_size=1, max_size=6))),
            st.tuples(st.just("insert"), st.sampled_from(WORDS)),
        ),
    ),
    min_size=1,
    max_size=4,
)
quick = settings(
    max_examples=30,  # 100,000 more: benchmarks/mutants.py
    # Against what never ends, not a timing: the machine may be busy.
    deadline=30_000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def mutate(content: bytes, chosen) -> bytes:
    found = bytearray(content)
    for number, (kind, what) in chosen:
        place = number % (len(found) + 1)
        if kind == "insert":
            found[place:place] = what
        elif kind == "cut":
            del found[place : place + what]
        elif place < len(found):
            found[place] ^= what
    return bytes(found)


class Mutant:
    """One file in the place of another, and the memory that is used meanwhile."""

    def __init__(self, path: Path, chosen) -> None:
        self._path, self._chosen = path, chosen

    def __enter__(self) -> None:
        self._whole = self._path.read_bytes()
        self._path.write_bytes(mutate(self._whole, self._chosen))
        tracemalloc.start()

    def __exit__(self, *_) -> None:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        self._path.write_bytes(self._whole)
        assert peak < MOST_BYTES


@pytest.fixture(scope="module")
def signals(tmp_path_factory) -> Path:
    """Records of every kind that is read: both fast formats, others, and segments."""
    folder = tmp_path_factory.mktemp("signals")
    rng = np.random.default_rng(0)
    for name, length in (("fast", 40), ("s1", 30), ("s2", 50)):
        write_wfdb(folder / f"{name}.hea", toy_ecg(rng, num_samples=length))
    write_wfdb(folder / "mat.hea", toy_ecg(rng, num_samples=40), offset=24)
    (folder / "m.hea").write_text("m/2 12 500 80\ns1 30\ns2 50\n")
    for storage in ("212", "80", "24", "516"):
        wfdb.wrsamp(
            f"f{storage}",
            360,
            ["mV"] * 2,
            ["I", "II"],
            d_signal=rng.integers(-100, 100, (60, 2)),
            fmt=[storage] * 2,
            adc_gain=[200.0] * 2,
            baseline=[0] * 2,
            write_dir=str(folder),
        )
    return folder


def read_or_refuse(header: Path, damaged: str) -> None:
    """What comes out of reading and preparing is sound, or an error of ours."""
    try:
        record = read_record(header, damaged=damaged)
        assert np.isfinite(record.signal).all()
        assert not record.signal[~record.valid].any()
        prepared = prepare_record(record, PreprocessingConfig())
    except EcgjepaError:
        return
    assert prepared.samples.shape[1] == 12


@pytest.mark.parametrize("name", ["fast", "mat", "m", "f212", "f80", "f24", "f516"])
@quick
@given(data=st.data())
def test_mutated_records(signals, name, data):
    parts = ["m.hea", "s1.hea", "s2.hea", "s2.dat"]
    own = [path.name for path in sorted(signals.glob(f"{name}.*"))]
    target = data.draw(st.sampled_from(parts if name == "m" else own))
    with Mutant(signals / target, data.draw(edits)):
        read_or_refuse(signals / f"{name}.hea", data.draw(st.sampled_from(["raise", "mask"])))


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    """A folder of every database that comes with a table."""
    root = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    write_ptb_xl(root / "ptb", records=4, seconds=0.2)
    write_wfdb(root / "hr/HR00001.hea", toy_ecg(rng, num_samples=50), offset=24)
    (root / "hr/ptbxl_database.csv").write_bytes((root / "ptb/ptbxl_database.csv").read_bytes())
    for name in ("00012", "a/b"):
        write_wfdb(root / f"mine/{name}.hea", toy_ecg(rng, num_samples=50))
    (root / "mine.csv").write_text(
        "record,patient,fold,age,sex,labels,afib\n00012,1,1,50,m,NORM;SR,1\na/b,2,3,61.5,f,AF,0\n"
    )
    write_wfdb(root / "mimic/files/p1/2.hea", toy_ecg(rng, num_samples=50))
    (root / "mimic/record_list.csv").write_text(
        "subject_id,study_id,path\n10000032,40689238,files/p1/2\n10000033,40689239,files/p1/3\n"
    )
    (root / "mimic/machine_measurements.csv").write_text(
        "subject_id,study_id,report_0,report_1\n10000032,40689238,Sinus rhythm,Possible LVH.\n"
    )
    return root


TABLES = {
    "ptb/ptbxl_database.csv": ("ptb-xl", "ptb", None),
    "hr/ptbxl_database.csv": ("challenge-ptb-xl", "hr", None),
    "mine.csv": ("mine", "mine", "mine.csv"),
    "mimic/record_list.csv": ("mimic-iv-ecg", "mimic", None),
    "mimic/machine_measurements.csv": ("mimic-iv-ecg", "mimic", None),
}


def list_or_refuse(root: Path, database: str, table: Path | None = None) -> None:
    try:
        listing = list_records(database, root, table)
    except EcgjepaError:
        return
    for entry in listing.entries():
        assert isinstance(json.loads(entry.labels, parse_constant=pytest.fail), dict)
        assert entry.record_id
        assert entry.age is None or np.isfinite(entry.age)
        assert (root / entry.path).resolve().is_relative_to(root.resolve())


@pytest.mark.parametrize("file", TABLES)
@quick
@given(chosen=edits)
def test_mutated_tables(tables, file, chosen):
    database, folder, table = TABLES[file]
    with Mutant(tables / file, chosen):
        list_or_refuse(tables / folder, database, table and tables / table)


@pytest.fixture(scope="module")
def code_15_table(tmp_path_factory) -> Path:
    from databases.test_code_15 import write_part, write_table

    root = tmp_path_factory.mktemp("code-15")
    write_part(root, 0, [30, 10, 0])
    write_table(root, [10, 30])
    return root


@quick
@given(chosen=edits)
def test_mutated_exams(code_15_table, chosen):
    with Mutant(code_15_table / "exams.csv", chosen):
        list_or_refuse(code_15_table, "code-15")


@pytest.mark.parametrize("layout", ["plain", "gzip"])
def test_mutated_hdf5_files(tmp_path, layout):
    """No mutant so far crashed HDF5 2.0; one that does ends this process, not the test run."""
    script = Path(__file__).with_name("mutate_hdf5.py")
    path = [str(script.parent.parent), *sys.path]
    run = subprocess.run(
        [sys.executable, script, tmp_path, layout, "40"],
        env={"PYTHONPATH": ":".join(filter(None, path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, f"crashed on {tmp_path}/exams_part0.hdf5: {run.stdout}{run.stderr}"
    counts = json.loads(run.stdout)
    assert counts["strange"] == []
    assert counts["read"] + counts["refused"] == 40
    assert min(counts["read"], counts["refused"]) > 3
    assert counts["peak_megabytes"] < 50
