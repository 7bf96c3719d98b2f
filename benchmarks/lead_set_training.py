"""What does a model lose on twelve leads if it is trained for sets of leads, and what does it gain?

    python benchmarks/lead_set_training.py --data PTB-XL --work WORK --out RESULT.json
        [--only NAME ...] [--folds 6 8]

Trains by the recipe of the models in the box on folds 1 to 5 and 7. The step is selected on fold 8
and the model scored on fold 6, then the other way round. Folds 9 and 10 are neither scored nor
looked at. Every model is scored on records from which leads were taken away, as in
benchmarks/fewer_leads.py. A training that is done is not done again.
"""

import argparse
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fewer_leads import GIVEN, INTERVAL, RECIPE, Resampled, described, probabilities, scored
from machine import report
from make_boxes import SEED, fresh_model

from ecgjepa.metrics.bootstrap import PatientBootstrap
from ecgjepa.model.compute import choose_device
from ecgjepa.model.heads import Classifier
from ecgjepa.protocols.request import Workspace, request_protocol
from ecgjepa.protocols.run import run
from ecgjepa.signals.leads import LEADS
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.leakage import open_unseen
from ecgjepa.tasks.records import EvaluationData
from ecgjepa.tasks.split import Split

logger = logging.getLogger(__name__)

TRAIN_FOLDS, JUDGING_FOLDS = (1, 2, 3, 4, 5, 7), (6, 8)


class Trained(NamedTuple):
    """How one of the models is trained.

    Attributes:
        leads: Leads that it has.
        settings: What is added to the recipe.
    """

    leads: tuple[str, ...] = LEADS
    settings: tuple[str, ...] = ()


MODELS = {
    "12 leads": Trained(),
    "sets": Trained(settings=("lead_sets=[I, II, I+II]",)),
    "I alone": Trained(leads=("I",)),
}


@contextmanager
def open_records(
    data: Path, work: Path, leads: tuple[str, ...], judged: int
) -> Iterator[EvaluationData]:
    """Open the records: the step is selected on one judging fold, and the other is scored."""
    (selecting,) = set(JUDGING_FOLDS) - {judged}
    cohort = Cohort(task="superdiagnostic", split=Split(TRAIN_FOLDS, (selecting,), (judged,)))
    config = fresh_model(RECIPE, leads).config
    with open_unseen({"ptb-xl": data}, config, cohort, cache=work / "cache") as records:
        yield records


def classifier_of(
    name: str, records: EvaluationData, work: Path, judged: int
) -> tuple[Classifier, dict[str, Any]]:
    """Train a model, or read it from a file of an interrupted run; with facts of the training."""
    path = work / f"{name.replace(' ', '-')}-{judged}.pt"
    trained = MODELS[name]
    if not path.is_file():
        begin, begin_cpu = time.monotonic(), time.process_time()
        request = request_protocol("finetune", (*RECIPE.settings, *trained.settings), seed=SEED)
        workspace = Workspace(choose_device("cpu"), work / "cache")
        found = run(fresh_model(RECIPE, trained.leads), records, request, workspace)
        facts = {
            "selected": found.outcome.selected,
            "seconds": round(time.monotonic() - begin),
            "cpu_seconds": round(time.process_time() - begin_cpu),
        }
        part = path.with_suffix(".part")
        torch.save((found.classifier, facts), part)
        part.replace(path)
    classifier, facts = torch.load(path, weights_only=False)
    return classifier.eval(), facts


def scores(
    data: Path, work: Path, name: str, judged: int
) -> tuple[dict[str, tuple[float, Resampled]], dict[str, Any]]:
    """Return a model's macro AUROC on a fold from each set of leads that it can see."""
    leads = MODELS[name].leads
    with open_records(data, work, leads, judged) as records:
        classifier, facts = classifier_of(name, records, work, judged)
        part = records.parts.test
        targets, bootstrap = records.targets(part), PatientBootstrap(records.patients(part))
        found = {}
        for words, given in GIVEN.items():
            if leads in (LEADS, given):
                known = (classifier, records.normalisation, records, part)
                found[words] = scored(targets, probabilities(*known, given), bootstrap)
        facts |= {"records": len(targets), "patients": bootstrap.num_patients}
    return found, facts


def summary(
    found: dict[tuple[str, int], dict[str, tuple[float, Resampled]]], judged: list[int]
) -> dict[str, Any]:
    """Return the mean over folds of each model's scores, and of their differences."""
    means: dict[str, dict[str, tuple[float, Resampled]]] = {}
    for name in MODELS:
        folds = [scored for (model, _), scored in found.items() if model == name]
        if len(folds) == len(judged):
            means[name] = {
                given: (
                    float(np.mean([fold[given][0] for fold in folds])),
                    np.mean([fold[given][1] for fold in folds], axis=0),
                )
                for given in folds[0]
            }
    return described(means)


def train(options: argparse.Namespace) -> dict[str, Any]:
    """Train what is not trained yet, and score it."""
    found, runs = {}, []
    for judged in options.folds:
        for name in options.only:
            found[name, judged], facts = scores(options.data, options.work, name, judged)
            points = {given: round(value, 4) for given, (value, _) in found[name, judged].items()}
            runs.append({"model": name, "fold": judged, "macro_auroc": points, **facts})
            logger.info("%s", json.dumps(runs[-1]))
    return {
        "train_folds": TRAIN_FOLDS,
        "settings": {name: [*RECIPE.settings, *of.settings] for name, of in MODELS.items()},
        "seed": SEED,
        **summary(found, options.folds),
        "runs": runs,
    }


def main() -> None:
    """Train and score the models, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a PTB-XL folder")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is computed")
    parser.add_argument("--out", type=Path, help="file for the table")
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--folds", nargs="+", type=int, choices=JUDGING_FOLDS, default=[6, 8])
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.work.mkdir(parents=True, exist_ok=True)
    told = train(options)
    report(options.out, {"task": "superdiagnostic", "interval": INTERVAL, **told})


if __name__ == "__main__":
    main()
