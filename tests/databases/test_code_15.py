import json
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from limb_leads import limb_lead_residuals

import ecgjepa
from ecgjepa.databases import list_records
from ecgjepa.databases.code_15 import LEADS, read_exam
from ecgjepa.errors import DatabaseError, RecordFormatError
from ecgjepa.signals.preprocessing import PreprocessingConfig, preprocess

h5py = pytest.importorskip("h5py")

SHORT = slice(581, 3515)  # where the real exams of 7.3 s lie


def write_part(root, number, ids, tracings=None):
    """Write a part; exam 0 is zero, the others noise of 7.3 s in the middle of zeros."""
    if tracings is None:
        tracings = np.zeros((len(ids), 4096, 12), np.float32)
        for row, exam_id in enumerate(ids):
            if exam_id:
                noise = np.random.default_rng(exam_id).normal(size=(2934, 12))
                tracings[row, SHORT] = noise
    with h5py.File(root / f"exams_part{number}.hdf5", "w") as file:
        file["exam_id"] = np.array(ids, np.int64)
        file["tracings"] = tracings


def write_table(root, ids, **columns):
    """Write exams.csv; all exams are in part 0, of a man of 50, without a label."""
    table = pd.DataFrame({"exam_id": ids, "age": 50, "is_male": True, "nn_predicted_age": 51.2})
    for name in ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg"):
        table[name] = False
    table = table.assign(patient_id=[exam_id + 7 for exam_id in ids], trace_file="exams_part0.hdf5")
    table.assign(**columns).to_csv(root / "exams.csv", index=False)


@pytest.fixture
def copy(tmp_path):
    """Three exams and a phantom in part 0."""
    write_part(tmp_path, 0, [30, 10, 20, 0])
    write_table(tmp_path, [10, 20, 30])
    return tmp_path


def test_entries_join_rows_and_table(tmp_path):
    write_part(tmp_path, 0, [30, 10, 0])
    write_table(
        tmp_path,
        [10, 30],
        age=[71, None],
        is_male=[False, None],
        RBBB=[True, False],
        AF=[True, False],
        normal_ecg=[False, True],
    )
    listing = list_records("code-15", tmp_path)
    normal, ill = listing.entries()
    assert normal == ("30", "exams_part0.hdf5#0", "37", None, None, None, '{"NORM": 100.0}')
    assert ill[:-1] == ("10", "exams_part0.hdf5#1", "17", None, 71.0, "female")
    assert ill.labels == '{"AF": 100.0, "RBBB": 100.0}'
    assert (listing.training_folds, listing.highpass_hz) == (None, 0.5)


def test_parts_are_in_order_of_their_numbers(tmp_path):
    for number in (10, 2, 0):
        write_part(tmp_path, number, [number + 1, 0])
    write_table(
        tmp_path, [1, 3, 11], trace_file=[f"exams_part{number}.hdf5" for number in (0, 2, 10)]
    )
    listing = list_records("code-15", tmp_path)
    assert [entry.path for entry in listing.entries()] == [
        "exams_part0.hdf5#0",
        "exams_part2.hdf5#0",
        "exams_part10.hdf5#0",
    ]
    scale = "amplitudes are taken as 1 mV a unit; the published descriptions of the scale disagree"
    partial, amplitude, phantoms = listing.notices
    assert partial == "partial copy: 3 of 345,779 exams"
    assert amplitude.startswith(scale)
    assert phantoms.startswith("3 phantom rows with exam_id 0 (one at the end of each part)")


def test_exams_of_the_table_that_this_copy_lacks(copy):
    write_table(
        copy,
        [10, 20, 30, 40, 50, 60],
        trace_file=["exams_part0.hdf5"] * 4 + ["exams_part1.hdf5", None],
    )
    listing = list_records("code-15", copy)
    assert len(listing.table) == 3
    assert listing.absent == (
        ("40", "absent_from_copy", "exams_part0.hdf5 has no row for it"),
        ("50", "absent_from_copy", "exams_part1.hdf5 is not in this copy"),
        ("60", "absent_from_copy", "its file is not in this copy"),
    )


def test_rows_without_a_table_row_and_rows_elsewhere(copy):
    write_part(copy, 1, [40, 0])
    write_table(copy, [10, 20, 40])
    listing = list_records("code-15", copy)
    undescribed = next(listing.entries())
    assert undescribed == ("30", "exams_part0.hdf5#0", None, None, None, None, "{}")
    assert listing.notices[-2:] == (
        "1 exams have no row in exams.csv; they have no patient and no labels",
        "1 exams do not lie in the file that exams.csv names, such as 40, which lies in "
        "exams_part1.hdf5",
    )


