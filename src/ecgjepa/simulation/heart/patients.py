"""Who the patients are, and what they have: the statistics of the simulated population.

Shares, ages and combinations resemble PTB-XL's (Wagner et al. 2020, Sci. Data 7:154). Patient n of
a seed is the same person whatever else is simulated.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ecgjepa.simulation.heart.beats import Heart, body
from ecgjepa.simulation.heart.conditions import Traits
from ecgjepa.simulation.heart.statements import RHYTHMS, SIMULATED, find_conflict
from ecgjepa.simulation.heart.variation import build_heart, ectopic_hearts

# Shares of patients; the rest has at least one finding of the four pathological superclasses.
_HEALTHY = 0.42
_PACED = 0.015
_RHYTHM_ONLY = 0.009
# Before the dependence between them (see `_draw_findings`) raises or lowers it.
_INFARCTION = 0.355
_HYPERTROPHY = 0.168
_CONDUCTION = 0.305
_ST_T = {"none": 0.335, "infarction": 0.29, "hypertrophy": 0.48}
_SHARES = {
    "infarction": {"IMI": 0.46, "ASMI": 0.40, "AMI": 0.14},
    "conduction": {"LAFB": 0.34, "IRBBB": 0.22, "1AVB": 0.18, "CRBBB": 0.14, "CLBBB": 0.12},
    "st-t": {"NDT": 0.38, "ISC_": 0.40, "NST_": 0.22},
}
_VISITS = (1, 2, 3, 4)
_VISIT_SHARES = (0.87, 0.085, 0.03, 0.015)
# Codes that shape the beat; the others are about when it comes.
_TIMING = {*RHYTHMS, "PVC", "BIGU", "NORM"}


@dataclass(frozen=True, eq=False)
class Patient:
    """A person with a heart.

    Attributes:
        number: Number of the patient within the seed's population.
        visits: How many records are taken.
        codes: Lasting statements; the rhythm of the day is not among them unless it lasts too.
        severity: From 0 to 1, of each code that shapes the beat.
        likelihood: What PTB-XL's table says beside each of the codes.
        traits: Age, sex and what else shapes the heart.
        heart: Ordinary beat of the patient.
        field: How the leads see the dipole of this body.
        tempo: How fast the heart tends to be, in standard deviations.
        restless: How arrhythmic sinus rhythm tends to be, from 0 to 1; the young are more so.
        foci: Ventricular ectopic beats of the patient, two if there are any.
    """

    number: int
    visits: int
    codes: tuple[str, ...]
    severity: Mapping[str, float]
    likelihood: Mapping[str, float]
    traits: Traits
    heart: Heart
    field: Float[np.ndarray, "8 3"]
    tempo: float
    restless: float
    foci: tuple[Heart, ...]


def generator(seed: int, *key: int) -> np.random.Generator:
    """Return the source of randomness that belongs to a key, e.g. patient and visit."""
    # As entropy, (seed, 0) would be the same as (seed,); as spawn keys they differ.
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))


def draw_patient(seed: int, number: int) -> Patient:
    """Draw patient ``number`` of a population.

    Args:
        seed: Seed of the population.
        number: From 0; independent of how many patients there are.
    """
    rng = generator(seed, number)
    visits = int(rng.choice(_VISITS, p=_VISIT_SHARES))
    codes = _draw_codes(rng)
    severity = {code: rng.uniform(0.08, 1.0) for code in codes if code not in _TIMING}
    return _person(rng, number, visits, codes, severity)


def patient_with(codes: tuple[str, ...], seed: int, severity: float | None) -> Patient:
    """Return somebody who has exactly these findings.

    Args:
        codes: Already checked.
        seed: Seed of everything random.
        severity: Severity of all findings; None draws each from 0.45 to 1.
    """
    rng = generator(seed, 0)
    own = {
        code: rng.uniform(0.45, 1.0) if severity is None else severity
        for code in codes
        if code not in _TIMING
    }
    return _person(rng, 0, 1, codes, own)


def _person(
    rng: np.random.Generator,
    number: int,
    visits: int,
    codes: tuple[str, ...],
    severity: Mapping[str, float],
) -> Patient:
    healthy = "NORM" in codes
    age = 53 + 17 * rng.standard_normal() if healthy else 67 + 12.5 * rng.standard_normal()
    traits = Traits(
        age=float(np.clip(np.floor(age), 17, 95)),
        female=bool(rng.random() < (0.52 if healthy else 0.44)),
        stage=float(rng.beta(2.2, 1.2)),
        dual_chamber=bool("AFIB" not in codes and rng.random() < 0.5),
    )
    return Patient(
        number=number,
        visits=visits,
        codes=codes,
        severity=severity,
        likelihood={code: _likelihood(rng, code, severity.get(code, 1.0)) for code in SIMULATED},
        traits=traits,
        heart=build_heart(rng, codes, severity, traits),
        field=body(rng),
        tempo=float(rng.standard_normal()),
        restless=float(rng.random() * np.clip(1.5 - traits.age / 60, 0.1, 1.0)),
        foci=ectopic_hearts(rng) if "PVC" in codes else (),
    )


def _likelihood(rng: np.random.Generator, code: str, severity: float) -> float:
    """Return what PTB-XL's annotators would write: 0 for rhythm and form, doubt if it is mild."""
    doubt = rng.random() + severity
    statement = SIMULATED[code]
    if code in ("PVC", "PACE"):
        return 100.0
    if not statement.diagnostic:
        return 0.0
    return 100.0 if doubt > 0.85 else 80.0 if doubt > 0.6 else 50.0


