"""What becomes of records on their way into a store."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int16

from ecgjepa.databases.listing import Entry, Listing
from ecgjepa.errors import RecordError
from ecgjepa.signals.acceptance import OnBad, Source, Usable, one_record, prepare_each
from ecgjepa.signals.measures import Measures
from ecgjepa.signals.preprocessing import Prepared, PreprocessingConfig
from ecgjepa.signals.signatures import signature
from ecgjepa.store.source_files import Notes

# What most databases record. Shorter records are kept in their length, and counted.
USUAL_SECONDS = 10


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
    for entry, found in prepare_each(sources, config):
        if isinstance(found, RecordError):
            yield entry, Bad(found)
        else:
            yield entry, _ingested(listing, entry, found, config)


def _read(listing: Listing, entry: Entry, on_bad: OnBad, notes: Notes) -> Source | RecordError:
    try:
        with one_record(entry.path), notes.of(listing, entry):
            return listing.reader(listing.root, entry, "mask" if on_bad == "mask" else "raise")
    except RecordError as error:
        return error


def _ingested(
    listing: Listing, entry: Entry, found: Usable, config: PreprocessingConfig
) -> Ingested:
    source, prepared = found
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
    assert isinstance(prepared.samples, np.ndarray), "a store's records are read whole"
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
    assert isinstance(prepared.samples, np.ndarray), "a store's records are read whole"
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
