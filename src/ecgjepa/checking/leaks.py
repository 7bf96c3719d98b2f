"""Records in a store that are kept for selection or test elsewhere.

They are looked for by what they hold, and by their names: PTB-XL's ecg_id is the number of the
Challenge 2021's copy (HR00001), and a patient of a left-out fold must not be in the store at all.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ecgjepa.checking.duplicates import near_pairs
from ecgjepa.databases import list_all, original, ptb_xl
from ecgjepa.databases.listing import Listing
from ecgjepa.signals.measures import measure
from ecgjepa.store.held_out import SCHEMA, Fingerprints, fingerprints, is_alike, write_held_out
from ecgjepa.store.manifest import HELD_OUT_FILE, INDEX_FILE
from ecgjepa.store.reading import Store

_EXAMPLES = 5
_COLUMNS = ["record_id", "database", "patient_id", "fold", "sha256", "signature"]
_COPY_NAME = r"^(?:.*/)?HR(\d{5})$"


def find_leaks(store: Store, held_out: Mapping[str, str | Path]) -> Iterator[str]:
    """Yield, in sentences, which records of a store are left-out ones.

    Args:
        store: The store, open.
        held_out: More databases, by name and folder, whose held-out folds must not be in it.
    """
    listings = list_all(held_out)
    known = fingerprints(_known(store, listings))
    index = pq.read_table(store.path / INDEX_FILE, columns=_COLUMNS)
    copies = [
        f"{_name(index, row)} is a copy of {known.name(place)}"
        for row, place in sorted(_copies(store, index, known))
    ]
    yield from _say("records hold the samples of records kept for selection or test", copies)
    yield from _by_name(index, known.table, _training_numbers(listings))


def _known(store: Store, listings: list[Listing]) -> pa.Table:
    tables = [SCHEMA.empty_table()]
    if (own := store.path / HELD_OUT_FILE).is_file():
        tables.append(pq.read_table(own))
    for listing in listings:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / HELD_OUT_FILE
            reserved = listing.of_folds(listing.held_out_folds)
            write_held_out(path, [reserved], store.manifest.preprocessing)
            tables.append(pq.read_table(path))
    return pa.concat_tables(tables)


def _copies(store: Store, index: pa.Table, known: Fingerprints) -> set[tuple[int, int]]:
    """Return pairs of a row of the index and of a left-out record with the same ECG."""
    exact = pc.index_in(index["sha256"], known.table["sha256"].combine_chunks()).to_pylist()
    found = {(row, place) for row, place in enumerate(exact) if place is not None}
    own = np.frombuffer(b"".join(index["signature"].to_pylist()), np.uint64).reshape(-1, 2)
    pairs = near_pairs(np.concatenate([own, known.signatures]))
    crossing = pairs[(pairs[:, 0] < len(own)) & (pairs[:, 1] >= len(own))]
    exact_rows = {row for row, _ in found}
    for row, place in (crossing - [0, len(own)]).tolist():
        if row not in exact_rows:
            measures = measure(store.read_record(row), store.sampling_rate)
            if is_alike(known.bends[place], measures):
                found.add((row, place))
    return found


def _training_numbers(listings: list[Listing]) -> set[int | None]:
    """Return PTB-XL's numbers that these listings show to be in training folds."""
    return {
        _ecg_id(listing.database, record_id)
        for listing in listings
        if _is_ptb_xl(listing.database) and listing.training_folds is not None
        for record_id in listing.of_folds(listing.training_folds).table["record_id"]
    }


def _by_name(index: pa.Table, known: pa.Table, trusted: set[int | None]) -> Iterator[str]:
    """Yield leaks of PTB-XL's records and patients that their names tell."""
    family = [name for name in pc.unique(index["database"]).to_pylist() if _is_ptb_xl(name)]
    is_family = pc.is_in(index["database"], pa.array(family, pa.string()))
    is_named = pc.match_substring_regex(index["record_id"], _COPY_NAME)
    suspects = index.filter(pc.or_(is_family, is_named)).to_pylist()
    reserved = [row for row in known.to_pylist() if _is_ptb_xl(row["database"])]
    ids = {_ecg_id(row["database"], row["record_id"]) for row in reserved}
    patients = {row["patient_id"] for row in reserved} - {None}
    trusted = trusted | {
        _ecg_id(row["database"], row["record_id"])
        for row in suspects
        if _is_ptb_xl(row["database"]) and row["fold"] is not None
    }
    same_record, same_patient, unknown = [], [], []
    for row in suspects:
        name = f"{row['database']} {row['record_id']}"
        ecg_id = _ecg_id(row["database"], row["record_id"])
        if ecg_id in ids:
            same_record.append(name)
        elif _is_ptb_xl(row["database"]) and row["patient_id"] in patients:
            same_patient.append(f"{name} of patient {row['patient_id']}")
        elif ecg_id not in trusted:
            unknown.append(name)
    yield from _say("records are, by their number, in PTB-XL's held-out folds", same_record)
    yield from _say("records are of patients in PTB-XL's held-out folds", same_patient)
    yield from _say(
        "records are named like the Challenge's copies of PTB-XL, and nothing tells their folds "
        "(give PTB-XL with --held-out ptb-xl=DIR, or leave them out)",
        unknown,
    )


def _is_ptb_xl(database: str) -> bool:
    return original(database) == ptb_xl.NAME


def _ecg_id(database: str, record_id: str) -> int | None:
    """Return which record of PTB-XL a record says it is."""
    if database == ptb_xl.NAME:
        return int(record_id)
    match = re.match(_COPY_NAME, record_id)
    return int(match[1]) if match else None


def _name(index: pa.Table, row: int) -> str:
    return f"{index['database'][row]} {index['record_id'][row]}"


def _say(words: str, found: list[str]) -> Iterator[str]:
    if found:
        some = ", ".join(found[:_EXAMPLES]) + (" …" if len(found) > _EXAMPLES else "")
        yield f"leak: {len(found):,} {words}: {some}"
