"""Are sets of leads worth training for? One model trained for them against one of twelve leads.

    python benchmarks/fewer_leads.py --data PTB-XL --work WORK --out RESULT.json [--only NAME ...]

Trains by the recipe of the models in the box (superdiagnostic) on folds 1 to 5 and 7 alone. The
step is selected on fold 8 and the model scored on fold 6, then the
other way round. Folds 9 and 10 are neither scored nor looked at. Every model is scored on the same
records from which leads were taken away: III, aVR, aVL and aVF are computed where I and II are
left, and what is missing is 0 after normalisation. A training that is done is not done again.
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
from jaxtyping import Float, Int16
from machine import report
from make_boxes import RECIPES, SEED, fresh_model

from ecgjepa.inference.windows import average_over_windows, outputs_of_logits, window_size
from ecgjepa.metrics.bootstrap import PatientBootstrap, interval
from ecgjepa.metrics.classification import macro, ranking_scores
from ecgjepa.model.compute import choose_device
from ecgjepa.model.heads import Classifier
from ecgjepa.protocols.features import grid_windows
from ecgjepa.protocols.request import Workspace, request_protocol
from ecgjepa.protocols.run import run
from ecgjepa.signals.leads import LEADS, LIMB_LEAD_WEIGHTS, with_derived
from ecgjepa.signals.units import INVALID_MICROVOLT
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.leakage import open_unseen
from ecgjepa.tasks.records import EvaluationData
from ecgjepa.tasks.split import Split

logger = logging.getLogger(__name__)

TRAIN_FOLDS, JUDGING_FOLDS = (1, 2, 3, 4, 5, 7), (6, 8)
RECIPE = RECIPES["s4d-50ms"]
CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")
LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")
# Leads of the records that the models are scored on.
GIVEN = {
    "12": LEADS,
    "8": ("I", "II", *CHEST),
    "limb": LIMB,
    "I+II": ("I", "II"),
    "II": ("II",),
    "I": ("I",),
}


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
Resampled = Float[np.ndarray, " resamples"]


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


def as_given(
    windows: Int16[torch.Tensor, "windows samples leads"],
    leads: tuple[str, ...],
    given: tuple[str, ...],
) -> Int16[torch.Tensor, "windows samples leads"]:
    """Return what a prediction makes of records that have only the given leads, in µV."""
    seen = torch.full_like(windows, INVALID_MICROVOLT)
    for column, lead in enumerate(leads):
        if lead in given:
            seen[:, :, column] = windows[:, :, column]
        elif lead in with_derived(given):
            i, ii = (windows[:, :, leads.index(one)] for one in ("I", "II"))
            weight_i, weight_ii = LIMB_LEAD_WEIGHTS[lead]
            value = (weight_i * i.double() + weight_ii * ii.double()).round().to(torch.int16)
            is_valid = (i != INVALID_MICROVOLT) & (ii != INVALID_MICROVOLT)
            seen[:, :, column] = torch.where(is_valid, value, INVALID_MICROVOLT)
    return seen


@torch.inference_mode()
def probabilities(
    classifier: Classifier, records: EvaluationData, given: tuple[str, ...]
) -> Float[np.ndarray, "records labels"]:
    """Return the probabilities of the scored records from the given leads alone."""
    size, stride = window_size(fresh_model(RECIPE, records.preprocessing.leads).config)
    rows = records.rows(records.parts.test)
    windows = grid_windows(records.store, rows, size=size, stride=stride)
    normaliser = records.normalisation.build()
    leads = records.preprocessing.leads
    logits = [
        classifier(normaliser(as_given(windows.read(chunk), leads, given)))
        for chunk in windows.chunks()
    ]
    index = torch.from_numpy(windows.record_index)
    averaged = average_over_windows(torch.cat(logits), index, num_records=len(rows))
    return outputs_of_logits(averaged, records.task_config()).numpy()


def scores(
    data: Path, work: Path, name: str, judged: int
) -> tuple[dict[str, tuple[float, Resampled]], dict[str, Any]]:
    """Return a model's macro AUROC on a fold from each set of leads that it can see."""
    leads = MODELS[name].leads
    with open_records(data, work, leads, judged) as records:
        classifier, facts = classifier_of(name, records, work, judged)
        targets = records.targets(records.parts.test)
        bootstrap = PatientBootstrap(records.patients(records.parts.test))
        found = {}
        for words, given in GIVEN.items():
            if not set(leads) <= set(with_derived(given)) and leads != LEADS:
                continue
            values = probabilities(classifier, records, given)
            ones = np.ones((len(targets), 1))
            point = float(macro(ranking_scores(targets, values, ones).auroc)[0])
            drawn = macro(ranking_scores(targets, values, bootstrap.weights).auroc)
            found[words] = (point, drawn)
        facts |= {"records": len(targets), "patients": bootstrap.num_patients}
    return found, facts


def summary(found: dict[tuple[str, int], dict[str, tuple[float, Resampled]]]) -> dict[str, Any]:
    """Return the mean over folds of each model's scores, and of their differences."""
    means: dict[str, dict[str, tuple[float, Resampled]]] = {}
    for name in MODELS:
        folds = [scored for (model, _), scored in found.items() if model == name]
        if len(folds) == len(JUDGING_FOLDS):
            means[name] = {
                given: (
                    float(np.mean([fold[given][0] for fold in folds])),
                    np.mean([fold[given][1] for fold in folds], axis=0),
                )
                for given in folds[0]
            }
    pairs = [(a, b) for a in means for b in means if list(MODELS).index(a) > list(MODELS).index(b)]
    return {
        "macro_auroc": {
            name: {given: _rounded(interval(*one)) for given, one in of.items()}
            for name, of in means.items()
        },
        "differences": {
            f"{a} - {b}": {
                given: _rounded(
                    interval(
                        means[a][given][0] - means[b][given][0],
                        means[a][given][1] - means[b][given][1],
                    )
                )
                for given in means[a]
                if given in means[b]
            }
            for a, b in pairs
        },
    }


def _rounded(values: tuple[float, ...]) -> list[float]:
    return [round(value, 4) for value in values]


def main() -> None:
    """Train what is not trained yet, score it, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a PTB-XL folder")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is computed")
    parser.add_argument("--out", type=Path, help="file for the table")
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--folds", nargs="+", type=int, choices=JUDGING_FOLDS)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.work.mkdir(parents=True, exist_ok=True)
    found, runs = {}, []
    for judged in options.folds or JUDGING_FOLDS:
        for name in options.only:
            found[name, judged], facts = scores(options.data, options.work, name, judged)
            row = {
                "model": name,
                "fold": judged,
                "macro_auroc": {
                    given: round(v, 4) for given, (v, _) in found[name, judged].items()
                },
                **facts,
            }
            logger.info("%s", json.dumps(row))
            runs.append(row)
    report(
        options.out,
        {
            "task": "superdiagnostic",
            "train_folds": TRAIN_FOLDS,
            "judging_folds": JUDGING_FOLDS,
            "settings": {name: [*RECIPE.settings, *of.settings] for name, of in MODELS.items()},
            "seed": SEED,
            "interval": "95 %, percentile bootstrap over patients, 1,000 resamples of each fold",
            **summary(found),
            "runs": runs,
        },
    )


if __name__ == "__main__":
    main()
