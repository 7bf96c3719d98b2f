"""Prove that a store is what its manifest says."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from ecgjepa.files import sha256_of_file
from ecgjepa.store.codecs import shard_name
from ecgjepa.store.manifest import INDEX_FILE, MANIFEST_FILE, read_manifest


def verify(store: str | Path, *, progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Re-hash every file of a store and recount its index.

    Args:
        store: Folder of the store.
        progress: Called with (shards done, shards in all).

    Returns:
        What is wrong, in sentences; empty if nothing is.

    Raises:
        StoreError: If there is no readable manifest.
    """
    store = Path(store)
    manifest = read_manifest(store)
    faults: list[str] = []
    for done, (name, expected) in enumerate(sorted(manifest.shards.items()), start=1):
        faults += _compare(store / name, expected)
        if progress:
            progress(done, len(manifest.shards))
    index_faults = _compare(store / INDEX_FILE, manifest.index)
    faults += index_faults
    if not index_faults:
        faults += _recount(store)
    known = {*manifest.shards, INDEX_FILE, MANIFEST_FILE}
    faults += [
        f"{path.name} is not in the manifest"
        for path in sorted(store.iterdir())
        if path.name not in known
    ]
    return faults


def _compare(path: Path, expected: str) -> list[str]:
    if not path.is_file():
        return [f"{path.name} is missing"]
    found = sha256_of_file(path)
    if found != expected:
        return [f"{path.name} has changed: SHA-256 {found[:12]}…, expected {expected[:12]}…"]
    return []


def _recount(store: Path) -> list[str]:
    """Compare the index's counts, folds and extents with the manifest and the shard sizes."""
    manifest = read_manifest(store)
    columns = ["record_id", "database", "fold", "shard", "offset", "num_samples"]
    index = pq.read_table(store / INDEX_FILE, columns=columns).to_pandas()
    faults = []
    if len(index) != manifest.num_records:
        faults.append(f"index has {len(index)} rows, the manifest {manifest.num_records}")
    twice = int(index.duplicated(["database", "record_id"]).sum())
    if twice:
        faults.append(f"{twice} records appear more than once")
    for name, summary in manifest.databases.items():
        rows = index[index["database"] == name]
        if len(rows) != summary.stored:
            faults.append(f"{name}: index has {len(rows)} rows, the manifest {summary.stored}")
        # In an archive of one's own, some records may have no fold.
        folds = set(rows["fold"].dropna())
        if folds != set(summary.folds or ()):
            faults.append(f"{name}: folds {sorted(folds)} differ from the manifest's")
    ends = index["offset"] + index["num_samples"] * 2 * len(manifest.preprocessing.leads)
    for number, end in ends.groupby(index["shard"]).max().items():
        path = store / shard_name(int(number))
        if path.is_file() and path.stat().st_size != end:
            faults.append(f"{path.name}: {path.stat().st_size} bytes, the index covers {end}")
    return faults
