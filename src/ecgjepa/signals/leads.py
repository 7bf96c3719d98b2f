"""The twelve standard leads: names, aliases, and the algebra of the limb leads.

The limb leads are all differences of three electrode potentials (right arm R, left arm L, left
leg F), so two of them determine the other four:

    III = II - I        aVR = -(I + II) / 2     aVL = I - II / 2     aVF = II - I / 2

Einthoven's law gives the first, Goldberger's definition of the augmented leads the others (e.g.
https://doi.org/10.1016/j.jacc.2007.01.024, section on lead systems).
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from ecgjepa.errors import LeadError

# The order of the paper, of PTB-XL and of every store.
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

# Each derived limb lead as (weight of I, weight of II).
LIMB_LEAD_WEIGHTS = {
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}

_CANONICAL = {lead.casefold(): lead for lead in LEADS}
_ALIASES = {
    **_CANONICAL,
    **{"di": "I", "dii": "II", "diii": "III", "d1": "I", "d2": "II", "d3": "III"},
    # IEC names of the chest leads.
    **{f"c{number}": f"V{number}" for number in range(1, 7)},
}
_PREFIX = re.compile(r"^(mdc_ecg_lead_|mdc_ecg_elec_potl_|lead|ecg|ekg)[\s_\-:]*", re.IGNORECASE)


class ParsedLead(NamedTuple):
    """A lead name in the standard spelling, and the sign of what the file stores."""

    name: str
    sign: int


@lru_cache(maxsize=4096)
def parse_lead(name: str) -> ParsedLead | None:
    """Return the standard lead that ``name`` denotes, or None if it is not a standard lead.

    Case, ``MDC_ECG_LEAD_``, ``Lead``, ``ECG`` prefixes, the Latin ``DI`` and IEC ``C1`` spellings
    are understood. ``-aVR`` gives aVR with sign -1. Frank leads, ``MLII`` and other channels are
    not among the twelve and give None.
    """
    text = name.strip()
    sign = 1
    if text.startswith("-"):
        sign, text = -1, text[1:]
    key = re.sub(r"[\s_]+", "", _PREFIX.sub("", text.strip())).casefold()
    lead = _ALIASES.get(key)
    return ParsedLead(lead, sign) if lead else None


def lead_positions(names: Sequence[str], *, source: str = "record") -> dict[str, tuple[int, int]]:
    """Map each standard lead found in ``names`` to its (column, sign).

    Names that are not a standard lead are left out; they are the caller's to report.

    Raises:
        LeadError: If two columns denote the same lead, or no column denotes any.
    """
    found: dict[str, tuple[int, int]] = {}
    for column, name in enumerate(names):
        parsed = parse_lead(name)
        if parsed is None:
            continue
        if parsed.name in found:
            first = names[found[parsed.name][0]]
            raise LeadError(
                f"{source}: lead {parsed.name} appears twice, as {first!r} and {name!r}; "
                "expected each lead once"
            )
        found[parsed.name] = (column, parsed.sign)
    if not found:
        raise LeadError(
            f"{source}: none of the lead names {list(names)} is known; expected names such as "
            f"{', '.join(LEADS)}"
        )
    return found


def derive_limb_lead(
    lead: str, lead_i: Float32[np.ndarray, " samples"], lead_ii: Float32[np.ndarray, " samples"]
) -> Float32[np.ndarray, " samples"]:
    """Return III, aVR, aVL or aVF computed from leads I and II, in their unit."""
    weight_i, weight_ii = LIMB_LEAD_WEIGHTS[lead]
    return np.float32(weight_i) * lead_i + np.float32(weight_ii) * lead_ii


def with_derived(leads: Sequence[str]) -> tuple[str, ...]:
    """Return standard leads and those that follow from them, in the standard order."""
    derived = _following(leads)
    return tuple(lead for lead in LEADS if lead in leads or lead in derived)


def _following(leads: Sequence[str]) -> set[str]:
    """Return the limb leads that follow from some leads, whether they are among them or not."""
    return set(LIMB_LEAD_WEIGHTS) if {"I", "II"} <= set(leads) else set()


def leads_of_set(name: str) -> tuple[str, ...]:
    """Return the leads that a set's name stands for, and those that follow from them.

    ``I+II`` stands for the six limb leads.

    Raises:
        LeadError: If a part of the name is not one of the twelve leads.
    """
    named = [part.strip() for part in name.split("+")]
    for part in named:
        if part not in LEADS:
            raise LeadError(
                f"{name[:80]!r}: {part[:40]!r} is not one of {', '.join(LEADS)}; a set of leads is "
                "named as I or I+II"
            )
    return with_derived(named)


def name_of_set(leads: Sequence[str]) -> str:
    """Return the name of a set of leads: those from which the others follow, as ``I+II``."""
    derived = _following(leads)
    return "+".join(lead for lead in leads if lead not in derived)


@lru_cache(maxsize=64)
def column_order(names: tuple[str, ...], leads: tuple[str, ...]) -> tuple[int, ...] | None:
    """Return the columns of ``leads``, or None unless the file holds just these, none negated."""
    try:
        found = lead_positions(names)
    except LeadError:
        return None  # The long way says which file it is.
    if len(names) != len(leads) or any(found.get(lead, (0, -1))[1] < 0 for lead in leads):
        return None
    return tuple(found[lead][0] for lead in leads)
