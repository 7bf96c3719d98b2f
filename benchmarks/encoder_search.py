"""One search over encoders, objectives and fine-tunings; every trial is in one log.

    python benchmarks/encoder_search.py --data PTB-XL --out DIR [--plan FILE] [--log FILE]
        [--budget-minutes N]

The plan is a fixed list of trials, as many for each arm; it must be committed before one runs.
Encoders are pre-trained on folds 1 to 5 with the operations that the plan allows. Heads and
fine-tunings are trained on folds 1 to 5 and two of 6, 7 and 8, and judged on the third, each in
turn; their best step is chosen on it, too, so a score here is for comparison alone. Folds 9 and 10
are never opened.

The log gets one line of JSON for each trial and fold, whatever came of it; what is in the log is
not done again, and an interrupted pre-training resumes. Several processes may be given the same
command: each takes the arms that no other is at work on.
"""

import argparse
import datetime
import hashlib
import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from preset_search import within_budget
from pydantic import Field

import ecgjepa
from ecgjepa.config import Section, load_preset, parse_yaml
from ecgjepa.errors import EcgjepaError
from ecgjepa.locks import holding
from ecgjepa.metrics.classification import macro_auroc
from ecgjepa.model.heads import check_head
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.protocols.request import ReadingName, request_protocol
from ecgjepa.protocols.run import run_protocol
from ecgjepa.protocols.settings import FROM_SCRATCH_PROTOCOLS, Protocol
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.opening import open_data
from ecgjepa.tasks.records import EvaluationData

HERE = Path(__file__).parent
PLAN, LOG = HERE / "encoder_search.yaml", HERE / "results" / "encoder-search.jsonl"
PRETRAINING_FOLDS, CHOOSING_FOLDS = (1, 2, 3, 4, 5), (6, 7, 8)
# What no trial may touch: PTB-XL's last folds are for the end.
KEPT_FOLDS = (9, 10)


class Recipe(Section):
    """How labels are learned.

    Attributes:
        name: Name in the log.
        protocol: Of ``scratch`` and ``supervised``, without pre-training.
        reading: How a pre-trained encoder is read.
        settings: ``key=value`` items of the protocol.
    """

    name: str
    protocol: Protocol
    reading: ReadingName = "paper"
    settings: tuple[str, ...] = ()

    @property
    def from_labels(self) -> bool:
        """Whether nothing is pre-trained."""
        return self.protocol in FROM_SCRATCH_PROTOCOLS


class Arm(Section):
    """What is compared.

    Attributes:
        name: Name in the log.
        kind: Which recipes are tried.
        preset: Preset of the encoder and its pre-training.
        pretrain: ``section.key=value`` items of the preset.
        network: Residual network of ``supervised``.
    """

    name: str
    kind: str
    preset: str = "tiny"
    pretrain: tuple[str, ...] = ()
    network: str = "xresnet1d18"


class Plan(Section):
    """All trials: each arm, in turn, by each recipe of its kind.

    Attributes:
        task: Labels.
        seed: Seed of pre-training and protocol.
        teraflop: Operations of each pre-training, in units of 10^12.
        recipes: Ways to learn labels, by kind of arm.
        arms: What is compared, in the order in which it runs.
    """

    task: str = "superdiagnostic"
    seed: int = 0
    teraflop: float = Field(gt=0)
    recipes: dict[str, tuple[Recipe, ...]]
    arms: tuple[Arm, ...]

    def trials(self) -> Iterator[tuple[Arm, Recipe]]:
        """Yield arms and recipes in the order in which they run."""
        for arm in self.arms:
            for recipe in self.recipes[arm.kind]:
                yield arm, recipe


def read_plan(path: Path) -> tuple[Plan, str]:
    """Return a plan and its hash; refuse one that is unfair, or wrong before anything is spent.

    Raises:
        SystemExit: If arms have different numbers of trials, or a name comes twice.
        ConfigError: If a setting is unknown or not usable.
    """
    text = path.read_text(encoding="utf-8")
    plan = Plan.model_validate(parse_yaml(text, source=str(path)))
    counts = {kind: len(recipes) for kind, recipes in plan.recipes.items()}
    if len(set(counts.values())) > 1:
        raise SystemExit(f"{path}: arms have different numbers of trials: {counts}")
    names = Counter((arm.name, recipe.name) for arm, recipe in plan.trials())
    if twice := [name for name, count in names.items() if count > 1]:
        raise SystemExit(f"{path}: {': '.join(twice[0])!r} is the name of several trials")
    for arm, recipe in plan.trials():
        config = load_preset(arm.preset, arm.pretrain)
        asked = request_protocol(
            recipe.protocol, recipe.settings, reading=recipe.reading, network=arm.network
        )
        if asked.settings is not None and recipe.protocol != "supervised":
            check_head(asked.settings.head, config.encoder.num_registers)
    return plan, hashlib.sha256(text.encode()).hexdigest()[:12]


