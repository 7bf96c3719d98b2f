"""Small sound files of every format that is read, to be mutated by `mutants`."""

import gzip
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

HERE = Path(__file__).parents[1]
# Ways of storing samples that the wfdb package writes, and those that it only reads.
_WRITTEN, _READ_ONLY = ("80", "24", "32", "508", "516", "524"), ("212", "310", "311", "160", "61")


class Kind(NamedTuple):
    """One way in which ECGs are written.

    Attributes:
        format: The format's name in `ecgjepa.formats`.
        way: What distinguishes it from other ways of that format.
        read: The file that is read.
        files: The files that are mutated, one at a time.
        repair: Makes checksums fit again, or packs; returns anything else as it is.
    """

    format: str
    way: str
    read: Path
    files: tuple[Path, ...]
    repair: Callable[[bytes], bytes] = bytes


def build(root: Path) -> list[Kind]:
    """Write a small sound file in each way of each format, with the writers of the tests."""
    sys.path[:0] = [str(HERE / "tests"), str(HERE / "tests/bad_input")]
    shared, files = import_module("conftest"), import_module("ecg_files")
    devices = import_module("test_devices")
    digital = shared.toy_ecg(np.random.default_rng(0), num_samples=500)
    names = {
        "dicom": "DICOM", "aecg": "HL7 aECG", "muse": "GE MUSE", "sierra": "Philips Sierra",
        "edf": "EDF", "npy": "NumPy array", "npz": "NumPy array", "csv": "Table of text",
        "tsv": "Table of text", "parquet": "Parquet", "matlab": "MATLAB", "hdf5": "HDF5",
        "scp": "SCP-ECG", "ishne": "ISHNE", "mfer": "MFER", "fhir": "FHIR Observation",
        "cardiosoft": "GE CardioSoft", "mortara": "Mortara ELI", "schiller": "Schiller",
    }  # fmt: skip
    kinds = [*_wfdb(root / "wfdb", shared, digital)]
    for way, writer in files.WRITERS.items():
        path = _folder(root, way) / f"x{writer.suffix}"
        writer.write(path, digital)
        kinds.append(Kind(names[way], way, path, (path,)))
        if (told := Path(f"{path}.json")).is_file():
            kinds.append(Kind(names[way], f"{way}, its description", path, (told,)))
    for way, (name, write, repair) in devices.KINDS.items():
        path = write(_folder(root, way) / name, digital)
        kinds.append(Kind(names[way.partition("_")[0]], way, path, (path,), repair))
    return [*kinds, *_more_arrays(root, files, digital), *_packed(root, kinds)]


def _folder(root: Path, name: str) -> Path:
    (root / name).mkdir(parents=True)
    return root / name


def _wfdb(folder: Path, shared: ModuleType, digital: np.ndarray) -> Iterator[Kind]:
    """Yield the fast formats, those that the wfdb package decodes, FLAC and segments."""
    import wfdb

    shared.write_wfdb(folder / "fast.hea", digital)
    shared.write_wfdb(folder / "mat.hea", digital, offset=24)
    for part in ("s1", "s2"):
        shared.write_wfdb(folder / f"{part}.hea", digital)
    (folder / "segments.hea").write_text(f"segments/2 12 500 {2 * len(digital)}\ns1 500\ns2 500\n")
    two = {"units": ["mV"] * 2, "sig_name": ["I", "II"], "d_signal": (digital[:, :2] % 120) * 1}
    for storage in _WRITTEN:
        wfdb.wrsamp(
            f"f{storage}", 360, fmt=[storage] * 2, adc_gain=[200.0] * 2, baseline=[0] * 2,
            write_dir=str(folder), **two,
        )  # fmt: skip
    for storage in _READ_ONLY:
        lines = [f"f{storage}.dat {storage} 200(0)/mV 10 0 0 0 0 {lead}" for lead in ("I", "II")]
        (folder / f"f{storage}.hea").write_text(f"f{storage} 2 360 500\n" + "\n".join(lines))
        (folder / f"f{storage}.dat").write_bytes(digital[:, :2].tobytes())
    frames = (folder / "fast.hea").read_text().replace(" 500 500", " 100 100")
    (folder / "frames.hea").write_text(
        frames.replace("fast", "frames").replace("dat 16", "dat 16x5")
    )
    (folder / "frames.dat").write_bytes((folder / "fast.dat").read_bytes())
    for header in sorted(folder.glob("*.hea")):
        own = tuple(sorted(folder.glob(f"{header.stem}.*")))
        parts = tuple(folder / name for name in ("s1.hea", "s2.hea", "s2.dat"))
        if header not in parts:
            yield Kind("WFDB", header.stem, header, parts if header.stem == "segments" else own)


def _more_arrays(root: Path, files: ModuleType, digital: np.ndarray) -> Iterator[Kind]:
    """Yield arrays of several records, other versions of MATLAB, and descriptions as YAML."""
    import h5py
    from scipy import io

    folder = _folder(root, "more")
    path = folder / "several.npy"
    np.save(path, np.stack([digital.T, digital.T]).astype(np.float32))
    files.describe(path, axes=["records", "leads", "samples"], record=1, gain=2, baseline=1)
    yield Kind("NumPy array", "npy, several records", path, (path, Path(f"{path}.json")))
    path = folder / "old.mat"
    io.savemat(path, {"val": digital}, format="4")
    files.describe(path)
    yield Kind("MATLAB", "version 4", path, (path,))
    path = folder / "nested.mat"
    io.savemat(path, {"ECG": {"data": digital, "fs": 500}})
    files.describe(path, variable="ECG.data")
    yield Kind("MATLAB", "a structure", path, (path,))
    path = folder / "new.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("val", data=digital.T).attrs["MATLAB_class"] = np.bytes_("int16")
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\x02IM" + path.read_bytes()[128:])
    files.describe(path)
    yield Kind("HDF5", "MATLAB 7.3", path, (path,))
    path, told = folder / "spoken.csv", folder / "spoken.csv.yaml"
    lines = ["time [s];" + ";".join(f"{lead} (uV)" for lead in files.LEADS)]
    lines += [
        f"{number / 500:.3f};".replace(".", ",") + ";".join(map(str, row))
        for number, row in enumerate(digital.tolist())
    ]
    path.write_text("\n".join(lines))
    told.write_text("sampling_rate: 500\nunit: uV\nchannels:\n  ECG1: I\ncomment: none\n")
    yield Kind("Table of text", "decimal commas", path, (path,))
    yield Kind("Table of text", "a description in YAML", path, (told,))


def _packed(root: Path, kinds: list[Kind]) -> Iterator[Kind]:
    """Yield some of the files packed with gzip: mutated as they are, and before packing."""
    for kind in kinds:
        if kind.way not in ("dicom", "muse", "csv", "edf", "scp", "npy"):
            continue
        folder = _folder(root, f"packed-{kind.way}")
        path = folder / f"{kind.read.name}.gz"
        path.write_bytes(gzip.compress(kind.read.read_bytes(), mtime=0))
        if (told := Path(f"{kind.read}.json")).is_file():
            (folder / told.name).write_bytes(told.read_bytes())
        yield Kind(kind.format, f"{kind.way}, packed", path, (path,), _repacked)


def _repacked(mutant: bytes) -> bytes:
    """Pack again what was changed, as far as it unpacks."""
    try:
        return gzip.compress(gzip.decompress(mutant), 1, mtime=0)
    except Exception:  # as damaged as it was meant to be
        return gzip.compress(mutant, 1, mtime=0)
