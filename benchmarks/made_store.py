"""A store for timings, written directly: noise in the layout of `ecgjepa prepare`."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.codecs import shard_name
from ecgjepa.store.manifest import FORMAT_VERSION, INDEX_FILE, MANIFEST_FILE
from ecgjepa.store.shards import index_schema

SAMPLES = 5000  # 10 s at 500 Hz: 120 kB a record
RECORDS_PER_SHARD = 2500
DATABASE = "ptb-xl"


def write_store(folder: Path, records: int) -> None:
    """Write ``records`` records of noise, 120 kB each, with an index and a manifest.

    The manifest's hashes are empty: nothing that is timed looks at them.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for first in range(0, records, RECORDS_PER_SHARD):
        size = min(RECORDS_PER_SHARD, records - first) * SAMPLES * len(LEADS)
        noise = rng.integers(-500, 500, size, dtype=np.int16)
        noise.astype("<i2").tofile(folder / shard_name(first // RECORDS_PER_SHARD))
    write_index(folder, records, records)


def write_index(folder: Path, rows: int, records: int) -> None:
    """Write index and manifest of ``rows`` rows, which go round the ``records`` records."""
    record = np.arange(rows) % records
    per_lead = pa.FixedSizeListArray.from_arrays(
        pa.array(np.repeat(record.astype(np.int64), len(LEADS))), len(LEADS)
    )
    known = {
        "record_id": pa.array(np.arange(rows).astype(str)),
        "database": pa.repeat(DATABASE, rows),
        "patient_id": pa.array((np.arange(rows) // 2).astype(str)),
        "fold": pa.array((np.arange(rows) % 8 + 1).astype(np.int16)),
        "shard": pa.array((record // RECORDS_PER_SHARD).astype(np.int32)),
        "offset": pa.array(record % RECORDS_PER_SHARD * SAMPLES * 2 * len(LEADS)),
        "num_samples": pa.repeat(pa.scalar(SAMPLES, pa.int32()), rows),
        "sha256": pa.array([f"{number:064x}" for number in record.tolist()]),
        "valid_count": per_lead,
        "sum_microvolt": per_lead,
        "sum_squares_microvolt": per_lead,
    }
    schema = index_schema(len(LEADS))
    columns = [known.get(field.name, pa.nulls(rows)).cast(field.type) for field in schema]
    pq.write_table(
        pa.table(columns, schema=schema),
        folder / INDEX_FILE,
        compression="zstd",
        row_group_size=65_536,
    )
    summary = {
        "listed": rows, "stored": rows, "seconds": rows * 10.0,
        "folds": list(range(1, 9)), "training_folds": list(range(1, 9)), "held_out_folds": [9, 10],
        "skipped": {}, "quarantine": [], "absent": 0, "issues": {}, "notices": [],
        "mean": [0.0] * len(LEADS), "std": [0.3] * len(LEADS),
    }  # fmt: skip
    shards = sorted(path.name for path in folder.glob("shard-*"))
    manifest = {
        "format_version": FORMAT_VERSION,
        "software_version": "",
        "plan": "",
        "preprocessing": PreprocessingConfig(sampling_rate=500.0).model_dump(mode="json"),
        "num_records": rows,
        "databases": {DATABASE: summary},
        "shards": dict.fromkeys(shards, ""),
        "index": "",
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


def index_copy(store: Path, folder: Path, rows: int, records: int) -> None:
    """Make a second store over the same shards, whose index has ``rows`` rows."""
    folder.mkdir()
    for shard in store.glob("shard-*"):
        (folder / shard.name).symlink_to(shard.resolve())
    write_index(folder, rows, records)
