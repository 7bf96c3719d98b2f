"""What a pre-training run came to, on a terminal."""

import json
from pathlib import Path
from typing import Any

from ecgjepa.objectives.words import ObjectiveWords, read_words
from ecgjepa.results.layout import METRICS_FILE
from ecgjepa.terminal.screen import print_line, print_wrapped

_SPREAD = "spread"
_LOSS_TO_MEAN = "loss_to_mean"
# Of the loss of predicting the mean; runs that learn are far below.
_LEARNED_NOTHING = 0.97


def print_run(run: Path) -> None:
    """Print a finished run's loss and spread, and what they mean."""
    print_line(f"run: {run}")
    lines = (run / METRICS_FILE).read_text(encoding="utf-8").splitlines()
    words = read_words(run)
    if lines and words is not None:
        metrics = [json.loads(line) for line in lines]
        print_wrapped("loss", _loss(words, metrics))
        print_wrapped(_SPREAD, _spread(words, metrics))
        if (share := metrics[-1].get(_LOSS_TO_MEAN)) is not None and share >= _LEARNED_NOTHING:
            print_wrapped(
                "caution",
                f"the loss is {share:.3f} of that of predicting the mean: next to nothing about "
                "single records was learned. Train longer (train.steps)",
            )


def trained_on(run: Path) -> list[str]:
    """Return the names of the databases of a run's store."""
    return list(json.loads((run / "store.json").read_text(encoding="utf-8"))["databases"])


def _loss(words: ObjectiveWords, metrics: list[dict[str, Any]]) -> str:
    first, last = metrics[0]["loss"], metrics[-1]["loss"]
    rises = (
        " It may rise on the way: its targets are made by a moving average of the encoder itself, "
        "and get richer as it learns."
        if words.moving_average
        else ""
    )
    begin = f"{first:.4f} at step {metrics[0]['step']:,}"
    return f"{begin}, {last:.4f} at the end ({words.loss}). {words.loss_note}{rises}"


def _spread(words: ObjectiveWords, metrics: list[dict[str, Any]]) -> str:
    sign = next((sign for sign in words.signs if sign.name == _SPREAD), None)
    if sign is None:
        return "not measured by this objective"
    level = "" if sign.below is None else f"; below {sign.below:g} they collapse"
    collapsed = [line["step"] for line in metrics if line.get("collapsed")]
    found = (
        f"collapsing at {len(collapsed)} of {len(metrics)} logged steps, last at step "
        f"{collapsed[-1]:,}. {words.advice}"
        if collapsed
        else "no sign of a collapse"
    )
    return f"{metrics[-1][_SPREAD]:.3f}, the {sign.meaning}{level}: {found}"