def check_committed(path: Path) -> None:
    """Refuse a plan that is not in the repository as it is: it was to be fixed beforehand.

    Raises:
        SystemExit: If git knows no such file, or another content of it.
    """
    git = ["git", "-C", str(path.parent)]
    known = subprocess.run([*git, "ls-files", "--error-unmatch", path.name], capture_output=True)
    same = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", path.name])
    if known.returncode or same.returncode:
        raise SystemExit(f"{path} differs from what is committed: commit the plan first")


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


def pretrained(arm: Arm, recipe: Recipe, plan: Plan, store: Path, out: Path) -> Path:
    """Return the run of a trial; one of a single step where nothing but its description is used."""
    overrides = [*arm.pretrain, f"train.seed={plan.seed}"]
    if recipe.from_labels:
        overrides += ["train.steps=1", "train.warmup_steps=0"]
    else:
        overrides = within_budget(arm.preset, overrides, plan.teraflop)
    # Trials that differ in how labels are learned alone share a run.
    key = hashlib.sha256(json.dumps([arm.preset, overrides]).encode()).hexdigest()[:12]
    return ecgjepa.pretrain(store, out / "runs" / key, preset=arm.preset, overrides=overrides)


def judge(
    arm: Arm, recipe: Recipe, plan: Plan, data: Path, store: Path, out: Path, held: int
) -> dict[str, Any]:
    """Return what one trial came to on one fold."""
    begin = time.process_time()
    run = pretrained(arm, recipe, plan, store, out)
    middle = time.process_time()
    with records_of(data, run, held, plan.task, out / "cache") as records:
        found = run_protocol(
            run,
            records,
            protocol=recipe.protocol,
            seed=plan.seed,
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


def read_log(log: Path, digest: str) -> list[dict[str, Any]]:
    """Return the lines of a log, all of the same plan.

    Raises:
        SystemExit: If some are of another plan.
    """
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if others := {line["plan"] for line in lines} - {digest}:
        raise SystemExit(f"{log} has trials of another plan ({', '.join(others)}): name another")
    return lines


def table(lines: list[dict[str, Any]], plan: Plan) -> str:
    """Return the trials with their folds and mean, as Markdown."""
    shown = ["| arm | recipe | fold 6 | fold 7 | fold 8 | mean |", "|---|---|---|---|---|---|"]
    for arm, recipe in plan.trials():
        trial = (arm.name, recipe.name)
        own = {line["fold"]: line for line in lines if (line["arm"], line["recipe"]) == trial}
        if not own:
            continue
        scores = [own.get(fold, {}).get("score") for fold in CHOOSING_FOLDS]
        cells = [
            f"{score:.3f}" if score is not None else "failed" if fold in own else "-"
            for fold, score in zip(CHOOSING_FOLDS, scores, strict=True)
        ]
        known = [score for score in scores if score is not None]
        mean = f"{sum(known) / 3:.3f}" if len(known) == 3 else "-"
        shown.append(f"| {' | '.join([*trial, *cells, mean])} |")
    return "\n".join(shown)


def run_trial(
    arm: Arm, recipe: Recipe, plan: Plan, options: argparse.Namespace, digest: str
) -> None:
    """Run what the log lacks of a trial, and write it there, failures too."""
    for held in CHOOSING_FOLDS:
        line = {"plan": digest, "arm": arm.name, "recipe": recipe.name, "fold": held}
        if any(line.items() <= done.items() for done in read_log(options.log, digest)):
            continue
        line["date"] = datetime.date.today().isoformat()
        try:
            store = options.out / "store"
            line |= judge(arm, recipe, plan, options.data, store, options.out, held)
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
    plan, digest = read_plan(options.plan)
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
                    run_trial(arm, recipe, plan, options, digest)
    print(table(read_log(options.log, digest), plan))


if __name__ == "__main__":
    main()
