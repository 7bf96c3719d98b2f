"""What is known of a database: size, licence, citations, and where each fact is from."""

from dataclasses import dataclass
from typing import Literal, NamedTuple


class Origin(NamedTuple):
    """Where a database is published.

    Attributes:
        host: Which kind of archive it is.
        project: Name of the PhysioNet project, or number of the Zenodo record.
        version: Version that is meant.
        folder: The database's folder in the published tree, empty for all of it.
    """

    host: Literal["physionet", "zenodo"]
    project: str
    version: str
    folder: str = ""

    @property
    def page(self) -> str:
        """The page for people."""
        if self.host == "zenodo":
            return f"https://zenodo.org/records/{self.project}"
        return f"https://physionet.org/content/{self.project}/{self.version}/"

    @property
    def bucket(self) -> str | None:
        """The folder in PhysioNet's open S3 bucket, or None."""
        if self.host == "zenodo":
            return None
        return f"s3://physionet-open/{self.project}/{self.version}/{self.folder}"


@dataclass(frozen=True)
class DatabaseDescription:
    """One database.

    Attributes:
        name: Name by which this package knows it.
        title: As published.
        num_records: Records published.
        paper_records: Records that the paper pre-trained on, or None if it did not use them.
        paper_seconds: Duration of the records in the paper, in seconds, or None.
        sampling_rates: As published, in Hz.
        licence: Short name of its licence.
        citations: The data set, and the papers that describe it.
        access: ``open``, or ``credentialed`` if its publisher lets in only people it knows.
        origin: Where it is published.
        download_bytes: About how much is downloaded.
        unpacked_bytes: About how much its archives hold, or None if there are none.
        sources: Where the facts come from, by field.
    """

    name: str
    title: str
    num_records: int
    paper_records: int | None
    paper_seconds: int | None
    sampling_rates: tuple[float, ...]
    licence: str
    citations: tuple[str, ...]
    access: Literal["open", "credentialed"]
    origin: Origin
    download_bytes: int
    unpacked_bytes: int | None
    sources: dict[str, str]
