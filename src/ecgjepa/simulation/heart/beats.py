"""The heart as one moving dipole: what a beat looks like, and how twelve leads see it.

A beat is a sum of Gaussian pulses of a three-dimensional dipole (a vectorcardiogram), after
McSharry et al. 2003 (https://doi.org/10.1109/TBME.2003.808805) and, in three dimensions, Sameni et
al. 2007 (https://doi.org/10.1155/2007/43407). Dower's matrix turns the dipole into leads, so all
that electrocardiography knows about directions (axis, progression, reciprocal changes) follows.

Axes are Frank's: x to the left, y to the feet, z to the back. Times are in seconds, dipoles in mV.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32

# Rows I, II, V1 to V6; columns x, y, z. Dower, Machado, Osborne: On deriving the electrocardiogram
# from vectorcardiographic leads, Clin Cardiol 1980; 3:87-95, https://doi.org/10.1002/clc.1980.3.2.87
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)

# The five parts of a QRS complex, in order; conditions address them by these names.
SEPTAL, APICAL, LATERAL, BASAL, TERMINAL = range(5)
# The parts of the recovery: ST segment, T wave, and the end of a biphasic T wave.
ST, T, LATE_T = range(3)

# A Gaussian is below 1 µV beyond this many widths, even for the largest QRS complex.
_REACH = 4.0
# Beats this far outside the record still reach into it.
MARGIN = 2.0


@dataclass(frozen=True, eq=False)
class Waves:
    """Gaussian pulses of the dipole, relative to an anchor such as the onset of the QRS complex.

    Attributes:
        centre: Time of each peak after the anchor, in s.
        rise: Width (standard deviation) before the peak, in s.
        fall: Width after the peak, in s.
        dipole: Value at the peak, in mV.
    """

    centre: Float[np.ndarray, " events"]
    rise: Float[np.ndarray, " events"]
    fall: Float[np.ndarray, " events"]
    dipole: Float[np.ndarray, "events 3"]


@dataclass(frozen=True, eq=False)
class Heart:
    """How one kind of beat looks.

    Attributes:
        atria: P wave, after its onset.
        ventricles: QRS complex, after its onset.
        recovery: ST segment and T wave, after the end of the QRS complex, at 60 beats per minute.
        pr: From the onset of the P wave to that of the QRS complex, in s.
        qrs: Duration of the QRS complex, in s.
    """

    atria: Waves
    ventricles: Waves
    recovery: Waves
    pr: float
    qrs: float


def waves(*rows: tuple[float, float, float, float, float, float]) -> Waves:
    """Make waves from rows (peak in ms, rise in ms, fall in ms, x, y, z in mV)."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Waves(table[:, 0] / 1e3, table[:, 1] / 1e3, table[:, 2] / 1e3, table[:, 3:])


# Amplitudes and times reproduce the medians of PTB-XL's normal ECGs in every lead.
NORMAL = Heart(
    atria=waves((42, 17, 17, 0.050, 0.085, -0.030), (74, 18, 18, 0.075, 0.035, 0.024)),
    ventricles=waves(
        (17, 6.5, 6.5, -0.05, -0.02, -0.30),
        (33, 8.0, 8.0, 1.18, 0.37, -0.02),
        (43, 7.5, 7.5, 0.46, 0.26, 0.46),
        (55, 8.5, 9.0, -0.18, -0.04, 0.47),
        (69, 8.0, 8.0, 0.00, 0.00, 0.06),
    ),
    recovery=waves(
        (55, 32, 70, 0.01, 0.01, -0.060),
        (214, 58, 36, 0.30, 0.12, -0.23),
        (264, 28, 26, 0.00, 0.00, 0.00),
    ),
    pr=0.160,
    qrs=0.088,
)


