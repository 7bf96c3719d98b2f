"""One search over encoders, objectives and fine-tunings; every trial is in one log.

    python benchmarks/encoder_search.py --data PTB-XL --out DIR [--plan FILE] [--log FILE]
        [--budget-minutes N]

The plan is a fixed list of trials, as many for each arm; it must be committed before one runs.
Encoders are pre-trained on folds 1 to 5 with the operations that the plan allows. Heads and
fine-tunings are trained on folds 1 to 5 and two of 6, 7 and 8, and judged on the third, each in
turn; their best step is chosen on it, too, so a score here is for comparison alone. Folds 9 and 10
are never opened.

The log gets one line of JSON for each trial and fold, whatever came of it; what is in the log is
not done again, even if the plan around it changes, and an interrupted pre-training resumes. Several
processes may be given the same command: each takes the arms that no other is at work on.
"""

import argparse
import datetime
import hashlib
import itertools
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from encoder_plan import Arm, Plan, Recipe, check_committed, read_plan
from preset_search import within_budget

import ecgjepa
from ecgjepa.errors import EcgjepaError
from ecgjepa.locks import holding
from ecgjepa.metrics.classification import macro_auroc
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.protocols.run import run_protocol
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.opening import open_data
from ecgjepa.tasks.records import EvaluationData

HERE = Path(__file__).parent
PLAN, LOG = HERE / "encoder_search.yaml", HERE / "results" / "encoder-search.jsonl"
PRETRAINING_FOLDS, CHOOSING_FOLDS = (1, 2, 3, 4, 5), (6, 7, 8)
# What no trial may touch: PTB-XL's last folds are for the end.
KEPT_FOLDS = (9, 10)


def records_of(data: Path, run: Path, held: int, task: str, cache: Path) -> EvaluationData:
    """Return labelled records: the folds before ``held`` and after it train, ``held`` judges.

    The third of the choosing folds is opened as a test part and then joined to the training
    records, so that no part needs a fold that is kept.
    """
    beside, other = (fold for fold in CHOOSING_FOLDS if fold != held)
    split = ecgjepa.Split((*PRETRAINING_FOLDS, beside), (held,), (other,))
    assert not set(KEPT_FOLDS) & set(split.train + split.validation + split.test)
    _, config = load_encoder(run)
    cohort = Cohort(task=task, split=split)
    records = open_data({"ptb-xl": data}, config, cohort, cache=cache)
    train = np.sort(np.concatenate((records.parts.train, records.parts.test)))
    judged = records.parts.validation
    parts = records.parts._replace(train=train, test=judged)
    folds = records.table["fold"].to_numpy()
    assert set(folds[records.rows(judged)]) == {held}
    assert not set(KEPT_FOLDS) & set(folds[records.rows(train)])
    assert held not in folds[records.rows(train)]
    return records._replace(parts=parts, whole=parts)


def pretrained(arm: Arm, recipe: Recipe, plan: Plan, seed: int, out: Path) -> Path:
    """Return the run of a trial; one of a single step where nothing but its description is used."""
    overrides = [*arm.pretrain, f"train.seed={seed}"]
    if recipe.from_labels:
        overrides += ["train.steps=1", "train.warmup_steps=0"]
    else:
        overrides = within_budget(arm.preset, overrides, plan.teraflop)
    # Trials that differ in how labels are learned alone share a run.
    key = hashlib.sha256(json.dumps([arm.preset, overrides]).encode()).hexdigest()[:12]
    run = out / "runs" / key
    return ecgjepa.pretrain(out / "store", run, preset=arm.preset, overrides=overrides)


def judge(
    arm: Arm, recipe: Recipe, plan: Plan, seed: int, data: Path, out: Path, held: int
) -> dict[str, Any]:
    """Return what one trial came to on one fold."""
    begin = time.process_time()
    run = pretrained(arm, recipe, plan, seed, out)
    middle = time.process_time()
    with records_of(data, run, held, plan.task, out / "cache") as records:
        found = run_protocol(
            run,
            records,
            protocol=recipe.protocol,
            seed=seed,
            reading=recipe.reading,
            network=arm.network,
            overrides=recipe.settings,
            cache=out / "cache",
        )
        targets = records.targets(records.parts.validation)
        return {
            "score": round(macro_auroc(targets, found.outcome.validation), 4),
            "records": len(targets),
            "selected": found.outcome.selected,
            "pretraining_cpu_seconds": round(middle - begin),
            "cpu_seconds": round(time.process_time() - middle),
        }


