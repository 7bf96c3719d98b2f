"""Tables as a hospital has them: how they are read, and what is taken for what."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import toy_ecg, write_wfdb
from hypothesis import given
from hypothesis import strategies as st

from ecgjepa.databases import list_records
from ecgjepa.databases.sheets.columns import SheetOptions
from ecgjepa.databases.sheets.places import Places
from ecgjepa.databases.sheets.reading import SEPARATORS, read_sheet
from ecgjepa.databases.sheets.table import read_label_table
from ecgjepa.databases.sheets.words import read_column
from ecgjepa.errors import DatabaseError

NAMES = [f"2019/wfdb/{number:05d}_hr" for number in range(1, 10)]
DIAGNOSES = ["MI", "NORM", "CD", "NORM", "MI; CD", "STTC", "NORM", "Hypertrophie, früh", "NORM"]
PATIENTS = [f"Müller-{number // 2}" for number in range(9)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Nine WFDB records, as in `NAMES`."""

    root = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(0)
    for name in NAMES:
        write_wfdb(root / f"{name}.hea", toy_ecg(rng, num_samples=500))
    return root


def table_text(separator=",", names=NAMES, header=("Patient", "File", "Diagnosis")) -> str:
    rows = zip(PATIENTS, names, DIAGNOSES, strict=True)
    lines = [header, *rows]
    return "\n".join(separator.join(f'"{cell}"' for cell in line) for line in lines) + "\n"


def labels_of(listing) -> dict[str, list[str]]:
    return {
        entry.record_id: sorted(
            code.removeprefix("Diagnosis=") for code in json.loads(entry.labels)
        )
        for entry in listing.entries()
    }


EXPECTED = {name: sorted(text.split("; ")) for name, text in zip(NAMES, DIAGNOSES, strict=True)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (table_text().encode(), None),
        (table_text().encode("utf-8-sig"), None),
        (table_text(";").encode(), "read with semicolons between cells"),
        (table_text("\t").encode(), "read with tabs between cells"),
        (table_text("|").encode(), "read with bars between cells"),
        (table_text(";").encode("cp1252"), "read as cp1252 (Western European), for line 2 is not"),
        (b"sep=;\r\n" + table_text(";").encode("cp1252"), "read as cp1252"),
        (table_text("\t").encode("utf-16"), "read as UTF-16"),
        (table_text(names=[f"{name}.hea" for name in NAMES]).encode(), None),
        (table_text(names=[f"{name}.dat" for name in NAMES]).encode(), None),
        (table_text(names=[f"/mnt/share/ecg/{name}.hea" for name in NAMES]).encode(), None),
        (
            table_text(names=["Z:\\ecg\\" + name.replace("/", "\\") for name in NAMES]).encode(),
            None,
        ),
        (table_text(names=[name.rpartition("/")[2] for name in NAMES]).encode(), None),
        (table_text(header=("PATIENT_ID", "Record ID", "Diagnosis")).encode(), None),
        (table_text(header=("subject", "Filename", "Diagnosis")).encode(), None),
        (table_text().replace("\n", "\r\n").encode() + b"\r\n\r\n", None),
    ],
)
def test_a_table_gives_patients_and_labels_however_it_was_saved(folder, tmp_path, content, words):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    listing = list_records("clinic", folder, path)
    assert labels_of(listing) == EXPECTED
    assert listing.table["patient_id"].tolist() == PATIENTS
    assert listing.absent == ()
    assert listing.label_columns == {
        "Diagnosis": tuple(
            f"Diagnosis={word}" for word in sorted({w for one in EXPECTED.values() for w in one})
        )
    }
    said = "\n".join(listing.notices)
    assert "labels come from column Diagnosis (5: CD, Hypertrophie, früh, MI, NORM, STTC" in said
    assert "1 cell with several labels is divided at ';'" in said
    assert words is None or words in said
    assert ("is read" in said) == (words is not None)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_parquet_whatever_it_is_called(folder, tmp_path, ending):
    path = tmp_path / f"table.{ending}"
    lists = [text.split("; ") for text in DIAGNOSES]
    frame = pd.DataFrame(
        {"file": NAMES, "Diagnosis": lists, "Patient": PATIENTS, "split": [3.0] * 9}
    )
    frame.to_parquet(path)
    listing = list_records("clinic", folder, path)
    assert labels_of(listing) == EXPECTED
    assert listing.table["fold"].tolist() == [3] * 9


