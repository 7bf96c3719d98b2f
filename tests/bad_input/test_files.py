"""Rows 10, 15 to 18, 24 and 25: files that are short, damaged, lying, missing or foreign."""

import json
import tracemalloc

import numpy as np
import pytest
from inference.test_predict import save

import ecgjepa
from ecgjepa.config import DataConfig
from ecgjepa.errors import DatabaseError, RecordFormatError
from ecgjepa.sampling.mixture import Mixture
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.units import INVALID_MICROVOLT


def test_row_10_short_records_are_kept_in_their_length_and_counted(mine, tmp_path):
    for seconds in (10, 6, 1):
        mine.add(f"{seconds:02d}", mine.ecg(seconds))
    summary = mine.prepare(on_bad="raise")
    assert (summary.stored, summary.issues) == (3, {"short_record": 2})
    assert [len(mine.samples(name)) for name in ("01", "06", "10")] == [500, 3000, 5000]
    assert mine.issues("06") == ["short_record"]
    # Pre-training pads nothing: it draws from those that are as long as its window.
    config = DataConfig(sampling_rate=500, leads=LEADS, window_seconds=2.5)
    mixture = Mixture(ecgjepa.Store(mine.store), config)
    assert (mixture.num_records, mixture.num_too_short) == ({"mine": 2}, 1)
    # A prediction pads, and says so.
    (short,) = ecgjepa.load_model(save(tmp_path / "model")).predict([mine.root / "01.hea"])
    assert len(short.probabilities) == 3
    assert "1.00 s is shorter than the model's window of 2.50 s" in short.findings[-1].message


@pytest.fixture
def damaged(mine):
    """Signal files that are cut short, of an odd length, empty and missing, and a good one."""
    for name in ("cut", "empty", "good", "missing", "odd"):
        data = mine.add(name).with_suffix(".dat")
        whole = data.read_bytes()
        data.write_bytes({"cut": whole[:96_000], "odd": whole[:-1], "empty": b""}.get(name, whole))
    (mine.root / "missing.dat").unlink()
    return mine


def test_row_15_damaged_files_are_skipped_and_listed(damaged):
    summary = damaged.prepare()
    assert (summary.listed, summary.stored) == (5, 1)
    assert summary.skipped == {"missing_file": 1, "truncated": 3}
    listed = {skip.record_id: skip.detail for skip in summary.quarantine}
    assert "cut.dat: truncated: holds 4000 of 5000 samples of 12 leads" in listed["cut"]
    assert "holds 0 of 5000" in listed["empty"]
    assert "(119,999 bytes)" in listed["odd"]
    assert "its signal file missing.dat is missing" in listed["missing"]
    damaged.refused()


def test_row_15_mask_keeps_what_a_cut_file_still_holds(damaged):
    summary = damaged.prepare(on_bad="mask")
    assert (summary.stored, summary.skipped) == (3, {"missing_file": 1, "truncated": 1})
    assert summary.issues == {"short_record": 2, "truncated": 2}
    assert len(damaged.samples("cut")) == 4000


def test_row_15_too_many_of_them_exit_with_1(damaged, command, tmp_path):
    prepare = ("--quiet", "prepare", f"mine={damaged.root}", "--store")
    code, text, message = command(*prepare, tmp_path / "a")
    assert code == 1
    lines = text.splitlines()
    assert all(len(line) < 80 for line in lines if str(tmp_path) not in line)  # a path stays whole
    words = " ".join(text.split())
    assert words.startswith(
        "mine: 1 of 5 records, 0.2 min 1 note: above, and in manifest.json skipped: 1 missing "
        "file, such as missing:"
    )
    assert "skipped: 3 truncated, such as cut: " in words
    assert (
        "4 records skipped, each with its reason in manifest.json store: "
        f"{tmp_path / 'a'}, 1 record, 0.2 min next: no preset reads" in words
    )
    assert words.endswith("or prepare with --for tiny")
    assert "80.0% of the records were skipped, more than --max-bad 1.0%" in message
    assert command(*prepare, tmp_path / "b", "--max-bad", "0.8")[0] == 0
    code, _, message = command(*prepare, tmp_path / "c", "--on-bad", "raise")
    assert code == 2
    *notices, error = message.splitlines()
    assert [notice.split(":")[0] for notice in notices] == ["mine"]
    assert error.startswith("ecgjepa: ")
    assert "cut.dat: truncated" in error
    assert not (tmp_path / "c").exists()


