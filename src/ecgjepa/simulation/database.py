"""Simulated ECGs on disk, laid out as a real database is.

A mark says that the ECGs are synthetic, and which layout, seed and number of records they are of.
What makes a folder look complete, such as a table, is written last.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ecgjepa.databases.listing import SIMULATED_FILE
from ecgjepa.databases.ptb_xl import TABLE_FILE
from ecgjepa.errors import ConfigError
from ecgjepa.files import write_text
from ecgjepa.simulation.layouts import challenge_2021, code_15, mimic_iv_ecg, ptb_xl
from ecgjepa.simulation.layouts.population import Layout, Population
from ecgjepa.version import __version__

LAYOUTS: dict[str, Layout] = {
    "ptb-xl": ptb_xl.LAYOUT,
    "mimic-iv-ecg": mimic_iv_ecg.LAYOUT,
    "code-15": code_15.LAYOUT,
    **challenge_2021.LAYOUTS,
}
_SHORTEST = 1.0


def simulate(
    records: int,
    to: str | Path,
    *,
    layout: str = "ptb-xl",
    seed: int = 0,
    rates: Sequence[int] = (500,),
    seconds: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write labelled synthetic 12-lead ECGs as a folder of a real database.

    Record i of a layout and seed is the same however many records are written. No two layouts share
    a patient.

    Args:
        records: How many, from 1 to 1,000,000 or what the database has record names for.
        to: Folder to write: absent, empty, or left by an earlier simulation, which it replaces.
        layout: One of `LAYOUTS`, named as the databases that `ecgjepa.databases` reads.
        seed: Seed of the simulated population.
        rates: Sampling rates in Hz to write files for: 500, 100 or both. For PTB-XL only.
        seconds: Length of every record, from 1 to 1800 (CODE-15%: 10.24); by default that of the
            published records, which for St-Petersburg INCART is half an hour.
        progress: Called with (records done, records in all).

    Returns:
        The folder.

    Raises:
        ConfigError: If an argument is out of range, or the folder holds anything else.
        DatabaseError: If CODE-15% is asked for, and h5py is not installed.
        DiskFullError: If there is no space left; nothing is left behind.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.simulate(300, "data/ptb-xl")
        PosixPath('data/ptb-xl')
    """
    chosen = _choose(layout)
    _check_arguments(layout, chosen, records, seed, rates, seconds)
    root = Path(to)
    plan = Population(records, seed, seconds, tuple(rates), chosen.first_patient, progress)
    write_plan(root, layout, plan)
    return root


def write_plan(root: Path, layout: str, plan: Population) -> None:
    """Write a plan into a folder, under the mark of a simulation.

    Raises:
        ConfigError: If the folder holds anything else.
        DatabaseError: If a package is not installed.
        DiskFullError: If there is no space left; nothing is left behind.
    """
    _make_room(root)
    write_text(root / SIMULATED_FILE, _marker_text(layout, plan))
    try:
        LAYOUTS[layout].write(root, plan)
    except BaseException:
        _clear(root)
        raise


def holds_simulation(root: Path, *, records: int, seed: int) -> bool:
    """Return whether a folder holds this very simulation in PTB-XL's layout, complete."""
    marker = root / SIMULATED_FILE
    return (
        (root / TABLE_FILE).is_file()
        and marker.is_file()
        and marker.read_text() == _marker_text("ptb-xl", Population(records, seed))
    )


def _choose(layout: str) -> Layout:
    if layout not in LAYOUTS:
        raise ConfigError(f"cannot imitate the layout {layout!r}; expected {', '.join(LAYOUTS)}")
    return LAYOUTS[layout]


def _check_arguments(
    name: str,
    layout: Layout,
    records: int,
    seed: int,
    rates: Sequence[int],
    seconds: float | None,
) -> None:
    if not 1 <= records <= layout.most_records:
        raise ConfigError(
            f"cannot simulate {records:,} records of {name}; expected 1 to {layout.most_records:,}"
        )
    if seed < 0:
        raise ConfigError(f"seed is {seed}; expected 0 or more")
    if not rates or not set(rates) <= set(ptb_xl.FOLDERS):
        raise ConfigError(f"rates are {list(rates)}; PTB-XL has files at 500 and 100 Hz")
    if name != "ptb-xl" and tuple(rates) != (500,):
        raise ConfigError(f"rates are {list(rates)}; only ptb-xl has files at several rates")
    if seconds is not None and not _SHORTEST <= seconds <= layout.longest:
        raise ConfigError(
            f"seconds is {seconds:g}; expected {_SHORTEST:g} to {layout.longest:g} for {name}"
        )


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
    """Remove a simulation, and nothing else.

    What completes it goes first, so that what is left never looks complete, and the mark last.
    """
    for pattern in _marked_layout(root).contents:
        for path in sorted(root.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    (root / SIMULATED_FILE).unlink(missing_ok=True)


def _marked_layout(root: Path) -> Layout:
    lines = (root / SIMULATED_FILE).read_text().splitlines()
    names = [line.removeprefix("layout: ") for line in lines if line.startswith("layout: ")]
    # Versions that knew no other layout did not name it.
    return LAYOUTS.get(names[0] if names else "", ptb_xl.LAYOUT)


def _marker_text(layout: str, plan: Population) -> str:
    seconds = "as published" if plan.seconds is None else f"{plan.seconds:g}"
    return (
        "These ECGs are SYNTHETIC. No person was recorded; names, dates and labels are made up.\n"
        f"They imitate the layout of {LAYOUTS[layout].title}\n"
        "for tests, demonstrations and tutorials, and are not a substitute for real data: do not\n"
        "report results on them as results on ECGs.\n\n"
        f"layout: {layout}\nrecords: {plan.records}\nseed: {plan.seed}\nseconds: {seconds}\n"
        f"ecgjepa: {__version__}\nnumpy: {np.__version__}\n"
    )
