"""Does pre-training help on the simulated corpus, whatever the seed?

    python benchmarks/demo_seeds.py --out runs/demo-seeds --result benchmarks/results/NAME.json

Runs the demo once per seed (simulation, weights, data order and heads all change) and prints macro
AUROC of the frozen probes beside the untrained encoder's. Five to six minutes per seed on two
cores; a finished pre-training is not repeated. Prints the README's table of a result again with

    python benchmarks/demo_seeds.py --show benchmarks/results/NAME.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

import machine

import ecgjepa


def measure(
    out: Path, seed: int, data: dict[str, str] | None, split: ecgjepa.Split
) -> dict[str, Any]:
    """Run the demo with one seed and return the scores of every protocol and encoder."""
    found = ecgjepa.demo(out / f"seed-{seed}", seed=seed, data=data, split=split)
    scores = {
        evaluation.results["protocol"]: {
            "models": {
                name: model["macro_auroc"] for name, model in evaluation.results["models"].items()
            },
            "differences": evaluation.results["differences"],
        }
        for evaluation in found.evaluations
    }
    return {"seed": seed, "seconds": round(found.seconds), "scores": scores}


def table(facts: dict[str, Any]) -> str:
    """Return macro AUROC as a Markdown table, one row per protocol and seed.

    The baseline is the identical untrained encoder, or, when fine-tuning, training from scratch.
    """
    lines = [
        "| protocol | seed | pre-trained | baseline | gain (95 % interval) |",
        "|---|---|---|---|---|",
    ]
    protocols = facts["rows"][0]["scores"]
    for protocol in protocols:
        for row in facts["rows"]:
            score = row["scores"][protocol]
            ours, baseline = (value[0] for value in score["models"].values())
            gain, low, high = next(iter(score["differences"].values()))
            lines.append(
                f"| {protocol} | {row['seed']} | {ours:.3f} | {baseline:.3f} "
                f"| {gain:+.3f} ({low:+.3f} to {high:+.3f}) |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/demo-seeds"))
    parser.add_argument("--result", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", help="a real PTB-XL folder instead of simulated ECGs")
    parser.add_argument("--folds", default="1-8 9 10", help="train, validation and test folds")
    parser.add_argument("--show", type=Path, help="print the table of this result and stop")
    options = parser.parse_args()
    if options.show:
        print(table(json.loads(options.show.read_text())))
        return
    train, validation, test = (
        tuple(range(int(part.split("-")[0]), int(part.split("-")[-1]) + 1))
        for part in options.folds.split()
    )
    data = {"ptb-xl": options.data} if options.data else None
    rows = []
    for seed in options.seeds:
        rows.append(measure(options.out, seed, data, ecgjepa.Split(train, validation, test)))
        for protocol, score in rows[-1]["scores"].items():
            models = "  ".join(f"{name} {value[0]:.3f}" for name, value in score["models"].items())
            gains = "  ".join(
                f"{name}: {gain[0]:+.3f} ({gain[1]:+.3f} to {gain[2]:+.3f})"
                for name, gain in score["differences"].items()
            )
            print(f"seed {seed}  {protocol:<22}{models}  {gains}", flush=True)
    facts = machine.facts() | {
        "data": "real PTB-XL records" if data else "simulated",
        "split": {"train": train, "validation": validation, "test": test},
        "rows": rows,
    }
    if options.result:
        options.result.write_text(json.dumps(_rounded(facts), indent=1) + "\n")


def _rounded(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
