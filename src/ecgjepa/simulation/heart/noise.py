"""Everything an electrocardiograph records that is not the heart.

Noise arises at electrodes, so it is made per electrode and reaches the leads as the recorder
subtracts electrodes: a loose left arm shows in I, III, aVR, aVL and aVF, and Einthoven's law holds.
Levels follow what PTB-XL's records show between beats; they never depend on the diagnosis.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.interpolate
import scipy.signal
from jaxtyping import Float32

ELECTRODES = ("RA", "LA", "LL", "C1", "C2", "C3", "C4", "C5", "C6")
# Rows I, II, V1 to V6: which electrodes a lead subtracts. Chest leads refer to Wilson's terminal.
LEAD_OF_ELECTRODES = np.zeros((8, 9))
LEAD_OF_ELECTRODES[0, [0, 1]] = -1, 1
LEAD_OF_ELECTRODES[1, [0, 2]] = -1, 1
LEAD_OF_ELECTRODES[2:, 3:] = np.eye(6)
LEAD_OF_ELECTRODES[2:, :3] = -1 / 3

# Arms tremble more than a leg, and a chest electrode has little muscle under it.
_MUSCLE = np.array([1.0, 1.0, 0.4, 0.28, 0.3, 0.3, 0.28, 0.25, 0.25])
_WANDER = np.array([0.6, 0.6, 0.6, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
_DRIFT_HZ = 0.055 * np.arange(1, 9)


@dataclass(frozen=True)
class LostElectrode:
    """An electrode without contact.

    Attributes:
        electrode: Position in `ELECTRODES`.
        start: First sample without contact.
        stop: First sample with contact again.
        flat: The recorder writes a constant rather than the format's marker for "invalid".
    """

    electrode: int
    start: int
    stop: int
    flat: bool


@dataclass(frozen=True, eq=False)
class Noise:
    """What one record suffers.

    Attributes:
        leads: In mV, for I, II and V1 to V6.
        lost: Electrode without contact, if any.
        notes: Remarks a technician would make, by column of PTB-XL's table.
    """

    leads: Float32[np.ndarray, "samples 8"]
    lost: LostElectrode | None
    notes: dict[str, str]


def draw_noise(
    rng: np.random.Generator, num_samples: int, sampling_rate: float, breathing: float
) -> Noise:
    """Draw the noise of one record: mostly mild, now and then bad.

    Args:
        rng: Source of randomness.
        num_samples: Length.
        sampling_rate: In Hz.
        breathing: Respiratory rate, in Hz.
    """
    notes: dict[str, str] = {}
    wander = 0.026 * np.exp(1.0 * rng.standard_normal())
    electrodes = _wander(rng, num_samples, sampling_rate, wander, breathing)
    if wander > 0.12:
        worst = int(electrodes[:, 3:].std(axis=0).argmax())
        notes["baseline_drift"] = f" , V{worst + 1}"
    muscle = 0.0021 * np.exp(0.85 * rng.standard_normal())
    activity = _muscle(rng, num_samples, sampling_rate, muscle)
    if muscle > 0.0060:
        # It comes from the arms, which the limb leads show.
        notes["static_noise"] = " , I-AVR,  " if muscle < 0.010 else " , alles,  "
    if rng.random() < 0.06:
        notes["burst_noise"] = _burst(rng, activity, sampling_rate)
    electrodes += activity
    mains = 0.0009 * np.exp(0.8 * rng.standard_normal())
    electrodes += _mains(rng, num_samples, sampling_rate, mains)
    if mains > 0.005:
        notes["static_noise"] = " , alles,  "
    if rng.random() < 0.05:
        notes["electrodes_problems"] = _motion(rng, electrodes, sampling_rate)
    lost = _lose_electrode(rng, num_samples) if rng.random() < 0.012 else None
    if lost is not None:
        notes["electrodes_problems"] = _place(lost.electrode)
    return Noise(electrodes @ LEAD_OF_ELECTRODES.T.astype(np.float32), lost, notes)


def _place(electrode: int) -> str:
    """Name an electrode's trouble by the leads that show it, as technicians do."""
    return ("I-AVR", "I-AVL", "II-AVF", "V1", "V2", "V3", "V4", "V5", "V6")[electrode]