def test_excel_is_refused_with_the_way_out(folder, tmp_path):
    path = tmp_path / "table.csv"  # Whatever its name is.
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(DatabaseError, match=r"spreadsheet; save it as CSV there \(File, Save As"):
        list_records("clinic", folder, path)
    (tmp_path / "table.xls").write_bytes(b"\xd0\xcf\x11\xe0 and so on")
    with pytest.raises(DatabaseError, match="save it as CSV"):
        list_records("clinic", folder, tmp_path / "table.xls")


def test_nothing_becomes_a_label_that_is_something_else(folder, tmp_path):
    """Ward, dates, comments, devices and a split are none; `labels` says what is, alone."""
    path = tmp_path / "table.csv"
    frame = pd.DataFrame(
        {
            "file": NAMES,
            "Diagnosis": DIAGNOSES,
            "ward": ["A", "B", "C"] * 3,
            "recorded": [f"2019-03-{day:02d}" for day in range(1, 10)],
            "entered": [f"{day}.3.2019 10:15" for day in range(1, 10)],
            "comment": ["nothing new", "as before", "see letter"] * 3,
            "device": ["MAC", "AT-6", "MAC"] * 3,
            "height": range(9),
            "cohort": ["train"] * 6 + ["test"] * 3,
            "pacemaker": ["no", "no", "yes"] * 3,
        }
    )
    frame.to_csv(path, index=False)
    listing = list_records("clinic", folder, path)
    assert list(listing.label_columns) == ["Diagnosis", "pacemaker"]
    said = "\n".join(listing.notices)
    assert (
        "not labels: ward (a place), recorded (a date or time), entered (a date or time), comment "
        "(free text), device (a device), height (numbers), cohort (a split); --labels COLUMN takes "
        "one, and no others"
    ) in said
    first = json.loads(listing.table["labels"][0])
    # Devices are kept to compare amplitudes, but are no label.
    assert first == {"Diagnosis=MI": 100.0, "device=MAC": 100.0, "pacemaker=no": 100.0}
    asked = list_records("clinic", folder, path, ["WARD", "height"])
    assert asked.label_columns == {
        "ward": ("ward=A", "ward=B", "ward=C"),
        "height": tuple(f"height={number}" for number in range(9)),
    }
    assert "Diagnosis (not among the labels asked for)" in "\n".join(asked.notices)
    with pytest.raises(DatabaseError, match=r"no column 'stadium'; found file, Diagnosis, ward"):
        list_records("clinic", folder, path, ["stadium"])


def test_free_text_is_no_label(tmp_path):
    path = tmp_path / "table.csv"
    rows = [f"r{number},word {number} of many,{number % 3}x" for number in range(40)]
    path.write_text("\n".join(["record,remarked,grade", *rows]))
    table = read_label_table(path)
    assert [column.name for column in table.labels] == ["grade"]
    assert table.left == {"remarked": "free text, 40 different cells in 40 rows"}
    asked = read_label_table(path, ["remarked"])
    assert len(asked.labels[0].vocabulary) == 40


@pytest.mark.parametrize(
    ("cells", "words", "separators"),
    [
        (["MI; CD", "NORM"], [("MI", "CD"), ("NORM",)], ";"),
        (["MI|CD", "NORM;STTC"], [("MI", "CD"), ("NORM", "STTC")], ";|"),
        (["MI,CD", ""], [("MI", "CD"), None], ","),
        (["MI\nCD"], [("MI", "CD")], "\n"),
        (["164889003,426783006"], [("164889003", "426783006")], ","),
        # A phrase with a comma is one label; a list of words that come again is several.
        (["infarction, old", "normal"], [("infarction, old",), ("normal",)], ""),
        (["old infarct, block", "block", "old infarct"], [("old infarct", "block"), ("block",),
         ("old infarct",)], ","),
        # One part alone elsewhere does not make the other one a diagnosis, in capitals neither.
        (["Infarkt, alt", "Infarkt"], [("Infarkt, alt",), ("Infarkt",)], ""),
        (["INFARKT, ALT", "INFARKT"], [("INFARKT, ALT",), ("INFARKT",)], ""),
        (["MI,CD", "Infarkt, alt"], [("MI", "CD"), ("Infarkt, alt",)], ","),
        # Not within quotes or brackets.
        (['"MI; old"; CD', "CD"], [("MI; old", "CD"), ("CD",)], ";"),
        (["block (first degree; mild); CD"], [("block (first degree; mild)", "CD")], ";"),
        (["St. John's; CD"], [("St. John's", "CD")], ";"),
        (["['MI', 'CD']", "[]"], [("MI", "CD"), ()], ""),
        (["MI;;MI; "], [("MI",)], ";"),
        (["yes", "NO", "", "NA"], [("x",), (), None, None], ""),
        (["ja", "nein"], [("x",), ()], ""),
    ],
)  # fmt: skip
def test_several_labels_in_a_cell(cells, words, separators):
    column = read_column("x", cells)
    assert list(column.words) == words
    assert column.separators == separators


