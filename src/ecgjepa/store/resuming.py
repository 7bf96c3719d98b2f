"""What lies in a store's folder already: the same request, made from files as they are now?"""

import logging
import shutil
from pathlib import Path

from ecgjepa.errors import StoreError
from ecgjepa.files import remove_partial, write_json
from ecgjepa.store.manifest import (
    HELD_OUT_FILE,
    SOURCE_FILES,
    Manifest,
    SkippedRecord,
    read_manifest,
)
from ecgjepa.store.merge import (
    PLAN_FILE,
    DatabaseFacts,
    PlanFacts,
    read_plan,
    refuse_foreign,
)
from ecgjepa.store.shard_plan import ShardPlan
from ecgjepa.store.shards import (
    PARTS_FOLDER,
    forget_shard,
    is_written,
    notes_path,
    read_notes,
    write_notes,
)
from ecgjepa.store.source_files import Changes, find_changes
from ecgjepa.version import __version__

logger = logging.getLogger(__name__)

_NOT_NOTED = (
    "%s was made by a version of ecgjepa that did not note what the files were like; whether they "
    "have changed since is not known. It is used as it is"
)


def check_finished(store: Path, plan: ShardPlan) -> None:
    """Make sure that a finished store answers a request, and that its files have not changed.

    Raises:
        StoreError: If it is of other records or settings, or files hold something else now.
    """
    manifest = read_manifest(store)
    if not plan.answers(manifest.plan, manifest.software_version):
        raise StoreError(
            f"{store}: holds a finished store of other records or "
            f"settings{_how_other(manifest, plan)}; choose another folder or remove this one"
        )
    _report_version(store, manifest.software_version)
    if words := outdated(store, plan):
        raise StoreError(f"{words}; choose another folder, or remove this one and prepare it again")


def _how_other(manifest: Manifest, plan: ShardPlan) -> str:
    """Return in what a finished store differs from a request, as far as its manifest tells."""
    asked = plan.settings
    before, now = manifest.preprocessing.model_dump(), asked.preprocessing.model_dump()
    pairs = {name.replace("_", " "): (before[name], now[name]) for name in now}
    pairs["codec"] = (manifest.codec, asked.codec)
    listings = {listing.database: listing for listing in plan.listings}
    pairs["databases"] = (", ".join(sorted(manifest.databases)), ", ".join(sorted(listings)))
    for name in listings.keys() & manifest.databases.keys():
        summary, listing = manifest.databases[name], listings[name]
        pairs[f"records of {name}"] = (summary.listed, len(listing))
        pairs[f"labels of {name}"] = (
            ", ".join(summary.label_columns),
            ", ".join(listing.label_columns),
        )
    found = [
        f"{name} ({there or 'none'} there, {here or 'none'} asked for)"
        for name, (there, here) in pairs.items()
        if there != here
    ]
    return f", which differs in {'; '.join(found)}" if found else ""


def outdated(store: Path, plan: ShardPlan) -> str:
    """Return in words how files differ from those a finished store was made from, or nothing.

    Files that were only copied, moved or touched are noted anew.
    """
    noted = read_notes(store / SOURCE_FILES)
    if noted is None:
        logger.warning(_NOT_NOTED, store)
        return ""
    changes = find_changes(noted, plan.roots, plan.hidden_paths)
    if changes.changed:
        return f"{store}: was made from files that have changed since: {changes.describe()}"
    _note_anew(store / SOURCE_FILES, changes)
    return ""


def check_interrupted(store: Path, plan: ShardPlan, found: PlanFacts) -> None:
    """Make sure that an unfinished store answers a request.

    Raises:
        StoreError: If it is of other records or settings.
    """
    if not plan.answers(found.plan, found.software_version):
        raise StoreError(
            f"{store}: an interrupted prepare of other records or settings lies here; remove "
            "the folder, or repeat that request to finish it"
        )
    if found.software_version is not None:
        _report_version(store, found.software_version)


