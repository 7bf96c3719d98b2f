"""Mutate a part of CODE-15% again and again, and count what becomes of reading it.

``python mutate_hdf5.py FOLDER plain|gzip NUMBER`` prints JSON. Most edits hit the metadata at
either end of the file: those of samples are only other samples.
"""

import json
import random
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
from databases.test_code_15 import write_part, write_table

from ecgjepa.databases import code_15, list_records
from ecgjepa.errors import EcgjepaError


def repack(path: Path) -> None:
    """Write the file anew as chunks, compressed."""
    with h5py.File(path) as file:
        ids, tracings = file["exam_id"][:], file["tracings"][:]
    with h5py.File(path, "w") as file:
        file.create_dataset("exam_id", data=ids, chunks=True, compression="gzip")
        file.create_dataset("tracings", data=tracings, chunks=(1, 4096, 12), compression="gzip")


def mutate(whole: bytes, rng: random.Random) -> bytes:
    found = bytearray(whole)
    ends = [*range(4096), *range(len(whole) - 4096, len(whole))]
    for _ in range(rng.randint(1, 3)):
        place = min(rng.choice(ends), len(found) - 1)
        kind = rng.choice(("flip", "flip", "fill", "cut", "insert"))
        if kind == "flip":
            found[place] ^= rng.randint(1, 255)
        elif kind == "fill":
            found[place : place + 8] = b"\xff" * 8
        elif kind == "cut":
            del found[place : place + rng.randint(1, 30)]
        else:
            found[place:place] = rng.randbytes(rng.randint(1, 6))
    return bytes(found)


def read_all(folder: Path) -> None:
    code_15._open.cache_clear()
    listing = list_records("code-15", folder)
    for entry in listing.entries():
        record = listing.read(entry)
        assert np.isfinite(record.signal).all()
        assert record.signal.size <= 4096 * 12


def main(folder: Path, layout: str, number: int) -> None:
    write_part(folder, 0, [30, 10, 0])
    write_table(folder, [10, 30])
    path = folder / "exams_part0.hdf5"
    if layout == "gzip":
        repack(path)
    whole = path.read_bytes()
    rng = random.Random(0)
    counts = {"read": 0, "refused": 0, "strange": []}
    tracemalloc.start()
    for _ in range(number):
        path.unlink()  # a new file: the old one may still be open
        path.write_bytes(mutate(whole, rng))
        try:
            read_all(folder)
            counts["read"] += 1
        except EcgjepaError:
            counts["refused"] += 1
        except BaseException as error:
            counts["strange"].append(f"{type(error).__name__}: {error}")
    counts["peak_megabytes"] = tracemalloc.get_traced_memory()[1] / 1e6
    sys.stdout.write(json.dumps(counts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