def test_row_15_a_file_that_may_not_be_read_stops_nothing(mine):
    mine.add("good")
    (mine.root / "folder.hea").mkdir()  # no file at all
    header = mine.add("long")
    header.write_text(header.read_text().replace("long.dat", "x" * 300 + ".dat"))
    summary = mine.prepare()
    assert (summary.stored, summary.skipped) == (1, {"unreadable": 1})


def test_row_16_checksums_and_first_samples_are_verified(mine):
    for name in ("good", "late"):
        mine.add(name)
    late = mine.root / "late.dat"
    content = bytearray(late.read_bytes())
    content[60_000] ^= 4
    late.write_bytes(bytes(content))
    header = mine.add("first", np.roll(mine.ecg(), 1, axis=0))
    lines = header.read_text().splitlines()
    fields = lines[8].split()
    fields[5] = str(int(fields[5]) + 1)
    lines[8] = " ".join(fields)
    header.write_text("\n".join(lines))

    summary = mine.prepare()
    assert (summary.stored, summary.skipped) == (1, {"checksum_mismatch": 2})
    first, second = summary.quarantine
    assert "lead V2: first sample is" in first.detail
    assert "lead I: checksum of the samples is" in second.detail
    masked = mine.prepare(on_bad="mask")
    assert (masked.stored, masked.skipped) == (3, {})
    assert mine.issues("late") == ["checksum_mismatch:I", "invalid_lead:I"]
    assert (mine.samples("late")[:, 0] == INVALID_MICROVOLT).all()
    assert mine.issues("first") == ["initial_value_mismatch:V2", "invalid_lead:V2"]
    mine.refused()


LIES = {
    "leads": ("x 12 500 5000", "x 13 500 5000"),
    "length": ("x 12 500 5000", "x 12 500 100000000000"),
    "format": ("x.dat 16 ", "x.dat 212 "),
    "skew": ("x.dat 16 ", "x.dat 16:99999999 "),
    "frame": ("x.dat 16 ", "x.dat 16x9999 "),
    "digits": ("1000.0(0)/mV", f"1000.0({'9' * 900})/mV"),
    "line": ("1000.0(0)/mV", f"{'1' * 5000}(0)/mV"),
    "tiny": ("1000.0(0)/mV", "1e-300(0)/mV"),
    "endless": ("1000.0(0)/mV", "1e400(0)/mV"),
}


@pytest.mark.parametrize("lie", LIES)
def test_row_17_a_lying_header_costs_neither_memory_nor_the_run(mine, lie):
    mine.add("good")
    header = mine.add("x")
    old, new = LIES[lie]
    assert old in header.read_text()
    header.write_text(header.read_text().replace(old, new))
    tracemalloc.start()
    try:
        summary = mine.prepare()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (summary.stored, sum(summary.skipped.values())) == (1, 1)
    assert peak < 50e6
    assert "x.hea" in summary.quarantine[0].detail or "x.dat" in summary.quarantine[0].detail


def test_row_17_segments_that_do_not_add_up_are_refused(mine):
    """The wfdb package would allocate what the second segment's line promises."""
    mine.add("s1"), mine.add("s2")
    (mine.root / "m.hea").write_text("m/2 12 500 10000\ns1 5000\ns2 5999999990\n")
    with pytest.raises(RecordFormatError, match="segments add up to 6,000,004,990"):
        ecgjepa.read_record(mine.root / "m.hea")
    (mine.root / "m.hea").write_text("m/2 12 500 10000\ns1 5000\ns2\n")
    with pytest.raises(RecordFormatError, match="is not like 'name samples'"):
        ecgjepa.read_record(mine.root / "m.hea")
    (mine.root / "m.hea").write_text("m/2 12 500 10000\ns1 5000\ns2 5000\n")
    assert ecgjepa.read_record(mine.root / "m.hea").num_samples == 10_000


def test_row_17_a_longer_file_is_read_as_announced_and_noted(mine):
    header = mine.add("x")
    with header.with_suffix(".dat").open("ab") as stream:
        stream.write(b"\1" * 24)
    assert mine.prepare(on_bad="raise").issues == {"file_longer_than_header": 1}
    assert len(mine.samples("x")) == 5000


