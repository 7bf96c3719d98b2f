"""Which record a row of a table means: by name or path, whole or the end of it."""

import re
import unicodedata
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from ecgjepa.io import PACKAGES
from ecgjepa.io.opening import ending, without_ending

Record = TypeVar("Record", bound=Hashable)

# Endings of files that hold or accompany an ECG.
_ENDINGS = {*PACKAGES, ".hea", ".dat", ".mat", ".atr", ".xws"}


class Places(Generic[Record]):
    """Records by the ends of their names and paths."""

    def __init__(self, records: Iterable[tuple[Record, str, str]]) -> None:
        """Remember records, each with its name and its path, relative to the archive's folder."""
        self._by_last: dict[str, list[tuple[Record, tuple[str, ...]]]] = {}
        for record, name, path in records:
            *folders, file = _parts(path)
            last = _parts(name)[-1]
            for form in {file, without_ending(file) or file, last}:
                self._by_last.setdefault(form, []).append((record, tuple(folders)))

    def find(self, text: str) -> list[Record]:
        """Return the records that a cell may mean: none, one, or those it does not tell apart.

        A path, absolute or not, means a record if one of both paths is the end of the other. Of
        several such records, the one is meant that has most folders in common with it.
        """
        *folders, last = _parts(text)
        for form in _forms(last):
            fitting = [
                (_in_common(folders, own), len(own) == len(folders), record)
                for record, own in self._by_last.get(form, [])
                if _agree(folders, own)
            ]
            if fitting:
                best = max(fitting, key=lambda found: found[:2])[:2]
                return list(dict.fromkeys(found[2] for found in fitting if found[:2] == best))
        return []


def _parts(text: str) -> list[str]:
    """Return the folders and the file of a path as any system writes it."""
    # Macs decompose umlauts in the names of files, spreadsheets do not.
    whole = unicodedata.normalize("NFC", text).replace("\\", "/")
    whole = re.sub(r"^[A-Za-z]:(?=/)", "", whole)
    return [part for part in whole.split("/") if part not in ("", ".")] or [""]


def _forms(last: str) -> list[str]:
    """Return what the last part of a path may be among the records, the likeliest first."""
    forms = [last]
    if ending(last) in _ENDINGS:
        forms += [f"{without_ending(last)}.hea", without_ending(last)]
    if re.fullmatch(r"\d+\.0", last):  # Spreadsheets write the number 12 so.
        forms.append(last[:-2])
    return forms


def _agree(these: list[str], those: tuple[str, ...]) -> bool:
    return _in_common(these, those) == min(len(these), len(those))


def _in_common(these: list[str], those: tuple[str, ...]) -> int:
    """Return how many folders are the same, from the last on."""
    count = 0
    for one, other in zip(reversed(these), reversed(those), strict=False):
        if one != other:
            break
        count += 1
    return count
