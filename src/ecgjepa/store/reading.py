"""Read a finished store: the index as arrays, samples by threads straight into a buffer."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Int16, Int64

from ecgjepa.errors import StoreError
from ecgjepa.signals.units import INVALID_MICROVOLT
from ecgjepa.store.codecs import check_codec, decode
from ecgjepa.store.manifest import INDEX_FILE, Manifest, read_manifest, store_fingerprint
from ecgjepa.store.statistics import LeadStatistics, lead_statistics

_SUMS = ("valid_count", "sum_microvolt", "sum_squares_microvolt")
_PLACE = ("database", "fold", "shard", "offset", "num_samples")


class Store:
    """A finished store, open for reading.

    Attributes:
        path: Its folder.
        manifest: What it says of itself.
        num_threads: Threads that read one batch.
        database_number: Per record, the place of its database in ``manifest.databases``.
        fold: Per record; -1 where it has none.
        num_samples: Per record.

    Example:
        >>> import ecgjepa
        >>> with ecgjepa.Store("data/store") as store:
        ...     store.read_record(0).shape
        (1000, 12)
    """

    def __init__(self, path: str | Path, *, num_threads: int | None = None) -> None:
        """Open a store.

        Args:
            path: Folder of the store.
            num_threads: Threads that read one batch; by default the number of CPUs, at most 8.

        Raises:
            StoreError: If it is missing, incomplete, damaged or of another format version.
        """
        self.path = Path(path)
        self.manifest: Manifest = read_manifest(self.path)
        self.num_threads = num_threads or min(8, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self.num_threads) if self.num_threads > 1 else None
        self._opening = Lock()
        self._read_index()

    def __enter__(self) -> "Store":
        """Return the open store."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Return place, databases and size on one line."""
        names = ", ".join(self.manifest.databases)
        return (
            f"Store({str(self.path)!r}: {names}; {len(self):,} records of {self.num_leads} leads "
            f"at {self.sampling_rate:g} Hz)"
        )

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.num_samples)

    @property
    def num_leads(self) -> int:
        """Leads per record."""
        return len(self.manifest.preprocessing.leads)

    @property
    def sampling_rate(self) -> float:
        """Samples per second of every record."""
        return self.manifest.preprocessing.sampling_rate

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 that changes whenever anything in the store does."""
        return store_fingerprint(self.path)

    def table(self) -> pd.DataFrame:
        """Return ids, patients, folds, labels and issues of all records, one row each."""
        schema = pq.read_schema(self._index_path())
        return pq.read_table(
            self._index_path(), columns=[name for name in schema.names if name not in _SUMS]
        ).to_pandas()

    def statistics(self, rows: Int64[np.ndarray, " chosen"]) -> LeadStatistics:
        """Return exact per-lead mean and standard deviation, in mV, of the chosen records."""
        return lead_statistics(pq.read_table(self._index_path(), columns=list(_SUMS)).take(rows))

    def read(
        self,
        rows: Int64[np.ndarray, " batch"],
        starts: Int64[np.ndarray, " batch"],
        out: Int16[np.ndarray, "batch samples leads"],
    ) -> None:
        """Fill ``out`` with one window per row, beginning at its start sample.

        A window that runs past the end of its record is filled up with the invalid marker.

        Args:
            rows: Records, in any order.
            starts: First sample of each window, 0 or more.
            out: C-contiguous, so that threads can fill it in place.

        Raises:
            StoreError: If a shard is missing or shorter than the index says.
        """
        assert out.flags.c_contiguous, "Store.read fills contiguous buffers only"
        if not out.size:
            return
        self._open(rows)
        # In the order of the files, neighbouring reads share pages, and each thread has a region.
        order = np.lexsort((self._offset[rows], self._shard[rows]))
        num_parts = self.num_threads if len(rows) >= 4 * self.num_threads else 1
        fill = self._read_raw if self.manifest.codec == "raw" else self._read_packed
        if self._pool is None or num_parts == 1:
            fill(rows, starts, out, order)
            return
        jobs = [
            self._pool.submit(fill, rows, starts, out, chosen)
            for chosen in np.array_split(order, num_parts)
        ]
        for job in jobs:
            job.result()

    def read_record(self, row: int) -> Int16[np.ndarray, "samples leads"]:
        """Return all samples of one record, in µV, -32768 where invalid."""
        out = np.empty((1, int(self.num_samples[row]), self.num_leads), np.int16)
        self.read(np.array([row], np.int64), np.zeros(1, np.int64), out)
        return out[0]

    def close(self) -> None:
        """Close the shard files and stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()
        for descriptor in self._descriptors[self._descriptors >= 0].tolist():
            os.close(descriptor)
        self._descriptors[:] = -1

    def _read_index(self) -> None:
        """Load where each record lies: 24 bytes a record, and no Python object for any."""
        manifest = self.manifest
        check_codec(manifest.codec)
        is_packed = manifest.codec != "raw"
        try:
            columns = [*_PLACE, "num_bytes"] if is_packed else list(_PLACE)
            table = pq.read_table(self._index_path(), columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"{self._index_path()} is damaged: {error}") from None
        if len(table) != manifest.num_records:
            raise StoreError(
                f"{self.path}: index has {len(table)} rows, the manifest {manifest.num_records}"
            )
        number = pc.index_in(table["database"], value_set=pa.array(manifest.databases, pa.string()))
        self._shard_names = sorted(manifest.shards)
        self._descriptors = np.full(len(self._shard_names), -1)
        self._shard = table["shard"].to_numpy()
        self._offset = table["offset"].to_numpy()
        self._num_bytes = table["num_bytes"].to_numpy() if is_packed else None
        self.fold: Int16[np.ndarray, " records"] = pc.fill_null(table["fold"], -1).to_numpy()
        self.num_samples: Int64[np.ndarray, " records"] = (
            table["num_samples"].to_numpy().astype(np.int64)
        )
        if number.null_count or self._shard.max(initial=-1) >= len(self._shard_names):
            raise StoreError(f"{self.path}: index and manifest differ in databases or shards")
        self.database_number: Int16[np.ndarray, " records"] = number.to_numpy().astype(np.int16)

    def _index_path(self) -> Path:
        path = self.path / INDEX_FILE
        if not path.is_file():
            raise StoreError(f"{self.path}: {INDEX_FILE} is missing; prepare the store again")
        return path

    def _open(self, rows: Int64[np.ndarray, " batch"]) -> None:
        with self._opening:
            numbers = np.unique(self._shard[rows])
            for number in numbers[self._descriptors[numbers] < 0].tolist():
                path = self.path / self._shard_names[number]
                try:
                    self._descriptors[number] = os.open(path, os.O_RDONLY)
                except FileNotFoundError:
                    raise StoreError(f"{path} is missing; prepare the store again") from None

    # --- one function per codec: fill out[i] from rows[i] and starts[i], for each i in chosen ---

    def _read_raw(
        self,
        rows: Int64[np.ndarray, " batch"],
        starts: Int64[np.ndarray, " batch"],
        out: Int16[np.ndarray, "batch samples leads"],
        chosen: Int64[np.ndarray, " chosen"],
    ) -> None:
        """Read uncompressed windows; ``preadv`` fills the buffer and lets other threads run."""
        frame = 2 * self.num_leads
        rows, starts = rows[chosen], starts[chosen]
        available = np.clip(self.num_samples[rows] - starts, 0, out.shape[1])
        for short in np.flatnonzero(available < out.shape[1]).tolist():
            out[chosen[short], available[short] :] = INVALID_MICROVOLT
        buffer = out.data.cast("B")
        begin = chosen * (out.shape[1] * frame)
        windows = [
            window
            for window in zip(
                begin.tolist(),
                (begin + available * frame).tolist(),
                self._descriptors[self._shard[rows]].tolist(),
                (self._offset[rows] + starts * frame).tolist(),
                strict=True,
            )
            if window[1] > window[0]
        ]
        for first, last, descriptor, position in _read_cached(windows, buffer):
            if os.preadv(descriptor, [buffer[first:last]], position) != last - first:
                number = int(np.flatnonzero(self._descriptors == descriptor)[0])
                raise StoreError(
                    f"{self.path / self._shard_names[number]}: ends within {last - first} bytes "
                    f"at {position}; the shard is truncated. Run 'ecgjepa verify {self.path}'"
                )

    def _read_packed(
        self,
        rows: Int64[np.ndarray, " batch"],
        starts: Int64[np.ndarray, " batch"],
        out: Int16[np.ndarray, "batch samples leads"],
        chosen: Int64[np.ndarray, " chosen"],
    ) -> None:
        """Unpack whole records and take the windows from them; unpacking lets threads run."""
        assert self._num_bytes is not None, "loaded for packed stores"
        for place in chosen.tolist():
            row, start = int(rows[place]), int(starts[place])
            number = self._shard[row]
            content = os.pread(
                self._descriptors[number], self._num_bytes[row], int(self._offset[row])
            )
            try:
                record = decode(content, self.manifest.codec, self.num_leads)
            except StoreError as error:
                raise StoreError(
                    f"{self.path / self._shard_names[number]}: {error}. "
                    f"Run 'ecgjepa verify {self.path}'"
                ) from None
            window = record[start : start + out.shape[1]]
            out[place, : len(window)] = window
            out[place, len(window) :] = INVALID_MICROVOLT


def _read_cached(
    windows: list[tuple[int, int, int, int]], buffer: memoryview
) -> list[tuple[int, int, int, int]]:
    """Read the windows that the system holds in memory; announce the others and return them.

    So a disk works on many windows at a time, which makes cold reads about twice as fast with one
    or two threads, and warm reads pay nothing for it.
    """
    if not hasattr(os, "RWF_NOWAIT"):  # Linux has it
        return windows
    missing = []
    for window in windows:
        first, last, descriptor, position = window
        try:
            got = os.preadv(descriptor, [buffer[first:last]], position, os.RWF_NOWAIT)
        except OSError:  # nothing of it is in memory, or the file system cannot tell
            got = 0
        if got < last - first:
            os.posix_fadvise(descriptor, position, last - first, os.POSIX_FADV_WILLNEED)
            missing.append(window)
    return missing
