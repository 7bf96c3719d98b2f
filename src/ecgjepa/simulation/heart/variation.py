"""No two hearts are alike: how people differ by age, sex, position of the heart, and chance."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from ecgjepa.simulation.heart.beats import (
    NORMAL,
    Heart,
    Waves,
    rotation,
    scale,
    stretch,
    turn,
    waves,
)
from ecgjepa.simulation.heart.conditions import Traits, apply_conditions

# How far the heart may turn in the frontal plane, in degrees towards the feet. An axis outside the
# normal range is not a normal ECG, and one inside it no left anterior fascicular block.
_TURNS = {"NORM": (-14.0, 40.0), "LAFB": (-40.0, 2.0)}
_ANY_TURN = (-32.0, 40.0)
# Main direction of a beat from an ectopic focus, and how common the focus is.
_ECTOPIC_DIRECTIONS = (
    (0.35, 0.95, 0.75),  # right ventricular outflow tract
    (-0.25, -0.80, 0.35),  # inferior wall
    (-0.55, 0.75, -0.60),  # left ventricular outflow tract
    (-0.75, -0.55, -0.45),  # lateral wall
    (0.60, -0.70, 0.55),  # right ventricular apex
)
_ECTOPIC_SHARES = (0.42, 0.22, 0.16, 0.10, 0.10)


def build_heart(
    rng: np.random.Generator,
    codes: Sequence[str],
    severity: Mapping[str, float],
    traits: Traits,
) -> Heart:
    """Return one person's heart: the conditions, and all that makes it unlike any other.

    Args:
        rng: Source of randomness.
        codes: Statements, already checked.
        severity: From 0 to 1, per code that changes the beat.
        traits: Traits of the person.
    """
    heart = apply_conditions(_healthy(rng, traits), codes, severity, traits)
    limits = next((_TURNS[code] for code in _TURNS if code in codes), _ANY_TURN)
    return _individual(rng, heart, traits, limits)


def _healthy(rng: np.random.Generator, traits: Traits) -> Heart:
    """Vary intervals and the T wave as they vary among healthy people of an age and sex."""
    older = (traits.age - 55) / 10
    slowness = (0.97 if traits.female else 1.03) * np.exp(0.08 * rng.standard_normal())
    amplitude = np.exp(0.30 * rng.standard_normal() - 0.035 * older)
    amplitude *= 0.90 if traits.female else 1.06
    recovery = scale(NORMAL.recovery, amplitude)
    recovery = stretch(recovery, 1.02 if traits.female else 0.98)
    recovery = stretch(recovery, np.exp(0.07 * rng.standard_normal()))
    pr = NORMAL.pr * np.exp(0.11 * rng.standard_normal() + 0.015 * older)
    return replace(
        NORMAL,
        ventricles=stretch(NORMAL.ventricles, slowness),
        recovery=recovery,
        # Borderline intervals are common, but a normal one ends at 200 ms.
        pr=float(np.clip(pr, 0.118, 0.198)),
        qrs=NORMAL.qrs * slowness,
    )


def _individual(
    rng: np.random.Generator, heart: Heart, traits: Traits, limits: tuple[float, float]
) -> Heart:
    """Turn and scale the heart as it lies in this body; let every wave deviate a little.

    Args:
        rng: Source of randomness.
        heart: In the average position.
        traits: Traits of the person.
        limits: Limits of the turn in the frontal plane, in degrees.
    """
    older = (traits.age - 55) / 10
    # Hearts lie within limits: beyond them the axis would be a finding of its own.
    angles = np.array([17.0, 17.0, 8.0]) * np.clip(rng.standard_normal(3), -1.6, 1.6)
    angles[0] = np.clip(angles[0] - 3.5 * older + 2, *limits)
    # P and T waves turn less from person to person than the QRS complex does.
    position, atrial_position = rotation(*angles), rotation(*(0.5 * angles))
    own = rotation(*(8 * np.clip(rng.standard_normal(3), -2, 2))) @ rotation(*(0.6 * angles))
    gain = np.exp(0.23 * np.clip(rng.standard_normal(), -2, 2) - 0.02 * older)
    gain *= 0.95 if traits.female else 1.05
    atrial_gain = np.exp(0.22 * rng.standard_normal())
    slowness = np.exp(0.05 * rng.standard_normal())
    ventricles = stretch(turn(_vary(rng, heart.ventricles, 0.16), position), slowness)
    return replace(
        heart,
        qrs=heart.qrs * slowness,
        atria=scale(turn(_vary(rng, heart.atria, 0.12), atrial_position), atrial_gain),
        ventricles=scale(ventricles, gain),
        recovery=scale(turn(_vary(rng, heart.recovery, 0.12), own), gain**0.6),
    )


def _vary(rng: np.random.Generator, pulses: Waves, amount: float) -> Waves:
    """Let each dipole deviate in size and direction, relative to its own size."""
    count = len(pulses.centre)
    length = np.linalg.norm(pulses.dipole, axis=1, keepdims=True)
    factor = np.exp(amount * rng.standard_normal((count, 1)))
    dipole = pulses.dipole * factor + 0.8 * amount * length * rng.standard_normal((count, 3))
    return replace(pulses, dipole=dipole)


def ectopic_hearts(rng: np.random.Generator) -> tuple[Heart, Heart]:
    """Return the beats of two ventricular foci in different places."""
    first, second = rng.choice(_ECTOPIC_DIRECTIONS, 2, replace=False, p=_ECTOPIC_SHARES)
    return _ectopic_heart(rng, first), _ectopic_heart(rng, second)


def _ectopic_heart(rng: np.random.Generator, direction: Float[np.ndarray, " 3"]) -> Heart:
    """Return a broad beat without P wave, its T wave opposite to its QRS complex."""
    main = direction + 0.15 * rng.standard_normal(3)
    side = np.cross(main, rng.standard_normal(3)) * rng.uniform(0.2, 0.5)
    size, slowness = np.exp(0.2 * rng.standard_normal()), rng.uniform(0.92, 1.15)
    parts = np.stack([0.25 * main + 0.5 * side, 1.0 * main + 0.4 * side, 0.9 * main - 0.4 * side,
                      0.45 * main - 0.3 * side])  # fmt: skip
    centre = np.array([28.0, 54.0, 84.0, 114.0])
    width = np.array([11.0, 14.0, 15.0, 14.0])
    table = np.column_stack([centre, width, width, parts * size])
    ventricles = stretch(waves(*map(tuple, table)), slowness)
    back = -main * size
    recovery = waves(
        (35.0, 30.0, 80.0, *(0.16 * back)),
        (170.0, 62.0, 42.0, *(0.46 * back)),
    )
    return Heart(waves(), ventricles, recovery, pr=0.0, qrs=0.145 * slowness)
