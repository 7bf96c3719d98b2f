"""When the collapse monitor's numbers mean trouble, and how to say so."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

from ecgjepa.config import ObjectiveName
from ecgjepa.errors import CollapseError

logger = logging.getLogger(__name__)

# Set by the experiments in docs/log.md: healthy runs stay well above both.
MIN_SPREAD = 0.15
MIN_RANK_SHARE = 0.04
# Of embeddings of different records: trials had 0 to 0.56, a collapse has 1.
MAX_SIMILARITY = 0.9
# Logged steps in a row that a collapse must last before a run is stopped: healthy runs may dip.
_PATIENCE = 3

_ADVICE: dict[ObjectiveName, str] = {
    "jepa": "Try a lower train.learning_rate, a train.momentum closer to 1, or "
    "train.normalise_targets=true",
    "simclr": "Try a lower train.learning_rate, a larger train.batch_size, or stronger views",
    "byol": "Try a lower train.learning_rate, or a train.momentum closer to 1",
    "mae": "Try a lower train.learning_rate, or a higher mae.mask_ratio",
}


class CollapseSigns(NamedTuple):
    """How much an encoder's features tell about a record.

    Attributes:
        spread: Between 0 and 1: root mean square of what differs between records at the same
            position, relative to the features' own. 0 means every record looks the same.
        effective_rank: exp(entropy of the covariance's singular values, as shares of their sum):
            over how many directions those differences are spread (Roy & Vetterli 2007).
        dim: Number of directions there are.
    """

    spread: float
    effective_rank: float
    dim: int


def collapse_warning(signs: CollapseSigns, objective: ObjectiveName = "jepa") -> str | None:
    """Return a sentence if the (target) encoder's features are collapsing, else None."""
    whose = "target features" if objective == "jepa" else "features"
    if signs.spread < MIN_SPREAD:
        found = f"only {signs.spread:.0%} of the {whose} differs between records"
    elif signs.effective_rank < MIN_RANK_SHARE * signs.dim:
        found = f"{whose} vary in {signs.effective_rank:.1f} directions of {signs.dim}"
    else:
        return None
    return (
        f"representation is collapsing: {found}. A falling loss means nothing now. "
        f"{_ADVICE[objective]}"
    )


def similarity_warning(negative_similarity: float, objective: ObjectiveName) -> str | None:
    """Return a sentence if views of different records are embedded alike, else None.

    What a probe reads of these objectives is a mean over patches: healthy runs spread it over
    fewer directions than JEPA its patches, so its rank alarms nobody (docs/decisions/0027).
    """
    if negative_similarity <= MAX_SIMILARITY:
        return None
    return (
        "representation is collapsing: views of different records have a mean cosine of "
        f"{negative_similarity:.2f}. A falling loss means nothing now. {_ADVICE[objective]}"
    )


class CollapseWatch:
    """Looks at the signs of each logged step, speaks when they begin to mean trouble."""

    def __init__(self, *, dim: int, stop: bool, objective: ObjectiveName = "jepa") -> None:
        """Watch features of width ``dim``; with ``stop``, end the run if a collapse lasts."""
        self._dim, self._stop, self._objective = dim, stop, objective
        self._in_a_row = 0

    def look(self, step: int, signs: Mapping[str, float]) -> None:
        """Warn at the first of a row of bad steps.

        Raises:
            CollapseError: If there were `_PATIENCE` of them and the run is to be stopped.
        """
        found = CollapseSigns(signs["spread"], signs["effective_rank"], self._dim)
        alike = signs.get("negative_similarity")  # of objectives that compare views
        if alike is None:
            warning = collapse_warning(found, self._objective)
        else:
            warning = similarity_warning(alike, self._objective)
        if warning is None:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._in_a_row == 1:  # once, not at every line from then on
            logger.warning("step %d: %s", step, warning)
        if self._stop and self._in_a_row >= _PATIENCE:
            raise CollapseError(
                f"stopped at step {step}: {warning}. The checkpoints are kept; "
                "train.stop_on_collapse=false goes on from the last"
            )
