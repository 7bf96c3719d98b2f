"""A hospital's archive: formats mixed, some files broken, a table as a spreadsheet writes it."""

from pathlib import Path

import numpy as np
from conftest import toy_ecg, write_wfdb
from device_files import write_fhir
from ecg_files import WRITERS

# Every kind of `toy_ecg` is a finding of its own; the third has two in one cell.
DIAGNOSES = ("Normal", "Infarkt", "Schenkelblock; Infarkt", "Schenkelblock")
RARE = ("muse", "dicom", "aecg", "sierra", "csv", "npy")
WARDS = ("Kardiologie Süd", "Notaufnahme")


def write_hospital(root: Path, *, records: int = 144, seconds: float = 5.0) -> None:
    """Write ``archive`` with ``diagnoses.csv``, and ``incoming`` with what was never seen.

    Every eighth file is of a rarer format. Two files that the table names are broken, and what no
    table names lies about: a scan, a note, a thumbnail.
    """
    rng = np.random.default_rng(5)
    lines = ["patient;file;diagnosis;ward"]
    for number in range(records):
        kind = number % len(DIAGNOSES)
        name = f"20{18 + number % 3}/{number:05d}"
        digital = toy_ecg(rng, num_samples=round(500 * seconds), kind=kind)
        path = _write(root / "archive", name, digital, number)
        file = path.relative_to(root / "archive").as_posix()
        lines.append(f'P{number * 2 // 3:04d};{file};"{DIAGNOSES[kind]}";{WARDS[number % 2]}')
    (root / "archive/2019/broken.hea").write_text("broken 12 500")
    (root / "archive/2019/cut.xml").write_text("<?xml version='1.0'?><RestingECG>")
    lines += [f"P9999;2019/{name};Normal;{WARDS[0]}" for name in ("broken.hea", "cut.xml")]
    (root / "archive/2018/scan.jpg").write_bytes(b"\xff\xd8\xff\xe0 not an ECG")
    (root / "archive/2018/Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (root / "archive/note.pdf").write_bytes(b"%PDF-1.4 not an ECG")
    (root / "diagnoses.csv").write_text("\n".join(lines) + "\n", encoding="cp1252")
    for number in range(12):
        _write(
            root / "incoming",
            f"{number:03d}",
            toy_ecg(rng, num_samples=5000, kind=number % 4),
            number,
        )
    write_fhir(root / "incoming/tablet.json", toy_ecg(rng, num_samples=5000))
    (root / "incoming/cut.hea").write_text("cut 12 500")


def _write(folder: Path, name: str, digital: np.ndarray, number: int) -> Path:
    """Write a record and return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if number % 8 != 7:
        return write_wfdb(path.with_suffix(".hea"), digital)
    own = WRITERS[RARE[number // 8 % len(RARE)]]
    return Path(own.write(path.with_name(path.name + own.suffix), digital))