def read_log(log: Path) -> list[dict[str, Any]]:
    """Return the lines of a log, of whatever plans."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def table(lines: list[dict[str, Any]], plan: Plan) -> str:
    """Return the trials with their folds, mean and number of seeds, as Markdown.

    Means are over the seeds that have run on every fold, if there are any.
    """
    folds = " | ".join(f"fold {fold}" for fold in CHOOSING_FOLDS)
    shown = [f"| arm | recipe | seeds | {folds} | mean |", "|---" * (len(CHOOSING_FOLDS) + 4) + "|"]
    for arm, recipe in plan.trials():
        digest = plan.digest(arm, recipe)
        own = {
            (line["seed"], line["fold"]): line.get("score", math.nan)
            for line in lines
            if line["trial"] == digest and line["seed"] in plan.seeds
        }
        seeds = sorted({seed for seed, _ in own})
        if not seeds:
            continue
        whole = [seed for seed in seeds if all((seed, fold) in own for fold in CHOOSING_FOLDS)]
        counted = whole or seeds[:1]
        scores = [
            [own[seed, fold] for seed in counted if (seed, fold) in own] for fold in CHOOSING_FOLDS
        ]
        cells = [_mean(found) for found in scores]
        together = _mean(list(itertools.chain(*scores)) if whole else [])
        shown.append(
            f"| {' | '.join([arm.name, recipe.name, str(len(counted)), *cells, together])} |"
        )
    return "\n".join(shown)


def _mean(scores: list[float]) -> str:
    """Return a mean; ``failed`` if one of them is a failure, ``-`` if there is none."""
    if not scores:
        return "-"
    mean = sum(scores) / len(scores)
    return "failed" if math.isnan(mean) else f"{mean:.3f}"


def run_trial(arm: Arm, recipe: Recipe, plan: Plan, options: argparse.Namespace) -> None:
    """Run what the log lacks of a trial, and write it there, failures too."""
    for seed, held in itertools.product(plan.seeds, CHOOSING_FOLDS):
        line = {
            "trial": plan.digest(arm, recipe),
            "arm": arm.name,
            "recipe": recipe.name,
            "seed": seed,
            "fold": held,
        }
        if any(line.items() <= done.items() for done in read_log(options.log)):
            continue
        line["date"] = datetime.date.today().isoformat()
        try:
            line |= judge(arm, recipe, plan, seed, options.data, options.out, held)
        except (EcgjepaError, RuntimeError) as error:
            line["failed"] = f"{type(error).__name__}: {error}"[:500]
        print(json.dumps(line), flush=True)
        with options.log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


def main() -> None:
    """Run what is still to do, as long as the budget lasts; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a PTB-XL folder")
    parser.add_argument("--out", type=Path, required=True, help="store, runs and cache")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--log", type=Path, default=LOG, help="lines are appended to it")
    parser.add_argument("--budget-minutes", type=float, default=float("inf"))
    options = parser.parse_args()
    check_committed(options.plan.resolve())
    plan = read_plan(options.plan)
    begin = time.monotonic()
    with holding(options.out / "store.lock", wait=True):
        preprocessing = ecgjepa.PreprocessingConfig(sampling_rate=100.0)
        data = {"ptb-xl": options.data}
        ecgjepa.prepare(
            data, options.out / "store", folds=PRETRAINING_FOLDS, preprocessing=preprocessing
        )
    for arm in plan.arms:
        with holding(options.out / "locks" / arm.name.replace(" ", "-")) as is_mine:
            for recipe in plan.recipes[arm.kind] if is_mine else ():
                if time.monotonic() - begin < 60 * options.budget_minutes:
                    run_trial(arm, recipe, plan, options)
    print(table(read_log(options.log), plan))


if __name__ == "__main__":
    main()
