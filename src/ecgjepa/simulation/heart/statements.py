"""The SCP-ECG statements of the simulated records, and what may be said together.

Codes, groups and classes are those of PTB-XL's ``scp_statements.csv``. The last rows are statements
that no simulated record has: real tasks, too, meet labels without positives.
"""

from collections.abc import Collection, Iterable
from itertools import combinations
from typing import NamedTuple

from ecgjepa.errors import ConfigError


class Statement(NamedTuple):
    """One row of ``scp_statements.csv``.

    Attributes:
        description: In words.
        diagnostic: Whether it is a diagnosis.
        form: Whether it describes a form of the curve.
        rhythm: Whether it names a rhythm.
        superclass: One of NORM, MI, STTC, CD, HYP for diagnoses.
        subclass: For diagnoses.
    """

    description: str
    diagnostic: bool = False
    form: bool = False
    rhythm: bool = False
    superclass: str | None = None
    subclass: str | None = None


def _diagnosis(
    description: str, superclass: str, subclass: str, *, form: bool = False
) -> Statement:
    return Statement(description, True, form, False, superclass, subclass)


SIMULATED = {
    "NORM": _diagnosis("normal ECG", "NORM", "NORM"),
    "IMI": _diagnosis("inferior myocardial infarction", "MI", "IMI"),
    "ASMI": _diagnosis("anteroseptal myocardial infarction", "MI", "AMI"),
    "AMI": _diagnosis("anterior myocardial infarction", "MI", "AMI"),
    "LVH": _diagnosis("left ventricular hypertrophy", "HYP", "LVH"),
    "LAFB": _diagnosis("left anterior fascicular block", "CD", "LAFB/LPFB"),
    "IRBBB": _diagnosis("incomplete right bundle branch block", "CD", "IRBBB"),
    "CRBBB": _diagnosis("complete right bundle branch block", "CD", "CRBBB"),
    "CLBBB": _diagnosis("complete left bundle branch block", "CD", "CLBBB"),
    "1AVB": _diagnosis("first degree AV block", "CD", "_AVB"),
    "ISC_": _diagnosis("non-specific ischemic", "STTC", "ISC_"),
    "NST_": _diagnosis("non-specific ST changes", "STTC", "NST_", form=True),
    "NDT": _diagnosis("non-diagnostic T abnormalities", "STTC", "STTC", form=True),
    "STD_": Statement("non-specific ST depression", form=True),
    "INVT": Statement("inverted T-waves", form=True),
    "PVC": Statement("ventricular premature complex", form=True),
    "SR": Statement("sinus rhythm", rhythm=True),
    "STACH": Statement("sinus tachycardia", rhythm=True),
    "SBRAD": Statement("sinus bradycardia", rhythm=True),
    "SARRH": Statement("sinus arrhythmia", rhythm=True),
    "AFIB": Statement("atrial fibrillation", rhythm=True),
    "AFLT": Statement("atrial flutter", rhythm=True),
    "PACE": Statement("normal functioning artificial pacemaker", rhythm=True),
    "BIGU": Statement("bigeminal pattern (unknown origin, SV or Ventricular)", rhythm=True),
}

NEVER_SIMULATED = {
    "LMI": _diagnosis("lateral myocardial infarction", "MI", "LMI"),
    "PMI": _diagnosis("posterior myocardial infarction", "MI", "PMI"),
    "RVH": _diagnosis("right ventricular hypertrophy", "HYP", "RVH"),
    "LAO/LAE": _diagnosis("left atrial overload/enlargement", "HYP", "LAO/LAE"),
    "WPW": _diagnosis("Wolf-Parkinson-White syndrome", "CD", "WPW"),
    "3AVB": _diagnosis("third degree AV block", "CD", "_AVB"),
    "LNGQT": _diagnosis("long QT-interval", "STTC", "STTC"),
    "PAC": Statement("atrial premature complex", form=True),
    "LVOLT": Statement("low QRS voltages in the frontal and horizontal leads", form=True),
    "SVTAC": Statement("supraventricular tachycardia", rhythm=True),
}

SINUS_RHYTHMS = ("SR", "STACH", "SBRAD", "SARRH")
RHYTHMS = (*SINUS_RHYTHMS, "AFIB", "AFLT")

# Statements of which a record can have one at most.
_ALTERNATIVES = (
    (RHYTHMS, "a record has one basic rhythm"),
    (("CLBBB", "CRBBB", "IRBBB"), "the ventricles are activated in one way"),
    (("CLBBB", "LAFB"), "a left bundle branch block includes the anterior fascicle"),
    (("AMI", "ASMI"), "both are the same territory"),
    (("ISC_", "NST_"), "ST changes are either specific or not"),
    (("ISC_", "NDT"), "T changes are either diagnostic or not"),
)
_HIDDEN = ("IMI", "ASMI", "AMI", "LVH", "ISC_", "NST_", "NDT", "STD_", "INVT")
# Statement, what it excludes, and why.
_EXCLUDED = (
    ("1AVB", ("AFIB", "AFLT", "PACE"), "without conducted P waves there is no PR interval"),
    ("CLBBB", _HIDDEN, "a left bundle branch block hides it"),
    (
        "PACE",
        (*_HIDDEN, "CLBBB", "CRBBB", "IRBBB", "LAFB"),
        "a ventricle that is paced shows neither its own conduction nor its own recovery",
    ),
    ("PACE", ("AFLT", "STACH", "SBRAD", "SARRH"), "the pacemaker sets the rate"),
    (
        "NORM",
        tuple(code for code in SIMULATED if code not in ("NORM", *SINUS_RHYTHMS)),
        "a normal ECG has no other finding",
    ),
)


def check_codes(codes: Iterable[str]) -> tuple[str, ...]:
    """Return the codes in the order of the table, with a rhythm if none was given.

    ``BIGU`` brings ``PVC`` along.

    Raises:
        ConfigError: If there is no code, one is unknown, or two contradict each other.
    """
    given = set(codes)
    if not given:
        raise ConfigError(f"no statement code given; expected some of {', '.join(SIMULATED)}")
    unknown = sorted(given - set(SIMULATED))
    if unknown:
        raise ConfigError(
            f"cannot simulate {', '.join(map(repr, unknown))}; expected some of "
            f"{', '.join(SIMULATED)}"
        )
    if "BIGU" in given:
        given.add("PVC")
    if not given & {*RHYTHMS, "PACE"}:
        given.add("SR")
    conflict = find_conflict(given)
    if conflict is not None:
        raise ConfigError(conflict)
    return tuple(code for code in SIMULATED if code in given)


def find_conflict(codes: Collection[str]) -> str | None:
    """Return which two of the codes contradict each other and why, or None."""
    pairs = [
        (first, second, reason)
        for alternatives, reason in _ALTERNATIVES
        for first, second in combinations(alternatives, 2)
    ]
    pairs += [(code, other, reason) for code, others, reason in _EXCLUDED for other in others]
    for first, second, reason in pairs:
        if first in codes and second in codes:
            return f"{first} and {second} cannot be simulated together: {reason}; leave one out"
    return None
