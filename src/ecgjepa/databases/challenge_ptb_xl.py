"""PTB-XL as the PhysioNet/CinC Challenge 2021 published it: copies of its 500 Hz records.

Record HR00001 holds the samples of ecg_id 1 of PTB-XL, with the Challenge's SNOMED CT diagnoses.
The Challenge keeps neither patients nor folds, so they are taken from PTB-XL's own table: without
them, records that PTB-XL reserves for selection and test would pass for training data.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from ecgjepa.databases import ptb_xl
from ecgjepa.databases.challenge_2021 import Member, list_part
from ecgjepa.databases.listing import Listing
from ecgjepa.databases.tables import identifiers, patients, read_table, require_columns
from ecgjepa.errors import DatabaseError

NAME = "challenge-ptb-xl"
PART = Member("ptb-xl", 21_837, "HR", 1, 21_837)


def list_records(root: Path, table: Path | None = None) -> Listing:
    """List a copy, whole or partial, of the Challenge's PTB-XL.

    Patients and folds are known from PTB-XL's ``ptbxl_database.csv``, of any version: the one given
    or, if none is, one that lies in the database's folder, in ``root`` or in the folder above
    ``root``; the first found is used. A record without a fold is in no training fold.

    Args:
        root: The database's folder, or the Challenge's ``training`` folder above it.
        table: PTB-XL's table.

    Raises:
        DatabaseError: If there is no record, one appears twice, they are another database's, or
            the table of PTB-XL is damaged.
    """
    listing = list_part(NAME, PART, root)
    notices = [
        *listing.notices,
        "copies of PTB-XL's records (HR number = ecg_id); together with ptb-xl every record counts "
        "twice",
    ]
    places = (root / PART.folder, root, root.parent)
    beside = next((p for place in places if (p := place / ptb_xl.TABLE_FILE).is_file()), None)
    path = table or beside
    rows = listing.table
    if path is None:
        notices.append(
            f"PTB-XL's folds are not known: put {ptb_xl.TABLE_FILE} beside the records, or give "
            "ptb-xl=DIR too; without it none is used for training"
        )
    else:
        known = _read_patients(path)
        ecg_ids = rows["record_id"].str.removeprefix(PART.prefix).astype(int)
        rows = rows.assign(
            patient_id=ecg_ids.map(known["patient_id"]), fold=ecg_ids.map(known["fold"])
        )
        if unknown := int((~ecg_ids.isin(known.index)).sum()):
            notices.append(
                f"{unknown:,} records are not in {path.name}; without a fold, none of them is used "
                "for training"
            )
    return replace(
        listing,
        table=rows,
        notices=tuple(notices),
        training_folds=ptb_xl.TRAINING_FOLDS,
        held_out_folds=ptb_xl.HELD_OUT_FOLDS,
    )


def _read_patients(path: Path) -> pd.DataFrame:
    """Return patient_id (text) and fold of each ecg_id in PTB-XL's table."""
    rows = read_table(path)
    require_columns(path, rows, ("ecg_id", "patient_id", "strat_fold"))
    folds = pd.to_numeric(rows["strat_fold"], errors="coerce")
    wrong = ~folds.isin(range(1, 11))
    if wrong.any():
        ecg_id, fold = rows.loc[wrong, "ecg_id"].iloc[0], rows.loc[wrong, "strat_fold"].iloc[0]
        raise DatabaseError(
            f"{path}: ecg_id {ecg_id} has strat_fold {fold} "
            f"({int(wrong.sum())} such rows); expected a whole number from 1 to 10"
        )
    people = patients(path, rows["patient_id"])
    return pd.DataFrame(
        {"patient_id": people.to_numpy(), "fold": folds.to_numpy()},
        index=pd.Index(identifiers(path, rows["ecg_id"])),
    )
