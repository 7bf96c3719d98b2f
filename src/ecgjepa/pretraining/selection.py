"""Which encoder of a run is the best: chosen by a frozen probe on validation records.

The published runs' loss keeps falling while frozen scores peak after a tenth of the steps
(https://arxiv.org/abs/2410.13867, Fig. 2), so the loss cannot choose.
"""

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.folder import ModelConfig
from ecgjepa.pretraining.run import BEST_FOLDER, save_encoder
from ecgjepa.results.layout import METRICS_FILE

logger = logging.getLogger(__name__)


class OnlineProbe(NamedTuple):
    """A frozen probe that scores an encoder; `ecgjepa.evaluation.online` makes one.

    Attributes:
        score: Function from an encoder to its score on the validation records.
        databases: Databases of the records.
        task: Name of the task that gives the labels.
        validation_folds: Folds of the validation records, in each of the databases; no encoder that
            the probe selects may be tested on them.
        unpublished: Databases among them whose folds were made by hash.
        measure: What the score is: a key of `ecgjepa.model.outputs.MEASURES`.
    """

    score: Callable[[Encoder], float]
    databases: tuple[str, ...]
    task: str
    validation_folds: tuple[int, ...]
    unpublished: tuple[str, ...] = ()
    measure: str = "macro_auroc"

    @property
    def score_name(self) -> str:
        """Name of the score among the metrics of a run."""
        return f"probe_{self.measure}"

    @property
    def seen(self) -> list[dict[str, Any]]:
        """Stages of selection, one per database, for the model folder; see `refuse_leak`."""
        return [
            {
                "database": name,
                "train": [],
                "validation": list(self.validation_folds),
                "published": name not in self.unpublished,
            }
            for name in self.databases
        ]


# Makes the probe for an encoder of this description, and finds what does not fit before a run.
OpenProbe = Callable[[ModelConfig], OnlineProbe]


class Selection:
    """Probes a run's target encoder now and then and keeps the best as a model folder."""

    def __init__(self, run: Path, probe: OnlineProbe | None, *, every: int, last_step: int) -> None:
        """Continue what ``metrics.jsonl`` says; without a probe, nothing is ever due."""
        self._run, self._probe, self._every, self._last = run, probe, every, last_step
        lines = (run / METRICS_FILE).read_text(encoding="utf-8").splitlines()
        name = "" if probe is None else probe.score_name
        before = [line for line in map(json.loads, lines) if name in line]
        self._best = max((line[name] for line in before), default=-math.inf)
        self._untrained: float | None = before[0][_untrained(name)] if before else None

    def begin(self, untrained: Encoder) -> None:
        """Score the encoder as it is before the first step, to stand beside every other score."""
        if self._probe is not None and self._untrained is None:
            self._untrained = self._probe.score(untrained)
            logger.info(
                "%s probe of the untrained encoder: %.3f", self._probe.task, self._untrained
            )

    def is_due(self, step: int) -> bool:
        """Return whether the encoder is to be probed after this step."""
        return self._probe is not None and (step % self._every == 0 or step == self._last)

    def look(self, encoder: Encoder, step: int) -> dict[str, float]:
        """Probe the encoder if it is due, save it if it is the best; return what to log."""
        if self._probe is None or not self.is_due(step):
            return {}
        assert self._untrained is not None, "begin comes first"
        score = self._probe.score(encoder)
        is_best = score > self._best
        if is_best:
            self._best = score
            self._save(encoder, step, score)
        logger.info(
            "step %d: %s probe %.3f (untrained %.3f)%s",
            step,
            self._probe.task,
            score,
            self._untrained,
            ", the best so far" if is_best else "",
        )
        name = self._probe.score_name
        return {name: score, _untrained(name): self._untrained}

    def _save(self, encoder: Encoder, step: int, score: float) -> None:
        assert self._probe is not None
        training: dict[str, Any] = {
            # Selecting is seeing: these folds are not a test of this encoder any more.
            "seen": self._probe.seen,
            "selected_by": {"task": self._probe.task, self._probe.score_name: score},
        }
        save_encoder(self._run, encoder, steps=step, folder=BEST_FOLDER, training=training)


def _untrained(score_name: str) -> str:
    """Return the name of the untrained encoder's score among the metrics of a run."""
    return f"{score_name}_untrained"
