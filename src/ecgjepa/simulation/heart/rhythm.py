"""When the ventricles beat, and what the atria do meanwhile.

Every rhythm covers some seconds before and after the record, because a T wave or P wave of a beat
outside still reaches into it. Times are in seconds from the start of the record.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from ecgjepa.simulation.heart.beats import MARGIN

# No AV node lets atrial fibrillation through faster.
_SHORTEST_INTERVAL = 0.30


@dataclass(frozen=True, eq=False)
class Rhythm:
    """The beats of a record, in order.

    Attributes:
        onsets: Onsets of the QRS complexes, in s.
        intervals: RR interval before each beat, in s.
        ectopic: 0 for the heart's own beats, 1 or 2 for the patient's ventricular ectopic foci.
        atrial: Whether a P wave precedes the beat.
    """

    onsets: Float[np.ndarray, " beats"]
    intervals: Float[np.ndarray, " beats"]
    ectopic: Int64[np.ndarray, " beats"]
    atrial: Bool[np.ndarray, " beats"]


def _rhythm(
    rng: np.random.Generator,
    intervals: Float[np.ndarray, " beats"],
    duration: float,
    *,
    atrial: bool,
) -> Rhythm:
    """Lay intervals end to end from a random moment before the record."""
    onsets = np.cumsum(intervals) - MARGIN - intervals[0] * (1 + rng.random())
    kept = onsets < duration + MARGIN
    onsets, intervals = onsets[kept], intervals[kept]
    return Rhythm(
        onsets, intervals, np.zeros(onsets.size, np.int64), np.full(onsets.size, atrial, np.bool_)
    )


def _count(duration: float, shortest: float) -> int:
    return int((duration + 2 * MARGIN) / shortest) + 4


def sinus(
    rng: np.random.Generator,
    rate: float,
    duration: float,
    *,
    breathing: float = 0.25,
    variability: float = 0.03,
) -> Rhythm:
    """Return a sinus rhythm with respiratory arrhythmia and slow fluctuations.

    Args:
        rng: Source of randomness.
        rate: Mean rate per minute.
        duration: Duration of the record, in s.
        breathing: Respiratory rate, in Hz.
        variability: Relative amplitude of the respiratory part; the slow part has half of it.
    """
    mean = 60 / rate
    count = _count(duration, mean * 0.6)
    clock = np.arange(count) * mean
    phases = 2 * np.pi * rng.random(2)
    # About 0.1 Hz: the rhythm of the blood pressure control.
    slow = np.sin(2 * np.pi * rng.uniform(0.04, 0.12) * clock + phases[1])
    wave = np.sin(2 * np.pi * breathing * clock + phases[0])
    jitter = 0.15 * rng.standard_normal(count)
    intervals = mean * (1 + variability * (wave + 0.5 * slow + jitter))
    return _rhythm(rng, intervals, duration, atrial=True)


def fibrillation(rng: np.random.Generator, rate: float, duration: float) -> Rhythm:
    """Return the irregularly irregular beats of atrial fibrillation, without P waves."""
    spread = rng.uniform(0.18, 0.28)
    count = _count(duration, 60 / rate * 0.6)
    # Log-normal: long pauses are likelier than beats that come equally much too early.
    intervals = 60 / rate * np.exp(spread * rng.standard_normal(count) - spread**2 / 2)
    return _rhythm(rng, np.maximum(intervals, _SHORTEST_INTERVAL), duration, atrial=False)


def flutter(
    rng: np.random.Generator, atrial_rate: float, ratio: int, duration: float
) -> tuple[Rhythm, float]:
    """Return the beats of atrial flutter, and the time of one flutter wave's start.

    Args:
        rng: Source of randomness.
        atrial_rate: Flutter waves per minute.
        ratio: Flutter waves per conducted beat; 0 alternates between two and four.
        duration: Duration of the record, in s.
    """
    cycle = 60 / atrial_rate
    count = _count(duration, 2 * cycle)
    ratios = np.where(rng.random(count) < 0.5, 2, 4) if ratio == 0 else np.full(count, ratio)
    # Conduction takes a constant time, so the beats sit at a constant phase of the waves.
    beats = _rhythm(rng, ratios * cycle, duration, atrial=False)
    return beats, float(beats.onsets[0] - rng.uniform(0.3, 0.6) * cycle)


def paced(rng: np.random.Generator, rate: float, duration: float, *, atrial: bool) -> Rhythm:
    """Return the clockwork of a pacemaker, with (``atrial``) or without P waves before it."""
    count = _count(duration, 60 / rate)
    return _rhythm(rng, np.full(count, 60 / rate), duration, atrial=atrial)


def with_extrasystoles(
    rng: np.random.Generator, rhythm: Rhythm, duration: float, *, foci: int, bigeminy: bool
) -> Rhythm:
    """Let ventricular beats come early in place of some beats of the rhythm.

    The beat after keeps its time, which makes the pause fully compensatory.

    Args:
        rng: Source of randomness.
        rhythm: With ordinary beats only.
        duration: Duration of the record, in s.
        foci: How many different ectopic morphologies take part, 1 or 2.
        bigeminy: Every second beat is ectopic, rather than 1 to 4 per ten seconds.
    """
    earliest = rhythm.onsets - 0.45 * rhythm.intervals
    inside = np.flatnonzero((earliest > 0.1) & (rhythm.onsets < duration - 0.4))
    if not inside.size:
        inside = np.array([int(np.abs(rhythm.onsets - duration / 2).argmin())])
    if bigeminy:
        early = inside[rng.integers(0, min(2, inside.size)) :: 2]
    else:
        wanted = max(1, round(rng.integers(1, 5) * duration / 10))
        places = inside[rng.integers(0, min(2, inside.size)) :: 2]
        early = np.sort(rng.permutation(places)[:wanted])
    ectopic, atrial, onsets = rhythm.ectopic.copy(), rhythm.atrial.copy(), rhythm.onsets.copy()
    ectopic[early] = rng.integers(1, foci + 1, early.size)
    atrial[early] = False
    prematurity = rng.uniform(0.25, 0.40) + 0.02 * rng.standard_normal(early.size)
    coupling = np.maximum((1 - prematurity) * rhythm.intervals[early], _SHORTEST_INTERVAL + 0.05)
    onsets[early] = np.where(
        rhythm.intervals[early] > coupling,
        onsets[early] - rhythm.intervals[early] + coupling,
        onsets[early],
    )
    intervals = np.diff(onsets, prepend=onsets[0] - rhythm.intervals[0])
    return replace(rhythm, onsets=onsets, intervals=intervals, ectopic=ectopic, atrial=atrial)


def fibrillatory_waves(
    rng: np.random.Generator, num_samples: int, sampling_rate: float, amplitude: float
) -> Float32[np.ndarray, "samples 3"]:
    """Return the dipole of fibrillating atria: a few wandering waves of 4 to 9 Hz.

    They point mostly forward and down, which is why V1 and II show them best.

    Args:
        rng: Source of randomness.
        num_samples: Length.
        sampling_rate: In Hz.
        amplitude: Amplitude of the dipole, in mV.
    """
    time = np.arange(num_samples, dtype=np.float32) / np.float32(sampling_rate)
    centre = rng.uniform(4.8, 7.5)
    # Right atrium (forward, seen by V1), and two weaker wavefronts in random directions.
    directions = np.array([[-0.35, 0.25, -1.0], [0.2, 0.7, 0.1], [0.4, 0.1, 0.3]])
    directions += 0.15 * rng.standard_normal((3, 3))
    weights = amplitude * np.array([1.0, 0.6, 0.35])
    total = np.zeros((num_samples, 3), np.float32)
    for direction, weight in zip(directions, weights, strict=True):
        frequency = np.clip(centre + 0.8 * rng.standard_normal(), 4.0, 9.0)
        wander, depth = rng.uniform(0.3, 0.9, 2), rng.uniform(0.5, 1.1, 2)
        phases = 2 * np.pi * rng.random(4)
        slow = np.sin(np.float32(2 * np.pi * wander[0]) * time + np.float32(phases[0]))
        slower = np.sin(np.float32(2 * np.pi * wander[1] / 3) * time + np.float32(phases[1]))
        phase = np.float32(2 * np.pi * frequency) * time + np.float32(phases[2])
        phase += np.float32(depth[0]) * slow + np.float32(2 * depth[1]) * slower
        # The second harmonic makes the waves pointed.
        wave = np.sin(phase) + np.float32(0.35) * np.sin(2 * phase + np.float32(phases[3]))
        wave *= 1 + np.float32(0.35) * slow * slower
        total += wave[:, None] * (weight * direction).astype(np.float32)
    return total


def flutter_waves(
    rng: np.random.Generator,
    num_samples: int,
    sampling_rate: float,
    *,
    atrial_rate: float,
    start: float,
    amplitude: float,
) -> Float32[np.ndarray, "samples 3"]:
    """Return the dipole of the typical, counter-clockwise circuit of atrial flutter.

    The inferior leads see a slow fall and a quicker rise without a flat baseline between (the
    sawtooth), V1 a small upright wave.

    Args:
        rng: Source of randomness.
        num_samples: Length.
        sampling_rate: In Hz.
        atrial_rate: Waves per minute.
        start: When one of the waves starts, in s.
        amplitude: Amplitude of the dipole, in mV.
    """
    time = np.arange(num_samples) / sampling_rate
    phase = ((time - start) * atrial_rate / 60).astype(np.float32) * np.float32(2 * np.pi)
    # The first harmonics of a sawtooth: a slow fall, then a quick rise.
    tooth = np.sin(phase) + np.float32(0.42) * np.sin(2 * phase + np.float32(0.3))
    tooth += np.float32(0.16) * np.sin(3 * phase + np.float32(0.6))
    bump = np.exp(np.float32(2.2) * (np.cos(phase - np.float32(5.3)) - 1)) - np.float32(0.3)
    down = np.array([-0.10, 1.0, -0.05]) + 0.08 * rng.standard_normal(3)
    front = np.array([-0.15, 0.05, -1.0]) + 0.08 * rng.standard_normal(3)
    total = tooth[:, None] * (amplitude * down).astype(np.float32)
    return total + bump[:, None] * (amplitude * front).astype(np.float32)
