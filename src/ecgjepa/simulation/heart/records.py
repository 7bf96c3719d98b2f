"""One record: a patient's heart on one day, seen through twelve leads and a recorder."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32

from ecgjepa.errors import ConfigError
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.record import Record
from ecgjepa.simulation.heart.beats import MARGIN, Heart, add_waves, displace
from ecgjepa.simulation.heart.noise import draw_drift, draw_noise
from ecgjepa.simulation.heart.patients import (
    Patient,
    generator,
    patient_with,
    rhythm_of_the_day,
)
from ecgjepa.simulation.heart.recorder import (
    INVALID,
    MICROVOLT_PER_MILLIVOLT,
    Tracing,
    quantise,
)
from ecgjepa.simulation.heart.rhythm import (
    Rhythm,
    fibrillation,
    fibrillatory_waves,
    flutter,
    flutter_waves,
    paced,
    sinus,
    with_extrasystoles,
)
from ecgjepa.simulation.heart.statements import check_codes

# Flutter waves per conducted beat (0 alternates between two and four), and how common each is.
_RATIOS, _RATIO_SHARES = (2, 3, 4, 0), (0.4, 0.1, 0.35, 0.15)
# Infinitesimal turns about the z and x axis: how breathing moves the heart.
_SWAY = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, -0.5], [0.0, 0.5, 0.0]])


def simulate_record(
    codes: Sequence[str],
    *,
    seed: int,
    duration: float = 10.0,
    sampling_rate: float = 500.0,
    noise: bool = True,
    severity: float | None = None,
) -> Record:
    """Simulate one 12-lead ECG with the given findings.

    Args:
        codes: SCP statement codes, e.g. ``["IMI", "1AVB"]``; sinus rhythm if they name no rhythm.
        seed: The same arguments and seed give the same record.
        duration: In s, from 1 to 600.
        sampling_rate: In Hz, from 100 to 2000.
        noise: Whether to add what disturbs real recordings.
        severity: From 0 (borderline) to 1 (unmistakable), of all findings; None draws each.

    Returns:
        The record, quantised to 1 µV as files are.

    Raises:
        ConfigError: If a code is unknown, two exclude each other or a number is out of range.
    """
    checked = check_codes(codes)
    _require("duration", duration, 1.0, 600.0, "s")
    _require("sampling_rate", sampling_rate, 100.0, 2000.0, "Hz")
    _require("seed", seed, 0, np.inf, "")
    if severity is not None:
        _require("severity", severity, 0.0, 1.0, "")
    patient = patient_with(checked, seed, severity)
    num_samples = round(duration * sampling_rate)
    tracing = trace(
        patient,
        checked,
        generator(seed, 0, 1),
        num_samples=num_samples,
        sampling_rate=sampling_rate,
        noise=noise,
    )
    digital = quantise(tracing)
    valid = digital != INVALID
    signal = digital.astype(np.float32) / np.float32(MICROVOLT_PER_MILLIVOLT)
    signal[~valid] = 0.0
    name = "+".join(code.replace("/", "-") for code in checked)
    return Record(signal, valid, LEADS, float(sampling_rate), f"{name}-{seed}", source="simulated")


def _require(name: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value:g}; expected {low:g} to {high:g} {unit}".rstrip())


def trace_visit(
    seed: int,
    patient: Patient,
    visit: int,
    *,
    num_samples: int = 5000,
    sampling_rate: float = 500.0,
    drift: float = 0.0,
) -> Tracing:
    """Return visit number ``visit`` of a patient, with noise.

    Args:
        seed: Seed of the population.
        patient: Whose heart it is.
        visit: From 0.
        num_samples: Length.
        sampling_rate: In Hz.
        drift: Standard deviation of the electrodes' drift, in mV, for recorders without high-pass.
    """
    rng = generator(seed, patient.number, visit + 1)
    codes = rhythm_of_the_day(rng, patient)
    tracing = trace(
        patient, codes, rng, num_samples=num_samples, sampling_rate=sampling_rate, noise=True
    )
    if drift:
        own = generator(seed, patient.number, visit + 1, 2)
        tracing.leads[:] += draw_drift(own, num_samples, sampling_rate, drift)
    return tracing


def trace(
    patient: Patient,
    codes: tuple[str, ...],
    rng: np.random.Generator,
    *,
    num_samples: int,
    sampling_rate: float,
    noise: bool,
) -> Tracing:
    """Record a patient's heart.

    Args:
        patient: Whose heart it is.
        codes: Statements of the day; they decide the rhythm.
        rng: Source of the day's randomness.
        num_samples: Length.
        sampling_rate: In Hz.
        noise: Whether to add it; the heart is the same with and without.
    """
    duration = num_samples / sampling_rate
    breathing = rng.uniform(0.15, 0.38)
    rhythm, atrial = _draw_rhythm(rng, patient, codes, duration, breathing, sampling_rate)
    dipole = _beats(rng, patient, rhythm, num_samples, sampling_rate)
    if atrial is not None:
        dipole += atrial
    dipole = _breathe(rng, dipole, breathing, sampling_rate)
    # The recorder is AC-coupled: a steady dipole leaves no trace.
    dipole -= dipole.mean(axis=0)
    # Nobody glues the electrodes to exactly the same places twice.
    field = displace(patient.field, 0.10 * rng.standard_normal(6))
    leads = dipole @ field.T.astype(np.float32)
    notes: dict[str, str] = {}
    num_extra = int(((rhythm.ectopic > 0) & (rhythm.onsets > 0) & (rhythm.onsets < duration)).sum())
    if num_extra:
        notes["extra_beats"] = f"{num_extra}ES" if num_extra > 1 else "VES"
    if "PACE" in codes:
        notes["pacemaker"] = "ja, pacemaker"
    lost = None
    if noise:
        disturbance = draw_noise(rng, num_samples, sampling_rate, breathing)
        leads += disturbance.leads
        lost = disturbance.lost
        notes |= disturbance.notes
    return Tracing(leads, lost, sampling_rate, codes, notes, rhythm)


def _draw_rhythm(
    rng: np.random.Generator,
    patient: Patient,
    codes: tuple[str, ...],
    duration: float,
    breathing: float,
    sampling_rate: float,
) -> tuple[Rhythm, Float32[np.ndarray, "samples 3"] | None]:
    """Return the beats and, unless the atria just follow the sinus node, their own waves."""
    num_samples = round(duration * sampling_rate)
    tempo = 0.75 * patient.tempo + 0.66 * rng.standard_normal()
    atrial = None
    if "AFIB" in codes:
        coarseness = 0.038 * np.exp(0.45 * rng.standard_normal())
        atrial = fibrillatory_waves(rng, num_samples, sampling_rate, coarseness)
    if "PACE" in codes:
        rate = 60.0 if tempo < 0 else 70.0
        rhythm = paced(rng, rate + rng.uniform(0, 5), duration, atrial="AFIB" not in codes)
    elif "AFIB" in codes:
        rhythm = fibrillation(rng, float(np.clip(86 * np.exp(0.24 * tempo), 52, 150)), duration)
    elif "AFLT" in codes:
        atrial_rate, ratio = rng.uniform(250, 330), int(rng.choice(_RATIOS, p=_RATIO_SHARES))
        rhythm, start = flutter(rng, atrial_rate, ratio, duration)
        atrial = flutter_waves(
            rng,
            num_samples,
            sampling_rate,
            atrial_rate=atrial_rate,
            start=start,
            amplitude=0.11 * np.exp(0.25 * rng.standard_normal()),
        )
    else:
        rate, variability = _sinus_rate(rng, patient, codes, tempo)
        rhythm = sinus(rng, rate, duration, breathing=breathing, variability=variability)
    if "PVC" in codes:
        foci = 2 if rng.random() < 0.2 else 1
        rhythm = with_extrasystoles(rng, rhythm, duration, foci=foci, bigeminy="BIGU" in codes)
    return rhythm, atrial


def _sinus_rate(
    rng: np.random.Generator, patient: Patient, codes: tuple[str, ...], tempo: float
) -> tuple[float, float]:
    """Return rate per minute and respiratory variability of this day's sinus rhythm."""
    variability = 0.012 + 0.06 * patient.restless * rng.random()
    if "STACH" in codes:
        return 101.5 + min(11 * abs(tempo) + 4 * rng.random(), 45.0), 0.3 * variability
    if "SBRAD" in codes:
        return 55.5 - min(5.5 * abs(tempo) + 2 * rng.random(), 16.0), variability
    if "SARRH" in codes:
        return float(np.clip(70 + 9 * tempo, 54, 88)), rng.uniform(0.10, 0.20)
    return float(np.clip(71 + 11.5 * tempo, 53, 97)), variability


