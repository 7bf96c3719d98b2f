"""Which leads the context encoder sees, where each lead has patches of its own."""

import numpy as np
from jaxtyping import Int64


def sample_leads(
    probability: float, rng: np.random.Generator, *, batch_size: int, num_leads: int
) -> Int64[np.ndarray, "batch kept"]:
    """Draw the leads that stay, ascending, as many in every row.

    Their number is drawn once for the batch, as if each lead were dropped with this probability
    on its own, and is at least one; each row then draws which ones, all equally likely.
    """
    if probability == 0:
        return np.tile(np.arange(num_leads), (batch_size, 1))
    kept = max(1, int(rng.binomial(num_leads, 1 - probability)))
    order = rng.random((batch_size, num_leads)).argsort(axis=1)
    return np.sort(order[:, :kept], axis=1)


def mean_leads(probability: float, num_leads: int) -> float:
    """Return the mean number of leads that stay."""
    return num_leads * (1 - probability) + probability**num_leads
