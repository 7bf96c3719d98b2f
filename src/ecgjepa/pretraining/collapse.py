"""Warns when the features of a run begin to collapse, and stops a run whose collapse lasts."""

import logging

from ecgjepa.errors import CollapseError

logger = logging.getLogger(__name__)

# Logged steps in a row that a collapse must last before a run is stopped: healthy runs may dip.
_PATIENCE = 3


class CollapseWatch:
    """Takes what the objective finds at each logged step."""

    def __init__(self, *, stop: bool) -> None:
        """Watch a run; with ``stop``, end it if a collapse lasts."""
        self._stop, self._in_a_row = stop, 0

    def look(self, step: int, warning: str | None) -> None:
        """Warn at the first of a row of bad steps.

        Args:
            step: Optimizer steps done.
            warning: What `Objective.find_collapse` returned.

        Raises:
            CollapseError: If there were `_PATIENCE` of them and the run is to be stopped.
        """
        if warning is None:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._in_a_row == 1:  # once, not at every line from then on
            logger.warning("step %d: %s", step, warning)
        if self._stop and self._in_a_row >= _PATIENCE:
            raise CollapseError(
                f"stopped at step {step}: {warning}. The checkpoints are kept; "
                "train.stop_on_collapse=false resumes from the last"
            )
