"""Simulated patients in the files and tables of MIMIC-IV-ECG 1.0.

See https://doi.org/10.13026/4nqg-sb35. No record of the database was at hand: the layout follows
its description, and headers and tables that others quote from it.
"""

import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from ecgjepa.databases.mimic_iv_ecg import MEASUREMENTS_FILE, TABLE_FILE
from ecgjepa.files import write_text
from ecgjepa.signals.leads import LEADS
from ecgjepa.simulation.heart.beats import Waves, frontal_axis
from ecgjepa.simulation.heart.patients import Patient, generator
from ecgjepa.simulation.heart.recorder import Tracing, quantise
from ecgjepa.simulation.layouts.population import Layout, Population, Visit
from ecgjepa.simulation.layouts.wfdb_files import write_record

_FOLDER = "files"
_GAIN = 200.0
# aVF comes before aVL.
STORED_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
_ORDER = [LEADS.index(lead) for lead in STORED_LEADS]
# So that subjects and studies have numbers of eight digits, as published.
_FIRST_SUBJECT, _FIRST_STUDY = 10_000_000, 40_000_000

_RECORD_COLUMNS = ("subject_id", "study_id", "file_name", "ecg_time", "path")
_MOST_SENTENCES = 18
_MEASUREMENT_COLUMNS = (
    "subject_id", "study_id", "cart_id", "ecg_time",
    *(f"report_{number}" for number in range(_MOST_SENTENCES)),
    "bandwidth", "filtering", "rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end",
    "p_axis", "qrs_axis", "t_axis",
)  # fmt: skip
# The cart's number for what it could not measure.
_NOT_MEASURED = 29_999

# What the cart says of each statement, in its order: rhythm first, verdict last.
_SENTENCES = {
    "SR": "Sinus rhythm",
    "STACH": "Sinus tachycardia",
    "SBRAD": "Sinus bradycardia",
    "SARRH": "Sinus arrhythmia",
    "AFIB": "Atrial fibrillation",
    "AFLT": "Atrial flutter",
    "PACE": "Ventricular pacing",
    "BIGU": "Ventricular bigeminy",
    "PVC": "Ventricular premature complex(es)",
    "1AVB": "Prolonged PR interval",
    "LAFB": "Left anterior fascicular block",
    "IRBBB": "Incomplete right bundle branch block",
    "CRBBB": "Right bundle branch block",
    "CLBBB": "Left bundle branch block",
    "LVH": "Left ventricular hypertrophy",
    "IMI": "Inferior infarct - age undetermined",
    "ASMI": "Anteroseptal infarct - age undetermined",
    "AMI": "Anterior infarct - age undetermined",
    "ISC_": "ST-T changes may be due to myocardial ischemia",
    "NST_": "Nonspecific ST-T changes",
    "STD_": "ST depression, consider ischemia",
    "NDT": "Nonspecific T wave changes",
    "INVT": "Inverted T waves",
}


def write(root: Path, plan: Population) -> None:
    """Write a plan as MIMIC-IV-ECG: signals, and last the tables.

    Raises:
        DiskFullError: If there is no space left.
    """
    records, measurements = [], []
    for visit in plan.visits(_num_studies):
        subject, study = visit.patient.number, _FIRST_STUDY + visit.number
        time = _time(plan.seed, visit)
        path = f"{_FOLDER}/p{subject // 10_000}/p{subject}/s{study}/{study}"
        tracing = plan.trace(visit, 500)
        write_record(
            root / path,
            quantise(tracing, _GAIN)[:, _ORDER],
            STORED_LEADS,
            500,
            gain=f"{_GAIN}(0)/mV",
            stamp=time.strftime("%H:%M:%S %d/%m/%Y"),
            comments=[f" <subject_id>: {subject}"],
        )
        records.append((subject, study, study, str(time), path))
        measurements.append((subject, study, *_report(plan.seed, visit, tracing, time)))
    for file, columns, rows in (
        (MEASUREMENTS_FILE, _MEASUREMENT_COLUMNS, measurements),
        (TABLE_FILE, _RECORD_COLUMNS, records),
    ):
        write_text(root / file, pd.DataFrame(rows, columns=list(columns)).to_csv(index=False))


LAYOUT = Layout(
    title="MIMIC-IV-ECG 1.0",
    contents=(TABLE_FILE, MEASUREMENTS_FILE, _FOLDER),
    write=write,
    first_patient=_FIRST_SUBJECT,
)


def _num_studies(seed: int, patient: Patient) -> int:
    """Draw how many studies a patient has: 2 in the median, 5 in the mean, as published."""
    rng = generator(seed, patient.number, 0, 1)
    return int(np.clip(np.ceil(np.exp(0.6 + 1.35 * rng.standard_normal())), 1, 100))


def _time(seed: int, visit: Visit) -> datetime.datetime:
    """Return when a study took place: shifted beyond 2100, and later with each visit."""
    rng = generator(seed, visit.patient.number, 0, 2)
    start = datetime.datetime(2110, 1, 1) + datetime.timedelta(days=rng.integers(0, 25_000).item())
    gaps = rng.integers(60, 60 * 24 * 90, visit.visit + 1)
    return start + datetime.timedelta(minutes=gaps.sum().item())


def _report(
    seed: int, visit: Visit, tracing: Tracing, time: datetime.datetime
) -> tuple[object, ...]:
    """Return a study's row of the measurements, from its third column on."""
    cart = 6_800_000 + generator(seed, visit.patient.number, visit.visit + 1, 1).integers(0, 90_000)
    sentences = [text for code, text in _SENTENCES.items() if code in tracing.codes]
    sentences.append("Normal ECG" if "NORM" in tracing.codes else "Abnormal ECG")
    padding = [None] * (_MOST_SENTENCES - len(sentences))
    measured = _measure(visit.patient, tracing)
    return (cart, str(time), *sentences, *padding, "0.005-150 Hz", "60 Hz notch", *measured)


def _measure(patient: Patient, tracing: Tracing) -> tuple[int, ...]:
    """Return RR interval, borders of the waves in ms, and axes in degrees, from the heart itself.

    The borders count from a moment 40 ms before the P wave, or before where it would be.
    """
    heart = patient.heart
    interval = float(np.median(tracing.rhythm.intervals))
    start = 0.040
    has_p = bool(tracing.rhythm.atrial.any()) and heart.atria.centre.size > 0
    qrs = start + heart.pr
    t_end = qrs + heart.qrs + _end(heart.recovery) * np.clip(interval, 0.36, 1.6) ** (1 / 3)
    p_wave = (start, min(start + _end(heart.atria), qrs)) if has_p else None
    milliseconds = [
        round(1000 * time) for time in (interval, *(p_wave or ()), qrs, qrs + heart.qrs, t_end)
    ]
    if p_wave is None:
        milliseconds[1:1] = [_NOT_MEASURED, _NOT_MEASURED]
    p_axis = round(frontal_axis(heart.atria)) if has_p else _NOT_MEASURED
    axes = (p_axis, round(frontal_axis(heart.ventricles)), round(frontal_axis(heart.recovery)))
    return (*milliseconds, *axes)


def _end(pulses: Waves) -> float:
    """Return when the last of the pulses has passed, in s after their anchor."""
    return float((pulses.centre + 2 * pulses.fall).max())
