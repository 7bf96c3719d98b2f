"""Formats that recorders and hospital systems write, each read without another package."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.devices.fhir import looks_like_fhir, read_fhir
from ecgjepa.io.devices.ishne import looks_like_ishne, read_ishne
from ecgjepa.io.devices.mfer import looks_like_mfer, read_mfer
from ecgjepa.io.devices.scp import looks_like_scp, read_scp
from ecgjepa.io.opening import read_head
from ecgjepa.io.wfdb import Damaged
from ecgjepa.signals.record import Record


def recognise_device(
    path: Path, head: bytes, damaged: Damaged
) -> tuple[str, Callable[[Path], Record]] | None:
    """Return the format of a file and its reader, or None if it is none of this room's.

    Args:
        path: The file.
        head: Its first bytes.
        damaged: What its reader does with samples that contradict checksums and lengths.
    """
    if looks_like_scp(head):
        return "SCP-ECG", partial(read_scp, damaged=damaged)
    if looks_like_ishne(head):
        return "ISHNE", partial(read_ishne, damaged=damaged)
    if looks_like_fhir(head):
        return "FHIR", read_fhir
    if looks_like_mfer(path, head):
        return "MFER", read_mfer
    return None


def is_fhir(path: Path) -> bool:
    """Return whether a file holds a FHIR resource: other JSON is not an ECG."""
    try:
        return looks_like_fhir(read_head(path))
    except RecordFormatError:
        return False
