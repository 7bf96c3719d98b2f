"""Databases in, store out: deterministic, atomic, resumable and parallel, shard by shard."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ecgjepa.databases.folds import Folds
from ecgjepa.databases.sheets.columns import SheetOptions
from ecgjepa.errors import StoreError
from ecgjepa.files import PARTIAL_PREFIX
from ecgjepa.locks import holding, working_in
from ecgjepa.signals.acceptance import ON_BAD, OnBad
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.codecs import Codec, check_codec
from ecgjepa.store.held_out import write_held_out
from ecgjepa.store.manifest import HELD_OUT_FILE, MANIFEST_FILE, Manifest
from ecgjepa.store.merge import finish, read_plan, refuse_foreign
from ecgjepa.store.resuming import (
    check_finished,
    claim,
    forget_outdated,
    outdated,
    release,
)
from ecgjepa.store.shard_plan import (
    RECORDS_PER_SHARD,
    Settings,
    ShardPlan,
    make_plan,
    shard_numbers,
)
from ecgjepa.store.shards import PARTS_FOLDER, is_written, notes_path, write_notes
from ecgjepa.store.writing import write_shards

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


def prepare(
    databases: Mapping[str, str | Path],
    store: str | Path,
    *,
    tables: Mapping[str, str | Path] | None = None,
    labels: Sequence[str] = (),
    divide: str = "auto",
    patient: str | None = None,
    file: str | None = None,
    descriptions: Mapping[str, str | Path] | None = None,
    folds: Folds = "train",
    preprocessing: PreprocessingConfig | None = None,
    records_per_shard: int = RECORDS_PER_SHARD,
    codec: Codec = "raw",
    on_bad: OnBad = "skip",
    workers: int | None = None,
    pseudonymise: str | Path | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Read databases into a store and return its manifest.

    Run again after an interruption, it resumes where it stopped, and writes again what was made
    from files that have changed since; run again on a finished store of the same request and files,
    it returns at once. The same input gives the same bytes, however many workers there are.

    Args:
        databases: Name to folder, e.g. ``{"ptb-xl": "data/ptb-xl"}``. A name that is not a known
            database's is an archive of your own.
        store: Folder to write.
        tables: Name of such an archive to the table that describes its records.
        labels: Columns of these tables that are labels; by default, those that look like it.
        divide: Signs at which cells with several labels are divided, or ``none``.
        patient: Column of these tables that tells the patient, whatever its name.
        file: Column of these tables that names the record's file, likewise.
        descriptions: Name of such an archive to the file that tells rate, unit and leads of its
            arrays and tables, in place of those beside them.
        folds: ``train`` keeps each database's training folds (for pre-training), ``all`` every
            record (for evaluation), or a list of folds. Unless it is ``all``, copies of records in
            the other folds are refused, under whatever name they come.
        preprocessing: What is done to each record; 500 Hz and 12 leads by default.
        records_per_shard: 2,048 ten-second records at 500 Hz are 246 MB.
        codec: ``raw``, or ``pcodec`` for about a third of the space and slower reading.
        on_bad: ``skip`` counts and lists records that cannot be used, ``raise`` stops at the
            first, ``mask`` marks damaged leads and missing ends invalid where that is enough.
        workers: Shards that are written at a time, by processes of this machine unless
            `joblib.parallel_config` names another backend; by default one for each CPU, fewer for
            few records. With 1, no process is started.
        pseudonymise: File with a key, made if there is none: keyed hashes take the place of the ids
            of records and patients, and no name of a file is in the store.
        progress: Called with (records done, records in all).

    Raises:
        DatabaseError: If a folder is not what its name says.
        StoreError: If ``store`` holds something else or what these files held before they changed,
            another process is at work in it, or nothing is left to store.
        RecordError: At the first unusable record, with ``on_bad="raise"``; if a description is not
            as expected.
        EngineError: If the workers fail again and again.

    Example:
        >>> import ecgjepa
        >>> manifest = ecgjepa.prepare(
        ...     {"ptb-xl": "data/ptb-xl"},
        ...     "data/store",
        ...     preprocessing=ecgjepa.PreprocessingConfig(sampling_rate=100),
        ... )
        >>> manifest.databases["ptb-xl"].folds
        (1, 2, 3, 4, 5, 6, 7, 8)
    """
    settings = _settings(preprocessing, records_per_shard, on_bad, codec)
    plan = make_plan(
        databases, folds, settings, tables, labels=labels, descriptions=descriptions,
        sheets=SheetOptions(divide, patient, file), key_file=pseudonymise,
    )  # fmt: skip
    store = Path(store)
    with _working_on(store, (1, 1)):
        _write(plan, store, (1, 1), workers, progress)
        return finish(store)


