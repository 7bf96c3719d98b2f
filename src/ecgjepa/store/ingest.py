"""What becomes of records on their way into a store."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int16

from ecgjepa.databases.listing import Entry, Listing
from ecgjepa.errors import RecordError
from ecgjepa.signals.acceptance import OnBad, Source, Usable, one_record, prepare_each
from ecgjepa.signals.measures import Measures
from ecgjepa.signals.preprocessing import Prepared, PreprocessingConfig
from ecgjepa.signals.signatures import signatures
from ecgjepa.store.source_files import Notes

# What most databases record. Shorter records are kept in their length, and counted.
USUAL_SECONDS = 10
_RECORDS_IN_A_GROUP, _SAMPLES_IN_A_GROUP = 16, 80_000


class Ingested(NamedTuple):
    """A record as it goes into a shard.

    Attributes:
        samples: In µV, -32768 where invalid.
        row: Its columns of the index, but for its place in a shard.
        measures: What its samples are like.
    """

    samples: Int16[np.ndarray, "samples leads"]
    row: dict[str, Any]
    measures: Measures


class Bad(NamedTuple):
    """A record that cannot be used, and why."""

    error: RecordError


def ingest(
    listing: Listing,
    entries: Iterable[Entry],
    config: PreprocessingConfig,
    notes: Notes,
    on_bad: OnBad = "raise",
) -> Iterator[tuple[Entry, Ingested | Bad]]:
    """Read and prepare records; yield one after the other, in order.

    A few are read ahead: those that are alike are worked on together.

    Args:
        listing: Of their database.
        entries: The records.
        config: What is done to them; the database's own filter applies where none is asked for.
        notes: Where it is noted what the records' files look like.
        on_bad: With ``mask``, damaged leads and missing ends are marked invalid, not refused.

    Yields:
        Each entry, with its record or with the error if it cannot be read, or too little of it is
        usable; also if anything unforeseen happens while it is read (``internal``).
    """
    if config.highpass_hz is None and listing.highpass_hz is not None:
        config = config.model_copy(update={"highpass_hz": listing.highpass_hz})
    sources = ((entry, _read(listing, entry, on_bad, notes)) for entry in entries)
    waiting: list[_Hashing] = []
    with ThreadPoolExecutor(1) as hasher:
        for group in _groups(prepare_each(sources, config)):
            hashes = hasher.submit(_hashes, [found for _, found in group])
            waiting.append(_Hashing(group, hashes))
            if len(waiting) > 1:  # while these are hashed
                yield from _ingested(listing, waiting.pop(0), config)
        for last in waiting:
            yield from _ingested(listing, last, config)


_Found = Usable | RecordError


class _Hashing(NamedTuple):
    """Records whose samples are hashed in a thread meanwhile."""

    group: list[tuple[Entry, _Found]]
    hashes: Future[list[str]]


def _groups(
    prepared: Iterable[tuple[Entry, _Found]],
) -> Iterator[list[tuple[Entry, _Found]]]:
    """Yield a few records at a time: so many that a thread is worth being asked."""
    group: list[tuple[Entry, _Found]] = []
    size = 0
    for entry, found in prepared:
        group.append((entry, found))
        size += len(found.prepared.samples) if isinstance(found, Usable) else 0
        if size >= _SAMPLES_IN_A_GROUP or len(group) == _RECORDS_IN_A_GROUP:
            yield group
            group, size = [], 0
    yield group


def _hashes(found: list[_Found]) -> list[str]:
    """Return the SHA-256 of each record's samples, nothing for one that is not usable."""
    return [_hash(each) if isinstance(each, Usable) else "" for each in found]


def _hash(found: Usable) -> str:
    samples = found.prepared.samples
    assert isinstance(samples, np.ndarray), "a store's records are read whole"
    return hashlib.sha256(np.ascontiguousarray(samples, "<i2").data).hexdigest()


def _read(listing: Listing, entry: Entry, on_bad: OnBad, notes: Notes) -> Source | RecordError:
    try:
        with one_record(entry.path), notes.of(listing, entry):
            return listing.reader(listing.root, entry, "mask" if on_bad == "mask" else "raise")
    except RecordError as error:
        return error


def _ingested(
    listing: Listing, hashing: _Hashing, config: PreprocessingConfig
) -> Iterator[tuple[Entry, Ingested | Bad]]:
    usable = [found for _, found in hashing.group if isinstance(found, Usable)]
    marks = iter(signatures([found.prepared.measures for found in usable]))
    for (entry, found), sha256 in zip(hashing.group, hashing.hashes.result(), strict=True):
        if isinstance(found, RecordError):
            yield entry, Bad(found)
            continue
        facts = {"sha256": sha256, "signature": next(marks).tobytes()}
        yield entry, _with_row(listing, entry, found, facts, config)


def _with_row(
    listing: Listing,
    entry: Entry,
    found: Usable,
    facts: dict[str, Any],
    config: PreprocessingConfig,
) -> Ingested:
    source, prepared, _ = found
    row = (
        _facts(prepared, config.sampling_rate)
        | facts
        | {
            "record_id": entry.record_id,
            "database": listing.database,
            "patient_id": entry.patient_id,
            "fold": entry.fold,
            "source_sampling_rate": source.sampling_rate,
            "age": entry.age,
            "sex": entry.sex,
            "labels": entry.labels,
        }
    )
    assert isinstance(prepared.samples, np.ndarray), "a store's records are read whole"
    return Ingested(prepared.samples, row, prepared.measures)


def _facts(prepared: Prepared, sampling_rate: float) -> dict[str, Any]:
    """Return the columns that follow from the measures."""
    measures = prepared.measures
    issues = [
        issue.code if issue.lead is None else f"{issue.code}:{issue.lead}"
        for issue in prepared.issues
    ]
    if len(prepared.samples) < USUAL_SECONDS * sampling_rate:
        issues.append("short_record")
    return {
        "num_samples": len(prepared.samples),
        "issues": issues,
        "quality": prepared.quality,
        "amplitude_mv": measures.beats_mv,
        "valid_count": measures.valid_count,
        "sum_microvolt": measures.total,
        "sum_squares_microvolt": measures.squares,
    }
