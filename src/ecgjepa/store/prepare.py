"""Databases in, store out: deterministic, atomic and resumable, shard by shard."""

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ecgjepa import __version__
from ecgjepa.databases import list_records
from ecgjepa.databases.listing import Entry, Listing
from ecgjepa.errors import StoreError
from ecgjepa.files import remove_partial, replacing, sha256_of_file, write_json
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.manifest import (
    FORMAT_VERSION,
    INDEX_FILE,
    MANIFEST_FILE,
    DatabaseSummary,
    Manifest,
    SkippedRecord,
    read_manifest,
)
from ecgjepa.store.shards import read_part, shard_name, write_shard
from ecgjepa.store.statistics import lead_statistics

logger = logging.getLogger(__name__)

Folds = Literal["train", "all"] | Sequence[int]
RECORDS_PER_SHARD = 2048
_PLAN_FILE = "plan.json"


def prepare(
    databases: Mapping[str, str | Path],
    store: str | Path,
    *,
    tables: Mapping[str, str | Path] | None = None,
    folds: Folds = "train",
    preprocessing: PreprocessingConfig | None = None,
    records_per_shard: int = RECORDS_PER_SHARD,
    on_bad: Literal["raise", "skip"] = "skip",
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Read databases into a store and return its manifest.

    Run again after an interruption, it goes on where it stopped; run again on a finished store of
    the same request, it returns at once. The same input gives the same bytes.

    Args:
        databases: Name to folder, e.g. ``{"ptb-xl": "data/ptb-xl"}``. A name that is no known
            database's is an archive of your own.
        store: Folder to write.
        tables: Name of such an archive to the CSV that describes its records.
        folds: ``train`` keeps each database's training folds (for pre-training), ``all`` every
            record (for evaluation), or a list of folds.
        preprocessing: What is done to each record; 500 Hz and 12 leads by default.
        records_per_shard: 2,048 ten-second records at 500 Hz are 246 MB.
        on_bad: ``skip`` counts and lists records that cannot be used, ``raise`` stops at the first.
        progress: Called with (records done, records in all).

    Raises:
        DatabaseError: If a folder is not what its name says.
        StoreError: If ``store`` holds something else, or nothing is left to store.
        RecordError: At the first unusable record, with ``on_bad="raise"``.
    """
    store = Path(store)
    preprocessing = preprocessing or PreprocessingConfig()
    listings = _list_all(databases, folds, tables or {})
    return _prepare(listings, store, preprocessing, records_per_shard, on_bad, progress)


def prepare_cached(
    databases: Mapping[str, str | Path],
    cache: str | Path,
    *,
    folds: Folds,
    preprocessing: PreprocessingConfig,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Prepare into a folder below ``cache`` named for the request, and return that folder.

    The same request finds its store again; another one gets another folder.
    """
    listings = _list_all(databases, folds, {})
    plan = _plan(_work(listings), preprocessing, RECORDS_PER_SHARD)
    store = Path(cache) / f"{'-'.join(sorted(databases))}-{plan[:12]}"
    _prepare(listings, store, preprocessing, RECORDS_PER_SHARD, "skip", progress)
    return store


def _list_all(
    databases: Mapping[str, str | Path], folds: Folds, tables: Mapping[str, str | Path]
) -> list[Listing]:
    if strangers := sorted(set(tables) - set(databases)):
        raise StoreError(f"a table is given for {', '.join(strangers)}, but no folder")
    listings = []
    for name, root in sorted(databases.items()):
        listings.append(_choose_folds(list_records(name, root, tables.get(name)), folds))
    if not any(len(listing.table) for listing in listings):
        raise StoreError(f"nothing to store: no record of {', '.join(databases)} in folds {folds}")
    return listings


def _work(listings: list[Listing]) -> list[tuple[Listing, Entry]]:
    return [(listing, entry) for listing in listings for entry in listing.entries()]


def _prepare(
    listings: list[Listing],
    store: Path,
    preprocessing: PreprocessingConfig,
    records_per_shard: int,
    on_bad: Literal["raise", "skip"],
    progress: Callable[[int, int], None] | None,
) -> Manifest:
    work = _work(listings)
    plan = _plan(work, preprocessing, records_per_shard)
    if (store / MANIFEST_FILE).is_file():
        return _finished(store, plan)
    _claim(store, plan)
    for listing in listings:
        for notice in listing.notices:
            logger.warning("%s: %s", listing.database, notice)
    try:
        _write_shards(store, work, preprocessing, records_per_shard, on_bad, progress)
    except BaseException:
        _release(store)
        raise
    num_shards = -(-len(work) // records_per_shard)
    return _merge(store, plan, listings, preprocessing, num_shards=num_shards)


def _write_shards(
    store: Path,
    work: list[tuple[Listing, Entry]],
    preprocessing: PreprocessingConfig,
    records_per_shard: int,
    on_bad: Literal["raise", "skip"],
    progress: Callable[[int, int], None] | None,
) -> None:
    for number, start in enumerate(range(0, len(work), records_per_shard)):
        shard = work[start : start + records_per_shard]
        if read_part(store, number) is None:
            for done, _ in enumerate(
                write_shard(store, number, shard, preprocessing, on_bad=on_bad), start=start + 1
            ):
                if progress:
                    progress(done, len(work))
        elif progress:
            progress(start + len(shard), len(work))


def _choose_folds(listing: Listing, folds: Folds) -> Listing:
    if folds == "all":
        return listing
    if folds == "train":
        return (
            listing if listing.training_folds is None else listing.of_folds(listing.training_folds)
        )
    if listing.training_folds is None and listing.table["fold"].isna().all():
        return listing
    chosen = tuple(sorted(int(fold) for fold in folds))
    return listing.of_folds(chosen)


def _plan(
    work: list[tuple[Listing, Entry]], preprocessing: PreprocessingConfig, records_per_shard: int
) -> str:
    """Return a hash of everything that determines the store's bytes, save the signals."""
    digest = hashlib.sha256()
    head = [FORMAT_VERSION, __version__, records_per_shard, preprocessing.model_dump(mode="json")]
    digest.update(json.dumps(head, sort_keys=True).encode())
    for listing, entry in work:
        digest.update(json.dumps([listing.database, listing.highpass_hz, *entry]).encode())
    return digest.hexdigest()


def _finished(store: Path, plan: str) -> Manifest:
    manifest = read_manifest(store)
    if manifest.plan != plan:
        raise StoreError(
            f"{store}: holds a finished store of other records or settings; choose another folder "
            "or remove this one"
        )
    return manifest


def _claim(store: Path, plan: str) -> None:
    """Mark the folder as ours, or make sure that an interrupted run had the same request."""
    marker = store / "parts" / _PLAN_FILE
    if marker.is_file():
        if json.loads(marker.read_text(encoding="utf-8"))["plan"] != plan:
            raise StoreError(
                f"{store}: an interrupted prepare of other records or settings lies here; remove "
                "the folder, or repeat that request to finish it"
            )
        remove_partial(store)
        remove_partial(store / "parts")
        return
    if store.exists() and (not store.is_dir() or any(store.iterdir())):
        raise StoreError(f"{store}: exists and is no store; choose an empty or new folder")
    try:
        write_json(marker, {"plan": plan})
    except OSError:
        _release(store)
        raise


def _release(store: Path) -> None:
    """After a failure, keep finished shards for the next run, but nothing else."""
    remove_partial(store)
    if not any(store.glob("shard-*")):
        shutil.rmtree(store / "parts", ignore_errors=True)
        if not any(store.iterdir()):
            store.rmdir()


def _merge(
    store: Path,
    plan: str,
    listings: list[Listing],
    preprocessing: PreprocessingConfig,
    *,
    num_shards: int,
) -> Manifest:
    """Join the parts into index and manifest; the manifest makes the store complete."""
    tables: list[pa.Table] = []
    shards: dict[str, str] = {}
    skipped: list[list[str]] = []
    for number in range(num_shards):
        part = read_part(store, number)
        assert part is not None, f"shard {number} vanished while {store} was being prepared"
        rows, facts = part
        tables.append(rows)
        shards[shard_name(number)] = facts["sha256"]
        skipped += facts["skipped"]
    index = pa.concat_tables(tables)
    if not index.num_rows:
        reasons = Counter(reason for _, _, reason, _ in skipped)
        raise StoreError(f"{store}: no record could be used: {dict(reasons)}; {skipped[0][3]}")
    with replacing(store / INDEX_FILE) as stream:
        pq.write_table(index, stream, compression="zstd", row_group_size=65_536)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        software_version=__version__,
        plan=plan,
        preprocessing=preprocessing,
        unit_microvolt=1,
        num_records=index.num_rows,
        databases={
            listing.database: _summarise(listing, index, skipped, preprocessing)
            for listing in listings
        },
        shards=shards,
        index=sha256_of_file(store / INDEX_FILE),
    )
    write_json(store / MANIFEST_FILE, manifest.model_dump(mode="json"))
    shutil.rmtree(store / "parts")
    return manifest


def _summarise(
    listing: Listing, index: pa.Table, skipped: list[list[str]], preprocessing: PreprocessingConfig
) -> DatabaseSummary:
    rows = index.filter(pc.equal(index["database"], listing.database))
    quarantine = tuple(
        SkippedRecord(record_id=record_id, reason=reason, detail=detail)
        for database, record_id, reason, detail in skipped
        if database == listing.database
    )
    folds = tuple(sorted(set(pc.drop_null(rows["fold"]).to_pylist()))) or None
    training = rows
    if listing.training_folds is not None:
        held_out = pc.is_in(rows["fold"], pa.array(listing.held_out_folds, pa.int16()))
        training = rows.filter(pc.invert(held_out))
    statistics = lead_statistics(training if training.num_rows else rows)
    codes: Counter[str] = Counter()
    for issues in rows["issues"].to_pylist():
        codes.update({issue.partition(":")[0] for issue in issues})
    return DatabaseSummary(
        listed=len(listing.table),
        stored=rows.num_rows,
        seconds=(pc.sum(rows["num_samples"]).as_py() or 0) / preprocessing.sampling_rate,
        folds=folds,
        training_folds=listing.training_folds,
        held_out_folds=listing.held_out_folds,
        skipped=dict(sorted(Counter(skip.reason for skip in quarantine).items())),
        quarantine=quarantine,
        absent=len(listing.absent),
        issues=dict(sorted(codes.items())),
        mean=_finite(statistics.mean),
        std=_finite(statistics.std),
        highpass_hz=preprocessing.highpass_hz or listing.highpass_hz,
        notices=listing.notices,
    )


def _finite(values: Any) -> tuple[float, ...]:  # noqa: ANN401
    """A lead that no record has is given 0, which JSON can hold and normalising treats as such."""
    return tuple(float(value) if value == value else 0.0 for value in values)
