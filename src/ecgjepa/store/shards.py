"""Write one shard and its index rows."""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from ecgjepa.databases.listing import Listing, Skip
from ecgjepa.databases.pseudonyms import HIDDEN_DETAIL
from ecgjepa.files import replacing, write_json
from ecgjepa.signals.acceptance import OnBad
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.codecs import Codec, encode, shard_name
from ecgjepa.store.held_out import Guard
from ecgjepa.store.ingest import Bad, Ingested, ingest
from ecgjepa.store.source_files import SCHEMA as FILES_SCHEMA
from ecgjepa.store.source_files import Notes

PARTS_FOLDER = "parts"
_WRITTEN_BYTES, _FLUSH_BYTES = 2**21, 2**25
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter


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
            ("num_bytes", pa.int64()),
            ("num_samples", pa.int32()),
            ("source_sampling_rate", pa.float64()),
            ("age", pa.float32()),
            ("sex", pa.string()),
            ("labels", pa.string()),
            ("issues", pa.list_(pa.string())),
            ("quality", pa.float32()),
            ("amplitude_mv", pa.float32()),
            ("sha256", pa.string()),  # of the samples as little-endian int16, time-major
            ("signature", pa.binary(16)),
            ("valid_count", per_lead),
            ("sum_microvolt", per_lead),
            ("sum_squares_microvolt", per_lead),
        ]
    )


class ShardJob(NamedTuple):
    """All that is needed to write one shard, wherever that happens.

    Attributes:
        store: Folder of the store.
        number: Of the shard.
        pieces: The records, as listings of part of a database.
        config: What is done to each record.
        on_bad: See `ecgjepa.prepare`.
        codec: How records lie in the shard.
    """

    store: Path
    number: int
    pieces: tuple[Listing, ...]
    config: PreprocessingConfig
    on_bad: OnBad
    codec: Codec

    def __len__(self) -> int:
        """Return the number of records."""
        return sum(map(len, self.pieces))


def write_shard(job: ShardJob) -> Iterator[None]:
    """Read, preprocess and write the records of one shard; yield once per record.

    Four files appear in the store, the JSON last: it marks the shard as complete.

    Raises:
        RecordError: At the first unusable record, with ``on_bad="raise"``.
    """
    schema = index_schema(len(job.config.leads))
    guard = Guard.of(job.store)
    batches = _RowBatches(schema)
    skipped: list[tuple[str, Skip]] = []
    notes = Notes()
    offset = 0
    # Products are small: threads of a linear-algebra library would only wait for each other.
    with (
        threadpool_limits(1),
        replacing(job.store / shard_name(job.number, job.codec)) as stream,
        _Appending(stream) as shard,
    ):
        for piece in job.pieces:
            for entry, found in ingest(piece, piece.entries(), job.config, notes, job.on_bad):
                if isinstance(found, Ingested):
                    found = guard.check(found)
                if isinstance(found, Bad):
                    error = found.error
                    if job.on_bad == "raise" and error.reason not in Guard.REASONS:
                        raise error
                    detail = (
                        piece.relative(str(error)) if piece.hide_file is None else HIDDEN_DETAIL
                    )
                    skip = Skip(entry.record_id, error.reason, detail)
                    skipped.append((piece.database, skip))
                else:
                    content = encode(found.samples, job.codec)
                    shard.add(content)
                    place = {"shard": job.number, "offset": offset, "num_bytes": len(content)}
                    batches.add(found.row | place)
                    offset += len(content)
                yield
    rows_path, facts_path = part_paths(job.store, job.number)
    with replacing(rows_path) as stream:
        pq.write_table(batches.table(), stream)
    write_notes(notes_path(job.store, job.number), notes.table())
    write_json(
        facts_path,
        {
            "sha256": shard.digest.hexdigest(),
            "num_bytes": offset,
            "skipped": [[database, *skip] for database, skip in skipped],
        },
    )


