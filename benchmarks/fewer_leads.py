"""Do sets of leads help records with fewer leads? Models of the box on the same records.

    python benchmarks/fewer_leads.py --data PTB-XL --work WORK --out RESULT.json [--final]
        [--models box-superdiagnostic box-superdiagnostic-leads]

Both models are of one recipe, trained on folds 1 to 7 and selected on fold 8. They are scored on
fold 8, by which sets of leads are judged, or with ``--final`` on folds 9 and 10, which choose
nothing. Leads are taken away from the records: III, aVR, aVL and aVF are computed where I and II
are left, and what is missing is 0 after normalisation. benchmarks/lead_set_training.py trains
models of its own.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int16, Int64
from machine import report
from make_boxes import FINAL_SPLIT, RECIPES, fresh_model

from ecgjepa.inference.predict import load_model
from ecgjepa.inference.windows import average_over_windows, outputs_of_logits, window_size
from ecgjepa.metrics.bootstrap import PatientBootstrap, interval
from ecgjepa.metrics.classification import calibration_errors, macro, ranking_scores
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.heads import Classifier
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.protocols.features import grid_windows
from ecgjepa.signals.leads import LEADS, LIMB_LEAD_WEIGHTS, with_derived
from ecgjepa.signals.units import INVALID_MICROVOLT
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.leakage import open_unseen
from ecgjepa.tasks.records import EvaluationData

BOXES = ("box-superdiagnostic", "box-superdiagnostic-leads")
INTERVAL = "95 %, percentile bootstrap over patients, 1,000 resamples"
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


Resampled = Float[np.ndarray, " resamples"]


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
    classifier: Classifier,
    normalisation: NormalisationConfig,
    records: EvaluationData,
    part: Int64[np.ndarray, " part"],
    given: tuple[str, ...],
) -> Float[np.ndarray, "records labels"]:
    """Return the probabilities of some records from the given leads alone, not calibrated."""
    size, stride = window_size(fresh_model(RECIPE, records.preprocessing.leads).config)
    rows = records.rows(part)
    windows = grid_windows(records.store, rows, size=size, stride=stride)
    normaliser = normalisation.build()
    leads = records.preprocessing.leads
    logits = [
        classifier(normaliser(as_given(windows.read(chunk), leads, given)))
        for chunk in windows.chunks()
    ]
    index = torch.from_numpy(windows.record_index)
    averaged = average_over_windows(torch.cat(logits), index, num_records=len(rows))
    return outputs_of_logits(averaged, records.task_config()).numpy()


def scored(
    targets: Bool[np.ndarray, "records labels"],
    values: Float[np.ndarray, "records labels"],
    bootstrap: PatientBootstrap,
) -> tuple[float, Resampled]:
    """Return the macro AUROC, and that of every resample."""
    ones = np.ones((len(targets), 1))
    point = float(macro(ranking_scores(targets, values, ones).auroc)[0])
    return point, macro(ranking_scores(targets, values, bootstrap.weights).auroc)


def described(means: dict[str, dict[str, tuple[float, Resampled]]]) -> dict[str, Any]:
    """Return scores with intervals, and the differences of each model from each one before it."""
    names = list(means)
    pairs = [(b, a) for place, a in enumerate(names) for b in names[place + 1 :]]
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


def compare(data: Path, work: Path, models: list[str], *, final: bool) -> dict[str, Any]:
    """Score models of twelve leads on the fold that they were selected by, or on the test folds."""
    cohort = Cohort(task="superdiagnostic", split=FINAL_SPLIT)
    fresh = fresh_model(RECIPE).config
    means: dict[str, dict[str, tuple[float, Resampled]]] = {}
    errors: dict[str, dict[str, dict[str, float]]] = {}
    with open_unseen({"ptb-xl": data}, fresh, cohort, cache=work / "cache") as records:
        part = records.parts.test if final else records.parts.validation
        targets, bootstrap = records.targets(part), PatientBootstrap(records.patients(part))
        for name in models:
            model = load_model(name, device="cpu")
            config = model.config
            means[name], errors[name] = {}, {}
            for words, given in GIVEN.items():
                values = probabilities(model.classifier, config.normalisation, records, part, given)
                means[name][words] = scored(targets, values, bootstrap)
                errors[name][words] = {
                    which: round(_calibration_error(targets, values, known), 4)
                    for which, known in (
                        ("by all leads", config),
                        ("by the set", config.for_leads(with_derived(given))),
                    )
                }
    return {
        "folds": FINAL_SPLIT.test if final else FINAL_SPLIT.validation,
        "records": len(targets),
        "patients": bootstrap.num_patients,
        **described(means),
        "calibration_error": errors,
    }


def _calibration_error(
    targets: Bool[np.ndarray, "records labels"],
    values: Float[np.ndarray, "records labels"],
    config: ModelConfig,
) -> float:
    """Return the mean over labels of the expected calibration error."""
    assert config.calibration is not None
    return float(calibration_errors(targets, config.calibration.apply(values)).mean())


def _rounded(values: tuple[float, ...]) -> list[float]:
    return [round(value, 4) for value in values]


def main() -> None:
    """Score the models and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a PTB-XL folder")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is computed")
    parser.add_argument("--out", type=Path, help="file for the table")
    parser.add_argument("--models", nargs="+", default=list(BOXES))
    parser.add_argument("--final", action="store_true", help="score folds 9 and 10, not fold 8")
    options = parser.parse_args()
    found = compare(options.data, options.work, options.models, final=options.final)
    report(options.out, {"task": "superdiagnostic", "interval": INTERVAL, **found})


if __name__ == "__main__":
    main()
