"""Names of records, patients and files replaced by keyed hashes, where data leave a hospital.

A pseudonym is the HMAC-SHA256 of a name under a key that the user keeps. The same key gives the
same pseudonyms, so that stores of one archive fit together; without it, nobody can find out a name
by trying names, as they could with a plain hash.
"""

import hmac
import logging
import os
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ecgjepa.databases.listing import Listing, Skip, is_simulated, simulated_notice
from ecgjepa.errors import DatabaseError

logger = logging.getLogger(__name__)

_KEY_BYTES = 32
# Of a pseudonym: among a million names, two are the same once in 10^17 keys.
_DIGITS = 24
NOTICE = "record and patient ids are pseudonyms, made with a key that is not in the store"
# What is written of a record that cannot be used: a message may name a file or quote its content.
HIDDEN_DETAIL = "the reason's details may hold names; prepare without --pseudonymise shows them"

_DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[1-9]|[12]\d|3[01])([-_.])(?:0[1-9]|1[0-2])\2(?:19|20)\d\d)(?!\d)"
)
_WORD = r"[A-Z\u00c0-\u00de][^\W\d_A-Z]{2,}"
_NAME = re.compile(rf"(?<![^\W\d_]){_WORD}[ _,.-]+{_WORD}")


class Pseudonyms(NamedTuple):
    """Makes pseudonyms with a key."""

    key: bytes

    def of(self, kind: str, database: str, name: str) -> str:
        """Return the pseudonym of a name.

        Args:
            kind: ``record``, ``patient`` or ``file``; its first letter begins the pseudonym.
            database: Where the name means something.
            name: The name.
        """
        text = "\0".join((kind, database, name)).encode("utf-8", "surrogateescape")
        return kind[0] + hmac.digest(self.key, text, "sha256").hex()[:_DIGITS]

    def apply(self, listing: Listing, patients_of: str) -> Listing:
        """Return a listing without names; files are still found by their paths.

        Args:
            listing: Of a database.
            patients_of: Database whose patients it has: copies of one share their pseudonyms.
        """
        for notice in listing.notices:  # They name records and files, so the store keeps none.
            if "--pseudonymise" not in notice:
                logger.warning("%s: %s", listing.database, notice)
        table = listing.table.copy()
        table["record_id"] = [
            self.of("record", listing.database, str(name)) for name in table["record_id"]
        ]
        table["patient_id"] = [
            None if pd.isna(name) else self.of("patient", patients_of, str(name))
            for name in table["patient_id"]
        ]
        simulated = (simulated_notice(len(table)),) if is_simulated(listing.root) else ()
        return replace(
            listing,
            # In order of the pseudonyms, for the order of the names tells something of them.
            table=table.sort_values("record_id", ignore_index=True),
            absent=tuple(
                Skip(self.of("record", listing.database, gone.record_id), gone.reason, "not found")
                for gone in listing.absent
            ),
            notices=(*simulated, NOTICE),
            hide_file=partial(self.of, "file", listing.database),
        )


def read_key(path: str | Path) -> Pseudonyms:
    """Return the pseudonyms of the key in a file, which is made if there is none.

    Only its owner may read a new key file.

    Raises:
        DatabaseError: If the file holds no key.
    """
    path = Path(path)
    with suppress(FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # In one step, for the jobs of an array may all make it.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(_KEY_BYTES) + "\n")
        logger.warning(
            "%s: a new key for pseudonyms was made. Keep it, and away from the store: only with it "
            "do further records get the same pseudonyms",
            path,
        )
    text = path.read_bytes()[:1000].strip()
    if not re.fullmatch(rb"[0-9a-fA-F]{64,}", text) or len(text) % 2:
        raise DatabaseError(
            f"{path}: holds no key for pseudonyms; expected {2 * _KEY_BYTES} hexadecimal digits. "
            "Name a file that does not exist yet, and one is made"
        )
    if path.stat().st_mode & 0o077:
        logger.warning("%s: others may read this key; run chmod 600 on it", path)
    return Pseudonyms(bytes.fromhex(text.decode()))


def hint_on(record_id: str) -> str:
    """Return what to say of an id to whoever names records otherwise, if it is a pseudonym."""
    if re.fullmatch(rf"r[0-9a-f]{{{_DIGITS}}}", record_id) is None:
        return ""
    return ", which is a pseudonym: the table has to name records by theirs"


def count_personal(names: Iterable[str]) -> int:
    """Return how many names look like a person's name, or hold a date such as one of birth."""
    return sum(bool(_DATE.search(name) or _NAME.search(name)) for name in names)