@pytest.mark.parametrize(
    ("divide", "words"),
    [
        ("none", [("MI; a, b",), ("MI",), ("a",), ("b",)]),
        (";", [("MI", "a, b"), ("MI",), ("a",), ("b",)]),
        (",", [("MI; a", "b"), ("MI",), ("a",), ("b",)]),
        ("auto", [("MI", "a", "b"), ("MI",), ("a",), ("b",)]),
    ],
)
def test_a_user_chooses_what_divides(divide, words):
    assert list(read_column("x", ["MI; a, b", "MI", "a", "b"], divide).words) == words


def test_what_is_divided_is_shown(tmp_path):
    path = tmp_path / "table.csv"
    rows = ["a;MI, CD", "b;Infarkt, alt", *(f"r{n};L{n}" for n in range(10, 22))]
    path.write_text("\n".join(["record;dx", *rows]))
    table = read_label_table(path, ["dx"])
    said = table.label_notices(table.labels)[0]
    assert "1 cell with several labels is divided at ',', such as 'MI, CD'" in said
    assert "(15: CD, Infarkt, alt, L10, " in said
    assert " and 3 more; " in said
    assert "not divided at the comma: 'Infarkt, alt'" in said


@pytest.mark.parametrize(
    ("cells", "folds"),
    [
        ("fold,1,9,10,0", [1, 9, 10, 0]),
        ("Split,train,val,test,", [1, 9, 10, None]),
        ("fold,Training,VALIDATION,testing,valid", [1, 9, 10, 9]),
        ("strat_fold,1.0,2.0,,NaN", [1, 2, None, None]),
        ("subset,dev,train,test,unknown", [9, 1, 10, None]),
    ],
)
def test_folds_are_numbers_or_words(tmp_path, cells, folds):
    path = tmp_path / "table.csv"
    header, *values = cells.split(",")
    rows = [f"r{number},{value}" for number, value in enumerate(values)]
    path.write_text("\n".join([f"record,{header}", *rows]))
    assert read_label_table(path).folds == folds


