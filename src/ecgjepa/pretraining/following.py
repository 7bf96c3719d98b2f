"""What follows a run and does not change it: log, trackers, probe and collapse alarm, on rank 0."""

from collections.abc import Mapping
from pathlib import Path

from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.objectives.objective import Objective
from ecgjepa.pretraining.collapse import CollapseWatch
from ecgjepa.pretraining.run import MetricsLog
from ecgjepa.pretraining.selection import OnlineProbe, Selection
from ecgjepa.pretraining.trackers import open_trackers


class Follower:
    """Takes each logged step's numbers, writes them, and acts on them."""

    def __init__(
        self,
        run: Path,
        objective: Objective,
        probe: OnlineProbe | None,
        *,
        first_step: int,
    ) -> None:
        """Follow a run of an objective that resumes after ``first_step``."""
        self._objective = objective
        config, train = objective.config, objective.config.train
        trackers = open_trackers(run, config, first_step=first_step)
        self._metrics = MetricsLog(
            run, first_step=first_step, total_steps=train.steps, trackers=trackers
        )
        self._selection = Selection(run, probe, every=config.probe.every, last_step=train.steps)
        self._watch = CollapseWatch(stop=train.stop_on_collapse)

    def begin(self, untrained: Encoder) -> None:
        """Let the probe score the encoder as it is before the first step, if it never has."""
        self._selection.begin(untrained)

    def look(self, encoder: Encoder, step: int, values: Mapping[str, float]) -> None:
        """Probe the encoder if that is due, write one line, and warn of a collapse.

        Raises:
            CollapseError: If the collapse lasts and the run is to be stopped.
        """
        probed = self._selection.look(encoder, step)
        warning = self._objective.find_collapse(values)
        self._metrics.write({**values, "collapsed": warning is not None, **probed})
        self._watch.look(step, warning)

    def close(self) -> None:
        """Finish the trackers."""
        self._metrics.close()
