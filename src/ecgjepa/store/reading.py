"""Read a finished store: the index as a table, samples by threads straight into a buffer."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from jaxtyping import Int16, Int64

from ecgjepa.errors import StoreError
from ecgjepa.signals.units import INVALID_MICROVOLT
from ecgjepa.store.codecs import shard_name
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
        self._files: dict[int, int] = {}
        self._pool = ThreadPoolExecutor(self.num_threads) if self.num_threads > 1 else None
        place = pq.read_table(self._index_path(), columns=list(_PLACE)).to_pandas()
        if len(place) != self.manifest.num_records:
            raise StoreError(
                f"{self.path}: index has {len(place)} rows, the manifest "
                f"{self.manifest.num_records}"
            )
        self.database: np.ndarray = place["database"].to_numpy(dtype=object)
        self.fold: np.ndarray = place["fold"].fillna(-1).to_numpy(dtype=np.int16)
        self.num_samples: Int64[np.ndarray, " records"] = place["num_samples"].to_numpy(np.int64)
        self._shard = place["shard"].to_numpy(np.int64)
        self._offset = place["offset"].to_numpy(np.int64)

    def __enter__(self) -> "Store":
        """Return the open store."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

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

        Raises:
            StoreError: If a shard is missing or shorter than the index says.
        """
        self._open(rows)
        if self._pool is None or len(rows) < 4 * self.num_threads:
            self._read_some(rows, starts, out)
            return
        edges = np.linspace(0, len(rows), self.num_threads + 1).astype(int)
        jobs = [
            self._pool.submit(self._read_some, rows[a:b], starts[a:b], out[a:b])
            for a, b in pairwise(edges)
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
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _index_path(self) -> Path:
        path = self.path / INDEX_FILE
        if not path.is_file():
            raise StoreError(f"{self.path}: {INDEX_FILE} is missing; prepare the store again")
        return path

    def _open(self, rows: Int64[np.ndarray, " batch"]) -> None:
        for number in np.unique(self._shard[rows]).tolist():
            if number not in self._files:
                path = self.path / shard_name(number)
                try:
                    self._files[number] = os.open(path, os.O_RDONLY)
                except FileNotFoundError:
                    raise StoreError(f"{path} is missing; prepare the store again") from None

    def _read_some(
        self,
        rows: Int64[np.ndarray, " some"],
        starts: Int64[np.ndarray, " some"],
        out: Int16[np.ndarray, "some samples leads"],
    ) -> None:
        """Read window after window; ``preadv`` fills the buffer and lets other threads run."""
        frame = 2 * self.num_leads
        for row, start, window in zip(rows, starts, out, strict=True):
            available = min(len(window), int(self.num_samples[row] - start))
            window[max(available, 0) :] = INVALID_MICROVOLT
            if available <= 0:
                continue
            wanted = available * frame
            position = int(self._offset[row] + start * frame)
            target = window[:available].reshape(-1).view(np.uint8)
            got = os.preadv(self._files[int(self._shard[row])], [target], position)
            if got != wanted:
                raise StoreError(
                    f"{self.path / shard_name(int(self._shard[row]))}: {got} of {wanted} bytes at "
                    f"{position}; the shard is truncated. Run 'ecgjepa verify {self.path}'"
                )