def test_patients_and_ages_as_spreadsheets_write_them(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("record;patient;age;sex\na;12.0;61,5;W\nb;;;M\nc;7.0;40;x\n", "utf-8")
    table = read_label_table(path)
    assert table.patients == ["12", None, "7"]
    assert table.ages == [61.5, None, 40.0]
    assert table.sexes == ["female", "male", None]
    path.write_text("record,patient\na,P1.0\nb,2.0\n")
    assert read_label_table(path).patients == ["P1.0", "2.0"]
    path.write_text("record,x\na,1\n")
    said = read_label_table(path).unknown_notices()
    assert any(
        "no column patient: every record counts as a patient of its own" in one for one in said
    )


@pytest.mark.parametrize(
    "name",
    ["Patientennummer", "patient-nr", "PatNr", "pat_id", "Pat.-ID", "subject_id", "MRN", "pid"],
)
def test_patients_are_known_by_usual_names(tmp_path, name):
    path = tmp_path / "table.csv"
    path.write_text(f"record,{name},x\na,p1,1\nb,p1,0\n")
    assert read_label_table(path).patients == ["p1", "p1"]


def test_a_column_that_may_be_the_patient_is_asked_for(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("wo,pat_key,Fallnummer,x\na,p1,1,1\nb,p1,2,0\nc,p2,3,0\nd,p3,4,1\n")
    with pytest.raises(DatabaseError, match="; --file COLUMN"):
        read_label_table(path)
    table = read_label_table(path, options=SheetOptions(file="WO"))
    assert table.patients is None
    assert "is it pat_key? --patient 'pat_key' takes it" in table.unknown_notices()[-1]
    table = read_label_table(path, options=SheetOptions(file="wo", patient="pat_key"))
    assert table.patients == ["p1", "p1", "p2", "p3"]
    assert table.unknown_notices() == []
    with pytest.raises(DatabaseError, match="there is no column 'who'"):
        read_label_table(path, options=SheetOptions(patient="who"))
    with pytest.raises(DatabaseError, match="expected auto, none or signs"):
        read_label_table(path, options=SheetOptions(divide="comma", file="wo"))


def test_of_two_columns_with_patients_one_is_chosen(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("record,mrn,patient,x\na,m1,p1,1\nb,m1,p2,0\n")
    with pytest.raises(DatabaseError, match="or give --patient COLUMN"):
        read_label_table(path)
    table = read_label_table(path, options=SheetOptions(patient="mrn"))
    assert table.patients == ["m1", "m1"]
    assert table.left == {"patient": "an identifier"}


def test_rows_of_other_databases_are_not_used(folder, tmp_path):
    path = tmp_path / "table.csv"
    rows = [f"clinic,{name},1" for name in NAMES] + ["other,elsewhere/x,0"]
    path.write_text("\n".join(["database,file,mi", *rows]))
    assert list_records("clinic", folder, path).absent == ()
    assert len(list_records("third", folder, path).absent) == 1


def test_no_row_that_matches_is_an_error(folder, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("file,mi\nx.hea,1\ny.hea,0\n")
    words = (
        "none of its 2 rows names a file of the folder; a row is 'x.hea', a file is "
        "'2019/wfdb/00001_hr.hea'"
    )
    with pytest.raises(DatabaseError, match=words):
        list_records("clinic", folder, path)
    path.write_text("file,mi\nx.hea,1\n00001_hr,0\n")
    listing = list_records("clinic", folder, path)
    assert "1 row of table.csv has no file in the folder: x.hea" in listing.notices
    assert "8 records have no row in table.csv: 2019/wfdb/00002_hr, " in "\n".join(listing.notices)


def test_files_that_nothing_describes_are_not_called_absent(tmp_path):
    """Named without ending or by an absolute path, they are there all the same."""
    root = tmp_path / "mixed"
    write_wfdb(root / "a.hea", toy_ecg(np.random.default_rng(0), num_samples=500))
    (root / "csv").mkdir()
    (root / "csv/b.csv").write_text("I,II\n0,0\n")
    np.save(root / "c.npy", np.zeros((500, 12)))
    path = tmp_path / "table.csv"
    path.write_text(f"file,mi\na,1\n{root}/csv/b,0\nc,1\ngone,1\n")
    said = list_records("clinic", root, path).notices
    words = "1 row of table.csv names a file that nothing describes as an ECG, though there"
    assert any(one.startswith(f"{words}: {root}/csv/b; --describe") for one in said)
    assert "1 row of table.csv has no file in the folder: gone" in said


def test_a_table_that_describes_tables(folder, tmp_path):
    """A file that the table names is there, whether or not a description says what it holds."""
    root = tmp_path / "mixed"
    write_wfdb(root / "a.hea", toy_ecg(np.random.default_rng(0), num_samples=500))
    (root / "b.csv").write_text("I,II\n0,0\n")
    (root / "notes.csv").write_text("x,y\n")
    path = tmp_path / "table.csv"
    path.write_text("file,mi\na.hea,1\nb.csv,0\n")
    listing = list_records("clinic", root, path)
    assert [entry.record_id for entry in listing.entries()] == ["a", "b"]
    assert listing.absent == ()
    assert "1 file is not an ECG by its name" in "\n".join(listing.notices)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "not readable as CSV: it is empty"),
        (b"record,x\nr\0,1\n", "holds zero bytes"),
        (b'record,x\n"r1,1\n', "not readable as CSV: line"),
        (b"record,x\nr1,1,2\n", "line 2: rows have more cells than the header"),
        (b"record,x,X\nr1,1,2\n", "column X appears twice"),
        (b"record,split,fold\nr1,train,1\n", "columns split and fold both tell the fold"),
        (b"record,x\nr1,\x81\n", "line 2 is neither UTF-8 nor cp1252"),
        (b"PAR1 and no more", "not readable as Parquet"),
    ],
)
def test_what_is_refused(tmp_path, content, match):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match=match):
        read_label_table(path)


