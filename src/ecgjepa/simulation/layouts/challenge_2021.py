"""Simulated patients in the databases of the PhysioNet/CinC Challenge 2021.

See https://doi.org/10.13026/34va-7q14. One folder per database, a WFDB header and a MATLAB file per
record. Rates, lengths, spellings and comments are those of real records, except for St-Petersburg
INCART's, of which none was at hand. Oddities (empty codes, ages unknown, leads that are zero) are
not imitated.
"""

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecgjepa.databases.challenge_2021 import PARTS, Member
from ecgjepa.signals.leads import LEADS
from ecgjepa.simulation.heart.patients import generator
from ecgjepa.simulation.heart.recorder import quantise
from ecgjepa.simulation.layouts.population import LONGEST, Layout, Population, Visit
from ecgjepa.simulation.layouts.wfdb_files import write_record

# From the Challenge's tables of diagnoses (dx_mapping_scored.csv and dx_mapping_unscored.csv of
# https://github.com/physionetchallenges/evaluation-2021). A normal ECG has no code of its own:
# PTB-XL's are coded by their rhythm.
SNOMED = {
    "IMI": "164865005",  # myocardial infarction
    "ASMI": "164865005",
    "AMI": "54329005",  # anterior myocardial infarction
    "LVH": "164873001",
    "LAFB": "445118002",
    "IRBBB": "713426002",
    "CRBBB": "713427006",
    "CLBBB": "164909002",  # left bundle branch block; almost no database says "complete"
    "1AVB": "270492004",
    "ISC_": "164861001",  # myocardial ischemia
    "NST_": "428750005",  # nonspecific ST-T abnormality
    "NDT": "164934002",  # T wave abnormal
    "STD_": "429622005",
    "INVT": "59931005",
    "PVC": "427172004",
    "SR": "426783006",
    "STACH": "427084000",
    "SBRAD": "426177001",
    "SARRH": "427393009",
    "AFIB": "164889003",
    "AFLT": "164890007",
    "PACE": "10370003",
    "BIGU": "11157007",
}
_PER_FOLDER = 1000
_PATIENTS = 1_000_000
# The date on which the Challenge converted a record stands here; ours is plainly no such date.
_STAMP = "01-Jan-2000 00:00:00"


def _ten_seconds(rng: np.random.Generator) -> float:
    return 10.0


def _sometimes_shorter(rng: np.random.Generator) -> float:
    """Georgia: 52 of 10,344 records are shorter than 10 s."""
    return float(rng.uniform(5, 10)) if rng.random() < 0.005 else 10.0


def _six_to_144(rng: np.random.Generator) -> float:
    """CPSC: 16 s in the mean."""
    return float(np.clip(np.exp(2.57 + 0.6 * rng.standard_normal()), 6, 144))


def _two_minutes(rng: np.random.Generator) -> float:
    """PTB: mostly 115.2 s, some a third of it; 111 s in the mean."""
    return 38.4 if rng.random() < 0.06 else 115.2


def _half_an_hour(rng: np.random.Generator) -> float:
    return LONGEST


class _Style(NamedTuple):
    """How the records of one database are written.

    Attributes:
        digits: Number of digits in a record's name.
        rate: In Hz.
        seconds: Draws a record's length.
        unit: As the headers spell it.
        remarks: Comments below age, sex and diagnoses.
        drift: Median drift of the electrodes, in mV.
    """

    digits: int
    rate: int = 500
    seconds: Callable[[np.random.Generator], float] = _ten_seconds
    unit: str = "mV"
    remarks: tuple[str, ...] = ("Rx", "Hx", "Sx")
    drift: float = 0.0


_STYLES = {
    "chapman-shaoxing": _Style(5),
    "cpsc": _Style(4, seconds=_six_to_144),
    "cpsc-extra": _Style(4, seconds=_six_to_144),
    "georgia": _Style(5, seconds=_sometimes_shorter, remarks=("Rx", "Hx")),
    "ningbo": _Style(5),
    "ptb": _Style(4, 1000, _two_minutes, unit="mv", remarks=("Rx", "Hx")),
    "st-petersburg": _Style(4, 257, _half_an_hour, drift=1.5),
}


def _write(name: str, root: Path, plan: Population) -> None:
    """Write a plan as one of the Challenge's databases, in a folder of its name."""
    part, style = PARTS[name], _STYLES[name]
    for visit in plan.visits():
        record = f"{part.prefix}{part.first + visit.number - 1:0{style.digits}d}"
        group = f"g{(visit.number - 1) // _PER_FOLDER + 1}"
        _write_record(root / part.folder / group / record, style, plan, visit)


def _write_record(path: Path, style: _Style, plan: Population, visit: Visit) -> None:
    rng = generator(plan.seed, visit.patient.number, visit.visit + 1, 1)
    seconds, spread = style.seconds(rng), float(np.clip(rng.standard_normal(), -2, 2))
    drift = style.drift * float(np.exp(0.4 * spread))
    tracing = plan.trace(visit, style.rate, seconds, drift=drift)
    digital = quantise(tracing)
    traits = visit.patient.traits
    diagnoses = dict.fromkeys(SNOMED[code] for code in tracing.codes if code in SNOMED)
    write_record(
        path,
        digital,
        LEADS,
        style.rate,
        gain=f"1000/{style.unit}",
        ending=".mat",
        head=_matlab_head(*digital.shape),
        signed_checksums=True,
        stamp=_STAMP,
        comments=[
            f"Age: {traits.age:.0f}",
            f"Sex: {'Female' if traits.female else 'Male'}",
            f"Dx: {','.join(diagnoses)}",
            *(f"{remark}: Unknown" for remark in style.remarks),
        ],
    )


def _matlab_head(num_samples: int, num_leads: int) -> bytes:
    """Return the 24 bytes that make the samples a MATLAB v4 file with one int16 matrix, ``val``.

    See "Level 4 MAT-File Format" in https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf.
    """
    int16_little_endian = 30
    return struct.pack("<5i4s", int16_little_endian, num_leads, num_samples, 0, 4, b"val\0")


def _layout(name: str, part: Member, first_patient: int) -> Layout:
    return Layout(
        title=f"the PhysioNet/CinC Challenge 2021 ({part.folder})",
        contents=(part.folder,),
        write=partial(_write, name),
        first_patient=first_patient,
        most_records=part.last - part.first + 1,
    )


LAYOUTS = {
    name: _layout(name, part, 30_000_000 + index * _PATIENTS)
    for index, (name, part) in enumerate(PARTS.items())
}
