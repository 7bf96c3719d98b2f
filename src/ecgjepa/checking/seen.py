"""What pre-training has seen, by what the records hold and not by what they are called.

A run and its model folder keep a hash and a signature of every record of their store: 32 bytes a
record, without names. Copies of test records are found by them, whatever archive they came in.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Int64, UInt64

from ecgjepa.checking.duplicates import near_pairs
from ecgjepa.files import replacing
from ecgjepa.store.manifest import INDEX_FILE
from ecgjepa.store.reading import Store

SCHEMA = pa.schema(
    [
        ("database", pa.dictionary(pa.int32(), pa.string())),
        ("sha256", pa.binary(16)),  # its first half
        ("signature", pa.binary(16)),
    ]
)
# Bits out of 128 in which the signature of a copy may differ. The samples are not at hand to
# confirm it, so it is half of what `prepare` allows; of 3.7 million pairs of different ECGs none is
# within 12 (benchmarks/signatures.py).
MAX_DISTANCE = 8


def write_seen(store: Store, path: Path, earlier: Path | None = None) -> None:
    """Write hash and signature of all records of a store, and of those that were seen earlier.

    Args:
        store: Open store.
        path: Where to write.
        earlier: What `write_seen` wrote for an encoder that takes part in this training.
    """
    index = _read_index(store)
    table = pa.table(
        {
            "database": index["database"].dictionary_encode(),
            "sha256": pa.array(_half_hashes(index), pa.binary(16)),
            "signature": index["signature"],
        }
    )
    table = table.cast(SCHEMA)
    if earlier is not None:
        known, digests = pq.read_table(earlier).cast(SCHEMA), table["sha256"].combine_chunks()
        is_new = pc.invert(pc.is_in(known["sha256"], value_set=digests))
        table = pa.concat_tables([table, known.filter(is_new)]).unify_dictionaries()
    with replacing(path) as stream:
        pq.write_table(table, stream, compression="zstd")


def find_seen(
    path: Path, store: Store, rows: Int64[np.ndarray, " rows"]
) -> Iterator[tuple[int, str]]:
    """Yield the records of a store that pre-training has seen, and in which database.

    Args:
        path: What `write_seen` wrote.
        store: A store of the same preprocessing.
        rows: Its records to look for.
    """
    known = pq.read_table(path)
    databases = known["database"].to_pylist()
    index = _read_index(store).take(pa.array(rows))
    place = {digest: row for row, digest in enumerate(known["sha256"].to_pylist())}
    found = {
        row: place[digest] for row, digest in enumerate(_half_hashes(index)) if digest in place
    }
    theirs, ours = _signatures(known), _signatures(index)
    pairs = near_pairs(np.concatenate([theirs, ours]))
    crossing = pairs[(pairs[:, 0] < len(theirs)) & (pairs[:, 1] >= len(theirs))]
    for there, here in (crossing - [0, len(theirs)]).tolist():
        if np.bitwise_count(theirs[there] ^ ours[here]).sum() <= MAX_DISTANCE:
            found.setdefault(here, there)
    for row, there in sorted(found.items()):
        yield int(rows[row]), databases[there]


def _read_index(store: Store) -> pa.Table:
    columns = ["database", "sha256", "signature"]
    return pq.read_table(store.path / INDEX_FILE, columns=columns)


def _half_hashes(index: pa.Table) -> list[bytes]:
    return [bytes.fromhex(digest[:32]) for digest in index["sha256"].to_pylist()]


def _signatures(table: pa.Table) -> UInt64[np.ndarray, "records 2"]:
    joined = b"".join(table["signature"].to_pylist())
    return np.frombuffer(joined, np.uint64).reshape(-1, 2)
