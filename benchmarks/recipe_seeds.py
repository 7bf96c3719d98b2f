"""Is a small preset stable on real ECGs? Several seeds of it, on all real records at hand.

    python benchmarks/recipe_seeds.py --preset small --out OUT ptb-xl=DIR [NAME=DIR ...]

Pre-trains on folds 1 to 7 of PTB-XL and on the other databases, from which `prepare` refuses copies
of PTB-XL's other records; scores the frozen linear probe (superdiagnostic) on fold 8, beside the
untrained encoder. Folds 9 and 10 are neither read nor scored. A seed that is done is not done
again; one that was interrupted goes on. The result names every seed, good or bad.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import machine
from preset_search import validation_score

import ecgjepa
from ecgjepa.config import load_preset
from ecgjepa.protocols.encoders import load_encoder, untrained_encoder
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.opening import open_data

SPLIT = ecgjepa.Split((1, 2, 3, 4, 5, 6, 7), (8,), (9,))
COHORT = Cohort(task="superdiagnostic", split=SPLIT)


def seed_result(
    run: Path, store: Path, ptb_xl: Path, preset: str, overrides: list[str], cache: Path
) -> dict[str, Any]:
    """Pre-train with one seed, unless that is done; return what came of it."""
    finished = run / "recipe.json"
    if finished.is_file():
        return json.loads(finished.read_text())
    config = load_preset(preset, overrides)
    ecgjepa.pretrain(store, run, preset=preset, overrides=overrides)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    encoder, model = load_encoder(run)
    records = open_data({"ptb-xl": ptb_xl}, model, COHORT, cache=cache)
    dim, batch = config.encoder.dim, config.train.batch_size
    result = {
        "seed": config.train.seed,
        "fold 8, pre-trained": round(validation_score(encoder, model, records), 4),
        "fold 8, untrained": round(validation_score(untrained_encoder(model), model, records), 4),
        "loss": [round(lines[0]["loss"], 4), round(lines[-1]["loss"], 4)],
        "least spread": round(min(line["spread"] for line in lines), 3),
        "least rank share": round(min(line["effective_rank"] for line in lines) / dim, 3),
        "lines with a collapse warning": sum(line["collapsed"] for line in lines),
        "minutes of training": round(
            sum(batch * config.train.log_every / line["records_per_second"] / 60 for line in lines),
            1,
        ),
    }
    finished.write_text(json.dumps(result))
    return result


def main() -> None:
    """Prepare one store, run the seeds, print a row each, write them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="+", metavar="NAME=DIR", help="with ptb-xl among them")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="append", default=[], metavar="NAME=CSV")
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    sources = {name: Path(path) for name, path in (item.split("=", 1) for item in options.sources)}
    tables = {name: Path(path) for name, path in (item.split("=", 1) for item in options.table)}
    config = load_preset(options.preset, options.overrides)
    preprocessing = ecgjepa.PreprocessingConfig(
        sampling_rate=config.data.sampling_rate, leads=config.data.leads
    )
    store = ecgjepa.prepare(
        sources,
        options.out / "store",
        folds=SPLIT.train,
        preprocessing=preprocessing,
        tables=tables,
    )
    rows = []
    for seed in options.seeds:
        overrides = [*options.overrides, f"train.seed={seed}"]
        run = options.out / f"{options.preset}-{seed}"
        rows.append(
            seed_result(
                run,
                options.out / "store",
                sources["ptb-xl"],
                options.preset,
                overrides,
                options.out / "cache",
            )
        )
        print(rows[-1], flush=True)
    machine.report(
        options.result,
        {
            "preset": options.preset,
            "set": options.overrides,
            "records": {name: summary.stored for name, summary in store.databases.items()},
            "seeds": rows,
        },
    )


if __name__ == "__main__":
    main()
