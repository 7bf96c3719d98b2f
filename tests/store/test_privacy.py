"""What a store, and all that is made from it, tells of persons and of the machine."""

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from conftest import content
from ecg_files import write_dicom

from ecgjepa.checking.verify import verify
from ecgjepa.databases import list_records
from ecgjepa.databases.pseudonyms import Pseudonyms, count_personal, read_key
from ecgjepa.errors import DatabaseError, StoreError
from ecgjepa.store.manifest import find_store, read_manifest, remember_store
from ecgjepa.store.merge import merge
from ecgjepa.store.prepare import prepare, prepare_share
from ecgjepa.store.reading import Store

NAMES = ("Mustermann_Erika_1970-01-01", "Doe, John", "station 3/Müller Hans")
ARCHIVE = {"klinik": "klinik"}


@pytest.fixture
def home(tmp_path, monkeypatch, rng):
    """A folder named after a person with an archive whose files are, and one broken file."""
    home = tmp_path / "Schmidt_Anna"
    for name in NAMES:
        path = home / "klinik" / f"{name}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_dicom(path, (rng.standard_normal((5000, 12)) * 300).astype(np.int16))
    (home / "klinik/Kaputt_Karl.dcm").write_bytes(b"DICM is not here")
    rows = "".join(f"{name},P-{number}\n" for number, name in enumerate(NAMES[2:]))
    (home / "t.csv").write_text("file,patient\n" + rows.replace(",P", ".dcm,P") + "Weg_Willi,P-9\n")
    monkeypatch.chdir(home)
    return home


