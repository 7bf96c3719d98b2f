"""No copy of a record that is kept for selection or test gets into a training store.

The records of a database's left-out folds are read once more than needed: only to remember what
they look like. Their hashes and signatures lie in the store as ``held-out.parquet``, so that copies
under another name, in any database, are refused by `prepare` and found by `verify`. (PTB-XL is
part of the PhysioNet/CinC Challenge 2021 as HR00001 and so on, with its test folds.)
"""

import logging
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int8, UInt64
from threadpoolctl import threadpool_limits

from ecgjepa.databases.listing import Listing
from ecgjepa.errors import RecordFormatError
from ecgjepa.files import replacing
from ecgjepa.signals.measures import Measures
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.signals.signatures import bends
from ecgjepa.store.ingest import Bad, Ingested, ingest
from ecgjepa.store.manifest import HELD_OUT_FILE
from ecgjepa.store.source_files import Notes

logger = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("database", pa.string()),
        ("patient_id", pa.string()),
        ("fold", pa.int16()),
        ("sha256", pa.string()),
        ("signature", pa.binary(16)),
        ("bends", pa.binary(384)),
    ]
)
# Bits out of 128 in which signatures of copies may differ: resampled, rescaled and filtered copies
# stay within it, and so do three in a million pairs of different ECGs (benchmarks/signatures.py).
MAX_DISTANCE = 16
# Cosine of bends, which decides between those that the signatures leave: above 0.96 in 99 % of
# changed copies (PTB-XL at 100 Hz, at gain 200, high-passed), at most 0.902 among 3.7 million pairs
# of different records, where two regular rhythms happen to agree (docs/log.md).
MIN_LIKENESS = 0.94
_EXAMPLES = 3


class Fingerprints(NamedTuple):
    """Hashes and signatures of records.

    Attributes:
        table: With the columns of `SCHEMA`.
        place: Row of each SHA-256.
        signatures: Each as two 64-bit numbers.
        bends: See `ecgjepa.signals.signatures.bends`.
    """

    table: pa.Table
    place: dict[str, int]
    signatures: UInt64[np.ndarray, "records 2"]
    bends: Int8[np.ndarray, "records terms"]

    def name(self, row: int) -> str:
        """Return what a row stands for, in words."""
        of = {name: self.table[name][row].as_py() for name in ("database", "record_id", "fold")}
        return f"record {of['record_id']} of {of['database']}, fold {of['fold']}"


class Guard:
    """Refuses records that are copies of left-out ones."""

    REASONS: ClassVar = ("held_out_copy", "held_out_near_copy")

    def __init__(self, known: Fingerprints) -> None:
        """Remember what left-out records look like."""
        self._known = known

    @classmethod
    def of(cls, store: Path) -> "Guard":
        """Return the guard of a store that is being made."""
        path = store / HELD_OUT_FILE
        return cls(_cached_fingerprints(path, path.stat().st_mtime_ns))

    def check(self, record: Ingested) -> Ingested | Bad:
        """Return the record, or why it is refused: it is a left-out one, or nearly."""
        row = record.row
        if (place := self._known.place.get(row["sha256"])) is not None:
            same, reason = "the samples", "held_out_copy"
        elif (place := find_near_copy(self._known, row["signature"], record.measures)) is not None:
            same, reason = "nearly the samples", "held_out_near_copy"
        else:
            return record
        words = (
            f"{row['database']} {row['record_id']}: holds {same} of {self._known.name(place)}, "
            "which is kept for selection or test"
        )
        return Bad(RecordFormatError(words, reason=reason))


def find_near_copy(known: Fingerprints, signature: bytes, measures: Measures) -> int | None:
    """Return the row of the left-out record, if any, of which a record is a changed copy."""
    if not len(known.signatures) or not any(signature):
        return None
    distance = np.bitwise_count(known.signatures ^ np.frombuffer(signature, np.uint64)).sum(axis=1)
    nearest = int(distance.argmin())
    if distance[nearest] > MAX_DISTANCE:
        return None
    return nearest if is_alike(known.bends[nearest], measures) else None


def is_alike(left_out: Int8[np.ndarray, " terms"], measures: Measures) -> bool:
    """Return whether a record bends as a left-out one does."""
    a, b = left_out.astype(np.float64), bends(measures).ravel().astype(np.float64)
    size = float(np.sqrt((a @ a) * (b @ b)))
    return size > 0 and float(a @ b) >= MIN_LIKENESS * size


def fingerprints(table: pa.Table) -> Fingerprints:
    """Return the fingerprints of a table that has the columns of `SCHEMA`."""
    hashes = table["sha256"].to_pylist()
    joined = b"".join(table["signature"].to_pylist())
    shapes = b"".join(table["bends"].to_pylist())
    return Fingerprints(
        table,
        {sha256: row for row, sha256 in enumerate(hashes)},
        np.frombuffer(joined, np.uint64).reshape(-1, 2),
        np.frombuffer(shapes, np.int8).reshape(-1, 384),
    )


@lru_cache(maxsize=1)
def _cached_fingerprints(path: Path, modified: int) -> Fingerprints:
    """Read ``held-out.parquet``; every shard asks for it, and it is read again only if changed."""
    return fingerprints(pq.read_table(path))


def write_held_out(
    path: Path, left_out: Iterable[Listing], config: PreprocessingConfig
) -> pa.Table:
    """Read all left-out records, write what they look like, and return what their files look like.

    Those that cannot be read are reported: copies of them would not be recognised.
    """
    rows: list[dict[str, Any]] = []
    notes = Notes()
    with threadpool_limits(1):
        for listing in left_out:
            bad: dict[str, list[tuple[str, str]]] = {}
            for entry, found in ingest(listing, listing.entries(), config, notes):
                if isinstance(found, Bad):
                    error = found.error
                    bad.setdefault(error.reason, []).append((entry.record_id, str(error)))
                    continue
                row = found.row | {"bends": bends(found.measures).tobytes()}
                rows.append({name: row[name] for name in SCHEMA.names})
            for alike in bad.values():
                logger.warning("%s", _unreadable(listing.database, alike))
    with replacing(path) as stream:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), stream, compression="zstd")
    return notes.table()


def _unreadable(database: str, bad: list[tuple[str, str]]) -> str:
    """Return that left-out records cannot be read, for a reason that they share.

    Args:
        database: Where they are from.
        bad: Name and error of each.
    """
    name, error = bad[0]
    if len(bad) == 1:
        subject = f"left-out record {name} of {database} cannot be read, so copies of it"
        return f"{subject} would not be recognised: {error}"
    some = ", ".join(one for one, _ in bad[:_EXAMPLES]) + " …" * (len(bad) > _EXAMPLES)
    return (
        f"{len(bad):,} left-out records of {database} cannot be read, so copies of them would not "
        f"be recognised: {some}; the first: {error}"
    )