def blend(first: Waves, second: Waves, weight: float) -> Waves:
    """Return waves part of the way from ``first`` (weight 0) to ``second`` (weight 1)."""

    def mix(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        return (1 - weight) * start + weight * end

    return Waves(
        mix(first.centre, second.centre),
        mix(first.rise, second.rise),
        mix(first.fall, second.fall),
        mix(first.dipole, second.dipole),
    )


def join(first: Waves, second: Waves) -> Waves:
    """Return the pulses of both."""
    return Waves(
        np.concatenate([first.centre, second.centre]),
        np.concatenate([first.rise, second.rise]),
        np.concatenate([first.fall, second.fall]),
        np.concatenate([first.dipole, second.dipole]),
    )


def stretch(pulses: Waves, factor: float) -> Waves:
    """Return the same pulses, slower by ``factor``."""
    return replace(
        pulses,
        centre=pulses.centre * factor,
        rise=pulses.rise * factor,
        fall=pulses.fall * factor,
    )


def push(pulses: Waves, event: int, x: float, y: float, z: float) -> Waves:
    """Return the pulses with (x, y, z) mV added to the dipole of one of them."""
    dipole = pulses.dipole.copy()
    dipole[event] += (x, y, z)
    return replace(pulses, dipole=dipole)


def scale(pulses: Waves, factor: Float[np.ndarray, "events 1"] | float) -> Waves:
    """Return the pulses with dipoles times ``factor``."""
    return replace(pulses, dipole=pulses.dipole * factor)


def turn(pulses: Waves, rotation: Float[np.ndarray, "3 3"]) -> Waves:
    """Return the pulses with dipoles turned by a rotation matrix."""
    return replace(pulses, dipole=pulses.dipole @ rotation.T)


def rotation(
    frontal: float, horizontal: float = 0.0, sagittal: float = 0.0
) -> Float[np.ndarray, "3 3"]:
    """Return a rotation matrix from angles in degrees.

    Args:
        frontal: From the left towards the feet, as the electrical axis is counted.
        horizontal: From the left towards the back.
        sagittal: From the feet towards the back.
    """
    (cf, sf), (ch, sh), (cs, ss) = (
        (np.cos(angle), np.sin(angle)) for angle in np.deg2rad([frontal, horizontal, sagittal])
    )
    about_z = np.array([[cf, -sf, 0], [sf, cf, 0], [0, 0, 1]])
    about_y = np.array([[ch, 0, -sh], [0, 1, 0], [sh, 0, ch]])
    about_x = np.array([[1, 0, 0], [0, cs, -ss], [0, ss, cs]])
    return about_z @ about_y @ about_x


def frontal_axis(pulses: Waves) -> float:
    """Return the electrical axis of a wave in the frontal plane, in degrees from -180 to 180.

    It is the direction of the area under the wave, seen through Dower's leads.
    """
    net = (pulses.dipole * (pulses.rise + pulses.fall)[:, None]).sum(axis=0)
    lead_i, lead_ii = DOWER[:2] @ net
    # aVF is scaled to I as the augmented leads are smaller by the square root of 3/4.
    return float(np.degrees(np.arctan2((lead_ii - lead_i / 2) * 2 / np.sqrt(3), lead_i)))


def add_waves(
    target: Float32[np.ndarray, "padded 3"],
    pulses: Waves,
    anchors: Float[np.ndarray, " beats"],
    sampling_rate: float,
    *,
    gain: Float[np.ndarray, " beats"] | None = None,
    slowness: Float[np.ndarray, " beats"] | None = None,
) -> None:
    """Add the pulses of every beat to a dipole that starts `MARGIN` seconds before the record.

    Args:
        target: Dipole in mV, changed in place.
        pulses: What every beat adds.
        anchors: Time of each beat's anchor in the record, in s.
        sampling_rate: Sampling rate of ``target``, in Hz.
        gain: Factor on each beat's dipole.
        slowness: Factor on each beat's times and widths.
    """
    if not anchors.size or not pulses.centre.size:
        return
    slow = np.ones(anchors.size) if slowness is None else slowness
    first = float((pulses.centre - _REACH * pulses.rise).min())
    last = float((pulses.centre + _REACH * pulses.fall).max())
    start = np.floor((anchors + MARGIN + slow * first) * sampling_rate).astype(np.int64)
    width = int(np.ceil(float(slow.max()) * (last - first) * sampling_rate)) + 2

    # Float32 suffices only because times are counted from the start of each beat's window.
    peak = (anchors + MARGIN - start / sampling_rate)[:, None] + slow[:, None] * pulses.centre
    clock = np.arange(width, dtype=np.float32) / np.float32(sampling_rate)
    offset = clock - peak.astype(np.float32)[:, :, None]
    rise = (slow[:, None] * pulses.rise).astype(np.float32)[:, :, None]
    fall = (slow[:, None] * pulses.fall).astype(np.float32)[:, :, None]
    offset /= np.where(offset < 0, rise, fall)
    shape = np.exp(np.float32(-0.5) * offset * offset)
    dipole = pulses.dipole.astype(np.float32)
    pulse = np.matmul(shape.transpose(0, 2, 1), dipole)
    if gain is not None:
        pulse *= gain.astype(np.float32)[:, None, None]
    for begin, beat in zip(start, pulse, strict=True):
        low, high = max(begin, 0), min(begin + width, len(target))
        if low < high:
            target[low:high] += beat[low - begin : high - begin]


def displace(
    field: Float[np.ndarray, "8 3"], shift: Float[np.ndarray, " 6"]
) -> Float[np.ndarray, "8 3"]:
    """Return a lead matrix for chest electrodes that sit a little beside their places.

    Args:
        field: Rows I, II, V1 to V6; columns x, y, z.
        shift: How far each chest electrode is displaced towards its neighbour with the next number
            (or, if negative, the one before), in units of their distance.
    """
    displaced = field.copy()
    displaced[2:] += np.gradient(field[2:], axis=0) * shift[:, None]
    return displaced


def body(rng: np.random.Generator) -> Float[np.ndarray, "8 3"]:
    """Return the lead matrix of somebody whose torso is not quite Dower's."""
    sensitivity = np.ones((8, 1))
    # The nearer the chest electrode to the heart, the larger its lead.
    sensitivity[2:, 0] = np.exp(0.13 * rng.standard_normal(6))
    error = 0.05 * rng.standard_normal((8, 3)) * np.abs(DOWER).max(axis=1, keepdims=True)
    return displace(DOWER * sensitivity + error, 0.22 * rng.standard_normal(6))
