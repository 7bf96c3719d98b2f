"""Read ``results.json`` and ``summary.json`` of this and of older versions."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ecgjepa.errors import ScoreError
from ecgjepa.files import read_versioned
from ecgjepa.results.layout import (
    RESULTS_FILE,
    RESULTS_VERSION,
    SUMMARY_FILE,
    SUMMARY_VERSION,
)

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]


def read_results(folder: Path) -> dict[str, Any]:
    """Return the content of ``results.json`` as this version writes it.

    Results of version 1 described only the first of the tested databases, so the others are missing
    in ``databases``.

    Args:
        folder: Of a probe or fine-tuning.

    Raises:
        ScoreError: If the file is missing, damaged or of a later version.
    """
    return _read(folder / RESULTS_FILE, RESULTS_VERSION, {1: _name_database})


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the content of ``summary.json`` as this version writes it.

    Args:
        folder: Of repeats.

    Raises:
        ScoreError: If the file is missing, damaged or of a later version.
    """
    return _read(folder / SUMMARY_FILE, SUMMARY_VERSION, {1: _split_names})


def _read(path: Path, newest: int, upgrades: Mapping[int, Upgrade]) -> dict[str, Any]:
    content, version = read_versioned(path, (*upgrades, newest), ScoreError)
    for older in range(version, newest):
        content = upgrades[older](content)
    return content | {"format_version": newest}


def _name_database(results: dict[str, Any]) -> dict[str, Any]:
    """Upgrade results of version 1; the very first ones were all of PTB-XL, and classifications."""
    facts = results.get("data", {})
    tested = facts.get("tested_on", ["ptb-xl"])
    described = {tested[0]: results["database"]} if "database" in results else {}
    kept = {name: value for name, value in results.items() if name != "database"}
    return {"measure": "macro_auroc", **kept, "databases": described}


def _split_names(summary: dict[str, Any]) -> dict[str, Any]:
    """Upgrade a summary of version 1: names of databases are a list."""
    return summary | {
        part: [
            {**row, "test_on": row["test_on"].split("+") if row["test_on"] else []} for row in rows
        ]
        for part, rows in ((part, summary[part]) for part in ("rows", "means"))
    }
