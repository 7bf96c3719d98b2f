"""Prove that a store is what its manifest says, and that no held-out record got into it."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from ecgjepa.checking.duplicates import find_duplicates
from ecgjepa.checking.leaks import find_leaks
from ecgjepa.databases import list_records, ptb_xl
from ecgjepa.databases.pseudonyms import NOTICE
from ecgjepa.errors import StoreError
from ecgjepa.files import sha256_of_file
from ecgjepa.signals.lead_order import limb_lead_issues
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.measures import measure
from ecgjepa.store.amplitudes import findings_of_store
from ecgjepa.store.codecs import shard_name
from ecgjepa.store.manifest import (
    HELD_OUT_FILE,
    INDEX_FILE,
    MANIFEST_FILE,
    SOURCE_FILES,
    Manifest,
    read_manifest,
)
from ecgjepa.store.reading import Store
from ecgjepa.store.shards import read_notes
from ecgjepa.store.source_files import find_changes

Progress = Callable[[int, int], None]
_SAMPLE = 500
_EXAMPLES = 3


class Verification(NamedTuple):
    """What `verify` found, in sentences.

    Attributes:
        faults: What is wrong with the store; empty if nothing is.
        notes: What is not a fault, but good to know.
    """

    faults: list[str]
    notes: list[str]


def verify(
    store: str | Path,
    *,
    held_out: Mapping[str, str | Path] | None = None,
    data: Mapping[str, str | Path] | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Re-hash every file of a store, recount its index, and look for leaks and duplicates.

    Some records are read again: their samples must have the hash and obey the limb-lead relations
    that the index says.

    Args:
        store: Folder of the store.
        held_out: Databases, as for `ecgjepa.prepare`, whose validation and test folds must not be
            in the store under any name. What the store's own databases left out is known anyway.
        data: Folders of the store's own databases, by name: do their files still hold what was read
            from them? Sizes and times decide, contents where those differ. PTB-XL's also tells the
            device of each record, whose amplitudes are compared with the others'.
        progress: Called with (shards done, shards in all).

    Raises:
        StoreError: If there is no readable manifest, or ``data`` names a database that is not in
            the store.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.verify("data/store").faults
        []
    """
    store = Path(store)
    manifest = read_manifest(store)
    _refuse_strangers(store, manifest, data or {})
    faults = list(_hash_all(store, manifest, progress))
    if not faults:
        faults += _recount(store, manifest)
    notes: list[str] = []
    if not faults:
        with Store(store) as reader:
            faults += _reread_some(reader)
            faults += find_leaks(reader, held_out or {})
            known_devices = {
                name: list_records(name, root).devices()
                for name, root in (data or {}).items()
                if name == ptb_xl.NAME
            }
            odd = findings_of_store(store, known_devices)
            notes += [*_reserved_folds(manifest), *odd, *_duplicates(reader)]
    if data:
        found = _changed_files(store, {name: Path(root) for name, root in data.items()})
        faults += found.faults
        notes += found.notes
    known = {*manifest.shards, INDEX_FILE, MANIFEST_FILE, HELD_OUT_FILE, SOURCE_FILES}
    faults += [
        f"{path.name} is not in the manifest"
        for path in sorted(store.iterdir())
        if path.name not in known
    ]
    return Verification(faults, notes)


def _refuse_strangers(store: Path, manifest: Manifest, data: Mapping[str, str | Path]) -> None:
    if strangers := sorted(set(data) - set(manifest.databases)):
        raise StoreError(
            f"{store}: holds {', '.join(manifest.databases)}, but a folder is given for "
            f"{', '.join(strangers)}"
        )
    for name, root in data.items():
        if not Path(root).is_dir():
            raise StoreError(f"{name}: folder {root} does not exist")


def _changed_files(store: Path, roots: Mapping[str, Path]) -> Verification:
    """Compare the files of databases with what was noted of them when the store was made."""
    noted = read_notes(store / SOURCE_FILES)
    if noted is None:
        words = "nothing was noted of the files that the store was made from; not compared"
        return Verification([], [words])
    summaries = read_manifest(store).databases
    hidden = {name for name, one in summaries.items() if NOTICE in one.notices}
    faults: list[str] = []
    notes: list[str] = []
    for name, root in roots.items():
        if name in hidden:
            notes.append(
                f"{name}: its files are noted by pseudonyms, so they are not compared; the same "
                "prepare --pseudonymise again compares them"
            )
            continue
        changes = find_changes(noted, {name: root})
        if changes.changed:
            faults.append(f"{name}: files differ from those that were read: {changes.describe()}")
    return Verification(faults, notes)


