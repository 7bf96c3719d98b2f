"""What a store says of itself: ``manifest.json``."""

import re
from contextlib import suppress
from pathlib import Path

from pydantic import Field, ValidationError

from ecgjepa.config import Section, describe_validation_error
from ecgjepa.errors import StoreError
from ecgjepa.files import default_cache, read_versioned, sha256_of_file, write_text
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.codecs import Codec

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
INDEX_FILE = "index.parquet"
HELD_OUT_FILE = "held-out.parquet"
# What the files looked like that the store was made from. Their times are in it, so it is not part
# of the store: the manifest does not know it, and a store is whole without it.
SOURCE_FILES = "source-files.parquet"


class SkippedRecord(Section):
    """A record that is not in the store, and why."""

    record_id: str
    reason: str
    detail: str


class TableFacts(Section):
    """What is known of a database's labels and folds.

    Attributes:
        label_columns: Columns of an archive's table that are labels, each to its labels in the
            index; none of an older store, which does not tell.
        hashed_folds: Of what the folds are a hash, where they are one: ``patient``, ``record``, or
            ``patient or record`` where some patients are not known.
    """

    label_columns: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    hashed_folds: str = ""


class DatabaseSummary(TableFacts):
    """Counts and statistics of one database.

    Attributes:
        listed: Records found in the source folder and within the chosen folds.
        stored: Records in the store.
        seconds: Their total duration.
        folds: Folds in the store, or None: the database has none, nothing tells them, or nothing of
            it was stored.
        training_folds: Folds the statistics are computed over; None for all records.
        held_out_folds: Folds that the database reserves for selection and test.
        skipped: Count of records that could not be used, by reason.
        quarantine: Those records one by one.
        absent: Count of records that the database's table names but the copy lacked.
        left_out: Records of folds that were not chosen; copies of them are refused.
        issues: Count of records by kind of issue; the index names them.
        mean: Per lead in mV over the training records.
        std: Likewise.
        highpass_hz: Cut-off below which baseline wander was removed, or None.
        notices: What a user should know about the copy.
    """

    listed: int
    stored: int
    seconds: float
    folds: tuple[int, ...] | None
    training_folds: tuple[int, ...] | None
    held_out_folds: tuple[int, ...]
    skipped: dict[str, int]
    quarantine: tuple[SkippedRecord, ...]
    absent: int
    left_out: int = 0
    issues: dict[str, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    highpass_hz: float | None = None
    notices: tuple[str, ...]


class Manifest(Section):
    """A store's description; written last, so a folder that has it is complete.

    Attributes:
        format_version: Of the files' layout.
        software_version: Of ecgjepa.
        plan: SHA-256 of the request (records, labels, settings) that the store answers.
        preprocessing: What was done to every record.
        unit_microvolt: Size of one integer step.
        codec: How records lie in the shards.
        num_records: Rows of the index.
        databases: Per database.
        shards: SHA-256 of each shard, by file name.
        index: SHA-256 of the index.
        held_out: SHA-256 of the table of left-out records' hashes and signatures.
    """

    format_version: int
    software_version: str
    plan: str
    preprocessing: PreprocessingConfig
    unit_microvolt: int = Field(1, ge=1)
    codec: Codec = "raw"
    num_records: int
    databases: dict[str, DatabaseSummary]
    shards: dict[str, str]
    index: str
    held_out: str | None = None

    @property
    def common_preprocessing(self) -> PreprocessingConfig:
        """What was done to the records of all databases.

        It has a high-pass where every database got that one, by request or by its own need.
        """
        cutoffs = {summary.highpass_hz for summary in self.databases.values()}
        common = cutoffs.pop() if len(cutoffs) == 1 else None
        return self.preprocessing.model_copy(update={"highpass_hz": common})

    @property
    def skipped_share(self) -> float:
        """Share of skipped among listed records, in the database where it is greatest."""
        return max(
            sum(summary.skipped.values()) / max(1, summary.listed)
            for summary in self.databases.values()
        )


def read_manifest(store: Path) -> Manifest:
    """Read a store's manifest.

    Raises:
        StoreError: If the folder is not a complete store of this format version.
    """
    path = store / MANIFEST_FILE
    if not store.is_dir():
        raise StoreError(f"no store at {store}: make one with 'ecgjepa prepare'")
    if not path.is_file():
        half = (store / "parts").is_dir()
        raise StoreError(
            f"{store}: a prepare was interrupted here; run it again to finish"
            if half
            else f"{store}: has no {MANIFEST_FILE}, so it is not a store"
        )
    content, _ = read_versioned(
        path,
        {FORMAT_VERSION},
        StoreError,
        remedy="Prepare the store again, or use the ecgjepa that wrote it",
    )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise StoreError(describe_validation_error(error, str(path))) from None


def store_fingerprint(store: Path) -> str:
    """Return a SHA-256 that changes whenever anything in the store does."""
    return sha256_of_file(store / MANIFEST_FILE)


def remember_store(store: Path) -> None:
    """Note in the user's cache where a store lies, so that results need not tell it."""
    place = _note_of(store_fingerprint(store))
    with suppress(OSError):  # Without a cache, only the report's example ECGs are missing.
        write_text(place, str(store.resolve()))


def find_store(fingerprint: str) -> Path | None:
    """Return where on this machine a store lies, or None if that is not known any more."""
    if not re.fullmatch("[0-9a-f]{64}", fingerprint):
        return None
    with suppress(OSError, ValueError):
        store = Path(_note_of(fingerprint).read_text(encoding="utf-8"))
        if store_fingerprint(store) == fingerprint:
            return store
    return None


def _note_of(fingerprint: str) -> Path:
    return default_cache() / "stores" / f"{fingerprint}.txt"
