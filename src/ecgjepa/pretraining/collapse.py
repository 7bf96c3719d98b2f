"""When the collapse monitor's numbers mean trouble, and how to say so."""

from typing import NamedTuple

# Set by the experiments in docs/log.md: healthy runs stay well above both.
MIN_SPREAD = 0.15
MIN_RANK_SHARE = 0.04


class CollapseSigns(NamedTuple):
    """How much target features tell about a record.

    Attributes:
        spread: Between 0 and 1: root mean square of what differs between records at the same
            position, relative to the features' own. 0 means every record looks the same.
        effective_rank: exp(entropy of the normalised covariance eigenvalues): over how many
            directions those differences are spread (Roy & Vetterli 2007).
        dim: Number of directions there are.
    """

    spread: float
    effective_rank: float
    dim: int


def collapse_warning(signs: CollapseSigns) -> str | None:
    """Return a sentence if the features are collapsing, else None."""
    if signs.spread < MIN_SPREAD:
        found = f"only {signs.spread:.0%} of the target features differs between records"
    elif signs.effective_rank < MIN_RANK_SHARE * signs.dim:
        found = f"target features vary in {signs.effective_rank:.1f} directions of {signs.dim}"
    else:
        return None
    return (
        f"representation is collapsing: {found}. A falling loss means nothing now. Try a lower "
        "train.learning_rate, a train.momentum closer to 1, or train.normalise_targets=true"
    )
