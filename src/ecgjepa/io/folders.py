"""Which files of a folder are ECGs: by their names, and by what lies beside them.

A record of WFDB is its header; its signals and annotations are no records of their own. Nothing but
headers, and what its name alone does not tell, is opened.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from ecgjepa.errors import RecordError
from ecgjepa.io.arrays.columns import choose_columns
from ecgjepa.io.arrays.description import (
    EXAMPLE,
    FOLDER_DESCRIPTIONS,
    Description,
    is_described,
)
from ecgjepa.io.catalogue import DESCRIBED_ONLY, not_read, packages
from ecgjepa.io.devices import is_fhir, recognise_device
from ecgjepa.io.dicom import is_dicom
from ecgjepa.io.edf import begins_as_edf
from ecgjepa.io.opening import ending, is_regular, read_head, without_ending
from ecgjepa.io.wfdb.header import read_header
from ecgjepa.signals.leads import parse_lead

# `ecgjepa.simulation` puts this file beside what it writes.
SIMULATED_FILE = "SIMULATED.txt"

_PACKAGES = packages()
# Beside a header they are its signals and annotations.
_WFDB_ENDINGS = {".dat", ".mat", ".atr", ".xws"}
# Tables of text, which tell their columns in the first line, and the unit behind a column's name.
_TEXT_TABLES = {".csv", ".tsv", ".txt"}
_UNIT = re.compile(r"\s*[\[(].*$|[_ ][munµμ]?V$")
_FEWEST_LEADS = 3
_DESCRIPTION_ENDINGS = (".json", ".yaml", ".yml")
# Endings of recorders' files that WFDB's annotations have too.
_ANNOTATIONS = {".ecg"}
# Lists of files, thumbnails and settings that systems leave in folders.
_SYSTEM_FILES = {"dicomdir", "thumbs.db", "desktop.ini"}
# What is recognised in order to refuse it, but lies in folders for other reasons than as an ECG.
_NO_RECORDING = {"a web page", "an Office document"}


def find_files(
    root: Path, *, is_deep: bool = True, is_described_apart: bool = False
) -> tuple[list[str], list[str]]:
    """Return the ECG files below a folder and all others, as paths relative to it.

    Signals and annotations of a record, segments of a longer one and descriptions are in neither.

    Args:
        root: The folder.
        is_deep: Look into the folders below it, too.
        is_described_apart: Whether a description elsewhere tells what its arrays and tables hold.

    Raises:
        OSError: If a folder cannot be read; without its files the list would be short unnoticed.
    """
    files: list[str] = []
    others: list[str] = []
    for folder, _, names in os.walk(root, onerror=_stop):
        # As text: a million paths as objects would take minutes.
        here = Path(folder).relative_to(root).as_posix()
        prefix = "" if here == "." else f"{here}/"
        ecgs, rest = _sort_out(Path(folder), names, DESCRIBED_ONLY if is_described_apart else set())
        files += [prefix + name for name in ecgs]
        others += [prefix + name for name in rest]
        if not is_deep:
            break
    segments = _segments(root, [path for path in files if path.endswith(".hea")])
    kept = [path for path in files if path not in segments]
    return sorted(kept, key=lambda path: path.split("/")), others


def begins_as_recording(path: Path) -> bool:
    """Return whether a file whose name tells nothing begins as an ECG, or as the print of one.

    Carts export DICOM without an ending, and ECGs as PDF or JPEG. Tables and arrays, which only a
    description makes ECGs, are not opened.
    """
    own, name = ending(path.name), path.name.lower()
    if name.startswith(".") or name in _SYSTEM_FILES or own in DESCRIBED_ONLY or own == ".json":
        return False
    if not is_regular(path):
        return False
    try:
        head = read_head(path)
    except RecordError:
        return False
    if is_dicom(head) or begins_as_edf(head) or recognise_device(path, head, "raise") is not None:
        return True
    unread = not_read(head)
    return unread is not None and unread.name not in _NO_RECORDING


def names_leads(path: Path) -> bool:
    """Return whether the first line of a table of text names at least three standard leads."""
    return any(map(_has_leads, _first_cells(path)))


def _tells_itself(path: Path) -> bool:
    """Return whether the first line of a table of text tells leads, unit and a time's unit."""
    for names in filter(_has_leads, _first_cells(path)):
        try:
            if not choose_columns(path, names, Description(path)).lacking:
                return True
        except RecordError:
            continue
    return False


