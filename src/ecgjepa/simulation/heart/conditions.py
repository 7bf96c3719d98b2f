"""What each condition does to a heart, from hardly visible (severity 0) to unmistakable (1).

Every condition is a function from heart to heart in the axes of `ecgjepa.simulation.heart.beats`.
Sizes follow the textbook criteria (e.g. the AHA/ACCF/HRS recommendations, J Am Coll Cardiol 2009;
53:976-1011) and the median beats of PTB-XL's records with the same statement.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ecgjepa.simulation.heart.beats import (
    APICAL,
    BASAL,
    LATE_T,
    LATERAL,
    SEPTAL,
    ST,
    TERMINAL,
    Heart,
    T,
    blend,
    join,
    push,
    scale,
    stretch,
    waves,
)

_LAFB = waves(
    (18, 7.0, 7.0, -0.02, 0.15, -0.20),
    (34, 8.5, 8.5, 0.90, 0.10, -0.05),
    (45, 8.0, 8.0, 0.25, -0.40, 0.45),
    (58, 9.0, 9.0, -0.42, -0.42, 0.56),
    (72, 8.0, 8.0, -0.10, -0.08, 0.08),
)
# The right ventricle is late: after a nearly normal start the dipole turns forward and right.
_RBBB = waves(
    (17, 7.0, 7.0, -0.10, -0.03, -0.24),
    (33, 8.5, 8.5, 0.90, 0.30, -0.05),
    (45, 8.0, 8.0, 0.16, 0.08, 0.06),
    (72, 14.0, 15.0, -0.34, -0.06, -0.56),
    (100, 14.0, 14.0, -0.34, 0.00, -0.42),
)
# No septal force forward; slow spread from right to left with a notch in the lateral leads.
_LBBB = waves(
    (18, 7.0, 8.0, 0.18, 0.05, 0.00),
    (40, 12.5, 11.5, 0.52, 0.30, 1.40),
    (62, 11.5, 12.0, 0.12, 0.25, 1.60),
    (85, 12.0, 12.0, 0.68, -0.05, 0.90),
    (106, 10.0, 10.0, 0.20, -0.20, 0.22),
)
_LBBB_RECOVERY = waves(
    (35, 30, 80, -0.12, -0.04, -0.25),
    (165, 62, 38, -0.12, -0.02, -0.60),
    (205, 28, 26, 0.02, 0.02, -0.05),
)
# From the apex of the right ventricle: away from the feet and to the back.
_PACED = waves(
    (28, 13.0, 13.0, 0.26, -0.08, 0.09),
    (58, 17.0, 16.0, 0.30, -0.32, 0.64),
    (88, 17.0, 17.0, 0.08, -0.54, 0.74),
    (116, 15.0, 15.0, -0.10, -0.40, 0.36),
    (142, 12.0, 12.0, -0.10, -0.20, 0.10),
)
_PACED_RECOVERY = waves(
    (35, 30, 80, -0.05, 0.10, -0.17),
    (170, 62, 38, -0.05, 0.30, -0.40),
    (215, 28, 26, 0.00, 0.04, -0.04),
)
_SPIKE_WIDTH_MS = 1.3


@dataclass(frozen=True)
class Traits:
    """What of a person shapes the heart, besides its conditions.

    Attributes:
        age: In years.
        female: Whether the person is female.
        stage: Stage of an infarction, from 0 (hours old) to 1 (years old).
        dual_chamber: Whether a pacemaker stimulates atria and ventricles.
    """

    age: float
    female: bool
    stage: float
    dual_chamber: bool


def _reach(severity: float, mild: float) -> float:
    """Turn severity into a factor from ``mild`` to 1."""
    return mild + (1 - mild) * severity


def _left_anterior_fascicular_block(heart: Heart, severity: float, traits: Traits) -> Heart:
    weight = _reach(severity, 0.30)
    ventricles = blend(heart.ventricles, _LAFB, weight)
    recovery = push(heart.recovery, T, -0.06 * weight, 0.04 * weight, 0.03 * weight)
    return replace(heart, ventricles=ventricles, recovery=recovery, qrs=heart.qrs + 0.010 * weight)


def _right_bundle_branch_block(heart: Heart, severity: float, traits: Traits) -> Heart:
    """Complete block: QRS of 120 ms and more."""
    weight = _reach(severity, 0.75)
    late = replace(_RBBB, dipole=np.vstack([heart.ventricles.dipole[:2], _RBBB.dipole[2:]]))
    # What is early stays the patient's own, so that an infarction or a left axis shows through.
    target = blend(_RBBB, late, 0.5)
    ventricles = stretch(blend(heart.ventricles, target, weight), _reach(severity, 0.96) * 1.03)
    recovery = push(heart.recovery, T, -0.03 * weight, 0.0, 0.42 * weight)
    recovery = push(recovery, ST, 0.0, 0.0, 0.08 * weight)
    return replace(
        heart,
        ventricles=ventricles,
        recovery=recovery,
        qrs=heart.qrs + (0.137 - heart.qrs) * weight,
    )


def _incomplete_right_bundle_branch_block(heart: Heart, severity: float, traits: Traits) -> Heart:
    weight = _reach(severity, 0.22)
    ventricles = heart.ventricles
    ventricles = push(ventricles, LATERAL, 0.0, 0.0, -0.22 * weight)
    ventricles = push(ventricles, BASAL, -0.14 * weight, -0.02 * weight, -0.34 * weight)
    ventricles = push(ventricles, TERMINAL, -0.24 * weight, -0.02 * weight, -0.26 * weight)
    recovery = push(heart.recovery, T, 0.0, 0.0, 0.17 * weight)
    return replace(heart, ventricles=ventricles, recovery=recovery, qrs=heart.qrs + 0.012 * weight)


def _left_bundle_branch_block(heart: Heart, severity: float, traits: Traits) -> Heart:
    weight = _reach(severity, 0.85)
    slowness = _reach(severity, 0.92) * 1.12
    return replace(
        heart,
        ventricles=stretch(blend(heart.ventricles, _LBBB, weight), slowness),
        recovery=blend(heart.recovery, _LBBB_RECOVERY, weight),
        qrs=(heart.qrs + (0.132 - heart.qrs) * weight) * slowness,
    )


def _paced_beat(heart: Heart, severity: float, traits: Traits) -> Heart:
    """A pacing electrode in the right ventricle, in some patients one in the atrium too."""
    slowness = _reach(severity, 0.88) * 1.0
    # A unipolar system writes large spikes, a bipolar one small ones.
    size = 0.25 + 1.3 * severity
    width = _SPIKE_WIDTH_MS
    spike = waves((0.0, width, width, -0.25 * size, 0.75 * size, 0.30 * size))
    atria = heart.atria
    if traits.dual_chamber:
        atria = join(atria, waves((6.0, width, width, -0.20 * size, 0.60 * size, 0.20 * size)))
    return replace(
        heart,
        atria=atria,
        ventricles=join(stretch(_PACED, slowness), spike),
        recovery=_PACED_RECOVERY,
        qrs=0.158 * slowness,
        pr=0.170,
    )


def _stages(stage: float) -> tuple[float, float]:
    """Return how much ST elevation and T inversion an infarction of this age shows."""
    elevation = max(0.0, 1 - 2.5 * stage)
    inversion = float(np.exp(-(((stage - 0.45) / 0.28) ** 2)))
    return elevation, inversion


def _inferior_infarction(heart: Heart, severity: float, traits: Traits) -> Heart:
    """Forces towards the feet are lost early in the QRS complex."""
    lost = _reach(severity, 0.12)
    elevation, inversion = _stages(traits.stage)
    ventricles = push(heart.ventricles, SEPTAL, 0.05 * lost, -0.28 * lost, -0.02 * lost)
    ventricles = push(ventricles, APICAL, -0.06 * lost, -0.44 * lost, -0.06 * lost)
    recovery = push(
        heart.recovery, ST, -0.06 * elevation * lost, 0.24 * elevation * lost, 0.02 * elevation
    )
    recovery = push(recovery, T, -0.05 * lost, -(0.03 + 0.18 * inversion) * lost, 0.0)
    recovery = push(recovery, LATE_T, 0.0, -0.10 * inversion * lost, 0.0)
    return replace(heart, ventricles=ventricles, recovery=recovery)


def _anteroseptal_infarction(heart: Heart, severity: float, traits: Traits) -> Heart:
    """Forces to the front are lost: no septal r wave, no growth of R towards V4."""
    lost = _reach(severity, 0.12)
    ventricles = push(heart.ventricles, SEPTAL, 0.08 * lost, 0.04 * lost, 0.43 * lost)
    ventricles = push(ventricles, APICAL, -0.56 * lost, -0.08 * lost, 0.74 * lost)
    ventricles = push(ventricles, LATERAL, -0.18 * lost, -0.05 * lost, 0.05 * lost)
    return _anterior_recovery(replace(heart, ventricles=ventricles), lost, traits.stage)


def _anterior_infarction(heart: Heart, severity: float, traits: Traits) -> Heart:
    """As anteroseptal, but the septum keeps some of its forces and more of the apex is lost."""
    lost = _reach(severity, 0.12)
    ventricles = push(heart.ventricles, SEPTAL, -0.04 * lost, 0.0, 0.22 * lost)
    ventricles = push(ventricles, APICAL, -0.56 * lost, -0.04 * lost, 0.56 * lost)
    ventricles = push(ventricles, LATERAL, -0.22 * lost, 0.0, 0.10 * lost)
    return _anterior_recovery(replace(heart, ventricles=ventricles), lost, traits.stage)


def _anterior_recovery(heart: Heart, lost: float, stage: float) -> Heart:
    elevation, inversion = _stages(stage)
    recovery = push(heart.recovery, ST, 0.05 * elevation * lost, 0.0, -0.30 * elevation * lost)
    recovery = push(
        recovery, T, -(0.08 + 0.16 * inversion) * lost, -0.03 * lost, 0.24 * inversion * lost
    )
    recovery = push(recovery, LATE_T, -0.12 * inversion * lost, 0.0, 0.20 * inversion * lost)
    return replace(heart, recovery=recovery)


def _left_ventricular_hypertrophy(heart: Heart, severity: float, traits: Traits) -> Heart:
    growth = np.array([1.05, 1.36, 1.40, 1.10, 1.0]) - 1
    factor = 1 + growth * _reach(severity, 0.35) * 2.1
    ventricles = scale(heart.ventricles, factor[:, None])
    ventricles = push(ventricles, LATERAL, 0.0, 0.0, 0.12 * severity)
    slowness = 1 + 0.10 * severity
    return replace(
        heart,
        ventricles=stretch(ventricles, slowness),
        recovery=push(heart.recovery, T, -0.14 * severity, -0.07 * severity, -0.10 * severity),
        qrs=heart.qrs * slowness,
    )


def _ischemia(heart: Heart, severity: float, traits: Traits) -> Heart:
    """Horizontal ST depression and inverted T waves in the lateral leads."""
    amount = _reach(severity, 0.2)
    recovery = push(heart.recovery, ST, -0.13 * amount, -0.06 * amount, -0.01 * amount)
    recovery = push(recovery, T, -0.46 * amount, -0.16 * amount, 0.03 * amount)
    return replace(heart, recovery=recovery)


def _st_changes(heart: Heart, severity: float, traits: Traits) -> Heart:
    amount = _reach(severity, 0.2)
    recovery = push(heart.recovery, ST, -0.075 * amount, -0.05 * amount, 0.045 * amount)
    recovery = push(recovery, T, -0.19 * amount, -0.07 * amount, 0.10 * amount)
    return replace(heart, recovery=recovery)


def _st_depression(heart: Heart, severity: float, traits: Traits) -> Heart:
    amount = _reach(severity, 0.25)
    recovery = push(heart.recovery, ST, -0.14 * amount, -0.09 * amount, 0.05 * amount)
    return replace(heart, recovery=recovery)


def _flat_t(heart: Heart, severity: float, traits: Traits) -> Heart:
    left = np.array([1.0, 0.95 - _reach(severity, 0.3), 1.0])
    recovery = scale(heart.recovery, left[:, None])
    recovery = push(recovery, T, -0.03 * severity, -0.02 * severity, -0.02)
    return replace(heart, recovery=recovery)


def _inverted_t(heart: Heart, severity: float, traits: Traits) -> Heart:
    amount = _reach(severity, 0.35)
    recovery = push(heart.recovery, T, -0.50 * amount, -0.16 * amount, 0.14 * amount)
    return replace(heart, recovery=recovery)


def _first_degree_block(heart: Heart, severity: float, traits: Traits) -> Heart:
    return replace(heart, pr=0.205 + 0.130 * severity)


_Change = Callable[[Heart, float, Traits], Heart]
# In this order: conduction first, then what is lost or grown, then recovery.
_CHANGES: dict[str, _Change] = {
    "LAFB": _left_anterior_fascicular_block,
    "IRBBB": _incomplete_right_bundle_branch_block,
    "CRBBB": _right_bundle_branch_block,
    "CLBBB": _left_bundle_branch_block,
    "IMI": _inferior_infarction,
    "ASMI": _anteroseptal_infarction,
    "AMI": _anterior_infarction,
    "LVH": _left_ventricular_hypertrophy,
    "ISC_": _ischemia,
    "NST_": _st_changes,
    "STD_": _st_depression,
    "NDT": _flat_t,
    "INVT": _inverted_t,
    "1AVB": _first_degree_block,
    "PACE": _paced_beat,
}


def apply_conditions(
    heart: Heart, codes: Sequence[str], severity: Mapping[str, float], traits: Traits
) -> Heart:
    """Return the heart with every condition among the codes.

    Args:
        heart: A healthy one.
        codes: Statements, already checked; those about rhythm change no beat.
        severity: From 0 to 1, per code that changes the beat.
        traits: Traits of the person.
    """
    for code, change in _CHANGES.items():
        if code in codes:
            heart = change(heart, severity[code], traits)
    return heart
