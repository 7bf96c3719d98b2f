"""Does `ecgjepa plan --measure` say how long a run takes? Plan one, run a little of it, compare.

    python benchmarks/plan_check.py [--preset tiny] [--steps 300] [--set KEY=VALUE] [--result FILE]

The store holds 300 simulated records as ptb-xl, so of the paper's presets use those that end in
``-ptbxl``, with a smaller ``train.batch_size`` on a CPU. Run it on an idle machine: on a busy one
the few seconds of the measurement say nothing about the minutes of a run.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import machine

import ecgjepa
from ecgjepa.config import load_preset
from ecgjepa.results.layout import METRICS_FILE


def made_store(folder: Path, preset: str, overrides: list[str]) -> Path:
    """Return a store of simulated records that the preset can read."""
    config = load_preset(preset, overrides)
    preprocessing = ecgjepa.PreprocessingConfig(sampling_rate=config.data.sampling_rate)
    ecgjepa.simulate(300, folder / "ptb-xl")
    ecgjepa.prepare({"ptb-xl": folder / "ptb-xl"}, folder / "store", preprocessing=preprocessing)
    return folder / "store"


def check(folder: Path, preset: str, steps: int, overrides: list[str]) -> dict[str, float]:
    """Return seconds per step as planned and as run, and the planning's own seconds."""
    overrides = [
        *overrides,
        f"train.steps={steps}",
        "train.warmup_steps=1",
        f"train.log_every={max(1, steps // 10)}",
        f"train.checkpoint_every={steps}",
    ]
    store = made_store(folder, preset, overrides)
    started = time.perf_counter()
    plan = ecgjepa.plan(preset, overrides=overrides, store=store, measure=True)
    planning = time.perf_counter() - started
    assert plan.speed is not None
    run = ecgjepa.pretrain(store, folder / "run", preset=preset, overrides=overrides)
    lines = [json.loads(line) for line in (run / METRICS_FILE).read_text().splitlines()]
    # The first line has the start in it.
    rates = [plan.config.train.batch_size / line["records_per_second"] for line in lines[1:]]
    ran = sum(rates) / len(rates)
    return {
        "planned_seconds_per_step": plan.speed.seconds_per_step,
        "seconds_per_step": ran,
        "planned_to_run": plan.speed.seconds_per_step / ran,
        "seconds_of_planning": planning,
    }


def main() -> None:
    """Plan, run, print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = check(Path(folder), options.preset, options.steps, options.overrides)
    for name, value in found.items():
        print(f"{name.replace('_', ' '):<26}{value:>10.4f}")
    machine.report(
        options.result,
        {"preset": options.preset, "steps": options.steps, "set": options.overrides, **found},
    )


if __name__ == "__main__":
    main()