def _beats(
    rng: np.random.Generator, patient: Patient, rhythm: Rhythm, num_samples: int, rate: float
) -> Float32[np.ndarray, "samples 3"]:
    """Return the dipole of all beats."""
    margin = round(MARGIN * rate)
    padded = np.zeros((num_samples + 2 * margin, 3), np.float32)
    gain = 1 + 0.015 * rng.standard_normal(rhythm.onsets.size)
    # Repolarisation follows the rate (Fridericia's cube root), with some memory of beats before.
    recent = np.sqrt(rhythm.intervals * np.median(rhythm.intervals))
    slowness = np.clip(recent, 0.36, 1.6) ** (1 / 3)
    for number, heart in enumerate((patient.heart, *patient.foci)):
        mine = rhythm.ectopic == number
        if mine.any():
            _add_beats(padded, heart, rhythm, mine, gain, slowness, rate)
    return padded[margin : margin + num_samples]


def _add_beats(
    padded: Float32[np.ndarray, "padded 3"],
    heart: Heart,
    rhythm: Rhythm,
    mine: Bool[np.ndarray, " beats"],
    gain: Float[np.ndarray, " beats"],
    slowness: Float[np.ndarray, " beats"],
    rate: float,
) -> None:
    onsets, atrial = rhythm.onsets[mine], rhythm.onsets[mine & rhythm.atrial]
    add_waves(padded, heart.atria, atrial - heart.pr, rate)
    add_waves(padded, heart.ventricles, onsets, rate, gain=gain[mine])
    add_waves(
        padded, heart.recovery, onsets + heart.qrs, rate, gain=gain[mine], slowness=slowness[mine]
    )


def _breathe(
    rng: np.random.Generator,
    dipole: Float32[np.ndarray, "samples 3"],
    breathing: float,
    rate: float,
) -> Float32[np.ndarray, "samples 3"]:
    """Let breathing turn the dipole by a few degrees and change its size by a few percent."""
    depth, angle = 0.03 * abs(rng.standard_normal()), np.deg2rad(2.5 * rng.standard_normal())
    time = np.arange(len(dipole), dtype=np.float32) / np.float32(rate)
    wave = np.sin(np.float32(2 * np.pi * breathing) * time + np.float32(6.28 * rng.random()))
    change = (depth * np.eye(3) + angle * _SWAY).astype(np.float32)
    return dipole + wave[:, None] * (dipole @ change.T)
