"""What becomes of one record on its way into a store."""

import hashlib
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Int16

from ecgjepa.databases.listing import Entry, Listing
from ecgjepa.errors import RecordFormatError
from ecgjepa.signals.measures import Measures, signature
from ecgjepa.signals.preprocessing import Prepared, PreprocessingConfig, prepare_record

OnBad = Literal["raise", "skip", "mask"]
ON_BAD: tuple[OnBad, ...] = get_args(OnBad)

# A record with fewer usable leads cannot be read as a 12-lead ECG: 8 are independent.
MIN_USABLE_LEADS = 8
# What most databases record. Shorter records are kept in their length, and counted.
USUAL_SECONDS = 10
_UNUSABLE = ("invalid_lead", "missing_lead")


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


def ingest(
    listing: Listing, entry: Entry, config: PreprocessingConfig, on_bad: OnBad = "raise"
) -> Ingested:
    """Read and prepare one record.

    Args:
        listing: Of its database.
        entry: The record.
        config: What is done to it; the database's own filter applies where none is asked for.
        on_bad: With ``mask``, damaged leads and missing ends are marked invalid, not refused.

    Raises:
        RecordError: If it cannot be read, or too little of it is usable.
    """
    source = listing.reader(listing.root, entry, "mask" if on_bad == "mask" else "raise")
    if config.highpass_hz is None and listing.highpass_hz is not None:
        config = config.model_copy(update={"highpass_hz": listing.highpass_hz})
    prepared = prepare_record(source, config)
    _refuse_unusable(prepared, source.source, len(config.leads))
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


def _refuse_unusable(prepared: Prepared, source: str, num_leads: int) -> None:
    unusable = {issue.lead for issue in prepared.issues if issue.code in _UNUSABLE}
    num_usable = num_leads - len(unusable)
    if num_usable < min(MIN_USABLE_LEADS, num_leads):
        raise RecordFormatError(
            f"{source}: only {num_usable} of {num_leads} leads are usable", reason="too_few_leads"
        )
    flat = {issue.lead for issue in prepared.issues if issue.code == "flat_lead"}
    if len(flat | unusable) == num_leads:
        raise RecordFormatError(f"{source}: every lead is flat", reason="flat_record")


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
