"""The records of a prepared store as inputs of a model: no file is read and filtered again."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from ecgjepa.errors import InputError, RecordError
from ecgjepa.signals.acceptance import Usable, prepare_each
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.signals.record import Issue, IssueCode, Record
from ecgjepa.signals.units import INVALID_MICROVOLT

if TYPE_CHECKING:
    from ecgjepa.store.manifest import Manifest
    from ecgjepa.store.reading import Store

STORE_FILES = ("manifest.json", "index.parquet")
# What the stored samples tell as well as the file did.
_NOTICED_AGAIN = {
    "invalid_lead",
    "flat_lead",
    "noisy_lead",
    "low_quality",
    "implausible_amplitude",
    "limb_lead_residual",
    "electrode_hint",
    "short_record",
}


def is_store(path: Path) -> bool:
    """Return whether a folder is a prepared store."""
    return all((path / name).is_file() for name in STORE_FILES)


class StoredRecords:
    """The records of one store, in the order of its index.

    Attributes:
        path: Folder of the store.
    """

    def __init__(self, path: Path, names: list[str] | None = None, offset: int = 0) -> None:
        """Remember where the store is; it is opened when its records are asked for.

        Args:
            path: Folder of the store.
            names: Some of its records, one after the other; None for all.
            offset: Records before these.
        """
        self.path = path
        self._offset = offset
        if names is not None:
            self.names = names

    def part(self, first: int, stop: int) -> "StoredRecords":
        """Return some of the records, from one to before another."""
        return StoredRecords(self.path, self.names[first:stop], self._offset + first)

    @cached_property
    def names(self) -> list[str]:
        """A name for each record: ``STORE#DATABASE/RECORD``."""
        from ecgjepa.store.reading import Store

        with Store(self.path, num_threads=1) as store:
            table = store.table()
        records = zip(table["database"], table["record_id"], strict=True)
        return [f"{self.path}#{database}/{record}" for database, record in records]

    def usable(
        self, config: PreprocessingConfig, first: int, sets: Sequence[tuple[str, ...]]
    ) -> Iterator[tuple[str, Usable | RecordError]]:
        """Yield the records from the first on, prepared as the model needs them.

        Raises:
            InputError: If the store was not prepared as the model needs it.
            StoreError: If the store is damaged.
        """
        from ecgjepa.store.reading import Store

        with Store(self.path, num_threads=1) as store:
            _refuse_other_preparation(self.path, store.manifest, config)
            # The rest was done when the store was prepared, and would be done twice.
            rest = config.model_copy(update={"highpass_hz": None, "max_gap_seconds": 0.0})
            yield from prepare_each(self._records(store, first), rest, sets)

    def _records(self, store: "Store", first: int) -> Iterator[tuple[str, Record]]:
        noted = store.table()["issues"].tolist()
        for row, name in enumerate(self.names[first:], start=self._offset + first):
            yield name, _record(name, store, row, list(noted[row]))


def _record(name: str, store: "Store", row: int, noted: Sequence[str]) -> Record:
    samples = store.read_record(row)
    valid = samples != INVALID_MICROVOLT
    signal = np.where(valid, samples, np.int16(0)).astype(np.float32) / np.float32(1000.0)
    return Record(
        signal=signal,
        valid=valid,
        leads=store.manifest.preprocessing.leads,
        sampling_rate=store.sampling_rate,
        record_id=name[len(str(store.path)) + 1 :],
        source=name,
        issues=tuple(_kept(noted)),
    )


def _kept(noted: Sequence[str]) -> Iterator[Issue]:
    """Yield what only the file could tell."""
    for text in noted:
        code, _, lead = text.partition(":")
        if code not in _NOTICED_AGAIN:
            yield Issue(cast(IssueCode, code), "noted when the store was prepared", lead or None)


def _refuse_other_preparation(
    path: Path, manifest: "Manifest", expected: PreprocessingConfig
) -> None:
    found = manifest.preprocessing
    differ = [
        f"{name} {getattr(found, name)} there, {getattr(expected, name)} of the model"
        for name in sorted(set(type(expected).model_fields) - {"highpass_hz"})
        if getattr(found, name) != getattr(expected, name)
    ]
    differ += [
        f"highpass_hz {summary.highpass_hz} of {database} there, {expected.highpass_hz} of the "
        "model"
        for database, summary in manifest.databases.items()
        if summary.highpass_hz != expected.highpass_hz
    ]
    if differ:
        raise InputError(
            f"{path}: was not prepared as this model needs it: {'; '.join(differ)}. Name the "
            "folder of the files in its place, or prepare a store as the model needs it"
        )
