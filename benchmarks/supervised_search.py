"""Settings of a supervised training, judged on a validation fold alone; for docs/log.md.

    python benchmarks/supervised_search.py --model RUN ... --data DIR --out FILE
        [--protocol finetune-after-probe] [--label-fractions 1 0.1] [--set key=value ...]
        [--probe-set key=value ...] [--network xresnet1d18]

Trains on folds 1 to 7 of a PTB-XL folder and prints the macro AUROC (superdiagnostic) of the best
step on fold 8, and that step; the seed is the run's place in the list. Appends lines to FILE.
"""

import argparse
import json
import time
from pathlib import Path

import ecgjepa
from ecgjepa.metrics.classification import macro_auroc
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.protocols.run import run_protocol
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.leakage import open_unseen


def main() -> None:
    """Measure every run with every share of the labels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, nargs="+", required=True, help="pre-training runs")
    parser.add_argument("--data", type=Path, required=True, help="a PTB-XL folder")
    parser.add_argument("--out", type=Path, required=True, help="lines of JSON are appended to it")
    parser.add_argument("--protocol", default="finetune-after-probe")
    parser.add_argument("--label-fractions", type=float, nargs="+", default=[1.0, 0.1])
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--probe-set", dest="probe_overrides", action="append", default=[])
    parser.add_argument("--network", default="xresnet1d18", help="for protocol supervised")
    options = parser.parse_args()
    split = ecgjepa.Split((1, 2, 3, 4, 5, 6, 7), (8,), (9,))
    cache = options.out.parent / "cache"
    for seed, model in enumerate(options.model):
        _, config = load_encoder(model)
        data = {"ptb-xl": options.data}
        cohort = Cohort(task="superdiagnostic", split=split)
        records = open_unseen(data, config, cohort, cache=cache)
        targets = records.targets(records.parts.validation)
        for fraction in options.label_fractions:
            begin = time.monotonic()
            found = run_protocol(
                model,
                records,
                protocol=options.protocol,
                seed=seed,
                label_fraction=fraction,
                label_draw=seed,
                network=options.network,
                overrides=options.overrides,
                probe_overrides=options.probe_overrides,
                cache=cache,
            )
            row = {
                "model": model.name,
                "protocol": options.protocol,
                "label_fraction": fraction,
                "overrides": options.overrides,
                "probe_overrides": options.probe_overrides,
                "validation": round(macro_auroc(targets, found.outcome.validation), 4),
                "selected": found.outcome.selected,
                "seconds": round(time.monotonic() - begin),
            }
            print(json.dumps(row), flush=True)
            with options.out.open("a") as stream:
                stream.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