def _hash_all(store: Path, manifest: Manifest, progress: Progress | None) -> Iterator[str]:
    for done, (name, expected) in enumerate(sorted(manifest.shards.items()), start=1):
        yield from _compare(store / name, expected)
        if progress:
            progress(done, len(manifest.shards))
    yield from _compare(store / INDEX_FILE, manifest.index)
    if manifest.held_out is not None:
        yield from _compare(store / HELD_OUT_FILE, manifest.held_out)


def _compare(path: Path, expected: str) -> Iterator[str]:
    if not path.is_file():
        yield f"{path.name} is missing"
    elif (found := sha256_of_file(path)) != expected:
        yield f"{path.name} has changed: SHA-256 {found[:12]}…, expected {expected[:12]}…"


def _recount(store: Path, manifest: Manifest) -> Iterator[str]:
    """Compare the index's counts, folds and extents with the manifest and the shard sizes."""
    columns = ["record_id", "database", "fold", "shard", "offset", "num_bytes"]
    index = pq.read_table(store / INDEX_FILE, columns=columns).to_pandas()
    if len(index) != manifest.num_records:
        yield f"index has {len(index)} rows, the manifest {manifest.num_records}"
    if twice := int(index.duplicated(["database", "record_id"]).sum()):
        yield f"{twice} records appear more than once"
    for name, summary in manifest.databases.items():
        rows = index[index["database"] == name]
        if len(rows) != summary.stored:
            yield f"{name}: index has {len(rows)} rows, the manifest {summary.stored}"
        # In an archive of one's own, some records may have no fold.
        folds = set(rows["fold"].dropna())
        if folds != set(summary.folds or ()):
            yield f"{name}: folds {sorted(folds)} differ from the manifest's"
    ends = index["offset"] + index["num_bytes"]
    for number, end in ends.groupby(index["shard"]).max().items():
        path = store / shard_name(int(number), manifest.codec)
        if path.is_file() and path.stat().st_size != end:
            yield f"{path.name}: {path.stat().st_size} bytes, the index covers {end}"


def _reread_some(store: Store) -> Iterator[str]:
    """Compare a sample of the records, the same for the same store, with their rows."""
    chosen = np.random.default_rng(len(store)).permutation(len(store))[:_SAMPLE]
    columns = ["database", "record_id", "sha256", "issues"]
    table = pq.read_table(store.path / INDEX_FILE, columns=columns)
    has_limb_leads = store.manifest.preprocessing.leads == LEADS
    for row in np.sort(chosen).tolist():
        facts = {name: table[name][row].as_py() for name in columns}
        name = f"{facts['database']} {facts['record_id']}"
        samples = np.ascontiguousarray(store.read_record(row), "<i2")
        if hashlib.sha256(samples.data).hexdigest() != facts["sha256"]:
            yield f"{name}: its samples are not those of the index"
        elif has_limb_leads:
            yield from _contradictions(name, samples, facts["issues"], store.sampling_rate)


def _contradictions(
    name: str, samples: np.ndarray, issues: list[str], sampling_rate: float
) -> Iterator[str]:
    """Yield limb leads that contradict I and II although the index does not say so."""
    for issue in limb_lead_issues(samples, measure(samples, sampling_rate)):
        said = {f"{issue.code}:{issue.lead}", f"missing_lead:{issue.lead}"}
        if not said & set(issues):
            yield f"{name}: lead {issue.lead} {issue.message}"


def _reserved_folds(manifest: Manifest) -> Iterator[str]:
    for name, summary in manifest.databases.items():
        if reserved := sorted(set(summary.folds or ()) & set(summary.held_out_folds)):
            folds = ", ".join(map(str, reserved))
            yield f"{name}: fold {folds} is for selection and test; do not pre-train on this store"


def _duplicates(store: Store) -> Iterator[str]:
    columns = ["database", "record_id", "sha256", "signature"]
    index = pq.read_table(store.path / INDEX_FILE, columns=columns)
    found = find_duplicates(store, index)
    database, record_id = (index[name].to_pylist() for name in ("database", "record_id"))

    def names(rows: list[int] | tuple[int, int]) -> str:
        return " = ".join(f"{database[row]} {record_id[row]}" for row in rows[:_EXAMPLES])

    for words, groups in (("the same samples", found.exact), ("nearly the same", found.near)):
        across = [rows for rows in groups if len({database[row] for row in rows}) > 1]
        for kind, chosen in (
            ("within a database", [rows for rows in groups if rows not in across]),
            ("across databases", across),
        ):
            if chosen:
                examples = "; ".join(names(rows) for rows in chosen[:_EXAMPLES])
                number = len(chosen)
                hold = (
                    "1 group of records holds"
                    if number == 1
                    else f"{number:,} groups of records hold"
                )
                yield f"duplicates {kind}: {hold} {words}, such as {examples}"
