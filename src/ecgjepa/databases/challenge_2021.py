"""Seven databases as the PhysioNet/CinC Challenge 2021 published them.

One folder per database (``training/georgia/g1/E00001.hea`` …), WFDB records with signals in
``.mat`` files, with age, sex and diagnoses (SNOMED CT codes) as header comments. The Challenge
tells neither patients nor folds. Its copy of PTB-XL is read by `challenge_ptb_xl`. Licence and
citations: see `catalogue`.
"""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ecgjepa.databases.listing import Entry, Listing, size_notices
from ecgjepa.errors import DatabaseError, RecordError, RecordFormatError
from ecgjepa.io import Damaged
from ecgjepa.io.wfdb import read_described
from ecgjepa.io.wfdb.header import read_header
from ecgjepa.signals.record import MicrovoltRecord, Record


class Member(NamedTuple):
    """One database of the Challenge.

    Attributes:
        folder: Name of the folder in the published tree.
        num_records: Records published there.
        prefix: What record names begin with.
        first: Lowest number in a record name.
        last: Highest.
        highpass_hz: See `Listing`.
    """

    folder: str
    num_records: int
    prefix: str
    first: int
    last: int
    highpass_hz: float | None = None


# Counts are those of the Challenge's own table of training data. Chapman-Shaoxing and Ningbo share
# a prefix; the numbers tell them apart.
PARTS = {
    "chapman-shaoxing": Member("chapman_shaoxing", 10_247, "JS", 1, 10_646),
    "cpsc": Member("cpsc_2018", 6_877, "A", 1, 6_877),
    "cpsc-extra": Member("cpsc_2018_extra", 3_453, "Q", 1, 3_581),
    "georgia": Member("georgia", 10_344, "E", 1, 10_344),
    "ningbo": Member("ningbo", 34_905, "JS", 10_647, 45_551),
    "ptb": Member("ptb", 516, "S", 1, 549),
    "st-petersburg": Member("st_petersburg_incart", 74, "I", 1, 75, 0.5),
}
# Of every record, since the headers were corrected in August 2020. Those before said 200, 4880 or
# 2,000,000 for some databases, over the same samples.
_GAIN = 1000.0
_SEX = {"male": "male", "m": "male", "female": "female", "f": "female"}
_OLDEST = 120.0


class _Person(NamedTuple):
    age: float | None
    sex: str | None
    codes: tuple[str, ...]
    is_odd: bool


def list_records(database: str, root: Path) -> Listing:
    """List a copy, whole or partial, of one of the Challenge's databases.

    A header that cannot be read is listed without labels, so that reading it reports the fault.

    Args:
        database: One of `PARTS`.
        root: The database's folder, or the Challenge's ``training`` folder above it.

    Raises:
        DatabaseError: If there is no record, one appears twice, or they are another database's.
    """
    return list_part(database, PARTS[database], root)


def list_part(database: str, part: Member, root: Path) -> Listing:
    """List one database of the Challenge, as `list_records` does."""
    folder = root / part.folder if (root / part.folder).is_dir() else root
    headers = sorted(folder.rglob("*.hea"), key=lambda path: (path.stem, path))
    if not headers:
        raise DatabaseError(
            f"{database}: no WFDB header below {folder}; expected files such as "
            f"{part.folder}/g1/{part.prefix}{part.first:05d}.hea"
        )
    _refuse_strangers(database, part, headers)
    people = [_read_person(path) for path in headers]
    rows = [
        Entry(
            record_id=path.stem,
            path=path.relative_to(root).as_posix(),
            patient_id=None,
            fold=None,
            age=person.age,
            sex=person.sex,
            labels=json.dumps(dict.fromkeys(sorted(person.codes), 100.0)),
        )
        for path, person in zip(headers, people, strict=True)
    ]
    return Listing(
        database=database,
        root=root,
        table=pd.DataFrame(rows, columns=list(Entry._fields)),
        notices=tuple(_notices(folder, part, people)),
        highpass_hz=part.highpass_hz,
        reader=read_with_current_gain,
    )


def read_with_current_gain(root: Path, entry: Entry, damaged: Damaged) -> Record | MicrovoltRecord:
    """Read a record whose header has the gain of all current ones.

    Raises:
        RecordFormatError: If it has another one (``old_gain``), or cannot be read.
    """
    header = read_header(root / entry.path)
    strange = sorted({spec.gain for spec in header.signals} - {_GAIN})
    if strange:
        raise RecordFormatError(
            f"{header.path}: gain {strange[0]:g}; expected {_GAIN:g}. Headers from before August "
            "2020 have wrong gains: fetch the database again",
            reason="old_gain",
        )
    return read_described(header, damaged)


def _refuse_strangers(database: str, part: Member, headers: list[Path]) -> None:
    names = [path.stem for path in headers]
    strangers = [name for name in names if not _belongs(part, name)]
    if strangers:
        copies = sum(name.startswith("HR") for name in strangers)
        why = (
            " Records named HR… are copies of PTB-XL's (the number is its ecg_id), test folds "
            "included; give PTB-XL itself as ptb-xl=DIR, or the copies as challenge-ptb-xl=DIR"
            if copies
            else ""
        )
        raise DatabaseError(
            f"{database}: {len(strangers)} of {len(names)} records do not belong to it, such as "
            f"{strangers[0]}; expected {part.prefix}{part.first:04d} to "
            f"{part.prefix}{part.last:04d}.{why}"
        )
    twice = next((name for name, after in pairwise(names) if name == after), "")
    if twice:
        places = [str(path) for path in headers if path.stem == twice]
        raise DatabaseError(f"{database}: record {twice} appears twice: {', '.join(places)}")


def _belongs(part: Member, name: str) -> bool:
    match = re.fullmatch(rf"{part.prefix}(\d{{1,6}})", name)
    return match is not None and part.first <= int(match[1]) <= part.last


def _read_person(header: Path) -> _Person:
    try:
        comments = read_header(header).comments
    except RecordError:
        return _Person(None, None, (), is_odd=False)
    facts = dict(_facts(comments))
    listed = [code.strip() for code in facts.get("dx", "").split(",")]
    codes = tuple(dict.fromkeys(code for code in listed if code and code.lower() != "unknown"))
    return _Person(
        age=_age(facts.get("age", "")),
        sex=_SEX.get(facts.get("sex", "").lower()),
        codes=codes,
        is_odd=bool(codes) and len(codes) < len(listed),
    )


def _facts(comments: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for comment in comments:
        name, colon, value = comment.partition(":")
        if colon:
            yield name.strip().lower(), value.strip()


def _age(text: str) -> float | None:
    """Return an age in years, or None for anything that is none."""
    try:
        age = float(text)
    except ValueError:
        return None
    return age if 0 <= age <= _OLDEST else None


def _notices(folder: Path, part: Member, people: list[_Person]) -> Iterator[str]:
    # A simulation is marked in the folder above the database's, in place of ``training``.
    yield from size_notices(folder, folder.parent, found=len(people), published=part.num_records)
    if odd := sum(person.is_odd for person in people):
        yield f"diagnoses of {odd:,} records hold empty or repeated codes; each counts once"
    if unknown := sum(not person.codes for person in people):
        yield f"{unknown:,} records have no diagnosis"