def test_zero_margins_go_and_nothing_else(tmp_path):
    tracings = np.random.default_rng(0).normal(size=(4, 4096, 12)).astype(np.float32)
    tracings[1, :100] = 0
    tracings[1, 4000:] = 0
    tracings[1, 2000:2100] = 0  # a gap within
    tracings[1, :150, :11] = 0  # one lead begins earlier than the others
    tracings[2, 50] = np.nan
    tracings[2, 60, 3] = np.inf
    tracings[3, :] = 0
    write_part(tmp_path, 0, [1, 2, 3, 4], tracings)
    write_table(tmp_path, [1, 2, 3, 4])
    listing = list_records("code-15", tmp_path)
    full, padded, broken, zero = listing.entries()

    record = listing.read(full)
    np.testing.assert_array_equal(record.signal, tracings[0])
    assert record.valid.all()
    assert (record.leads, record.sampling_rate) == (LEADS, 400.0)
    assert (record.record_id, record.patient_id) == ("1", "8")
    np.testing.assert_array_equal(listing.read(padded).signal, tracings[1, 100:4000])

    record = listing.read(broken)
    expected = np.isfinite(tracings[2])
    np.testing.assert_array_equal(record.valid, expected)
    np.testing.assert_array_equal(record.signal[expected], tracings[2][expected])
    assert not record.signal[~expected].any()

    with pytest.raises(RecordFormatError, match=r"part0\.hdf5#3: exam 4 is zero") as caught:
        listing.read(zero)
    assert caught.value.reason == "flat_record"


def test_a_zero_exam_is_skipped_with_its_reason(tmp_path):
    tracings = np.random.default_rng(0).normal(size=(2, 4096, 12)).astype(np.float32)
    tracings[1] = 0
    write_part(tmp_path, 0, [1, 2], tracings)
    write_table(tmp_path, [1, 2])
    summary = ecgjepa.prepare({"code-15": tmp_path}, tmp_path / "store").databases["code-15"]
    assert (summary.stored, summary.skipped) == (1, {"flat_record": 1})
    assert summary.highpass_hz == 0.5


def test_a_listing_can_be_sent_to_another_process(copy):
    listing = list_records("code-15", copy)
    entry = next(listing.entries())
    first = listing.read(entry)  # opens the file
    again = pickle.loads(pickle.dumps(listing)).read(entry)
    np.testing.assert_array_equal(first.signal, again.signal)


def test_a_file_changed_after_listing_is_noticed(copy):
    listing = list_records("code-15", copy)
    first, *_ = listing.entries()
    with pytest.raises(RecordFormatError, match="holds exam 10, but held 30 when it was listed"):
        listing.read(first._replace(path="exams_part0.hdf5#1"))
    with pytest.raises(RecordFormatError, match=r"exams_part0\.hdf5#9: not readable"):
        listing.read(first._replace(path="exams_part0.hdf5#9"))
    with pytest.raises(RecordFormatError, match=r"exams_part9\.hdf5#0: not readable"):
        listing.read(first._replace(path="exams_part9.hdf5#0"))


def test_a_part_cut_short_is_named(copy):
    path = copy / "exams_part0.hdf5"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(DatabaseError, match=r"part0\.hdf5: not readable as HDF5 .*truncated"):
        list_records("code-15", copy)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(DatabaseError, match=r"part0\.hdf5: not readable as HDF5"):
        list_records("code-15", copy)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (
            {"exam_id": np.arange(2), "tracings": np.zeros((2, 4096, 8), np.float32)},
            r"tracings is float32 \(2, 4096, 8\); expected float32 \(2, 4096, 12\)",
        ),
        (
            {"exam_id": np.arange(2), "tracings": np.zeros((3, 4096, 12), np.float32)},
            r"tracings is float32 \(3, 4096, 12\); expected float32 \(2, 4096, 12\)",
        ),
        (
            {"exam_id": np.arange(2), "tracings": np.zeros((2, 4096, 12), np.int16)},
            r"tracings is int16 \(2, 4096, 12\); expected float32",
        ),
        (
            {"exam_id": np.arange(2.0), "tracings": np.zeros((2, 4096, 12), np.float32)},
            r"exam_id is float64 \(2,\); expected int64 \(2,\)",
        ),
        (
            {"id_exam": np.arange(2), "tracings": np.zeros((2, 4096, 12), np.float32)},
            "exam_id is missing; .* Found id_exam, tracings",
        ),
    ],
)
def test_a_part_of_another_layout_is_refused(tmp_path, contents, message):
    with h5py.File(tmp_path / "exams_part0.hdf5", "w") as file:
        for name, values in contents.items():
            file[name] = values
    write_table(tmp_path, [1])
    with pytest.raises(DatabaseError, match=message):
        list_records("code-15", tmp_path)


