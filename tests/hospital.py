"""A hospital's archive: formats mixed, some files broken, a table as a spreadsheet writes it."""

import ast
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from device_files import write_fhir
from ecg_files import WRITERS

import ecgjepa
from ecgjepa.simulation.database import simulate

DIAGNOSES = {"NORM": "Normal", "MI": "Infarkt", "CD": "Schenkelblock"}
FORMATS = ("muse", "dicom", "aecg", "sierra", "csv", "npy")
WARDS = ("Kardiologie Süd", "Notaufnahme")


def write_hospital(root: Path, *, records: int = 104, incoming: int = 12) -> None:
    """Write ``archive`` with ``diagnoses.csv``, and ``incoming`` with what was never seen.

    Most files are WFDB, every eighth is of another format. Two files that the table names are
    broken, and what no table names lies about: a scan, a note, a thumbnail.
    """
    source = simulate(records + incoming, root / "simulated", seconds=5.0)
    table = pd.read_csv(source / "ptbxl_database.csv")
    classes = pd.read_csv(source / "scp_statements.csv", index_col=0)["diagnostic_class"]
    lines = ["patient;file;diagnosis;ward"]
    for number, row in enumerate(table.itertuples()):
        recorded = source / f"{row.filename_hr}.hea"
        if number >= records:
            _write(recorded, root / "incoming" / f"{number:05d}", number)
            continue
        path = _write(recorded, root / "archive" / f"20{18 + number % 3}" / f"{number:05d}", number)
        found = {classes.get(code) for code in ast.literal_eval(row.scp_codes)}
        words = [word for name, word in DIAGNOSES.items() if name in found] or ["Sonstiges"]
        file = path.relative_to(root / "archive").as_posix()
        patient = f"P{int(row.patient_id):05d}"
        lines.append(f'{patient};{file};"{"; ".join(words)}";{WARDS[number % 2]}')
    (root / "archive/2019/broken.hea").write_text("broken 12 500")
    (root / "archive/2019/cut.xml").write_text("<?xml version='1.0'?><RestingECG>")
    lines += [f"P99999;2019/{name};Normal;{WARDS[0]}" for name in ("broken.hea", "cut.xml")]
    (root / "diagnoses.csv").write_text("\n".join(lines) + "\n", encoding="cp1252")
    (root / "archive/2018/scan.jpg").write_bytes(b"\xff\xd8\xff\xe0 not an ECG")
    (root / "archive/2018/Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (root / "archive/note.pdf").write_bytes(b"%PDF-1.4 not an ECG")
    (root / "incoming/cut.hea").write_text("cut 12 500")
    shutil.rmtree(source)


def _write(recorded: Path, path: Path, number: int) -> Path:
    """Write a recorded ECG again, with the ending of its format, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if number % 8 != 7:
        header = recorded.read_text().replace(recorded.stem, path.name)
        path.with_suffix(".hea").write_text(header)
        shutil.copy(recorded.with_suffix(".dat"), path.with_suffix(".dat"))
        return path.with_suffix(".hea")
    microvolt = np.round(1000 * ecgjepa.read_record(recorded).signal).astype(np.int16)
    if path.parent.name == "incoming":
        return Path(write_fhir(path.with_suffix(".json"), microvolt))
    own = WRITERS[FORMATS[number // 8 % len(FORMATS)]]
    return Path(own.write(path.with_name(path.name + own.suffix), microvolt))
