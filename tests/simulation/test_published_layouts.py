"""What each published database does in a way of its own."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import signal
from scipy.io import loadmat

from ecgjepa.databases import list_records
from ecgjepa.databases.challenge_2021 import PARTS
from ecgjepa.files import DiskFullError
from ecgjepa.signals.record import standardise_leads
from ecgjepa.simulation import simulate
from ecgjepa.simulation.database import write_plan
from ecgjepa.simulation.heart.noise import LostElectrode, draw_drift
from ecgjepa.simulation.heart.patients import generator
from ecgjepa.simulation.heart.records import trace_visit
from ecgjepa.simulation.layouts import code_15
from ecgjepa.simulation.layouts.population import Population, population

# From the description of MIMIC-IV-ECG 1.0 and its tables as others quote them.
MIMIC_RECORDS = "subject_id,study_id,file_name,ecg_time,path"
MIMIC_MEASUREMENTS = (
    "subject_id,study_id,cart_id,ecg_time,report_0,report_1,report_2,report_3,report_4,report_5,"
    "report_6,report_7,report_8,report_9,report_10,report_11,report_12,report_13,report_14,"
    "report_15,report_16,report_17,bandwidth,filtering,rr_interval,p_onset,p_end,qrs_onset,"
    "qrs_end,t_end,p_axis,qrs_axis,t_axis"
)
# The header line of exams.csv, as published.
CODE_15_EXAMS = (
    "exam_id,age,is_male,nn_predicted_age,1dAVb,RBBB,LBBB,SB,ST,AF,patient_id,death,timey,"
    "normal_ecg,trace_file"
)


@pytest.fixture(scope="module")
def mimic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mimic") / "x"
    return simulate(80, folder, layout="mimic-iv-ecg", seconds=2.0)


def test_mimic_has_the_published_tables(mimic):
    assert (mimic / "record_list.csv").read_text().splitlines()[0] == MIMIC_RECORDS
    text = (mimic / "machine_measurements.csv").read_text()
    assert text.splitlines()[0] == MIMIC_MEASUREMENTS
    records = pd.read_csv(mimic / "record_list.csv")
    for row in records.itertuples():
        subject, study = str(row.subject_id), str(row.study_id)
        assert row.path == f"files/p{subject[:4]}/p{subject}/s{study}/{study}"
        assert len(subject) == len(study) == 8
        assert row.file_name == row.study_id
    time = pd.to_datetime(records["ecg_time"], format="%Y-%m-%d %H:%M:%S")
    assert time.dt.year.between(2110, 2210).all()
    assert time.groupby(records["subject_id"]).is_monotonic_increasing.all()


def test_mimic_headers_are_as_quoted(mimic):
    header = next(iter(sorted(mimic.rglob("*.hea"))))
    lines = header.read_text().splitlines()
    name = header.stem
    assert re.fullmatch(rf"{name} 12 500 1000 \d\d:\d\d:\d\d \d\d/\d\d/2\d\d\d", lines[0])
    leads = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
    for line, lead in zip(lines[1:13], leads, strict=True):
        assert re.fullmatch(rf"{name}\.dat 16 200\.0\(0\)/mV 16 0 -?\d+ \d+ 0 {lead}", line)
    assert lines[13:] == [f"# <subject_id>: {header.parents[1].name[1:]}"]


def test_mimic_patients_have_several_studies(mimic):
    listing = list_records("mimic-iv-ecg", mimic)
    studies = listing.table["patient_id"].value_counts()
    assert studies.sum() == 80
    assert studies.max() > 3
    assert studies.min() == 1


def test_mimic_measurements_are_those_of_the_heart(mimic):
    table = pd.read_csv(mimic / "machine_measurements.csv")
    missing = table["p_onset"] == 29_999
    without_p = table["report_0"].isin(["Atrial fibrillation", "Atrial flutter"])
    assert (missing[without_p]).all()
    p = table[~missing]
    assert ((p["p_onset"] < p["p_end"]) & (p["p_end"] <= p["qrs_onset"])).all()
    width = table["qrs_end"] - table["qrs_onset"]
    assert width.between(60, 200).all()
    wide = table.filter(like="report_").isin(["Left bundle branch block"]).any(axis=1)
    assert (width[wide] >= 120).all()
    assert (table["t_end"] > table["qrs_end"]).all()
    slow = table["report_0"] == "Sinus bradycardia"
    assert (table.loc[slow, "rr_interval"] > 1000).all()
    assert table["qrs_axis"].between(-180, 180).all()


@pytest.fixture(scope="module")
def code_15_root(tmp_path_factory):
    return simulate(40, tmp_path_factory.mktemp("code") / "x", layout="code-15")


def test_code_15_is_padded_on_both_sides_and_ends_with_a_phantom(code_15_root):
    h5py = pytest.importorskip("h5py")
    assert (code_15_root / "exams.csv").read_text().splitlines()[0] == CODE_15_EXAMS
    with h5py.File(code_15_root / "exams_part0.hdf5") as file:
        ids, tracings = file["exam_id"][:], file["tracings"][:]
    assert ids.tolist() == [*range(1, 41), 0]
    assert (tracings.dtype, tracings.shape) == (np.float32, (41, 4096, 12))
    assert not tracings[-1].any()
    extents = {
        (int(recorded[0]), int(recorded[-1]))
        for exam in tracings[:-1]
        if (recorded := np.flatnonzero(exam.any(axis=1))).size
    }
    # As in the real exams of 7.3 s and 10.2 s.
    assert extents == {(581, 3514), (0, 4095)}
    listing = list_records("code-15", code_15_root)
    lengths = {listing.read(entry).num_samples for entry in listing.entries()}
    assert lengths == {2934, 4096}


def test_code_15_drifts(code_15_root):
    listing = list_records("code-15", code_15_root)
    deviation = [np.median(listing.read(entry).signal.std(axis=0)) for entry in listing.entries()]
    assert 0.25 < np.median(deviation) < 1.0


def test_code_15_in_several_parts(tmp_path, monkeypatch):
    whole = simulate(7, tmp_path / "whole", layout="code-15", seconds=2.0)
    monkeypatch.setattr(code_15, "_PER_PART", 3)
    parts = simulate(7, tmp_path / "parts", layout="code-15", seconds=2.0)
    assert len(list(parts.glob("*.hdf5"))) == 3
    one, other = list_records("code-15", whole), list_records("code-15", parts)
    assert other.table["path"].tolist()[3] == "exams_part1.hdf5#0"
    assert any("3 phantom rows" in notice for notice in other.notices)
    assert not any("do not lie in the file" in notice for notice in other.notices)
    for first, second in zip(one.entries(), other.entries(), strict=True):
        np.testing.assert_array_equal(one.read(first).signal, other.read(second).signal)
    # Earlier parts go with the simulation they belong to.
    simulate(1, parts, layout="code-15", seconds=2.0)
    assert len(list(parts.glob("*.hdf5"))) == 1


def test_code_15_writes_zero_in_all_limb_leads_if_one_is_lost(tmp_path):
    def without_right_arm(*arguments, **options):
        tracing = trace_visit(*arguments, **options)
        return replace(tracing, lost=LostElectrode(0, 100, 300, flat=False))

    plan = Population(1, 0, 2.0, first_patient=20_000_000, tracer=without_right_arm)
    write_plan(tmp_path / "x", "code-15", plan)
    listing = list_records("code-15", tmp_path / "x")
    limbs = listing.read(next(listing.entries())).signal[:, :6]
    # Lead III, which the right arm does not reach, is silent too.
    assert not limbs[100:300].any()
    assert limbs[:100].any()
    assert limbs[300:].any()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_code_15_on_a_full_disk(tmp_path, monkeypatch):
    # HDF5 itself would end the process; see `_lay_out`.
    def on_a_full_disk(path, num_rows):
        path.symlink_to("/dev/full")
        return 0, 16

    monkeypatch.setattr(code_15, "_lay_out", on_a_full_disk)
    with pytest.raises(DiskFullError, match=r"exams_part0\.hdf5; nothing half-written was kept"):
        simulate(3, tmp_path / "x", layout="code-15", seconds=2.0)
    assert list((tmp_path / "x").iterdir()) == []


@pytest.mark.parametrize("database", sorted(PARTS))
def test_challenge_files_are_matlab_files(database, tmp_path):
    simulate(2, tmp_path / "x", layout=database, seconds=2.0)
    listing = list_records(database, tmp_path / "x")
    part = PARTS[database]
    for number, entry in enumerate(listing.entries()):
        header = tmp_path / "x" / entry.path
        assert header.parent.relative_to(tmp_path / "x").as_posix() == f"{part.folder}/g1"
        assert int(header.stem.removeprefix(part.prefix)) == part.first + number
        values = loadmat(header.with_suffix(".mat"))["val"]
        record = listing.read(entry)
        assert values.shape == (12, record.num_samples)
        valid = record.valid.T
        np.testing.assert_array_equal(
            values[valid] / np.float32(1000), record.signal.T[valid].astype(np.float32)
        )
    # The database's own folder will do, too, and is known to be simulated.
    inside = list_records(database, tmp_path / "x" / part.folder)
    assert inside.notices == ("2 simulated ECGs; results on them say nothing about patients",)


def skeleton(header: str) -> list[str]:
    """Return a header with everything that differs from record to record taken out."""
    header = re.sub(r"\b(Male|Female)\b", "SEX", header)
    header = re.sub(r"\d\d-\w{3}-\d{4}", "DATE", header)
    header = re.sub(r"Dx: [\d,]+", "Dx: CODES", header)
    header = re.sub(r"Age: (\d+|NaN)", "Age: AGE", header)
    first, *rest = header.splitlines()
    first = " ".join(first.split(" ")[:3] + first.split(" ")[4:])
    lines = [re.sub(r" 0 -?\d+ -?\d+ 0 ", " NUMBERS ", line) for line in rest]
    name = first.split(" ")[0]
    shape = re.sub(r"\d", "0", name)
    return [
        re.sub(r"\d\d:\d\d:\d\d", "TIME", line.replace(name, shape)) for line in (first, *lines)
    ]


@pytest.mark.realdata
@pytest.mark.parametrize("database", sorted(set(PARTS) - {"st-petersburg"}))
def test_challenge_headers_are_as_the_real_ones(database, real_data, tmp_path):
    real = real_data / "challenge-2021" / PARTS[database].folder
    expected = {tuple(skeleton(path.read_text())) for path in real.rglob("*.hea")}
    simulate(5, tmp_path / "x", layout=database, seconds=2.0)
    found = {tuple(skeleton(path.read_text())) for path in (tmp_path / "x").rglob("*.hea")}
    assert found <= expected


def test_lengths_are_as_published(tmp_path):
    for database, low, high in (("cpsc", 6, 144), ("cpsc-extra", 6, 144), ("georgia", 5, 10)):
        listing = list_records(database, simulate(12, tmp_path / database, layout=database))
        lengths = [listing.read(entry).duration for entry in listing.entries()]
        assert all(low <= length <= high for length in lengths)
        assert (len(set(lengths)) > 6) == database.startswith("cpsc")
    listing = list_records("ptb", simulate(1, tmp_path / "ptb", layout="ptb"))
    assert listing.read(next(listing.entries())).num_samples in (38_400, 115_200)


def test_half_an_hour_of_st_petersburg(tmp_path):
    root = simulate(1, tmp_path / "x", layout="st-petersburg")
    header = root / "st_petersburg_incart/g1/I0001.hea"
    assert header.read_text().startswith("I0001 12 257 462600 ")
    assert header.with_suffix(".mat").stat().st_size == 24 + 2 * 12 * 462_600
    listing = list_records("st-petersburg", root)
    assert listing.highpass_hz == 0.5
    record = listing.read(next(listing.entries()))
    assert (record.sampling_rate, record.num_samples) == (257.0, 462_600)
    # Beats until the end: the last minute is no flatter than the first.
    chest = np.abs(np.diff(record.signal[:, 8]))
    minute = 60 * 257
    first, last = (np.percentile(part, 99.5) for part in (chest[:minute], chest[-minute:]))
    assert 0.5 < last / first < 2


def test_st_petersburg_drifts_by_millivolts_below_half_a_hertz(tmp_path):
    root = simulate(12, tmp_path / "x", layout="st-petersburg", seconds=60.0)
    listing = list_records("st-petersburg", root)
    sections = signal.butter(4, 0.5, "highpass", fs=257, output="sos")
    before, after = [], []
    for entry in listing.entries():
        record = standardise_leads(listing.read(entry))
        if record.valid.all():
            before.append(np.median(record.signal.std(axis=0)))
            filtered = signal.sosfiltfilt(sections, record.signal.astype(float), axis=0)
            after.append(np.median(filtered.std(axis=0)))
    assert len(before) > 9
    assert min(before) > 0.5
    assert 1.0 < np.median(before) < 4.0
    assert max(before) < 10
    # What is left is an ECG.
    assert 0.05 < np.median(after) < 0.3


def test_drift_never_repeats_and_has_its_level():
    drift = draw_drift(generator(0, 1), 300 * 100, 100.0, 1.0)
    # Electrodes drift independently: a lead of two by the square root of 2.
    assert 0.8 < np.median(drift.std(axis=0)) < 2.0
    early, late = drift[:6000, 3], drift[12_000:18_000, 3]
    assert abs(np.corrcoef(early, late)[0, 1]) < 0.9
    power = np.abs(np.fft.rfft(drift - drift.mean(axis=0), axis=0)) ** 2
    hertz = np.fft.rfftfreq(len(drift), 0.01)
    assert power[hertz > 0.5].sum() < 0.01 * power.sum()


def test_ptb_xl_has_the_first_patients_and_others_follow():
    first = next(population(0))[0]
    other = next(population(0, 10_000_000))[0]
    assert (first.number, other.number) == (0, 10_000_000)
    assert first.traits != other.traits
