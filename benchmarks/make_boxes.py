"""Make the models of the box from PTB-XL records: choose a recipe, then train the boxes by it.

    python benchmarks/make_boxes.py choose --data PTB-XL --work WORK
    python benchmarks/make_boxes.py make --data PTB-XL --work WORK --recipe NAME
    python benchmarks/make_boxes.py pack --data PTB-XL --work WORK --out RESULT.json

``choose`` trains each recipe on folds 1 to 5 and two of 6, 7 and 8, with the superclasses as
labels, and validates on the third in turn; a recipe is judged by the mean of its validations.
``make`` trains by one recipe on folds 1 to 7, selects and calibrates on fold 8, and scores folds 9
and 10 once. Both resume: what lies in WORK is not computed again. ``pack`` writes the models into
the package in half precision, and how far their answers are from those of the models as trained.

The recipes, the folds and the seed were written down before the first run. Folds 9 and 10 choose
nothing.
"""

import argparse
import json
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from machine import report

from ecgjepa.config import EncoderConfig
from ecgjepa.evaluation.model_card import model_card
from ecgjepa.evaluation.saving import save_evaluation
from ecgjepa.inference.predict import load_model
from ecgjepa.metrics.classification import macro_auroc
from ecgjepa.model.compute import choose_device
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.folder import (
    MODEL_FOLDER,
    ModelConfig,
    PretrainingFacts,
    WindowConfig,
    load_distribution,
    load_model_folder,
    save_model,
)
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.protocols.encoders import DescribedEncoder
from ecgjepa.protocols.outcome import EvaluationResult
from ecgjepa.protocols.request import ProtocolRequest, Workspace, request_protocol
from ecgjepa.protocols.run import run
from ecgjepa.results.layout import PRE_TRAINED
from ecgjepa.results.predictions import read_predictions
from ecgjepa.results.reading import read_results
from ecgjepa.sharing.box import box_folder
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.leakage import open_unseen
from ecgjepa.tasks.records import EvaluationData
from ecgjepa.tasks.split import Split

logger = logging.getLogger(__name__)

SEED = 0
FIRST_FOLDS, CHOOSING_FOLDS = (1, 2, 3, 4, 5), (8, 7, 6)
FINAL_SPLIT = Split((1, 2, 3, 4, 5, 6, 7), (8,), (9, 10))
LEAST_TRAINING_RECORDS = 40


class Box(NamedTuple):
    """A model of the box.

    Attributes:
        task: Task that it is trained for.
        settings: Items of protocol ``finetune`` that are added to the recipe's.
    """

    task: str
    settings: tuple[str, ...] = ()


BOXES = {
    "box-superdiagnostic": Box("superdiagnostic"),
    "box-statements": Box("all"),
    "box-superdiagnostic-leads": Box("superdiagnostic", ("lead_sets=[I, II, I+II]",)),
}
# Of the package, which the weights are a part of; the records are under a licence of their own.
LICENCE = "apache-2.0"
LIMITS = (
    "A small network, made from 2,730 of PTB-XL's 21,799 records: ten-second resting ECGs, nearly "
    "all of adults, from one project and a few types of device. It was tested on other patients of "
    "the same project alone. It does not replace a reading by a physician."
)
# What the card of an evaluation says of files that do not come with the package.
_IN_RESULTS = (
    " Scores by site, device and signal quality are in results.json beside this folder.",
    " (results.json, out_of_distribution)",
)


@dataclass(frozen=True)
class Recipe:
    """An encoder that is trained from labels alone, and how.

    Attributes:
        patch_size: Samples of a patch, at 100 Hz.
        settings: Items of protocol ``finetune``.
    """

    patch_size: int
    settings: tuple[str, ...]


