"""Join finished shards into a store: the index, the statistics, and last the manifest.

Shards are taken in order and one at a time, so memory does not grow with their number.
"""

import logging
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float64

from ecgjepa.config import Section
from ecgjepa.errors import StoreError
from ecgjepa.files import (
    PARTIAL_PREFIX,
    remove_partial,
    replacing,
    sha256_of_file,
    write_json,
)
from ecgjepa.locks import LOCK_FILE, working_in
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.amplitudes import Amplitudes
from ecgjepa.store.codecs import Codec, shard_name
from ecgjepa.store.manifest import (
    FORMAT_VERSION,
    HELD_OUT_FILE,
    INDEX_FILE,
    MANIFEST_FILE,
    SOURCE_FILES,
    DatabaseSummary,
    Manifest,
    SkippedRecord,
    TableFacts,
    read_manifest,
)
from ecgjepa.store.shards import (
    PARTS_FOLDER,
    index_schema,
    is_written,
    notes_path,
    read_notes,
    read_part,
    write_notes,
)
from ecgjepa.store.source_files import join_notes
from ecgjepa.store.statistics import LeadSums
from ecgjepa.version import __version__

logger = logging.getLogger(__name__)
PLAN_FILE = "plan.json"
_ROWS_PER_GROUP = 65_536


class DatabaseFacts(TableFacts):
    """What a plan knows of one database; see `DatabaseSummary`."""

    database: str
    listed: int
    absent: int
    left_out: int
    refused: tuple[SkippedRecord, ...] = ()
    training_folds: tuple[int, ...] | None
    held_out_folds: tuple[int, ...]
    highpass_hz: float | None
    notices: tuple[str, ...]
    devices: dict[str, tuple[str, ...]] = {}  # noqa: RUF012


class PlanFacts(Section):
    """What lies in ``parts/plan.json`` while a store is being made: enough to finish it."""

    plan: str
    software_version: str | None = None
    num_shards: int
    codec: Codec
    preprocessing: PreprocessingConfig
    databases: tuple[DatabaseFacts, ...]


def read_plan(store: Path) -> PlanFacts | None:
    """Return the plan of an unfinished store, or None if there is none."""
    path = store / PARTS_FOLDER / PLAN_FILE
    return PlanFacts.model_validate_json(path.read_bytes()) if path.is_file() else None


def refuse_foreign(store: Path) -> None:
    """Refuse to write a store into a folder that holds something else.

    Raises:
        StoreError: If it does.
    """
    if not _is_free(store):
        raise StoreError(f"{store}: exists and is not a store; choose an empty or new folder")


def _is_free(store: Path) -> bool:
    """Return whether nothing is there, or no more than another job of the array just made."""
    if not store.is_dir():
        return not store.exists()
    found = [
        path
        for path in store.rglob("*")
        if not path.name.startswith(PARTIAL_PREFIX) and not path.name.endswith(LOCK_FILE)
    ]
    return found in ([], [store / PARTS_FOLDER])


def merge(store: str | Path) -> Manifest:
    """Finish a store whose shards were written by several ``prepare --shard i/n``.

    Args:
        store: Its folder.

    Returns:
        The manifest; that of the finished store if there is nothing left to do.

    Raises:
        StoreError: If a shard is missing or of the wrong size, no record could be used, or another
            process is at work in the folder.

    Example:
        >>> import ecgjepa
        >>> len(ecgjepa.merge("data/shared").shards)
        3
    """
    store = Path(store)
    if (store / MANIFEST_FILE).is_file() or read_plan(store) is None:
        return finish(store)
    with working_in(store, StoreError, "a prepare or merge"):
        return finish(store)


def finish(store: Path) -> Manifest:
    """Do what `merge` does in a folder that no other process works in.

    Raises:
        StoreError: As `merge`.
    """
    facts = None if (store / MANIFEST_FILE).is_file() else read_plan(store)
    if facts is None:
        manifest = read_manifest(store)
        shutil.rmtree(store / PARTS_FOLDER, ignore_errors=True)  # Its writer may have been killed.
        return manifest
    missing = [n for n in range(facts.num_shards) if not is_written(store, n, facts.codec)]
    if missing:
        some = ", ".join(map(str, missing[:8])) + (" …" if len(missing) > 8 else "")
        raise StoreError(
            f"{store}: {len(missing)} of {facts.num_shards} shards are not written yet ({some}); "
            "run the same prepare again, or its missing --shard i/n, and then merge"
        )
    remove_partial(store)
    remove_partial(store / PARTS_FOLDER)
    tallies = {facts.database: _Tally(facts) for facts in facts.databases}
    shards = _write_index(store, facts, tallies)
    _join_notes(store, facts)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        software_version=__version__,
        plan=facts.plan,
        preprocessing=facts.preprocessing,
        unit_microvolt=1,
        codec=facts.codec,
        num_records=sum(tally.stored for tally in tallies.values()),
        databases={name: tally.summary(facts) for name, tally in tallies.items()},
        shards=shards,
        index=sha256_of_file(store / INDEX_FILE),
        held_out=sha256_of_file(store / HELD_OUT_FILE),
    )
    write_json(store / MANIFEST_FILE, manifest.model_dump(mode="json"))
    shutil.rmtree(store / PARTS_FOLDER)
    return manifest