@lru_cache(maxsize=4)
def _drift_basis(num_samples: int, sampling_rate: float) -> Float32[np.ndarray, "samples 16"]:
    """Sines and cosines of slow drift; the same for every record, and costly to evaluate."""
    angle = 2 * np.pi * np.arange(num_samples)[:, None] / sampling_rate * _DRIFT_HZ
    basis = np.concatenate([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    basis.flags.writeable = False
    return basis


def _wander(
    rng: np.random.Generator, num_samples: int, rate: float, level: float, breathing: float
) -> Float32[np.ndarray, "samples 9"]:
    """Return drift with a 1/f spectrum, and the pull of breathing on each electrode."""
    strength = level * np.concatenate([1 / (1 + np.arange(8)), 1 / (1 + np.arange(8))])
    drift = strength[:, None] * rng.standard_normal((16, 9))
    pull = 0.5 * level * np.exp(0.5 * rng.standard_normal()) * rng.standard_normal(9)
    time = np.arange(num_samples, dtype=np.float32) / np.float32(rate)
    breath = np.sin(np.float32(2 * np.pi * breathing) * time + np.float32(6.28 * rng.random()))
    slow = _drift_basis(num_samples, rate) @ (drift * _WANDER).astype(np.float32)
    return slow + breath[:, None] * (pull * _WANDER).astype(np.float32)


def _muscle(
    rng: np.random.Generator, num_samples: int, rate: float, level: float
) -> Float32[np.ndarray, "samples 9"]:
    """Return muscle activity of 20 to 150 Hz, shaped in the frequency domain."""
    bins = num_samples // 2 + 1
    hertz = np.arange(bins) * (rate / num_samples)
    low, high = np.searchsorted(hertz, [20.0, min(150.0, 0.45 * rate)])
    spectrum = np.zeros((9, bins), np.complex64)
    if high > low:
        part = rng.standard_normal((9, high - low, 2), np.float32)
        strengths = level * _MUSCLE * np.exp(0.35 * rng.standard_normal(9))
        # Unit variance needs each of the bins to carry the same share of it.
        share = num_samples / np.sqrt(4.0 * (high - low))
        part *= (share * strengths).astype(np.float32)[:, None, None]
        spectrum[:, low:high] = part.view(np.complex64)[..., 0]
    signal = scipy.fft.irfft(spectrum, n=num_samples, axis=1)
    return np.ascontiguousarray(signal.T, np.float32)


def _burst(
    rng: np.random.Generator, activity: Float32[np.ndarray, "samples 9"], rate: float
) -> str:
    """Let one muscle tense for a moment: multiply its activity in place, and say where."""
    electrode = int(rng.integers(0, 9))
    time = np.arange(len(activity), dtype=np.float32) / np.float32(rate)
    middle, width = rng.random() * len(activity) / rate, rng.uniform(0.15, 0.8)
    envelope = np.exp(np.float32(-0.5) * ((time - np.float32(middle)) / np.float32(width)) ** 2)
    factor = rng.uniform(0.02, 0.08) / max(float(activity[:, electrode].std()), 1e-6)
    activity[:, electrode] *= 1 + np.float32(factor) * envelope
    return _place(electrode)


def _mains(
    rng: np.random.Generator, num_samples: int, rate: float, level: float
) -> Float32[np.ndarray, "samples 9"]:
    """Return 50 or 60 Hz hum with a little of its third harmonic."""
    hertz = (60.0 if rng.random() < 0.15 else 50.0) + 0.03 * rng.standard_normal()
    weights = level * rng.standard_normal((2, 9))
    third = 0.1 * rng.random()
    if hertz >= 0.45 * rate:
        return np.zeros((num_samples, 9), np.float32)
    angle = (2 * np.pi * hertz / rate) * np.arange(num_samples)
    waves = np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)
    if 3 * hertz < 0.45 * rate:
        # sin 3a and -cos 3a from sin a and cos a: a third of the sines to evaluate.
        waves += np.float32(third) * waves * (4 * waves * waves - 3)
    return waves @ weights.astype(np.float32)


def _motion(
    rng: np.random.Generator, electrodes: Float32[np.ndarray, "samples 9"], rate: float
) -> str:
    """Tug at one electrode, in place: a bump, or a step that the high-pass lets decay."""
    electrode = int(rng.integers(0, 9))
    size = rng.choice([-1.0, 1.0]) * 0.25 * np.exp(0.7 * rng.standard_normal())
    time = np.arange(len(electrodes), dtype=np.float32) / np.float32(rate)
    since = time - np.float32(rng.random() * len(electrodes) / rate)
    if rng.random() < 0.5:
        shape = np.exp(np.float32(-0.5) * (since / np.float32(rng.uniform(0.05, 0.4))) ** 2)
    else:
        decay = np.float32(rng.uniform(0.4, 2.5))
        shape = np.where(since >= 0, np.exp(-np.maximum(since, 0) / decay), np.float32(0))
    electrodes[:, electrode] += np.float32(size) * shape
    return _place(electrode)


def _lose_electrode(rng: np.random.Generator, num_samples: int) -> LostElectrode:
    """Choose an electrode that has no contact for part of the record or all of it."""
    limb = rng.random() < 0.15
    electrode = int(rng.integers(0, 3) if limb else rng.integers(3, 9))
    start, stop = 0, num_samples
    if rng.random() < 0.6:
        length = rng.uniform(0.05, 0.6) * num_samples
        start = int(rng.random() * (num_samples - length))
        stop = int(start + length)
    # A constant in one limb lead would contradict the other five, so recorders mark all of them.
    return LostElectrode(electrode, start, stop, flat=bool(not limb and rng.random() < 0.6))


def draw_drift(
    rng: np.random.Generator, num_samples: int, sampling_rate: float, level: float
) -> Float32[np.ndarray, "samples 8"]:
    """Return the drift of a recorder without high-pass: offsets and slow walks of each electrode.

    Nearly all of it lies below 0.5 Hz, and unlike the wander of `draw_noise` it never repeats,
    however long the record.

    Args:
        rng: Source of randomness.
        num_samples: Length.
        sampling_rate: In Hz.
        level: Standard deviation of an electrode's drift over the record, in mV.

    Returns:
        In mV, for I, II and V1 to V6.
    """
    # One knot a second; each keeps most of the one before, so the walk returns within a minute.
    keep = np.exp(-1 / 20)
    count = int(np.ceil(num_samples / sampling_rate)) + 2
    steps = rng.standard_normal((count, len(ELECTRODES)))
    knots = scipy.signal.lfilter([1.0], [1.0, -keep], steps, axis=0)
    clock = np.arange(num_samples) / sampling_rate
    walk = scipy.interpolate.CubicSpline(np.arange(count), knots)(clock)
    walk -= walk.mean(axis=0)
    walk *= level * np.exp(0.3 * rng.standard_normal(len(ELECTRODES))) / walk.std(axis=0)
    walk += 0.3 * level * rng.standard_normal(len(ELECTRODES))
    return (walk @ LEAD_OF_ELECTRODES.T).astype(np.float32)