class _Appending:
    """Writes and hashes records in a thread, while others are read and prepared.

    Attributes:
        digest: Of all that was added; complete once the block is left.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self._stream = stream
        self._writer, self._syncer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._waiting: list[bytes | memoryview] = []
        self._size = self._unsynced = 0
        self._pending: list[Future[None]] = []

    def __enter__(self) -> "_Appending":
        return self

    def add(self, content: bytes | memoryview) -> None:
        """Append a record, which must not change any more.

        Raises:
            OSError: If what was added before could not be written.
        """
        self._waiting.append(content)
        self._size += len(content)
        if self._size >= _WRITTEN_BYTES:
            self._submit()

    def _submit(self) -> None:
        if self._pending:  # no more than twice as much is held
            self._pending[-1].result()
        self._pending = [*self._syncing(), self._writer.submit(self._write, self._waiting)]
        self._waiting, self._size = [], 0

    def _write(self, contents: list[bytes | memoryview]) -> None:
        for content in contents:
            self._stream.write(content)
            self.digest.update(content)

    def _syncing(self) -> list[Future[None]]:
        """Have the disk write what is there while the processor prepares what follows.

        Otherwise a worker would wait at the end of each shard until a quarter of a gigabyte is on
        disk.
        """
        pending = self._pending[:-1]
        self._unsynced += self._size
        if self._unsynced >= _FLUSH_BYTES:
            self._unsynced = 0
            self._stream.flush()
            pending.append(self._syncer.submit(_sync, self._stream.fileno()))
        return pending

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._submit()
        self._writer.shutdown()
        self._syncer.shutdown()
        if kind is None:
            # The system tells an error of the disk once, and to these calls first.
            for job in self._pending:
                job.result()


class _RowBatches:
    """Collects rows as columns, which take a tenth of the memory of dictionaries."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._tables: list[pa.Table] = [schema.empty_table()]

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == 256:
            self._flush()

    def table(self) -> pa.Table:
        self._flush()
        return pa.concat_tables(self._tables).combine_chunks()

    def _flush(self) -> None:
        columns = []
        for field in self._schema:
            values = [row[field.name] for row in self._rows]
            if pa.types.is_fixed_size_list(field.type):
                flat = pa.array(np.concatenate([*values, np.empty(0, np.int64)]).astype(np.int64))
                columns.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type))
            else:
                columns.append(pa.array(values, field.type))
        self._tables.append(pa.Table.from_arrays(columns, schema=self._schema))
        self._rows = []


def part_paths(store: Path, number: int) -> tuple[Path, Path]:
    """Return where a finished shard's index rows and its facts wait to be merged."""
    parts = store / PARTS_FOLDER
    return parts / f"{number:05d}.parquet", parts / f"{number:05d}.json"


def notes_path(store: Path, number: int | None) -> Path:
    """Return where it is noted which files a finished shard, or what is held out, came from."""
    name = "held-out" if number is None else f"{number:05d}"
    return store / PARTS_FOLDER / f"{name}.source-files.parquet"


def write_notes(path: Path, table: pa.Table) -> None:
    """Write what files looked like; see `ecgjepa.store.source_files`."""
    with replacing(path) as stream:
        pq.write_table(table, stream, compression="zstd")


def read_notes(path: Path) -> pa.Table | None:
    """Return what files looked like, or None where nobody noted it."""
    return pq.read_table(path, schema=FILES_SCHEMA) if path.is_file() else None


def is_written(store: Path, number: int, codec: Codec) -> bool:
    """Return whether a shard and its parts are complete."""
    rows, facts = part_paths(store, number)
    return facts.is_file() and rows.is_file() and (store / shard_name(number, codec)).is_file()


def forget_shard(store: Path, number: int, codec: Codec) -> None:
    """Remove a finished shard and its parts; the file that marks it as complete goes first."""
    rows, facts = part_paths(store, number)
    for path in (facts, rows, notes_path(store, number), store / shard_name(number, codec)):
        path.unlink(missing_ok=True)


def read_part(store: Path, number: int) -> tuple[pa.Table, dict[str, Any]]:
    """Return a finished shard's index rows and facts."""
    rows, facts = part_paths(store, number)
    return pq.read_table(rows), json.loads(facts.read_text(encoding="utf-8"))