# As protocol ``supervised`` trains a residual network; the pooled head has mean and maximum.
_COMMON = (
    "head=pooled",
    "learning_rate=3e-3",
    "weight_decay=0.05",
    "betas=[0.9, 0.999]",
    "gradient_clip=1.0",
    "steps=800",
    "warmup_steps=80",
    "validate_every=50",
)
RECIPES = {
    "s4d-50ms": Recipe(5, (*_COMMON, "dropout=0.1")),
    "s4d-50ms-dropout": Recipe(5, (*_COMMON, "dropout=0.3")),
    "s4d-20ms": Recipe(2, (*_COMMON, "dropout=0.1", "batch_size=64")),
}


def fresh_model(recipe: Recipe, leads: tuple[str, ...] = LEADS) -> DescribedEncoder:
    """Return the recipe's encoder of some leads with random weights, and its description."""
    encoder = EncoderConfig(
        architecture="s4d",
        num_leads=len(leads),
        patch_size=recipe.patch_size,
        dim=96,
        depth=4,
        num_heads=4,
    )
    config = ModelConfig(
        encoder=encoder,
        preprocessing=PreprocessingConfig(sampling_rate=100, leads=leads),
        # The constants of the training records take their place.
        normalisation=NormalisationConfig(mean=(0.0,) * len(leads), std=(1.0,) * len(leads)),
        window=WindowConfig(),
        pretraining=PretrainingFacts(
            objective="none", steps=0, seed=SEED, store="", folds={}, records={}
        ),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return DescribedEncoder(build_encoder(encoder), config)


def choose(data: Path, work: Path) -> None:
    """Train every recipe three times and write the validation scores."""
    path = work / "choice.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    done = {(row["recipe"], row["validation_fold"]) for row in map(json.loads, lines)}
    for fold in CHOOSING_FOLDS:
        others = tuple(sorted({*CHOOSING_FOLDS} - {fold}))
        split = Split((*FIRST_FOLDS, *others), (fold,), ())
        for name, recipe in RECIPES.items():
            if (name, fold) in done:
                continue
            begin, begin_cpu = time.monotonic(), time.process_time()
            model = fresh_model(recipe)
            cohort = Cohort(task="superdiagnostic", split=split, is_tested=False)
            with open_unseen({"ptb-xl": data}, model.config, cohort, cache=work / "cache") as found:
                result = run(model, found, _request(recipe), _workspace(work))
                targets = found.targets(found.parts.validation)
            row = {
                "recipe": name,
                "settings": recipe.settings,
                "seed": SEED,
                "validation_fold": fold,
                "macro_auroc": round(macro_auroc(targets, result.outcome.validation), 4),
                "selected": result.outcome.selected,
                "seconds": round(time.monotonic() - begin),
                "cpu_seconds": round(time.process_time() - begin_cpu),
            }
            print(json.dumps(row), flush=True)
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")


def _request(recipe: Recipe, more: tuple[str, ...] = ()) -> ProtocolRequest:
    return request_protocol("finetune", (*recipe.settings, *more), seed=SEED)


def _workspace(work: Path) -> Workspace:
    return Workspace(choose_device("cpu"), work / "cache")


def statements(records: EvaluationData) -> EvaluationData:
    """Return records of task ``all`` with the statements alone that are common enough to learn."""
    task = records.task
    counts = records.targets(records.parts.train).sum(axis=0)
    kept = np.flatnonzero(counts >= LEAST_TRAINING_RECORDS)
    chosen = task._replace(
        name="statements",
        labels=tuple(task.labels[column] for column in kept),
        descriptions=tuple(task.descriptions[column] for column in kept),
        targets=task.targets[:, kept],
    )
    return records._replace(task=chosen)


def make(data: Path, work: Path, recipe: Recipe) -> None:
    """Train the boxes and write their evaluations, with the model folders in them."""
    for box, (task, more) in BOXES.items():
        out = work / box
        if (out / MODEL_FOLDER).is_dir():
            continue
        request = _request(recipe, more)
        model = fresh_model(recipe)
        cohort = Cohort(task=task, split=FINAL_SPLIT)
        workspace = _workspace(work)
        with open_unseen({"ptb-xl": data}, model.config, cohort, cache=workspace.cache) as found:
            records = statements(found) if task == "all" else found
            result = _trained(work / f"{box}.pt", model, records, request, workspace)
            written = save_evaluation(out, model.config, {PRE_TRAINED: result}, workspace)
        logger.info("%s: %s", box, written.score())


def _trained(
    path: Path,
    model: DescribedEncoder,
    records: EvaluationData,
    request: ProtocolRequest,
    workspace: Workspace,
) -> EvaluationResult:
    """Train a classifier, or read it from a file of an interrupted run."""
    if not path.is_file():
        result = run(model, records, request, workspace)
        torch.save((result.outcome, result.classifier, result.head), path)
    outcome, classifier, head = torch.load(path, weights_only=False)
    return EvaluationResult(
        records=records,
        outcome=outcome,
        request=request,
        classifier=classifier,
        head=head,
        means=None,
    )


def pack(data: Path, work: Path) -> dict[str, Any]:
    """Write the boxes into the package and return how they compare with the models as trained."""
    found: dict[str, Any] = {}
    for box in BOXES:
        if not (work / box / MODEL_FOLDER).is_dir():
            continue
        place, folder = work / box / MODEL_FOLDER, box_folder(box)
        model, config = load_model_folder(place)
        results = read_results(work / box)
        card = _card(box, model_card(config, results))
        distribution = load_distribution(place, config)
        save_model(folder, model, config, card, distribution=distribution, half=True)
        scores = results["models"][PRE_TRAINED]
        found[box] = {
            "labels": len(results["task"]["labels"]),
            "settings": results["settings"],
            "selected": scores["selected"],
            "validation_macro_auroc": scores["validation_macro_auroc"],
            "test_macro_auroc": scores["macro_auroc"],
            "counts": results["counts"],
            "bytes": {file.name: file.stat().st_size for file in sorted(folder.iterdir())},
            **_differences(data, work / box, folder),
        }
    return found


def _card(box: str, card: str) -> str:
    """Return the card of a model in the box: with its licence, its name, and how it is used."""
    body = re.sub(r"(?ms)\A# .*?$\n|^## Use$.*", "", card).strip()
    for elsewhere in _IN_RESULTS:
        body = body.replace(elsewhere, "")
    body = body.replace("not a medical device.", f"not a medical device. {LIMITS}", 1)
    return (
        f"---\nlicense: {LICENCE}\n---\n\n# {box}\n\n{body}\n\n## Use\n\nInstalled with ecgjepa; "
        f"nothing is downloaded:\n\n    ecgjepa predict FILE_OR_FOLDER --model {box}\n\n"
        "The weights are in half precision and compute in single precision. Made by "
        "benchmarks/make_boxes.py of the repository.\n"
    )


def _differences(data: Path, evaluation: Path, packed: Path) -> dict[str, float]:
    """Return how far a packed model's answers on the test records are from the original's."""
    known = read_predictions(evaluation)
    table = pd.read_csv(data / "ptbxl_database.csv", dtype=str)
    places = dict(zip(table["ecg_id"], table["filename_hr"], strict=True))
    files = [data / f"{places[str(name)]}.hea" for name in known.record_ids]
    before, after = (
        load_model(folder, device="cpu").predict_proba(files).to_numpy()
        for folder in (evaluation / MODEL_FOLDER, packed)
    )
    moved = macro_auroc(known.targets, after) - macro_auroc(known.targets, before)
    return {
        "largest_difference_of_probability": float(abs(after - before).max()),
        "difference_of_macro_auroc": float(moved),
    }


def main() -> None:
    """Choose a recipe, make the boxes by one, or pack them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["choose", "make", "pack"])
    parser.add_argument("--data", type=Path, required=True, help="a PTB-XL folder")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is computed")
    parser.add_argument("--recipe", choices=RECIPES, default="s4d-50ms")
    parser.add_argument("--out", type=Path, help="file for the figures of pack")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.what == "choose":
        choose(options.data, options.work)
    elif options.what == "make":
        make(options.data, options.work, RECIPES[options.recipe])
    else:
        report(options.out, {"boxes": pack(options.data, options.work)})


if __name__ == "__main__":
    main()