def test_an_exam_in_two_places_is_refused(copy):
    write_part(copy, 3, [40, 10, 0])
    with pytest.raises(
        DatabaseError, match=r"exam 10 .*: exams_part0\.hdf5#1, exams_part3\.hdf5#1"
    ):
        list_records("code-15", copy)


def test_a_table_that_contradicts_itself_is_refused(copy):
    write_table(copy, [10, 20, 10])
    with pytest.raises(DatabaseError, match="exam_id 10 appears twice"):
        list_records("code-15", copy)
    write_table(copy, [10, 20, 30], age=["50", "old", "60"])
    with pytest.raises(DatabaseError, match="age is 'old'; expected a number"):
        list_records("code-15", copy)
    write_table(copy, [10, 20, 30], AF=["True", "perhaps", "False"])
    with pytest.raises(DatabaseError, match="AF is 'perhaps'; expected True or False"):
        list_records("code-15", copy)
    pd.read_csv(copy / "exams.csv").drop(columns="SB").to_csv(copy / "exams.csv", index=False)
    with pytest.raises(DatabaseError, match="column SB is missing"):
        list_records("code-15", copy)


def test_a_folder_that_is_not_code_15(tmp_path):
    (tmp_path / "exams_part0.zip").touch()
    with pytest.raises(DatabaseError, match=r"exams\.csv is missing"):
        list_records("code-15", tmp_path)
    write_table(tmp_path, [1])
    with pytest.raises(DatabaseError, match=r"no HDF5 file .* Unpack the zip files first"):
        list_records("code-15", tmp_path)
    write_part(tmp_path, 0, [0])
    with pytest.raises(DatabaseError, match="hold no exam"):
        list_records("code-15", tmp_path)


def test_without_h5py_the_remedy_is_named(copy, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DatabaseError, match=r"pip install 'ecgjepa\[code-15\]'"):
        list_records("code-15", copy)


@pytest.mark.realdata
def test_real_exams_are_listed_as_the_table_says(real_data):
    root = real_data / "code-15"
    listing = list_records("code-15", root)
    exams = pd.read_csv(root / "exams.csv").set_index("exam_id")
    entries = list(listing.entries())
    assert sorted(int(entry.record_id) for entry in entries) == sorted(exams.index)
    for entry in entries:
        exam = exams.loc[int(entry.record_id)]
        assert entry.patient_id == str(exam["patient_id"])
        assert (entry.age, entry.sex) == (exam["age"], "male" if exam["is_male"] else "female")
        names = [name for name in ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF") if exam[name]]
        assert names
        assert json.loads(entry.labels) == dict.fromkeys(names, 100.0)
    assert listing.absent == ()
    assert listing.notices[0] == "partial copy: 10 of 345,779 exams"
    assert listing.notices[2].startswith("1 phantom rows with exam_id 0")
    assert len(listing.notices) == 3


@pytest.mark.realdata
def test_real_exams_hold_the_samples_of_the_file(real_data):
    root = real_data / "code-15"
    with h5py.File(root / "exams_part0.hdf5") as file:
        tracings, ids = file["tracings"][:], file["exam_id"][:]
    assert not tracings[-1].any()
    durations = []
    for row, entry in enumerate(list_records("code-15", root).entries()):
        record = read_exam(root, entry)
        assert (entry.record_id, entry.path) == (str(ids[row]), f"exams_part0.hdf5#{row}")
        place = slice(None) if record.num_samples == 4096 else SHORT
        np.testing.assert_array_equal(record.signal, tracings[row, place])
        assert np.count_nonzero(tracings[row]) == np.count_nonzero(record.signal)
        durations.append(record.duration)
    assert sorted(set(durations)) == [7.335, 10.24]
    assert durations.count(7.335) == 6


@pytest.mark.realdata
def test_real_exams_keep_the_limb_lead_relations(real_data):
    """So the order and signs of the columns are right; the scale they cannot tell."""
    listing = list_records("code-15", real_data / "code-15")
    heights = []
    for entry in listing.entries():
        record = preprocess(listing.read(entry), PreprocessingConfig(highpass_hz=0.5))
        residuals = limb_lead_residuals(record.signal, record.valid)
        assert max(residuals.values()) < 0.02, entry.record_id
        beats = record.signal[: record.num_samples // 600 * 600].reshape(-1, 600, 12)
        heights.append(np.median(np.ptp(beats, axis=1), axis=0))
    # What the notice says: 0.9 to 1.2 mV is usual (see MILLIVOLT_PER_UNIT).
    assert 2.0 < np.median(heights) < 2.6