def _write_index(store: Path, facts: PlanFacts, tallies: dict[str, "_Tally"]) -> dict[str, str]:
    """Write the index and fill the tallies; return the shards' SHA-256 by file name."""
    shards: dict[str, str] = {}
    amplitudes = Amplitudes({each.database: each.devices for each in facts.databases})
    schema = index_schema(len(facts.preprocessing.leads))
    waiting: list[pa.Table] = []
    with (
        replacing(store / INDEX_FILE) as stream,
        pq.ParquetWriter(stream, schema, compression="zstd") as writer,
    ):
        for number in range(facts.num_shards):
            rows, part = read_part(store, number)
            name = shard_name(number, facts.codec)
            _check_size(store / name, part["num_bytes"])
            shards[name] = part["sha256"]
            amplitudes.add(rows)
            for tally in tallies.values():
                tally.add(rows, part["skipped"])
            waiting.append(rows)
            if sum(table.num_rows for table in waiting) >= _ROWS_PER_GROUP:
                writer.write_table(pa.concat_tables(waiting), _ROWS_PER_GROUP)
                waiting = []
        writer.write_table(pa.concat_tables([schema.empty_table(), *waiting]), _ROWS_PER_GROUP)
        _refuse_empty(store, tallies)
    for database, words in amplitudes.findings():
        logger.warning("%s: %s", database, words)
        tallies[database].notices.append(words)
    return shards


def _join_notes(store: Path, facts: PlanFacts) -> None:
    """Write what all files looked like, unless a part was written by a version that noted none."""
    parts = [read_notes(notes_path(store, number)) for number in (None, *range(facts.num_shards))]
    noted = [part for part in parts if part is not None]
    if len(noted) == len(parts):
        write_notes(store / SOURCE_FILES, join_notes(noted))


def _check_size(path: Path, expected: int) -> None:
    if (found := path.stat().st_size) != expected:
        raise StoreError(
            f"{path}: {found:,} bytes, but {expected:,} were written; remove it and run the same "
            "prepare again"
        )


def _refuse_empty(store: Path, tallies: dict[str, "_Tally"]) -> None:
    if any(tally.stored for tally in tallies.values()):
        return
    skips = [skip for tally in tallies.values() for skip in tally.quarantine]
    why = dict(Counter(skip.reason for skip in skips))
    raise StoreError(f"{store}: no record could be used: {why}; {skips[0].detail}")


@dataclass
class _Tally:
    """What is counted of one database while its shards go by."""

    facts: DatabaseFacts
    stored: int = 0
    num_samples: int = 0
    folds: set[int] = field(default_factory=set)
    issues: Counter[str] = field(default_factory=Counter)
    quarantine: list[SkippedRecord] = field(default_factory=list)
    training: LeadSums = field(default_factory=LeadSums)
    everything: LeadSums = field(default_factory=LeadSums)
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with what could not even be listed."""
        self.quarantine += self.facts.refused

    def add(self, rows: pa.Table, skipped: list[list[str]]) -> None:
        """Count the rows and skipped records of a shard that are this database's."""
        name = self.facts.database
        self.quarantine += [
            SkippedRecord(record_id=record_id, reason=reason, detail=detail)
            for database, record_id, reason, detail in skipped
            if database == name
        ]
        rows = rows.filter(pc.equal(rows["database"], name))
        self.stored += rows.num_rows
        self.num_samples += pc.sum(rows["num_samples"]).as_py() or 0
        self.folds |= set(pc.drop_null(rows["fold"]).to_pylist())
        for issues in rows["issues"].to_pylist():
            self.issues.update({issue.partition(":")[0] for issue in issues})
        self.everything.add(rows)
        if self.facts.training_folds is not None:
            held_out = pc.is_in(rows["fold"], pa.array(self.facts.held_out_folds, pa.int16()))
            self.training.add(rows.filter(pc.invert(held_out)))

    def summary(self, facts: PlanFacts) -> DatabaseSummary:
        """Return what the manifest says of the database."""
        statistics = self.training.statistics()
        if not statistics.mean.size:  # no folds, or no record of the training folds
            statistics = self.everything.statistics()
        num_leads = len(facts.preprocessing.leads)
        return DatabaseSummary(
            listed=self.facts.listed,
            stored=self.stored,
            seconds=self.num_samples / facts.preprocessing.sampling_rate,
            folds=tuple(sorted(self.folds)) or None,
            training_folds=self.facts.training_folds,
            held_out_folds=self.facts.held_out_folds,
            skipped=dict(sorted(Counter(skip.reason for skip in self.quarantine).items())),
            quarantine=tuple(self.quarantine),
            absent=self.facts.absent,
            left_out=self.facts.left_out,
            issues=dict(sorted(self.issues.items())),
            mean=_finite(statistics.mean, num_leads),
            std=_finite(statistics.std, num_leads),
            highpass_hz=facts.preprocessing.highpass_hz or self.facts.highpass_hz,
            notices=(*self.facts.notices, *self.notices),
            **{name: getattr(self.facts, name) for name in TableFacts.model_fields},
        )


def _finite(values: Float64[np.ndarray, " leads"], num_leads: int) -> tuple[float, ...]:
    """A lead that no record has is given 0, which JSON can hold and normalising treats as such."""
    return tuple(np.nan_to_num(values, nan=0.0).tolist()) or (0.0,) * num_leads