def _draw_codes(rng: np.random.Generator) -> tuple[str, ...]:
    """Draw what a patient has for good."""
    status = rng.random()
    if status < _HEALTHY:
        codes = {"NORM"}
    elif status < _HEALTHY + _PACED:
        codes = {"PACE", "AFIB"} if rng.random() < 0.35 else {"PACE"}
    elif status < _HEALTHY + _PACED + _RHYTHM_ONLY:
        codes = {str(rng.choice(["AFIB", "PVC", "AFLT"], p=[0.5, 0.35, 0.15]))}
    else:
        codes = _draw_findings(rng)
        _add(codes, "AFIB", rng.random() < 0.105)
        _add(codes, "AFLT", rng.random() < 0.015)
        _add(codes, "PVC", rng.random() < 0.085)
    if "PVC" in codes and "AFIB" not in codes and rng.random() < 0.12:
        codes.add("BIGU")
    return tuple(code for code in SIMULATED if code in codes)


def _draw_findings(rng: np.random.Generator) -> set[str]:
    """Draw at least one diagnosis other than NORM."""
    codes: set[str] = set()
    while not codes:
        if rng.random() < _CONDUCTION:
            codes.add(_pick(rng, "conduction"))
            _add(codes, _pick(rng, "conduction"), rng.random() < 0.2)
        if rng.random() < _INFARCTION:
            _add(codes, _pick(rng, "infarction"))
            _add(codes, _pick(rng, "infarction"), rng.random() < 0.2)
        _add(codes, "LVH", rng.random() < _HYPERTROPHY)
        # Old infarctions and hypertrophy (its "strain") often bring changes of ST and T.
        cause = (
            "hypertrophy"
            if "LVH" in codes
            else "infarction" if codes & {"IMI", "ASMI", "AMI"} else "none"
        )  # fmt: skip
        chance = rng.random() < _ST_T[cause]
        _add(codes, "ISC_" if cause == "hypertrophy" else _pick(rng, "st-t"), chance)
    shown = (rng.random(), rng.random())
    _add(codes, "STD_", "ISC_" in codes and shown[0] < 0.35)
    _add(codes, "STD_", "NST_" in codes and shown[0] < 0.25)
    _add(codes, "INVT", bool(codes & {"ISC_", "NDT"}) and shown[1] < 0.12)
    return codes


def _pick(rng: np.random.Generator, group: str) -> str:
    shares = _SHARES[group]
    return str(rng.choice(list(shares), p=list(shares.values())))


def _add(codes: set[str], code: str, wanted: bool = True) -> None:
    """Add a code unless it contradicts what is there."""
    if wanted and find_conflict({*codes, code}) is None:
        codes.add(code)


def rhythm_of_the_day(rng: np.random.Generator, patient: Patient) -> tuple[str, ...]:
    """Return a visit's codes: the patient's, with this day's sinus rhythm and extra beats."""
    codes: Collection[str] = patient.codes
    chance, extra = rng.random(2)
    if "PVC" in codes and extra < 0.2 and patient.visits > 1:
        codes = [code for code in codes if code not in ("PVC", "BIGU")]
    if not {*RHYTHMS, "PACE"} & set(codes):
        # Arrhythmia is a young heart's; beyond that no diagnosis decides the day's rhythm.
        arrhythmic = 0.93 - 0.12 * patient.restless
        day = "STACH" if chance < 0.04 else "SBRAD" if chance < 0.075 else "SR"
        codes = [*codes, "SARRH" if chance > arrhythmic else day]
    return tuple(code for code in SIMULATED if code in codes)
