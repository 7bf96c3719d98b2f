"""Which records go into which shard, decided before any signal is read."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

from ecgjepa.databases import database_names, list_all, original
from ecgjepa.databases.folds import Folds, choose
from ecgjepa.databases.listing import Listing
from ecgjepa.databases.pseudonyms import read_key
from ecgjepa.databases.sheets.columns import AS_FOUND, SheetOptions
from ecgjepa.errors import StoreError
from ecgjepa.io.opening import read_bytes
from ecgjepa.signals.acceptance import OnBad
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.codecs import Codec
from ecgjepa.store.manifest import FORMAT_VERSION
from ecgjepa.store.shards import ShardJob
from ecgjepa.store.source_files import hidden_paths
from ecgjepa.version import __version__

RECORDS_PER_SHARD = 2048
# Those whose plans said in ``parts/`` only by their hash which version had made them.
_VERSIONS_IN_DIGESTS = ("0.1.0",)


@dataclass(frozen=True)
class Settings:
    """How records are stored.

    Attributes:
        preprocessing: What is done to each record.
        records_per_shard: 2,048 ten-second records at 500 Hz are 246 MB.
        on_bad: What happens to a record that cannot be used as it is.
        codec: How records lie in a shard.
    """

    preprocessing: PreprocessingConfig
    records_per_shard: int = RECORDS_PER_SHARD
    on_bad: OnBad = "skip"
    codec: Codec = "raw"


@dataclass(frozen=True)
class ShardPlan:
    """What a store will hold: the same plan gives the same bytes.

    Attributes:
        listings: The chosen records of each database, databases in order of their names.
        left_out: Records of folds that are not chosen, where the choice was by fold.
        settings: How they are stored.
    """

    listings: tuple[Listing, ...]
    left_out: tuple[Listing, ...]
    settings: Settings

    @property
    def num_records(self) -> int:
        """Number of records, those included that will turn out to be unusable."""
        return sum(map(len, self.listings))

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return -(-self.num_records // self.settings.records_per_shard)

    def job(self, store: Path, number: int) -> ShardJob:
        """Return the job of writing one shard."""
        size = self.settings.records_per_shard
        start, stop = number * size, (number + 1) * size
        ends = list(accumulate(map(len, self.listings)))
        pieces = [
            listing.rows(max(start - end + len(listing), 0), stop - end + len(listing))
            for listing, end in zip(self.listings, ends, strict=True)
            if start < end and stop > end - len(listing)
        ]
        settings = self.settings
        return ShardJob(
            store, number, tuple(pieces), settings.preprocessing, settings.on_bad, settings.codec
        )

    @property
    def roots(self) -> dict[str, Path]:
        """Each database's folder."""
        return {listing.database: listing.root for listing in self.listings}

    @cached_property
    def hidden_paths(self) -> dict[tuple[str, str], str]:
        """What the pseudonyms of files stand for; none without pseudonyms."""
        return hidden_paths((*self.listings, *self.left_out))

    def answers(self, digest: str, software_version: str | None) -> bool:
        """Return whether a digest is of this request, by this or an earlier version.

        Earlier ones took their own version into it.
        """
        versions = dict.fromkeys([software_version or __version__, *_VERSIONS_IN_DIGESTS])
        return digest == self.digest() or any(digest == self.digest(one) for one in versions)

    def digest(self, software_version: str | None = None) -> str:
        """Return a hash of everything that determines the store's bytes, save the signals.

        The files that hold the signals are looked at apart, see `ecgjepa.store.source_files`.

        Args:
            software_version: A version that took itself into the hash.
        """
        digest = hashlib.sha256()
        digest.update(json.dumps(self._head(software_version), sort_keys=True).encode())
        for listing in (*self.listings, *self.left_out):
            digest.update(json.dumps([listing.database, listing.highpass_hz]).encode())
            if listing.description is not None:
                digest.update(read_bytes(listing.description))
            for batch in listing.to_arrow().to_batches(max_chunksize=65_536):
                stream = pa.BufferOutputStream()
                csv.write_csv(pa.Table.from_batches([batch]), stream)
                digest.update(stream.getvalue())
        return digest.hexdigest()

    def _head(self, software_version: str | None) -> list[Any]:
        settings = self.settings
        return [
            FORMAT_VERSION,
            *([] if software_version is None else [software_version]),
            settings.preprocessing.model_dump(mode="json"),
            settings.records_per_shard,
            settings.on_bad,
            settings.codec,
        ]


def make_plan(
    databases: Mapping[str, str | Path],
    folds: Folds,
    settings: Settings,
    tables: Mapping[str, str | Path] | None = None,
    *,
    labels: Sequence[str] = (),
    descriptions: Mapping[str, str | Path] | None = None,
    sheets: SheetOptions = AS_FOUND,
    own_filters: bool = True,
    key_file: str | Path | None = None,
) -> ShardPlan:
    """List the databases and choose their records.

    Args:
        databases: Name to folder.
        folds: Which folds to store.
        settings: How records are stored.
        tables: Name of an archive to the table that describes it.
        labels: Columns of these tables that are labels; none: those that look like labels.
        descriptions: Name of an archive to the file that describes its arrays and tables.
        sheets: How the tables are read.
        own_filters: Give each database the high-pass that it asks for, where the preprocessing has
            none; otherwise all records get the same.
        key_file: Key of the pseudonyms that take the place of record and patient ids; None for
            none.

    Raises:
        DatabaseError: If a folder is not what its name says, or a table has no folder.
        RecordFormatError: If a description is not as expected.
        StoreError: If there is nothing to store.
    """
    if settings.records_per_shard < 1:
        raise StoreError(f"records_per_shard is {settings.records_per_shard}; expected 1 or more")
    whole = list_all(databases, tables, labels, descriptions, sheets)
    if key_file is not None:
        pseudonyms = read_key(key_file)
        whole = [pseudonyms.apply(listing, original(listing.database)) for listing in whole]
    if not own_filters:
        whole = [replace(listing, highpass_hz=None) for listing in whole]
    some_have = any(listing.table["fold"].notna().any() for listing in whole)
    known = database_names()
    pairs = [
        choose(listing, folds, is_own=listing.database not in known, beside_folds=some_have)
        for listing in whole
    ]
    chosen = [part for _, part in pairs]
    if not any(map(len, chosen)):
        raise StoreError(f"nothing to store: no record of {', '.join(databases)} in folds {folds}")
    left_out = tuple(_left_out(*pair) for pair in pairs)
    return ShardPlan(tuple(chosen), tuple(part for part in left_out if len(part)), settings)


def _left_out(whole: Listing, chosen: Listing) -> Listing:
    """Return the records of known other folds; where a fold is not known, nobody reserved it."""
    others = ~whole.table.index.isin(chosen.table.index) & whole.table["fold"].notna().to_numpy()
    return whole.rows_where(np.asarray(others))


def shard_numbers(num_shards: int, share: tuple[int, int]) -> Iterator[int]:
    """Yield the shards that are the i-th of n workers' to write.

    Raises:
        StoreError: If the share is not 1 to n of n.
    """
    part, of = share
    if not 1 <= part <= of:
        raise StoreError(f"--shard {part}/{of}: expected i/n with i from 1 to n")
    yield from range(part - 1, num_shards, of)