def forget_outdated(store: Path, plan: ShardPlan, numbers: list[int], *, is_alone: bool) -> None:
    """Forget finished shards, and what is held out, where their files have changed since.

    Args:
        store: Folder of an unfinished store.
        plan: What it will hold.
        numbers: Shards that are this job's to write.
        is_alone: Whether no other job writes here.

    Raises:
        StoreError: If what is held out has changed while several jobs write shards.
    """
    codec = plan.settings.codec
    written = [number for number in numbers if is_written(store, number, codec)]
    changes = _changes(notes_path(store, None), plan)
    if changes is None and written:
        logger.warning(_NOT_NOTED, f"what lies in {store}")
    if changes is not None and changes.changed:
        if not is_alone:
            raise StoreError(
                f"{store}: left-out records have changed since the first job looked at them: "
                f"{changes.describe()}; remove the folder and start all jobs again"
            )
        logger.warning(
            "left-out records have changed since this store was begun: %s; it is begun again",
            changes.describe(),
        )
        (store / HELD_OUT_FILE).unlink(missing_ok=True)
        for number in written:
            forget_shard(store, number, codec)
        return
    for number in written:
        changes = _changes(notes_path(store, number), plan)
        if changes is not None and changes.changed:
            logger.warning(
                "files have changed since shard %d was written: %s; it is written again",
                number,
                changes.describe(),
            )
            forget_shard(store, number, codec)


def facts_of(plan: ShardPlan) -> PlanFacts:
    """Return what is written down of a plan while its store is being made."""
    left_out = {listing.database: len(listing) for listing in plan.left_out}
    databases = [
        DatabaseFacts(
            database=listing.database,
            listed=len(listing) + len(listing.refused),
            absent=len(listing.absent),
            left_out=left_out.get(listing.database, 0),
            refused=tuple(SkippedRecord(**skip._asdict()) for skip in listing.refused),
            training_folds=listing.training_folds,
            held_out_folds=listing.held_out_folds,
            highpass_hz=listing.highpass_hz,
            notices=listing.notices,
            devices=listing.devices(),
            label_columns=listing.label_columns,
            hashed_folds=listing.hashed_folds,
        )
        for listing in plan.listings
    ]
    return PlanFacts(
        plan=plan.digest(),
        software_version=__version__,
        num_shards=plan.num_shards,
        codec=plan.settings.codec,
        preprocessing=plan.settings.preprocessing,
        databases=tuple(databases),
    )


def claim(store: Path, plan: ShardPlan, *, clean: bool) -> None:
    """Mark the folder as ours, or make sure that an interrupted run had the same request.

    Args:
        store: The folder.
        plan: What is to be written.
        clean: Whether nobody else works here, so that unfinished files are of nobody.

    Raises:
        StoreError: If the folder holds something else.
    """
    if (found := read_plan(store)) is not None:
        check_interrupted(store, plan, found)
        if clean:
            remove_partial(store)
            remove_partial(store / PARTS_FOLDER)
        return
    refuse_foreign(store)
    facts = facts_of(plan)
    try:
        write_json(store / PARTS_FOLDER / PLAN_FILE, facts.model_dump(mode="json"))
    except OSError:
        release(store, clean=clean)
        raise


def release(store: Path, *, clean: bool) -> None:
    """After a failure, keep finished shards for the next run, but nothing else."""
    if not clean:  # other jobs of the array are at work here
        return
    remove_partial(store)
    if not any(store.glob("shard-*")):
        shutil.rmtree(store / PARTS_FOLDER, ignore_errors=True)
        (store / HELD_OUT_FILE).unlink(missing_ok=True)
        if store.is_dir() and not any(store.iterdir()):
            store.rmdir()


def _changes(path: Path, plan: ShardPlan) -> Changes | None:
    noted = read_notes(path)
    if noted is None:
        return None
    changes = find_changes(noted, plan.roots, plan.hidden_paths)
    _note_anew(path, changes)
    return changes


def _note_anew(path: Path, changes: Changes) -> None:
    """Write down the sizes and times of now, so that the next comparison is quick."""
    if changes.is_refreshed:
        try:
            write_notes(path, changes.table)
        except OSError as error:  # a store may be there to be read only
            logger.info("%s cannot be written anew: %s", path, error)


def _report_version(store: Path, version: str) -> None:
    if version != __version__:
        logger.warning(
            "%s was made by ecgjepa %s; this is %s. What lies there is used as it is",
            store,
            version,
            __version__,
        )
