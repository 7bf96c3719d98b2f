"""What the page says of a pre-training run: what the run wrote of itself, and nothing else."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgjepa.config import PretrainConfig, load_preset
from ecgjepa.objectives.words import ObjectiveWords, Sign, read_words
from ecgjepa.reporting.figures import as_data_uri
from ecgjepa.reporting.training_figures import draw_signs, draw_training
from ecgjepa.results.layout import METRICS_FILE

# Signs that every run has, in words that are true of every objective: for runs of older versions,
# which did not write what their signs mean.
_NEUTRAL = (
    Sign(
        name="spread",
        label="spread between records",
        meaning="share of the features' size that differs between records",
        least=0,
        most=1,
    ),
    Sign(
        name="effective_rank",
        label="effective rank",
        meaning="number of directions in which the features differ between records",
        least=0,
    ),
)


@dataclass(frozen=True)
class PretrainingSection:
    """One pre-training run.

    Attributes:
        path: Folder of the run.
        config: Settings of the run.
        words: Words of the run's objective; None if an older version began the run.
        databases: Databases of its records, as its copy of the store's manifest describes them.
        metrics: Lines of its log.
        signs: Numbers of those lines that tell whether the run is failing.
        curves: Figure of loss and schedules.
        monitor: Figure of the signs.
    """

    path: Path
    config: PretrainConfig
    words: ObjectiveWords | None
    databases: dict[str, Any]
    metrics: Sequence[dict[str, float]]
    signs: Sequence[Sign]
    curves: str
    monitor: str

    @property
    def title(self) -> str | None:
        """Name of the objective for people; None if the run does not say it."""
        return None if self.words is None else self.words.title

    @property
    def last(self) -> dict[str, float]:
        """Last line of the log."""
        return self.metrics[-1]

    @property
    def judged_steps(self) -> tuple[int, ...]:
        """Logged steps at which the run looked for a collapse and wrote what it found."""
        return tuple(int(line["step"]) for line in self.metrics if "collapsed" in line)

    @property
    def collapsed_steps(self) -> tuple[int, ...]:
        """Logged steps at which the run found a collapse."""
        return tuple(int(line["step"]) for line in self.metrics if line.get("collapsed"))


def describe_pretraining(path: Path) -> PretrainingSection:
    """Read a run folder.

    Raises:
        CheckpointError: If what the run says of its objective is damaged.
    """
    config, words = load_preset(path / "config.yaml"), read_words(path)
    lines = (path / METRICS_FILE).read_text(encoding="utf-8").splitlines()
    metrics = [json.loads(line) for line in lines]
    manifest = json.loads((path / "store.json").read_text(encoding="utf-8"))
    signs = _NEUTRAL if words is None else words.signs
    curves = draw_training(
        metrics,
        loss="" if words is None else words.loss,
        warmup_steps=config.train.warmup_steps,
        with_momentum=words is not None and words.moving_average,
    )
    return PretrainingSection(
        path=path,
        config=config,
        words=words,
        databases=manifest["databases"],
        metrics=metrics,
        signs=signs,
        curves=as_data_uri(curves),
        monitor=as_data_uri(draw_signs(metrics, signs)),
    )
