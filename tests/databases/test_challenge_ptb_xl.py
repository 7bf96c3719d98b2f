import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import toy_ecg, write_wfdb

import ecgjepa
from ecgjepa.databases import database_names, list_records, original
from ecgjepa.errors import DatabaseError, StoreError

TABLE = "ptbxl_database.csv"
COPIES = (
    "copies of PTB-XL's records (HR number = ecg_id); together with ptb-xl every record counts "
    "twice"
)


def write(root, numbers):
    """Write one-second records as the Challenge does, below ``ptb-xl/g1``."""
    for number in numbers:
        digital = toy_ecg(np.random.default_rng(number), num_samples=500)
        header = root / f"ptb-xl/g1/HR{number:05d}.hea"
        write_wfdb(header, digital, gain="1000/mv", offset=24)
        header.write_text(header.read_text() + "#Age: 61\n#Sex: Female\n#Dx: 426783006\n")
    return root


def write_folds(folder, folds):
    """Write the table of PTB-XL: ecg_id to fold; two records per patient."""
    rows = [(ecg_id, 900.0 + ecg_id // 2, fold) for ecg_id, fold in folds.items()]
    table = pd.DataFrame(rows, columns=["ecg_id", "patient_id", "strat_fold"])
    table.to_csv(folder / TABLE, index=False)


@pytest.mark.parametrize("place", [".", "ptb-xl", ".."])
def test_patients_and_folds_come_from_the_table_of_ptb_xl(tmp_path, place):
    root = write(tmp_path / "training", [1, 2, 21_837])
    write_folds(root / place, {1: 3, 2: 9, 21_837: 10})
    listing = list_records("challenge-ptb-xl", root)
    first, second, last = listing.entries()
    assert first[:6] == ("HR00001", "ptb-xl/g1/HR00001.hea", "900", 3, 61.0, "female")
    assert (second.patient_id, second.fold) == ("901", 9)
    assert (last.record_id, last.patient_id, last.fold) == ("HR21837", "11818", 10)
    assert listing.training_folds == (1, 2, 3, 4, 5, 6, 7, 8)
    assert listing.held_out_folds == (9, 10)
    assert listing.notices == ("partial copy: 3 of 21,837 records", COPIES)


def test_the_databases_own_folder_will_do(tmp_path):
    write_folds(write(tmp_path, [1]), {1: 3})
    (entry,) = list_records("challenge-ptb-xl", tmp_path / "ptb-xl").entries()
    assert (entry.path, entry.fold) == ("g1/HR00001.hea", 3)


def test_training_leaves_out_held_out_and_unknown_folds(tmp_path):
    root = write(tmp_path / "training", [1, 2, 3])
    write_folds(root, {1: 3, 2: 9})
    notices = list_records("challenge-ptb-xl", root).notices
    assert notices[-1] == (
        "1 records are not in ptbxl_database.csv; without a fold, none of them is used for training"
    )
    ecgjepa.prepare({"challenge-ptb-xl": root}, tmp_path / "store")
    with ecgjepa.Store(tmp_path / "store") as store:
        assert store.manifest.databases["challenge-ptb-xl"].folds == (3,)
        assert store.manifest.num_records == 1


def test_without_folds_nothing_is_for_training(tmp_path):
    root = write(tmp_path / "training", [1, 2])
    listing = list_records("challenge-ptb-xl", root)
    assert [(entry.patient_id, entry.fold) for entry in listing.entries()] == [(None, None)] * 2
    assert (listing.training_folds, listing.held_out_folds) == (tuple(range(1, 9)), (9, 10))
    assert listing.notices[-1] == (
        "PTB-XL's folds are not known: put ptbxl_database.csv beside the records, or give "
        "ptb-xl=DIR too; without it none is used for training"
    )
    assert listing.of_folds(listing.training_folds).table.empty
    with pytest.raises(StoreError, match="nothing to store"):
        ecgjepa.prepare({"challenge-ptb-xl": root}, tmp_path / "store")


def test_a_table_that_is_damaged_is_refused(tmp_path):
    root = write(tmp_path, [1])
    write_folds(root, {1: 11})
    with pytest.raises(DatabaseError, match=r"ecg_id 1 has strat_fold 11 .* from 1 to 10"):
        list_records("challenge-ptb-xl", root)
    (root / TABLE).write_text("ecg_id,patient_id,strat_fold\n1,5,3\n1,5,9\n")
    with pytest.raises(DatabaseError, match="ecg_id 1 appears twice"):
        list_records("challenge-ptb-xl", root)
    (root / TABLE).write_text("ecg_id,strat_fold\n1,3\n")
    with pytest.raises(DatabaseError, match="column patient_id is missing"):
        list_records("challenge-ptb-xl", root)


def test_other_records_are_refused(tmp_path):
    root = write(tmp_path, [1])
    write_wfdb(root / "ptb-xl/g1/E00001.hea", toy_ecg(np.random.default_rng(0), num_samples=500))
    with pytest.raises(DatabaseError, match=r"such as E00001; expected HR0001 to HR21837\.$"):
        list_records("challenge-ptb-xl", root)


def test_a_copy_has_the_patients_and_folds_of_its_original():
    assert original("challenge-ptb-xl") == original("ptb-xl") == "ptb-xl"
    assert all(original(name) == name for name in database_names() if name != "challenge-ptb-xl")
    assert original("clinic") == "clinic"


@pytest.mark.realdata
def test_real_copies_are_the_records_of_ptb_xl(real_data, tmp_path):
    (tmp_path / "ptb-xl").symlink_to(real_data / "challenge-2021/ptb-xl")
    shutil.copyfile(real_data / "ptb-xl" / TABLE, tmp_path / TABLE)
    listing = list_records("challenge-ptb-xl", tmp_path)
    originals = list_records("ptb-xl", real_data / "ptb-xl")
    known = {entry.record_id: entry for entry in originals.entries()}
    entries = list(listing.entries())
    assert len(entries) == 37
    for copy in entries[:10]:
        original = known[copy.record_id.removeprefix("HR").lstrip("0")]
        assert (copy.patient_id, copy.fold) == (original.patient_id, original.fold)
        np.testing.assert_array_equal(listing.read(copy).signal, originals.read(original).signal)
    assert {entry.fold for entry in entries[10:]} == {None}
    assert listing.notices[0] == "partial copy: 37 of 21,837 records"
    assert listing.notices[-1].startswith("27 records are not in ptbxl_database.csv")


@pytest.mark.realdata
def test_real_copies_without_the_table(real_data):
    listing = list_records("challenge-ptb-xl", real_data / "challenge-2021")
    assert len(listing.table) == 37
    assert listing.table["fold"].isna().all()
    assert "PTB-XL's folds are not known" in listing.notices[-1]
