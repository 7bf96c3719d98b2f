"""A database of four files and a table, as the Challenge publishes it."""

from pathlib import Path

STATE = ".ecgjepa-fetch"
GEORGIA = "/physionet.org/files/challenge-2021/1.0.3/training/georgia/"
FILES = {
    "training/georgia/g1/E00001.hea": b"E00001 12 500 5000\n",
    "training/georgia/g1/E00001.mat": bytes(range(256)) * 40,
    "training/georgia/g1/E00002.hea": b"E00002 12 500 5000\n",
    "training/georgia/g1/E00002.mat": bytes(reversed(range(256))) * 40,
    "training/georgia/RECORDS": b"g1/E00001\ng1/E00002\n",
    "training/ningbo/g1/JS10647.hea": b"another database\n",
    "dx_mapping_scored.csv": b"not below the folder\n",
}
MAT = "g1/E00001.mat"
NUM_FILES = 5


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and STATE not in path.parts
    }


def of_georgia() -> dict[str, bytes]:
    root = "training/georgia/"
    return {name.removeprefix(root): FILES[name] for name in FILES if name.startswith(root)}