def prepare_share(
    databases: Mapping[str, str | Path],
    store: str | Path,
    share: tuple[int, int],
    *,
    tables: Mapping[str, str | Path] | None = None,
    labels: Sequence[str] = (),
    divide: str = "auto",
    patient: str | None = None,
    file: str | None = None,
    descriptions: Mapping[str, str | Path] | None = None,
    folds: Folds = "train",
    preprocessing: PreprocessingConfig | None = None,
    records_per_shard: int = RECORDS_PER_SHARD,
    codec: Codec = "raw",
    on_bad: OnBad = "skip",
    workers: int | None = None,
    pseudonymise: str | Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a part of a store's shards, for the jobs of an array; `merge` then makes the store.

    Args:
        databases: As for `prepare`, like all that is not named here.
        store: Folder to write, the same for all jobs.
        share: ``(i, n)`` for the i-th of n jobs, from 1.
        tables: See `prepare`.
        labels: See `prepare`.
        divide: See `prepare`.
        patient: See `prepare`.
        file: See `prepare`.
        descriptions: See `prepare`.
        folds: See `prepare`.
        preprocessing: See `prepare`.
        records_per_shard: See `prepare`.
        codec: See `prepare`.
        on_bad: See `prepare`.
        workers: See `prepare`.
        pseudonymise: See `prepare`; all jobs need the same key.
        progress: See `prepare`; the counts are of this share.

    Raises:
        DatabaseError: As `prepare`.
        StoreError: As `prepare`, or if there is no such share.
        RecordError: As `prepare`.

    Example:
        >>> import ecgjepa
        >>> for share in [(1, 2), (2, 2)]:
        ...     ecgjepa.prepare_share(
        ...         {"ptb-xl": "data/ptb-xl"}, "data/shared", share, records_per_shard=100
        ...     )
    """
    settings = _settings(preprocessing, records_per_shard, on_bad, codec)
    plan = make_plan(
        databases, folds, settings, tables, labels=labels, descriptions=descriptions,
        sheets=SheetOptions(divide, patient, file), key_file=pseudonymise,
    )  # fmt: skip
    list(shard_numbers(plan.num_shards, share))  # Refuses what is not a share.
    with _working_on(Path(store), share):
        _write(plan, Path(store), share, workers, progress)


def _settings(
    preprocessing: PreprocessingConfig | None, records_per_shard: int, on_bad: OnBad, codec: Codec
) -> Settings:
    if on_bad not in ON_BAD:
        raise StoreError(f"on_bad is {on_bad!r}; expected {', '.join(ON_BAD)}")
    check_codec(codec)
    return Settings(preprocessing or PreprocessingConfig(), records_per_shard, on_bad, codec)


def prepare_cached(
    databases: Mapping[str, str | Path],
    cache: str | Path,
    *,
    folds: Folds,
    preprocessing: PreprocessingConfig,
    progress: Progress | None = None,
) -> Path:
    """Prepare into a folder below ``cache`` named for the request, and return that folder.

    Every record gets the same preprocessing: no database gets a filter of its own.

    The same request of the same folders finds its store again; another one gets another folder. A
    store whose files have changed since is made anew. Of several processes with the same request
    one prepares, and the others wait for it.
    """
    plan = make_plan(databases, folds, Settings(preprocessing), own_filters=False)
    roots = {name: str(root.resolve()) for name, root in sorted(plan.roots.items())}
    key = hashlib.sha256(json.dumps([plan.digest(), roots]).encode()).hexdigest()[:12]
    store = Path(cache) / f"{'-'.join(sorted(databases))}-{key}"
    with holding(Path(cache) / "locks" / store.name, wait=True):
        if (store / MANIFEST_FILE).is_file() and (words := outdated(store, plan)):
            logger.warning("%s; the records are prepared again", words)
            # In one step: half a store must not stay if this process is killed.
            old = store.replace(store.with_name(f"{PARTIAL_PREFIX}{os.getpid()}-{store.name}"))
            shutil.rmtree(old)
        if not (store / MANIFEST_FILE).is_file():
            names = ", ".join(sorted(databases))
            logger.info("preparing %s records of %s, once", f"{plan.num_records:,}", names)
        with _working_on(store, (1, 1)):
            _write(plan, store, (1, 1), None, progress)
            finish(store)
    return store


@contextmanager
def _working_on(store: Path, share: tuple[int, int]) -> Iterator[None]:
    """Keep other processes out of an unfinished store; jobs of an array share it."""
    if (store / MANIFEST_FILE).is_file():  # It may lie on a disk that cannot be written to.
        yield
        return
    if read_plan(store) is None:
        refuse_foreign(store)
    is_alone = share == (1, 1)
    with working_in(store, StoreError, "another prepare", shared=not is_alone):
        if is_alone:
            yield
            return
        with holding(store / PARTS_FOLDER / f"share-{share[0]}-of-{share[1]}.lock") as is_ours:
            if not is_ours:
                raise StoreError(
                    f"{store}: another process is at work on share {share[0]}/{share[1]} already"
                )
            yield


def _write(
    plan: ShardPlan,
    store: Path,
    share: tuple[int, int],
    workers: int | None,
    progress: Progress | None,
) -> None:
    """Write a share of a plan's shards, unless the store is finished."""
    numbers = list(shard_numbers(plan.num_shards, share))
    if (store / MANIFEST_FILE).is_file():
        check_finished(store, plan)
        return
    is_alone = share == (1, 1)
    claim(store, plan, clean=is_alone)
    forget_outdated(store, plan, numbers, is_alone=is_alone)
    for listing in plan.listings:
        for notice in listing.notices:
            logger.warning("%s: %s", listing.database, notice)
    try:
        _write_missing(plan, store, numbers, workers, progress)
    except BaseException:
        release(store, clean=is_alone)
        raise


def _write_missing(
    plan: ShardPlan, store: Path, numbers: list[int], workers: int | None, progress: Progress | None
) -> None:
    """Write what is not written yet: first the left-out records' looks, then the shards."""
    held_out = store / HELD_OUT_FILE
    notes = notes_path(store, None)
    if not (held_out.is_file() and notes.is_file()):  # killed between the two, or before
        write_notes(notes, write_held_out(held_out, plan.left_out, plan.settings.preprocessing))
    missing = [n for n in numbers if not is_written(store, n, plan.settings.codec)]
    sizes = {number: len(plan.job(store, number)) for number in numbers}
    total = sum(sizes.values())
    done = total - sum(sizes[number] for number in missing)
    if progress and done:
        progress(done, total)

    def count(number: int) -> None:
        nonlocal done
        done += number
        if progress:
            progress(done, total)

    write_shards(plan, store, missing, workers, count)