def _first_cells(path: Path) -> Iterator[list[str]]:
    """Yield the cells of the first line of a table of text, divided in each way."""
    if ending(path.name) not in _TEXT_TABLES or not is_regular(path):
        return
    try:
        head = read_head(path)
    except RecordError:
        return
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError:  # Also where the head ends within a letter.
        text = head.decode("latin-1")
    first = text.lstrip("\r\n").partition("\n")[0]
    for delimiter in (",", ";", "\t", None):
        yield [cell.strip(" \"'\r") for cell in first.split(delimiter)]


def _has_leads(cells: list[str]) -> bool:
    found = {lead.name for cell in cells if (lead := parse_lead(_UNIT.sub("", cell)))}
    return len(found) >= _FEWEST_LEADS


def how_to_describe(others: list[str]) -> str:
    """Return how arrays and tables that nothing describes become ECGs, or no words."""
    found = [path for path in others if ending(path) in DESCRIBED_ONLY]
    if not found:
        return ""
    return (
        f"; {written_out(found[0])} and its like are ECGs only if a file beside them, such as "
        f"{FOLDER_DESCRIPTIONS[0]}, tells {EXAMPLE}"
    )


def _stop(error: OSError) -> None:
    raise error


def written_out(name: str) -> str:
    """Return a name with the bytes written out that are not UTF-8 and came as surrogates."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def kinds_of(others: list[str]) -> str:
    """Return the commonest endings of files that are not read, as a remark."""
    endings = Counter(Path(path).suffix or Path(path).name for path in others)
    common = ", ".join(each for each, _ in endings.most_common(3))
    return f" (found {written_out(common)})" if common else ""


def _sort_out(folder: Path, names: list[str], told: Collection[str]) -> tuple[list[str], list[str]]:
    """Return which files of one folder are ECGs, and which are neither that nor belong to one.

    Args:
        folder: The folder.
        names: Of its files.
        told: Endings that are ECGs although nothing beside the file describes it.
    """
    shown = [name for name in names if not name.startswith(".")]
    headers = {name for name in shown if name.endswith(".hea")}
    has_header = bool(headers)
    ecgs: list[str] = []
    others = [name for name in names if name.startswith(".")]
    for name in shown:
        own = ending(name)
        if name.endswith(".hea") or _is_ecg(folder, name, own, headers, told):
            ecgs.append(name)
        elif not (has_header and own in _WFDB_ENDINGS) and not _is_ours(name):
            others.append(name)
    return ecgs, others


def _is_ecg(folder: Path, name: str, own: str, headers: set[str], told: Collection[str]) -> bool:
    """Return whether a file of a single-file format is an ECG by its name."""
    if own not in _PACKAGES or _is_ours(name):
        return False
    if own in _WFDB_ENDINGS and f"{without_ending(name)}.hea" in headers:
        return False
    if own in DESCRIBED_ONLY:
        return own in told or is_described(folder / name) or _tells_itself(folder / name)
    if own == ".json":
        return is_fhir(folder / name)
    # Annotations of WFDB records may have any ending: some databases chose .ecg.
    return own not in _ANNOTATIONS or f"{name.rpartition('.')[0]}.hea" not in headers


def _segments(root: Path, headers: list[str]) -> set[str]:
    """Return the headers of segments, which belong to longer records."""
    segments: set[Path] = set()
    for path in headers:
        try:
            segments |= {segment.path for segment in read_header(root / path).segments}
        except RecordError:
            continue  # Reading the record will tell what is wrong.
    return {path.relative_to(root).as_posix() for path in segments}


def _is_ours(name: str) -> bool:
    """Return whether a file is one that this package writes or reads beside ECGs."""
    return name in (*FOLDER_DESCRIPTIONS, SIMULATED_FILE) or (
        name.endswith(_DESCRIPTION_ENDINGS) and ending(name.rpartition(".")[0]) in _PACKAGES
    )
