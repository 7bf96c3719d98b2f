"""Simulated ECGs on disk, laid out as a real database is.

The only layout is PTB-XL 1.0.3 (https://doi.org/10.13026/kfzx-aw45). The table is written last: a
folder that has it is complete.
"""

import errno
import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int16

from ecgjepa import __version__
from ecgjepa.databases.ptb_xl import SIMULATED_FILE, STATEMENTS_FILE, TABLE_FILE
from ecgjepa.errors import ConfigError
from ecgjepa.files import DiskFullError, write_text
from ecgjepa.simulation.patients import Patient, draw_patient
from ecgjepa.simulation.ptb_xl import COLUMNS, describe, statement_table
from ecgjepa.simulation.recorder import Tracing, quantise, resample
from ecgjepa.simulation.records import trace_visit

LAYOUTS = ("ptb-xl",)
_FOLDERS = {500: "records500", 100: "records100"}
_SUFFIX = {500: "hr", 100: "lr"}
# PTB-XL writes the augmented leads in capitals.
_LEADS = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
_MOST_RECORDS = 1_000_000
_PER_FOLDER = 1000


def simulate(
    records: int,
    to: str | Path,
    *,
    layout: str = "ptb-xl",
    seed: int = 0,
    rates: Sequence[int] = (500,),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write labelled synthetic 12-lead ECGs of ten seconds as a folder of a real database.

    Record i of a seed is the same however many records are written.

    Args:
        records: How many, from 1 to 1,000,000.
        to: Folder to write: absent, empty, or left by an earlier simulation, which it replaces.
        layout: ``ptb-xl``.
        seed: Of the simulated population.
        rates: Sampling rates in Hz to write files for: 500, 100 or both.
        progress: Called with (records done, records in all).

    Returns:
        The folder.

    Raises:
        ConfigError: If an argument is out of range, or the folder holds anything else.
        DiskFullError: If there is no space left; nothing is left behind.
    """
    _check_arguments(records, layout, seed, rates)
    root = Path(to)
    _make_room(root)
    write_text(root / SIMULATED_FILE, _marker_text(records, seed))
    try:
        rows = []
        for number, (patient, visit) in enumerate(
            itertools.islice(population(seed), records), start=1
        ):
            tracing = trace_visit(seed, patient, visit)
            paths = _write_signals(root, number, tracing, rates)
            rows.append(describe(seed, number, patient, visit, tracing) | paths)
            if progress is not None:
                progress(number, records)
        write_text(root / STATEMENTS_FILE, statement_table().to_csv())
        write_text(root / TABLE_FILE, pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False))
    except BaseException:
        _clear(root)
        raise
    return root


def holds_simulation(root: Path, *, records: int, seed: int) -> bool:
    """Return whether a folder holds this very simulation, complete."""
    marker = root / SIMULATED_FILE
    return (
        (root / TABLE_FILE).is_file()
        and marker.is_file()
        and (marker.read_text() == _marker_text(records, seed))
    )


def population(seed: int) -> Iterator[tuple[Patient, int]]:
    """Yield every record of a population as patient and number of the visit, without end."""
    for number in itertools.count():
        patient = draw_patient(seed, number)
        for visit in range(patient.visits):
            yield patient, visit


def _check_arguments(records: int, layout: str, seed: int, rates: Sequence[int]) -> None:
    if layout not in LAYOUTS:
        raise ConfigError(f"cannot imitate the layout {layout!r}; expected {', '.join(LAYOUTS)}")
    if not 1 <= records <= _MOST_RECORDS:
        raise ConfigError(f"cannot simulate {records:,} records; expected 1 to {_MOST_RECORDS:,}")
    if seed < 0:
        raise ConfigError(f"seed is {seed}; expected 0 or more")
    if not rates or not set(rates) <= set(_FOLDERS):
        raise ConfigError(f"rates are {list(rates)}; PTB-XL has files at 500 and 100 Hz")


def _make_room(root: Path) -> None:
    """Refuse a folder with somebody's data; clear one that an earlier simulation left."""
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root} is a file; expected a folder to write simulated ECGs to")
    if root.is_dir() and any(root.iterdir()):
        if not (root / SIMULATED_FILE).is_file():
            raise ConfigError(
                f"{root} is not empty and holds no earlier simulation (there is no "
                f"{SIMULATED_FILE}); choose another folder"
            )
        _clear(root)
    root.mkdir(parents=True, exist_ok=True)


def _clear(root: Path) -> None:
    """Remove a simulation. The table goes first, so that what is left never looks complete."""
    for name in (TABLE_FILE, STATEMENTS_FILE):
        (root / name).unlink(missing_ok=True)
    for name in _FOLDERS.values():
        shutil.rmtree(root / name, ignore_errors=True)
    (root / SIMULATED_FILE).unlink(missing_ok=True)


def _marker_text(records: int, seed: int) -> str:
    return (
        "These ECGs are SYNTHETIC. No person was recorded; names, dates and labels are made up.\n"
        "They imitate the layout of PTB-XL 1.0.3 for tests, demonstrations and tutorials, and are\n"
        "no substitute for real data: do not report results on them as results on ECGs.\n\n"
        f"records: {records}\nseed: {seed}\necgjepa: {__version__}\nnumpy: {np.__version__}\n"
    )


def _write_signals(
    root: Path, number: int, tracing: Tracing, rates: Sequence[int]
) -> dict[str, str]:
    """Write a record at every rate; return the table's columns that name the files.

    The table names files of both rates, as PTB-XL's does, even if only one is there.
    """
    folder = f"{number // _PER_FOLDER * _PER_FOLDER:05d}"
    names = {rate: f"{_FOLDERS[rate]}/{folder}/{number:05d}_{_SUFFIX[rate]}" for rate in _FOLDERS}
    for rate in rates:
        digital = quantise(tracing if rate == 500 else resample(tracing, rate))
        _write_wfdb(root / names[rate], digital, rate)
    return {"filename_lr": names[100], "filename_hr": names[500]}


def _write_wfdb(path: Path, digital: Int16[np.ndarray, "samples 12"], rate: int) -> None:
    """Write a record in WFDB's format 16 (https://physionet.org/physiotools/wag/header-5.htm)."""
    # The checksum is the sum of all samples modulo 2**16.
    checksums = digital.sum(axis=0, dtype=np.int64) & 0xFFFF
    lines = [f"{path.name} {len(_LEADS)} {rate} {len(digital)}"]
    lines += [
        f"{path.name}.dat 16 1000.0(0)/mV 16 0 {first} {checksum} 0 {lead}"
        for first, checksum, lead in zip(digital[0], checksums, _LEADS, strict=True)
    ]
    # Plain writes: syncing each of thousands of small files would take longer than simulating
    # them, and nobody reads them before the table is there.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f"{path.name}.dat").write_bytes(digital.astype("<i2").tobytes())
        path.with_name(f"{path.name}.hea").write_text("\n".join(lines) + "\n")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                error.errno, f"no space left on the disk while writing {path}; nothing was kept"
            ) from error
        raise
