"""What the page says of a pre-training run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgjepa.config import PretrainConfig, load_preset
from ecgjepa.pretraining.collapse import (
    MIN_RANK_SHARE,
    MIN_SPREAD,
    CollapseSigns,
    collapse_warning,
)
from ecgjepa.reporting.figures import as_data_uri, draw_collapse, draw_training


@dataclass(frozen=True)
class PretrainingSection:
    """One pre-training run: its settings, facts, figures and warnings."""

    path: Path
    config: PretrainConfig
    databases: dict[str, Any]
    last: dict[str, float]
    curves: str
    collapse: str
    collapsed_steps: tuple[int, ...]


def describe_pretraining(path: Path) -> PretrainingSection:
    """Read a run folder."""
    config = load_preset(path / "config.yaml")
    lines = (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = [json.loads(line) for line in lines]
    dim = config.encoder.dim
    collapsed = [
        int(line["step"])
        for line in metrics
        if collapse_warning(CollapseSigns(line["spread"], line["effective_rank"], dim))
    ]
    manifest = json.loads((path / "store.json").read_text(encoding="utf-8"))
    return PretrainingSection(
        path=path,
        config=config,
        databases=manifest["databases"],
        last=metrics[-1],
        curves=as_data_uri(draw_training(metrics, warmup_steps=config.train.warmup_steps)),
        collapse=as_data_uri(
            draw_collapse(metrics, dim=dim, min_spread=MIN_SPREAD, min_rank_share=MIN_RANK_SHARE)
        ),
        collapsed_steps=tuple(collapsed),
    )
