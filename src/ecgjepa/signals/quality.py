"""Faults of single leads that a look at the numbers can prove."""

import numpy as np

from ecgjepa.signals.leads import LEADS, limb_lead_residuals
from ecgjepa.signals.record import Issue, Record

# A lead with more than this share of invalid samples is of no use as a whole.
MAX_INVALID_SHARE = 0.2
# Genuine recordings keep the limb-lead relations within a few µV (measured on PTB-XL, Georgia
# and Ningbo: at most 3); devices that filter each lead on its own stay below this.
MAX_LIMB_LEAD_RESIDUAL_MV = 0.05


def quality_issues(record: Record) -> list[Issue]:
    """Return issues for leads that are invalid, flat or inconsistent with the other limb leads."""
    issues: list[Issue] = []
    # Gap-free records are the rule; their columns need no copying.
    all_valid = bool(record.valid.all())
    for column, lead in enumerate(record.leads):
        valid = record.valid[:, column]
        values = record.signal[:, column] if all_valid else record.signal[valid, column]
        invalid_share = 1.0 - values.size / record.num_samples
        if invalid_share > MAX_INVALID_SHARE:
            issues.append(
                Issue("invalid_lead", f"{invalid_share:.0%} of the samples are invalid", lead)
            )
        elif invalid_share > 0:
            issues.append(
                Issue("invalid_samples", f"{invalid_share:.1%} of the samples are invalid", lead)
            )
        if values.size and values.min() == values.max():
            issues.append(Issue("flat_lead", f"constant at {values[0]:.3f} mV", lead))
    if record.leads == LEADS:
        issues += _limb_lead_issues(record)
    return issues


def _limb_lead_issues(record: Record) -> list[Issue]:
    residuals = limb_lead_residuals(record.signal, record.valid)
    return [
        Issue(
            "limb_lead_residual",
            f"differs from what I and II imply by {residual:.3f} mV (median); "
            "are the leads named rightly?",
            lead,
        )
        for lead, residual in residuals.items()
        if np.isfinite(residual) and residual > MAX_LIMB_LEAD_RESIDUAL_MV
    ]
