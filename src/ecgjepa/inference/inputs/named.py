"""What a user names becomes records in one order, each once: `find_inputs`.

- A file is a record, whatever it is: if it cannot be read, its row says why. A signal file stands
  for its WFDB header, and an array of several records, which a description beside it explains, for
  each of them (``x.npy#0``).
- Below a folder, a file is a record if it is an ECG by its name (`ecgjepa.io.folders`), or begins
  as an ECG or as the print of one: a JPEG among ECGs gets a row that says that it is a picture, and
  a table that names leads but is not described one that says so.
  Other files, and all that are hidden, get none; they are counted and named.
- A pattern such as ``2024/*.xml`` stands for the files and folders that it fits, by the same rule.
- ``@list.txt``, and a table with a column ``file``, stand for the files that they name.
- A prepared store stands for its records.
"""

import glob
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ecgjepa.errors import InputError, RecordError
from ecgjepa.inference.inputs.lists import is_table_of_files, read_list
from ecgjepa.inference.inputs.records import Files, Inputs
from ecgjepa.inference.inputs.stored import StoredRecords, is_store
from ecgjepa.inference.sources import read_source
from ecgjepa.io import EXPECTED, header_of, records_in
from ecgjepa.io.arrays.description import find_description
from ecgjepa.io.folders import (
    begins_as_recording,
    find_files,
    how_to_describe,
    kinds_of,
    names_leads,
    written_out,
)
from ecgjepa.io.opening import file_and_key
from ecgjepa.signals.acceptance import OnBad, Usable, prepare_each
from ecgjepa.signals.preprocessing import PreprocessingConfig


def find_inputs(
    named: Iterable[str | Path],
    *,
    lists: Iterable[str | Path] = (),
    listed: Iterable[str] = (),
    without: Iterable[Path] = (),
    description: str | Path | None = None,
) -> Inputs:
    """List the records that a user names.

    Args:
        named: Files, folders, patterns, prepared stores, tables with a column ``file``, and lists
            as ``@list.txt``.
        lists: More lists: text files with a name a line, or tables.
        listed: Files, folders and stores that a list named.
        without: Files that are not records though a folder holds them, such as the output.
        description: File that describes arrays, and so which of them hold several records.

    Raises:
        InputError: If a list is missing or empty, no record is named, or none of the named exists.
        RecordFormatError: If the description is missing or not as expected.
        OSError: If a folder cannot be read.
    """
    _check_description(description)
    finder = _Finder(without, description)
    for name in named:
        finder.add(str(name))
    for path in lists:
        finder.add_list(Path(path))
    for name in listed:
        finder.add_listed(name)
    found = Inputs(tuple(finder.sections), tuple(finder.notices))
    if not any(section.names for section in found.sections):
        raise InputError("; ".join(finder.notices) or "no ECG file, folder or list is named")
    _refuse_nothing(found)
    return found


def usable_each(
    files: Iterable[str | Path] | str | Path,
    config: PreprocessingConfig,
    *,
    sets: Sequence[tuple[str, ...]] = (),
    on_bad: OnBad = "skip",
    description: str | Path | None = None,
) -> Iterator[tuple[str, Usable | RecordError]]:
    """Yield records as `Inputs.usable` does, while they are being named.

    Unlike `find_inputs`, it leaves a list of files as it is, so that each has its row; folders,
    patterns, stores and files of several records stand for what `find_inputs` finds. A single text
    is one name, and not taken letter by letter.
    """
    _check_description(description)
    several = (files,) if isinstance(files, str | os.PathLike) else files
    for stored, group in itertools.groupby(_spread(several, description), key=_as_stored):
        if stored is not None:
            yield from stored.usable(config, 0, sets)
            continue
        names = (name for name in group if isinstance(name, str))
        sources = ((name, read_source(Path(name), on_bad, description)) for name in names)
        yield from prepare_each(sources, config, sets)


def _spread(
    files: Iterable[str | Path], description: str | Path | None
) -> Iterator[str | StoredRecords]:
    for file in files:
        if os.path.isdir(file) or _is_pattern(str(file)):  # noqa: PTH112, of each of a million
            for section in find_inputs([file], description=description).sections:
                yield from [section] if isinstance(section, StoredRecords) else section.names
        else:
            yield from records_in(file, description=description)


def _as_stored(item: str | StoredRecords) -> StoredRecords | None:
    return item if isinstance(item, StoredRecords) else None