def test_row_18_folders_that_are_not_the_database_say_what_was_expected(mine, command, tmp_path):
    (tmp_path / "empty").mkdir()
    store = tmp_path / "store"
    for folder, words in ((tmp_path / "empty", "is empty"), (tmp_path / "no", "does not exist")):
        with pytest.raises(DatabaseError, match=words):
            ecgjepa.prepare({"ptb-xl": folder}, store)
    mine.add("x")
    expected = {
        "ptb-xl": r"ptbxl_database\.csv is missing; expected the folder that holds",
        "mimic-iv-ecg": r"record_list\.csv is missing; expected the folder that holds",
        "code-15": r"exams\.csv is missing; expected the folder that holds",
        "georgia": "1 of 1 records do not belong to it, such as x; expected E0001 to E10344",
    }
    for database, words in expected.items():
        with pytest.raises(DatabaseError, match=words):
            ecgjepa.prepare({database: mine.root}, store)
    code, _, message = command("prepare", f"ptb-xl={mine.root}", "--store", store)
    assert code == 2
    assert message.startswith("ecgjepa: ptb-xl:")
    assert not store.exists()


def test_row_24_a_header_may_not_name_files_elsewhere(mine):
    secret = mine.root.parent / "secret.dat"
    mine.add("good")
    for name, place in (("up", "../secret.dat"), ("abs", str(secret)), ("win", r"..\secret.dat")):
        header = mine.add(name)
        header.with_suffix(".dat").replace(secret)
        header.write_text(header.read_text().replace(f"{name}.dat", place))
    (mine.root / "segments.hea").write_text("segments/1 12 500 5000\n../secret 5000\n")
    summary = mine.prepare()
    assert (summary.stored, summary.skipped) == (1, {"unreadable": 4})
    assert all("may only name files in its own folder" in s.detail for s in summary.quarantine)


def test_row_24_a_huge_header_is_not_read(mine):
    mine.add("good")
    with (mine.root / "huge.hea").open("wb") as stream:
        stream.truncate(2**40)  # sparse: a terabyte of nothing
    assert mine.prepare().skipped == {"unreadable": 1}


def test_row_24_nothing_is_unpickled(mine, tmp_path, monkeypatch):
    """Files of objects are refused; where NumPy loads arrays, it loads no objects."""
    np.save(tmp_path / "x.npy", np.array([{"run": "me"}], object), allow_pickle=True)
    told = {"sampling_rate": 500, "unit": "mV", "leads": ["I"]}
    (tmp_path / "ecg.json").write_text(json.dumps(told))
    monkeypatch.setattr("pickle.load", None)
    monkeypatch.setattr("pickle.loads", None)
    for name in ("x.npy", "x.npz", "x.pkl"):
        (tmp_path / name).write_bytes((tmp_path / "x.npy").read_bytes())
        with pytest.raises(RecordFormatError):
            ecgjepa.read_record(tmp_path / name)
    mine.add("good")
    assert mine.prepare().stored == 1
    assert json.loads((mine.store / "manifest.json").read_text())["num_records"] == 1


def test_row_24_entities_in_xml_are_not_expanded(tmp_path):
    lines = ['<?xml version="1.0"?>', "<!DOCTYPE x ["]
    lines += ['<!ENTITY a0 "aaaaaaaaaa">']
    lines += [f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10)]
    lines += ["]>", '<AnnotatedECG xmlns="urn:hl7-org:v3">&a9;</AnnotatedECG>']
    (tmp_path / "bomb.xml").write_text("\n".join(lines))
    with pytest.raises(RecordFormatError, match=r"bomb\.xml"):
        ecgjepa.read_record(tmp_path / "bomb.xml")


@pytest.mark.realdata
def test_row_25_the_rhythm_is_read_and_not_median_beats_or_calibration_pulses(real_data):
    every = sorted((real_data / "formats").rglob("*"))
    files = [path for path in every if path.suffix.lower() in (".dcm", ".xml")]
    found = {path.name: ecgjepa.read_record(path) for path in files}
    lengths = {name: (one.sampling_rate, round(one.duration, 1)) for name, one in found.items()}
    assert lengths == {
        "anonymous_ecg.dcm": (1000.0, 10.0),
        "subject1_0.xml": (500.0, 10.0),
        "129DYPRG.XML": (500.0, 10.5),
        "3191723_ZZDEMOPTONLY_1-04_orig.xml": (500.0, 10.6),
    }
    codes = {name: {issue.code for issue in one.issues} for name, one in found.items()}
    assert "other_waveform" in codes["anonymous_ecg.dcm"]
    assert "calibration_pulse" in codes["129DYPRG.XML"]
