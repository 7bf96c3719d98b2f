"""Write one shard and its index rows; merge shards into a store."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecgjepa.databases.listing import Entry, Listing, Skip
from ecgjepa.errors import RecordError, RecordFormatError
from ecgjepa.files import replacing, write_json
from ecgjepa.signals.preprocessing import (
    INVALID_MICROVOLT,
    PreprocessingConfig,
    preprocess,
    to_microvolt,
)
from ecgjepa.signals.record import Record

# A record with fewer usable leads cannot be read as a 12-lead ECG: 8 are independent.
MIN_USABLE_LEADS = 8
_UNUSABLE = ("invalid_lead", "missing_lead")


def index_schema(num_leads: int) -> pa.Schema:
    """Return the columns of ``index.parquet``.

    The last three columns are exact per-lead sums, in µV, from which the statistics of any
    selection of records follow without reading a signal.
    """
    per_lead = pa.list_(pa.int64(), num_leads)
    return pa.schema(
        [
            ("record_id", pa.string()),
            ("database", pa.string()),
            ("patient_id", pa.string()),
            ("fold", pa.int16()),
            ("shard", pa.int32()),
            ("offset", pa.int64()),  # bytes
            ("num_samples", pa.int32()),
            ("source_sampling_rate", pa.float64()),
            ("age", pa.float32()),
            ("sex", pa.string()),
            ("labels", pa.string()),
            ("issues", pa.list_(pa.string())),
            ("sha256", pa.string()),
            ("valid_count", per_lead),
            ("sum_microvolt", per_lead),
            ("sum_squares_microvolt", per_lead),
        ]
    )


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{number:05d}.i16"


def write_shard(
    folder: Path,
    number: int,
    work: list[tuple[Listing, Entry]],
    config: PreprocessingConfig,
    *,
    on_bad: Literal["raise", "skip"],
) -> Iterator[None]:
    """Read, preprocess and write the records of one shard; yield once per record.

    Three files appear under ``folder``, the JSON last: it marks the shard as complete.

    Raises:
        RecordError: At the first unusable record, with ``on_bad="raise"``.
    """
    rows: list[dict[str, Any]] = []
    skipped: list[tuple[str, Skip]] = []
    digest = hashlib.sha256()
    offset = 0
    with replacing(folder / shard_name(number)) as stream:
        for listing, entry in work:
            try:
                source = listing.read(entry)
                samples, issues = _ingest(source, _for_database(config, listing))
            except RecordError as error:
                if on_bad == "raise":
                    raise
                skipped.append((listing.database, Skip(entry.record_id, error.reason, str(error))))
                yield
                continue
            content = samples.astype("<i2").tobytes()
            stream.write(content)
            digest.update(content)
            rows.append(
                _index_row(listing.database, entry, samples)
                | {"issues": issues, "source_sampling_rate": source.sampling_rate}
                | {"shard": number, "offset": offset, "sha256": hashlib.sha256(content).hexdigest()}
            )
            offset += len(content)
            yield
    table = pa.Table.from_pylist(rows, schema=index_schema(len(config.leads)))
    with replacing(part_paths(folder, number)[0]) as stream:
        pq.write_table(table, stream)
    write_json(
        part_paths(folder, number)[1],
        {
            "sha256": digest.hexdigest(),
            "skipped": [[database, *skip] for database, skip in skipped],
        },
    )


def part_paths(folder: Path, number: int) -> tuple[Path, Path]:
    """Return where a finished shard's index rows and its facts wait to be merged."""
    return folder / "parts" / f"{number:05d}.parquet", folder / "parts" / f"{number:05d}.json"


def read_part(folder: Path, number: int) -> tuple[pa.Table, dict[str, Any]] | None:
    """Return a finished shard's index rows and facts, or None if it is to be written."""
    rows, facts = part_paths(folder, number)
    if not (facts.is_file() and rows.is_file() and (folder / shard_name(number)).is_file()):
        return None
    return pq.read_table(rows), json.loads(facts.read_text(encoding="utf-8"))


def _for_database(config: PreprocessingConfig, listing: Listing) -> PreprocessingConfig:
    if config.highpass_hz is not None or listing.highpass_hz is None:
        return config
    return config.model_copy(update={"highpass_hz": listing.highpass_hz})


def _ingest(source: Record, config: PreprocessingConfig) -> tuple[np.ndarray, list[str]]:
    """Return the integers to store and the issues noted on the way, as ``code`` or ``code:lead``.

    Raises:
        RecordError: If too little of the record is usable.
    """
    record = preprocess(source, config)
    unusable = {issue.lead for issue in record.issues if issue.code in _UNUSABLE}
    flat = {issue.lead for issue in record.issues if issue.code == "flat_lead"}
    num_usable = len(config.leads) - len(unusable)
    if num_usable < min(MIN_USABLE_LEADS, len(config.leads)):
        raise RecordFormatError(
            f"{record.source}: only {num_usable} of {len(config.leads)} leads are usable",
            reason="too_few_leads",
        )
    if len(flat | unusable) == len(config.leads):
        raise RecordFormatError(f"{record.source}: every lead is flat", reason="flat_record")
    samples, range_issues = to_microvolt(record)
    issues = [*record.issues, *range_issues]
    return samples, [i.code if i.lead is None else f"{i.code}:{i.lead}" for i in issues]


def _index_row(database: str, entry: Entry, samples: np.ndarray) -> dict[str, Any]:
    valid = samples != INVALID_MICROVOLT
    values = np.where(valid, samples, 0).astype(np.int64)
    return {
        "record_id": entry.record_id,
        "database": database,
        "patient_id": entry.patient_id,
        "fold": entry.fold,
        "num_samples": len(samples),
        "age": entry.age,
        "sex": entry.sex,
        "labels": entry.labels,
        "valid_count": valid.sum(axis=0).tolist(),
        "sum_microvolt": values.sum(axis=0).tolist(),
        "sum_squares_microvolt": np.einsum("tl,tl->l", values, values).tolist(),
    }