class _Finder:
    """Collects records; one that is named twice counts once."""

    def __init__(self, without: Iterable[Path], description: str | Path | None) -> None:
        self.sections: list[Files | StoredRecords] = []
        self.notices: list[str] = []
        own = (*without, *([] if description is None else [Path(description)]))
        self._without = tuple(os.path.abspath(path) for path in own)  # noqa: PTH100
        self._seen = set(self._without)
        self._description = description
        self._is_apart = description is not None

    def add(self, name: str) -> None:
        """Add what one argument stands for."""
        path = Path(name)
        if name.startswith("@") and not path.exists():
            self.add_list(Path(name[1:]))
        elif path.is_dir():
            self._add_folder(name, path)
        elif _is_pattern(name):
            self._add_pattern(name)
        elif is_table_of_files(path):
            self.add_list(path)
        else:
            self._add_file(name, _header_of(path))

    def add_list(self, path: Path) -> None:
        """Add the files, folders and stores that a list names."""
        for name in read_list(path):
            self.add_listed(name)

    def add_listed(self, name: str) -> None:
        """Add what a line of a list stands for."""
        path = Path(name)
        if path.is_dir():
            self._add_folder(name, path)
        else:
            self._add_file(name, _header_of(path))

    def _add_file(self, name: str, header: Path | None) -> None:
        is_one = header is not None
        several = [str(header)] if is_one else records_in(name, description=self._description)
        for shown in several:
            if not self._is_new(shown):
                continue
            if not self.sections or isinstance(self.sections[-1], StoredRecords):
                self.sections.append(Files())
            self.sections[-1].names.append(shown)

    def _is_new(self, name: str) -> bool:
        place = os.path.abspath(name)  # noqa: PTH100, as text: ten times faster
        is_new = place not in self._seen
        self._seen.add(place)
        return is_new

    def _add_folder(self, name: str, path: Path) -> None:
        if is_store(path):
            if self._is_new(name):
                self.sections.append(StoredRecords(path))
            return
        files, others = find_files(path, is_described_apart=self._is_apart)
        shown, hidden = _apart(others)
        kept, more = _apart(files)
        recordings = [other for other in shown if _is_recording(path / other)]
        names = sorted([*kept, *recordings], key=lambda file: file.split("/"))
        for file in names:
            self._add_file(str(path / file), None)
        known = set(recordings)
        self._notice(name, [other for other in shown if other not in known], [*hidden, *more])
        if not names:
            self.notices.append(f"{name}: no ECG file anywhere below it; expected {EXPECTED}")

    def _add_pattern(self, pattern: str) -> None:
        matched = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207, absolute or not
        if not matched:
            self.notices.append(f"{pattern}: no file is named so")
        others: list[str] = []
        listed: dict[str, set[str]] = {}
        for name in matched:
            path = Path(name)
            if path.is_dir():
                self._add_folder(name, path)
                continue
            folder = str(path.parent)
            if folder not in listed:
                listed[folder] = _records_in(path.parent, self._is_apart)
            if path.name in listed[folder] or _is_recording(path):
                self._add_file(name, None)
            elif (header := _header_of(path)) is not None:
                self._add_file(str(header), None)
            else:
                others.append(name)
        self._notice(pattern, others, [])

    def _notice(self, name: str, others: list[str], hidden: list[str]) -> None:
        others = [file for file in others if self._is_unknown(name, file)]
        if others:
            words = f"{len(others):,} files are not ECGs"
            if len(others) == 1:
                words = "1 file is not an ECG"
            self.notices.append(
                f"{name}: {words} by name or content and not used{kinds_of(others)}, such "
                f"as {written_out(others[0])}{how_to_describe(others)}"
            )
        if hidden := [file for file in hidden if self._is_unknown(name, file)]:
            words = "1 hidden file is" if len(hidden) == 1 else f"{len(hidden):,} hidden files are"
            self.notices.append(f"{name}: {words} not used, such as {written_out(hidden[0])}")

    def _is_unknown(self, folder: str, file: str) -> bool:
        """Return whether a file is not of the output."""
        place = os.path.abspath(os.path.join(folder, file))  # noqa: PTH100, PTH118
        return not any(place == own or place.startswith(own + os.sep) for own in self._without)


def _check_description(description: str | Path | None) -> None:
    """Refuse a description that is missing or wrong: that is not the fault of each file."""
    if description is not None:
        find_description(Path(description), Path(description))


def _refuse_nothing(found: Inputs) -> None:
    """Refuse inputs of which none exists: a name that is mistyped is not a record."""
    if any(isinstance(each, StoredRecords) for each in found.sections):
        return
    if not any(map(_is_there, names := found.names())):
        words = "no such file" if len(names) == 1 else f"none of the {len(names):,} inputs exists"
        raise InputError(f"{names[0]}: {words}; expected ECG files, folders or lists of them")


def _is_there(name: str) -> bool:
    return os.path.lexists(name) or os.path.lexists(file_and_key(Path(name))[0])


def _header_of(path: Path) -> Path | None:
    """Return the header of a WFDB record, but none for one of the records of another file."""
    file, key = file_and_key(path)
    return header_of(file) if key is None else None


def _is_recording(path: Path) -> bool:
    return begins_as_recording(path) or names_leads(path)


def _records_in(folder: Path, is_apart: bool) -> set[str]:
    """Return the names of the ECGs that lie in a folder itself."""
    return set(find_files(folder, is_deep=False, is_described_apart=is_apart)[0])


def _apart(files: list[str]) -> tuple[list[str], list[str]]:
    """Tell apart the files that are hidden, or lie in a hidden folder."""
    hidden = [file for file in files if file.startswith(".") or "/." in file]
    unseen = set(hidden)
    return [file for file in files if file not in unseen], hidden


def _is_pattern(name: str) -> bool:
    return glob.has_magic(name) and not os.path.lexists(name)
