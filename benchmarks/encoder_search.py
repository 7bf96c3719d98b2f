"""One search over encoders, objectives and fine-tunings; every trial is in one log.

    python benchmarks/encoder_search.py --data PTB-XL --out DIR [--plan FILE] [--log FILE]
        [--budget-minutes N] [--only NAME …]

The plan is a fixed list of trials, as many for each arm; it must be committed before a trial runs.
Encoders are pre-trained on folds 1 to 5 with the operations that the plan allows. Heads and
fine-tunings are trained on folds 1 to 5 and two of 6, 7 and 8, and judged on the third, each in
turn; their best step is chosen on it, too, so a score here is for comparison alone. Folds 9 and 10
are never opened.

The log gets one line of JSON for each trial and fold, whatever came of it; what is in the log is
not done again, and an interrupted pre-training resumes.
"""

import argparse
import datetime
import hashlib
import json
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from preset_search import within_budget
from pydantic import Field

import ecgjepa
from ecgjepa.config import Section, load_preset, parse_yaml
from ecgjepa.errors import EcgjepaError
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


class Trial(Section):
    """One line of the plan.

    Attributes:
        arm: What is compared; each arm has as many trials.
        name: Name in the log.
        preset: Preset of the encoder and its pre-training.
        pretrain: ``section.key=value`` items of the preset.
        protocol: How labels are learned; of ``scratch`` and ``supervised``, without pre-training.
        network: Residual network of ``supervised``.
        reading: How a frozen encoder is read.
        settings: ``key=value`` items of the protocol.
    """

    arm: str
    name: str
    preset: str = "tiny"
    pretrain: tuple[str, ...] = ()
    protocol: Protocol
    network: str = "xresnet1d18"
    reading: ReadingName = "paper"
    settings: tuple[str, ...] = ()

    @property
    def from_labels(self) -> bool:
        """Whether nothing is pre-trained."""
        return self.protocol in FROM_SCRATCH_PROTOCOLS


class Plan(Section):
    """All trials, in the order in which they run.

    Attributes:
        task: Labels.
        seed: Seed of pre-training and protocol.
        teraflop: Operations of each pre-training, in units of 10^12.
        trials: The trials.
    """

    task: str = "superdiagnostic"
    seed: int = 0
    teraflop: float = Field(gt=0)
    trials: tuple[Trial, ...]


def read_plan(path: Path) -> tuple[Plan, str]:
    """Return a plan and its hash; refuse one that is unfair, or wrong before anything is spent.

    Raises:
        SystemExit: If arms have different numbers of trials, or a name comes twice.
        ConfigError: If a setting is unknown or not usable.
    """
    text = path.read_text(encoding="utf-8")
    plan = Plan.model_validate(parse_yaml(text, source=str(path)))
    counts = Counter(trial.arm for trial in plan.trials)
    if len(set(counts.values())) > 1:
        raise SystemExit(f"{path}: arms have different numbers of trials: {dict(counts)}")
    names = Counter(trial.name for trial in plan.trials)
    if twice := [name for name, count in names.items() if count > 1]:
        raise SystemExit(f"{path}: {twice[0]!r} is the name of several trials")
    for trial in plan.trials:
        config = load_preset(trial.preset, trial.pretrain)
        asked = request_protocol(
            trial.protocol, trial.settings, reading=trial.reading, network=trial.network
        )
        if asked.settings is not None and trial.protocol != "supervised":
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


def pretrained(trial: Trial, plan: Plan, store: Path, out: Path) -> Path:
    """Return the run of a trial; one of a single step where nothing but its description is used."""
    overrides = [*trial.pretrain, f"train.seed={plan.seed}"]
    if trial.from_labels:
        overrides += ["train.steps=1", "train.warmup_steps=0"]
    else:
        overrides = within_budget(trial.preset, overrides, plan.teraflop)
    # Trials that differ in their fine-tuning alone share a run.
    key = hashlib.sha256(json.dumps([trial.preset, overrides]).encode()).hexdigest()[:12]
    return ecgjepa.pretrain(store, out / "runs" / key, preset=trial.preset, overrides=overrides)


def judge(
    trial: Trial, plan: Plan, data: Path, store: Path, out: Path, held: int
) -> dict[str, Any]:
    """Return what one trial came to on one fold."""
    begin = time.process_time()
    run = pretrained(trial, plan, store, out)
    middle = time.process_time()
    with records_of(data, run, held, plan.task, out / "cache") as records:
        found = run_protocol(
            run,
            records,
            protocol=trial.protocol,
            seed=plan.seed,
            reading=trial.reading,
            network=trial.network,
            overrides=trial.settings,
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
    shown = ["| arm | trial | fold 6 | fold 7 | fold 8 | mean |", "|---|---|---|---|---|---|"]
    for trial in plan.trials:
        own = {line["fold"]: line for line in lines if line["trial"] == trial.name}
        if not own:
            continue
        scores = [own.get(fold, {}).get("score") for fold in CHOOSING_FOLDS]
        cells = [
            f"{score:.3f}" if score is not None else "failed" if fold in own else "-"
            for fold, score in zip(CHOOSING_FOLDS, scores, strict=True)
        ]
        known = [score for score in scores if score is not None]
        mean = f"{sum(known) / 3:.3f}" if len(known) == 3 else "-"
        shown.append(f"| {' | '.join([trial.arm, trial.name, *cells, mean])} |")
    return "\n".join(shown)


def main() -> None:
    """Run what is still to do, as long as the budget lasts; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a PTB-XL folder")
    parser.add_argument("--out", type=Path, required=True, help="store, runs and cache")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--log", type=Path, default=LOG, help="lines are appended to it")
    parser.add_argument("--budget-minutes", type=float, default=float("inf"))
    parser.add_argument("--only", nargs="+", default=[], help="names of trials")
    options = parser.parse_args()
    check_committed(options.plan.resolve())
    plan, digest = read_plan(options.plan)
    lines, begin = read_log(options.log, digest), time.monotonic()
    done = {(line["trial"], line["fold"]) for line in lines}
    store = options.out / "store"
    preprocessing = ecgjepa.PreprocessingConfig(sampling_rate=100.0)
    ecgjepa.prepare(
        {"ptb-xl": options.data}, store, folds=PRETRAINING_FOLDS, preprocessing=preprocessing
    )
    for trial in plan.trials:
        for held in CHOOSING_FOLDS:
            if (trial.name, held) in done or (options.only and trial.name not in options.only):
                continue
            if time.monotonic() - begin > 60 * options.budget_minutes:
                print(table(lines, plan))
                return
            line = {
                "plan": digest,
                "date": datetime.date.today().isoformat(),
                "arm": trial.arm,
                "trial": trial.name,
                "fold": held,
            }
            try:
                line |= judge(trial, plan, options.data, store, options.out, held)
            except (EcgjepaError, RuntimeError) as error:
                line["failed"] = f"{type(error).__name__}: {error}"[:500]
            lines.append(line)
            print(json.dumps(line), flush=True)
            with options.log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
    print(table(lines, plan))


if __name__ == "__main__":
    main()