cells = st.text(st.characters(codec="cp1252", exclude_categories=["Cc"]), max_size=12)


@given(
    st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=6),
    st.sampled_from(list(SEPARATORS)),
    st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"]),
)
def test_what_a_spreadsheet_writes_is_what_is_read(tmp_path_factory, rows, separator, encoding):
    """Whatever is in the cells, quoted as spreadsheets quote."""
    text = "\n".join(
        separator.join('"' + cell.replace('"', '""') + '"' for cell in row)
        for row in [("record", "one", "two"), *rows]
    )
    content = text.encode(encoding)
    path = tmp_path_factory.mktemp("t") / "table.csv"
    path.write_bytes(content)
    try:
        is_utf_8 = content.decode() == text
    except UnicodeDecodeError:
        is_utf_8 = False
    expected = [tuple(cell.strip() for cell in row) for row in rows]
    expected = [row for row in expected if any(row)]
    if encoding == "cp1252" and not is_utf_8 and text.isascii():
        return
    if encoding == "cp1252" and _decodes(content) and not is_utf_8:
        return  # Bytes that are both: no reader can tell.
    found = read_sheet(path)
    assert list(zip(*found.columns.values(), strict=True)) == expected


def _decodes(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


names = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)


@given(st.lists(names, unique=True, min_size=1, max_size=8), st.data())
def test_a_path_finds_its_record_by_its_end(paths, data):
    """Any end of a record's path that no other has, with anything before the whole of it."""
    places = Places((path, path, f"{path}.hea") for path in paths)
    path = data.draw(st.sampled_from(paths))
    assert places.find(path) == places.find(f"{path}.hea") == places.find(f"./{path}") == [path]
    parts = path.split("/")
    tail = "/".join(parts[data.draw(st.integers(0, len(parts) - 1)) :])
    found = places.find(tail)
    # Never a record whose path contradicts the row.
    assert all(f"/{one}".endswith(f"/{tail}") or f"/{tail}".endswith(f"/{one}") for one in found)
    same = [one for one in paths if f"/{one}".endswith(f"/{tail}")]
    assert path in found or tail in paths or len(found) == 1
    if same == [path]:
        assert found == [path]


def test_no_record_of_another_folder_is_taken():
    places = Places([("2019/a", "2019/a", "2019/a.hea"), ("b", "b", "b.hea")])
    assert places.find("2018/a.hea") == []
    assert places.find("/mnt/2018/a.hea") == []
    assert places.find("/mnt/2019/a.hea") == ["2019/a"]
    assert places.find("C:\\ecg\\2019\\a.hea") == ["2019/a"]
    assert places.find("/mnt/b.hea") == ["b"]


def test_names_decomposed_as_on_a_mac():
    places = Places([("Mu\u0308ller", "Mu\u0308ller", "Mu\u0308ller.hea")])
    assert places.find("M\u00fcller.hea") == ["Mu\u0308ller"]


def test_the_columns_of_a_german_table_are_known(folder, tmp_path):
    """Its column names are, as its cells are: `männlich` was read before `Geschlecht` was."""
    path = tmp_path / "Befunde.csv"
    cells = enumerate(zip(PATIENTS, NAMES, DIAGNOSES, strict=True))
    rows = [
        f'{patient};X:\\EKG\\{name}.hea;"{dx}";6{number},5;männlich;Gerät {number % 2};38{number},0'
        for number, (patient, name, dx) in cells
    ]
    head = "Patienten-Nr.;Datei;Diagnose (endgültig);Alter;Geschlecht;Gerät;QT-Zeit [ms]"
    path.write_text("\n".join([head, *rows]), encoding="cp1252")
    listing = list_records("clinic", folder, path)
    assert list(listing.label_columns) == ["Diagnose (endgültig)"]
    first = next(iter(listing.entries()))
    assert (first.patient_id, first.age, first.sex) == ("Müller-0", 60.5, "male")
    assert "not labels: Gerät (a device), QT-Zeit [ms] (numbers)" in "\n".join(listing.notices)
