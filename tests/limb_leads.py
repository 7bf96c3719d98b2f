"""How far limb leads are from what I and II imply, lead by lead, for tests of readers."""

import numpy as np

from ecgjepa.signals.leads import LEADS, LIMB_LEAD_WEIGHTS


def limb_lead_residuals(signal: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    """Return how far III, aVR, aVL, aVF are from what I and II imply.

    A swap of electrodes leaves the relations intact, but a swap or mislabelling of *columns*
    breaks them: genuine recordings stay within a few quantisation steps.

    Args:
        signal: Amplitudes in mV, columns in the order of `LEADS`.
        valid: Which samples were really measured.

    Returns:
        For each of the four leads the median absolute residual in mV over the samples where it,
        I and II are valid; NaN if there is none.
    """
    residuals: dict[str, float] = {}
    for lead, (weight_i, weight_ii) in LIMB_LEAD_WEIGHTS.items():
        column = LEADS.index(lead)
        usable = valid[:, 0] & valid[:, 1] & valid[:, column]
        if not usable.any():
            residuals[lead] = float("nan")
            continue
        expected = weight_i * signal[usable, 0] + weight_ii * signal[usable, 1]
        residuals[lead] = float(np.median(np.abs(signal[usable, column] - expected)))
    return residuals
