"""What becomes of records on their way into a store."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int16

from ecgjepa.databases.listing import Entry, Listing
from ecgjepa.errors import RecordError
from ecgjepa.signals.acceptance import OnBad, one_record, refuse_unusable
from ecgjepa.signals.measures import Measures
from ecgjepa.signals.preprocessing import (
    Prepared,
    PreprocessingConfig,
    prepare_record,
    prepare_records,
)
from ecgjepa.signals.record import MicrovoltRecord, Record
from ecgjepa.signals.signatures import signature

# What most databases record. Shorter records are kept in their length, and counted.
USUAL_SECONDS = 10
# How many records, and how many of their samples, are worked on together.
_RECORDS_TOGETHER = 16
_VALUES_TOGETHER = 16 * 60_000


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
    on_bad: OnBad = "raise",
) -> Iterator[tuple[Entry, Ingested | Bad]]:
    """Read and prepare records; yield one after the other, in order.

    A few are read ahead: those that are alike are worked on together.

    Args:
        listing: Of their database.
        entries: The records.
        config: What is done to them; the database's own filter applies where none is asked for.
        on_bad: With ``mask``, damaged leads and missing ends are marked invalid, not refused.

    Yields:
        Each entry, with its record or with the error if it cannot be read, or too little of it is
        usable; also if anything unforeseen happens while it is read (``internal``).
    """
    if config.highpass_hz is None and listing.highpass_hz is not None:
        config = config.model_copy(update={"highpass_hz": listing.highpass_hz})
    waiting: list[tuple[Entry, Record | MicrovoltRecord | Bad]] = []
    size = 0
    for entry in entries:
        source = _read(listing, entry, on_bad)
        waiting.append((entry, source))
        size += 0 if isinstance(source, Bad) else _num_values(source)
        if size >= _VALUES_TOGETHER or len(waiting) == _RECORDS_TOGETHER:
            yield from _finish(listing, waiting, config)
            waiting, size = [], 0
    yield from _finish(listing, waiting, config)


def _read(listing: Listing, entry: Entry, on_bad: OnBad) -> Record | MicrovoltRecord | Bad:
    try:
        with one_record(entry.path):
            return listing.reader(listing.root, entry, "mask" if on_bad == "mask" else "raise")
    except RecordError as error:
        return Bad(error)


def _num_values(source: Record | MicrovoltRecord) -> int:
    return source.signal.size if isinstance(source, Record) else source.samples.size


def _finish(
    listing: Listing,
    waiting: list[tuple[Entry, Record | MicrovoltRecord | Bad]],
    config: PreprocessingConfig,
) -> Iterator[tuple[Entry, Ingested | Bad]]:
    """Prepare what was read, and yield all of it in order."""
    sources = [source for _, source in waiting if not isinstance(source, Bad)]
    try:
        together = iter(prepare_records(sources, config))
    except Exception:  # some one of them: each by itself, which tells
        together = None
    for entry, source in waiting:
        if isinstance(source, Bad):
            yield entry, source
            continue
        try:
            with one_record(entry.path):
                prepared = next(together) if together else prepare_record(source, config)
                refuse_unusable(prepared, source.source, config.leads)
                found: Ingested | Bad = _ingested(listing, entry, source, prepared, config)
        except RecordError as error:
            found = Bad(error)
        yield entry, found


def _ingested(
    listing: Listing,
    entry: Entry,
    source: Record | MicrovoltRecord,
    prepared: Prepared,
    config: PreprocessingConfig,
) -> Ingested:
    row = _facts(prepared, config.sampling_rate) | {
        "record_id": entry.record_id,
        "database": listing.database,
        "patient_id": entry.patient_id,
        "fold": entry.fold,
        "source_sampling_rate": source.sampling_rate,
        "age": entry.age,
        "sex": entry.sex,
        "labels": entry.labels,
    }
    return Ingested(prepared.samples, row, prepared.measures)


def _facts(prepared: Prepared, sampling_rate: float) -> dict[str, Any]:
    """Return the columns that follow from the samples."""
    measures = prepared.measures
    issues = [
        issue.code if issue.lead is None else f"{issue.code}:{issue.lead}"
        for issue in prepared.issues
    ]
    if len(prepared.samples) < USUAL_SECONDS * sampling_rate:
        issues.append("short_record")
    samples = np.ascontiguousarray(prepared.samples, "<i2")
    return {
        "num_samples": len(prepared.samples),
        "issues": issues,
        "quality": prepared.quality,
        "amplitude_mv": measures.beats_mv,
        "sha256": hashlib.sha256(samples.data).hexdigest(),
        "signature": signature(measures).tobytes(),
        "valid_count": measures.valid_count,
        "sum_microvolt": measures.total,
        "sum_squares_microvolt": measures.squares,
    }