def everything(folder: Path) -> bytes:
    """Return all bytes of a folder, and of its files' names, unpacked where they are packed."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    names = "\n".join(map(str, (path.relative_to(folder) for path in found))).encode()
    with Store(folder) as store:
        index = store.table().to_csv().encode()
    return names + index + b"".join(path.read_bytes() for path in found)


@pytest.mark.parametrize(
    "root", ["klinik", "./klinik", "../Schmidt_Anna/klinik", "absolute", "link"]
)
def test_where_an_archive_lies_is_not_in_its_store(home, tmp_path, root):
    (home / "link").symlink_to(home / "klinik")
    prepare(ARCHIVE, tmp_path / "first")
    prepare({"klinik": home / "klinik" if root == "absolute" else root}, tmp_path / "second")
    (skip,) = read_manifest(tmp_path / "second").databases["klinik"].quarantine
    assert skip.detail.startswith("Kaputt_Karl.dcm: ")
    assert b"Schmidt" not in everything(tmp_path / "second")
    assert (tmp_path / "first/manifest.json").read_bytes() == (
        tmp_path / "second/manifest.json"
    ).read_bytes()


def test_only_whole_paths_are_made_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_dicom(tmp_path / "x.dcm", np.zeros((500, 12), np.int16))
    listing = list_records("own", tmp_path)
    assert listing.relative(f"{tmp_path}/a/x.dcm: in {tmp_path} or /b{tmp_path}/y") == (
        f"a/x.dcm: in  or /b{tmp_path}/y"
    )


PARTS = (
    "Mustermann",
    "Erika",
    "1970",
    "Doe",
    "John",
    "Hans",
    "station",
    "Karl",
    "Weg_",
    "P-0",
    "Schmidt",
)


def test_pseudonyms_leave_no_name_in_a_store(home, tmp_path, caplog):
    options = {"tables": {"klinik": "t.csv"}, "folds": "all", "pseudonymise": tmp_path / "key"}
    manifest = prepare(ARCHIVE, tmp_path / "s", **options)
    found = everything(tmp_path / "s")
    assert not [part for part in PARTS if part.encode() in found]
    assert "Müller".encode() not in found
    with Store(tmp_path / "s") as store:
        table = store.table()
    assert table["record_id"].str.fullmatch("r[0-9a-f]{24}").all()
    assert sorted(table["record_id"]) == table["record_id"].tolist()
    assert table["patient_id"].dropna().str.fullmatch("p[0-9a-f]{24}").tolist() == [True]
    summary = manifest.databases["klinik"]
    assert (summary.absent, summary.skipped) == (1, {"unreadable": 1})
    assert "names" in summary.quarantine[0].detail
    assert "have no row in t.csv" in caplog.text, "the terminal is told what the store is not"
    key = (tmp_path / "key").read_bytes()
    assert key.strip() not in found
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_the_same_key_gives_the_same_store_and_another_one_another(home, tmp_path):
    first = prepare(ARCHIVE, tmp_path / "a", pseudonymise=tmp_path / "key")
    for share in ((1, 2), (2, 2)):
        prepare_share(
            ARCHIVE, tmp_path / "b", share, records_per_shard=2, pseudonymise=tmp_path / "key"
        )
    merge(tmp_path / "b")
    with Store(tmp_path / "a") as one, Store(tmp_path / "b") as two:
        assert one.table()["record_id"].tolist() == two.table()["record_id"].tolist()
    assert prepare(ARCHIVE, tmp_path / "a", pseudonymise=tmp_path / "key") == first
    for key in (tmp_path / "other", None):
        with pytest.raises(StoreError, match="other records or settings"):
            prepare(ARCHIVE, tmp_path / "a", pseudonymise=key)


def test_changed_files_are_noticed_behind_their_pseudonyms(home, tmp_path, rng):
    prepare(ARCHIVE, tmp_path / "s", pseudonymise=tmp_path / "key")
    before = content(tmp_path / "s")
    os.utime(home / "klinik" / f"{NAMES[0]}.dcm")
    prepare(ARCHIVE, tmp_path / "s", pseudonymise=tmp_path / "key")
    assert before.keys() == content(tmp_path / "s").keys()
    found = verify(tmp_path / "s", data={"klinik": home / "klinik"})
    assert found.faults == []
    assert any("noted by pseudonyms" in note for note in found.notes)
    write_dicom(
        home / "klinik" / f"{NAMES[0]}.dcm", rng.integers(-300, 300, (5000, 12)).astype(np.int16)
    )
    with pytest.raises(StoreError, match=r"have changed since: 1 file \(Mustermann"):
        prepare(ARCHIVE, tmp_path / "s", pseudonymise=tmp_path / "key")


def test_copies_of_a_database_share_their_patients():
    pseudonyms = Pseudonyms(b"k" * 32)
    assert pseudonyms.of("patient", "ptb-xl", "7") == pseudonyms.of("patient", "ptb-xl", "7")
    others = {
        pseudonyms.of("patient", "a", "7"),
        pseudonyms.of("patient", "b", "7"),
        pseudonyms.of("record", "a", "7"),
        Pseudonyms(b"l" * 32).of("patient", "a", "7"),
    }
    assert len(others) == 4


@pytest.mark.parametrize("text", [b"", b"secret", b"ab" * 31, b"zz" * 32, b"ab" * 32 + b"c"])
def test_a_file_that_holds_no_key_is_refused_and_left_alone(tmp_path, text):
    (tmp_path / "key").write_bytes(text)
    with pytest.raises(DatabaseError, match="holds no key for pseudonyms; expected 64 hexadecimal"):
        read_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == text


def test_a_key_that_others_may_read_is_reported(tmp_path, caplog):
    first = read_key(tmp_path / "key")
    assert read_key(tmp_path / "key") == first
    assert len(first.key) == 32
    assert "a new key for pseudonyms was made" in caplog.text
    (tmp_path / "key").chmod(0o644)
    read_key(tmp_path / "key")
    assert "others may read this key" in caplog.text


@pytest.mark.parametrize(
    ("name", "personal"),
    [
        ("Mustermann_Erika_1970-01-01", True),
        ("Doe, John", True),
        ("station/Müller Hans", True),
        ("19700101", True),
        ("x_01.12.1970", True),
        ("HR00001", False),
        ("records500/00000/00001_hr", False),
        ("p1000/p10000032/s40689238/40689238", False),
        ("12345678", False),
        ("19701301", False),
        ("ECG_Lead", False),
    ],
)
def test_what_looks_like_a_person(name, personal):
    assert count_personal([name]) == personal


def test_ids_that_look_like_persons_are_noticed(home):
    (notice,) = [text for text in list_records("klinik", home / "klinik").notices if "look" in text]
    assert notice.startswith("4 of 4 record and patient ids look like names or dates")
    assert not [part for part in PARTS if part in notice]


@pytest.mark.parametrize("name", ["a+b", "a/b", "../a", "", "a b", "-a", ".a", "a\nb", "x" * 65])
def test_names_that_cannot_be_databases(tmp_path, name):
    (tmp_path / "x").write_text("x")
    with pytest.raises(DatabaseError, match=r"database name .*expected a letter or digit"):
        list_records(name, tmp_path)


def test_a_store_is_found_again_by_its_fingerprint_alone(home, tmp_path):
    prepare(ARCHIVE, tmp_path / "s")
    with Store(tmp_path / "s") as store:
        fingerprint = store.fingerprint
    assert find_store(fingerprint) is None
    remember_store(tmp_path / "s")
    assert find_store(fingerprint) == (tmp_path / "s").resolve()
    manifest = json.loads((tmp_path / "s/manifest.json").read_text())
    (tmp_path / "s/manifest.json").write_text(json.dumps(manifest | {"software_version": "x"}))
    assert find_store(fingerprint) is None, "another store lies there now"
    assert find_store("../" + fingerprint) is None
