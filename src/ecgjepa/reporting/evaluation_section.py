"""What the page says of an evaluation, and of all of them side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from ecgjepa.config.networks import OWN_PREFIX
from ecgjepa.model.outputs import MEASURES
from ecgjepa.reporting.figures import as_data_uri, draw_embeddings, draw_values
from ecgjepa.reporting.score_figures import (
    draw_agreement,
    draw_intervals,
    draw_reliability,
    draw_roc,
)
from ecgjepa.results.layout import EMBEDDINGS_FILE, JUDGED, PRE_TRAINED
from ecgjepa.results.predictions import PROBABILITY, TARGET, VALUE, columns, read_table
from ecgjepa.results.reading import read_results
from ecgjepa.results.words import is_fine_tuned

_PROTOCOL_NAMES = {
    "attentive": "frozen, attentive probe",
    "linear": "frozen, linear probe",
    "knn": "frozen, nearest neighbours",
    "finetune": "fine-tuned",
    "finetune-after-probe": "fine-tuned after probe",
    JUDGED: "existing classifier",
}


@dataclass(frozen=True)
class EvaluationSection:
    """One probe or fine-tuning: its results, predictions and figures.

    Attributes:
        path: Its folder.
        results: Content of ``results.json``.
        name: Protocol, what of it is not the usual, and what tells it from others on the page.
        predictions: Predictions of the validation and test records.
        curves: ROC curves; of a regression, predicted against true values.
        reliability: Reliability curves, where there are any.
        embeddings: Map of the test records' features, where there is one.
    """

    path: Path
    results: dict[str, Any]
    name: str
    predictions: pd.DataFrame
    curves: str
    reliability: str | None
    embeddings: str | None

    @property
    def labels(self) -> list[str]:
        """Names of the labels."""
        return self.results["task"]["labels"]

    @property
    def is_fine_tuned(self) -> bool:
        """Whether labels had trained the pre-trained encoder before it was evaluated."""
        return is_fine_tuned(self.results)

    @property
    def is_regression(self) -> bool:
        """Whether values are predicted, not labels."""
        return self.results["task"]["kind"] == "regression"

    @property
    def measure(self) -> str:
        """Key of `MEASURES`: what the evaluation is judged by."""
        return self.results["measure"]

    @property
    def tested_on(self) -> list[str]:
        """The databases of the test records; results of older versions are all of PTB-XL."""
        return self.results.get("data", {}).get("tested_on", ["ptb-xl"])


class ResultGroup(NamedTuple):
    """Rows of the results table that are judged by the same measure, and their figure."""

    measure: str
    rows: list[dict[str, Any]]
    figure: str


def describe_evaluation(path: Path) -> EvaluationSection:
    """Read the folder of a probe or fine-tuning."""
    results = read_results(path)
    _, predictions = read_table(path)
    return EvaluationSection(
        path=path,
        results=results,
        name=_name(results),
        predictions=predictions,
        curves=_curves(predictions[predictions["part"] == "test"], results),
        reliability=_reliability(results),
        embeddings=_embedding_map(path, results),
    )


def tell_apart(evaluations: Sequence[EvaluationSection]) -> list[EvaluationSection]:
    """Return the evaluations with names that differ.

    Where protocol and task are the same, what differs is added: the model, the seed, the folder.
    """
    tasks = [section.results["task"]["name"] for section in evaluations]
    names = [section.name for section in evaluations]
    if len(set(tasks)) > 1:
        names = [f"{name}, {task}" for name, task in zip(names, tasks, strict=True)]
    names = _with_differing(names, _models(evaluations))
    names = _with_differing(names, [f"seed {one.results['seed']}" for one in evaluations])
    names = _with_differing(names, _folders([section.path for section in evaluations]))
    return [replace(one, name=name) for one, name in zip(evaluations, names, strict=True)]


def _with_differing(names: Sequence[str], additions: Sequence[str]) -> list[str]:
    """Return names with an addition where several are the same and their additions are not."""
    found: dict[str, set[str]] = {}
    for name, addition in zip(names, additions, strict=True):
        found.setdefault(name, set()).add(addition)
    return [
        f"{name}, {addition}" if addition and len(found[name]) > 1 else name
        for name, addition in zip(names, additions, strict=True)
    ]


def _models(evaluations: Sequence[EvaluationSection]) -> list[str]:
    """Return the model of each evaluation, with its hash where others are called the same.

    Results of older versions do not tell it.
    """
    known = [section.results.get("model") or {} for section in evaluations]
    hashes: dict[str, set[str]] = {}
    for one in known:
        hashes.setdefault(one.get("name", ""), set()).add(one.get("weights_sha256", ""))
    return [
        f"{one['name']} ({one['weights_sha256'][:8]})"
        if one and len(hashes[one["name"]]) > 1
        else one.get("name", "")
        for one in known
    ]


def _folders(paths: Sequence[Path]) -> list[str]:
    """Return the ends of paths, as long as they must be to differ; equal ones cannot."""
    whole = [path.absolute().parts for path in paths]
    for length in range(1, max(map(len, whole), default=0) + 1):
        ends = ["/".join(parts[-length:]) for parts in whole]
        if len(set(ends)) == len(set(whole)):
            return ends
    return [str(path) for path in paths]


def group_results(evaluations: Sequence[EvaluationSection]) -> list[ResultGroup]:
    """Return one row per evaluation and model, apart by measure."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for number, section in enumerate(evaluations):
        for row in _rows(section, section.name):
            rows.setdefault(section.measure, []).append({"evaluation": number, **row})
    return [
        ResultGroup(MEASURES[key], found, as_data_uri(draw_intervals(found, MEASURES[key])))
        for key, found in rows.items()
    ]


def distinct_data(evaluations: Sequence[EvaluationSection]) -> list[EvaluationSection]:
    """Return the first evaluation of each task, database and split."""
    found: dict[str, EvaluationSection] = {}
    for section in evaluations:
        results = section.results
        key = json.dumps([results["task"]["name"], section.tested_on, results["counts"]])
        found.setdefault(key, section)
    return list(found.values())


def _rows(section: EvaluationSection, name: str) -> list[dict[str, Any]]:
    results, measure = section.results, section.measure
    rows = []
    for model_name, model in results["models"].items():
        value, low, high = model[measure]
        pair = f"{PRE_TRAINED} - {model_name}"
        rows.append(
            {
                "name": f"{name}, {model_name}",
                "protocol": name,
                "model": model_name,
                "value": value,
                "low": low,
                "high": high,
                "validation": model[f"validation_{measure}"],
                "scored": f"{model['labels_scored']} of {len(model['labels'])}",
                "difference": results["differences"].get(pair),
                "p_value": results.get("p_values", {}).get(pair),
                "baseline": model_name != PRE_TRAINED,
                "selected": model["selected"],
            }
        )
    return rows


def _name(results: dict[str, Any]) -> str:
    """Return protocol, share of the labels if it is not all, and where it is tested.

    Of an encoder of the user's own also its name: several of them may be shown side by side.
    """
    name = _PROTOCOL_NAMES.get(results["protocol"], results["protocol"])
    architecture = str(results.get("encoder", {}).get("architecture", ""))
    if architecture.startswith(OWN_PREFIX):
        name += f", {architecture.removeprefix(OWN_PREFIX)}"
    data = results.get("data", {})
    if (share := data.get("label_fraction", 1.0)) < 1:
        name += f", {100 * share:g} % of the labels"
    if data and data["tested_on"] != data["trained_on"]:
        name += f", tested on {', '.join(data['tested_on'])}"
    return name


def _curves(test: pd.DataFrame, results: dict[str, Any]) -> str:
    labels = results["task"]["labels"]
    by_model = {name: test[test["model"] == name] for name in results["models"]}
    first = next(iter(by_model.values()))
    targets = columns(first, TARGET, labels)
    if results["task"]["kind"] == "regression":
        return as_data_uri(draw_agreement(targets, columns(first, VALUE, labels), labels))
    scores = {name: columns(rows, PROBABILITY, labels) for name, rows in by_model.items()}
    return as_data_uri(draw_roc(targets.astype(bool), scores, labels))


def _reliability(results: dict[str, Any]) -> str | None:
    """Return curves of the first model, or None in results of before there was calibration."""
    first = next(iter(results["models"].values()))
    if "calibration" not in first:
        return None
    curves = first["calibration"]["reliability"]
    return as_data_uri(draw_reliability({f"{when} calibration": c for when, c in curves.items()}))


def _embedding_map(path: Path, results: dict[str, Any]) -> str | None:
    """Return a t-SNE map of the test records for each encoder, or None where none was saved."""
    from sklearn.manifold import TSNE

    file = path / EMBEDDINGS_FILE
    if not file.is_file() or results["protocol"] != "linear":
        return None
    with np.load(file, allow_pickle=False) as content:
        targets = content["targets"]
        vectors = {name: content[name] for name in results["models"]}
    if len(targets) < 10:
        return None
    panels: dict[str, Float[np.ndarray, "records 2"]] = {}
    for name, features in vectors.items():
        scale = features.std(axis=0)
        standardised = (features - features.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
        perplexity = min(30.0, (len(targets) - 1) / 3)
        panels[name] = TSNE(perplexity=perplexity, random_state=0, init="pca").fit_transform(
            standardised
        )
    labels = results["task"]["labels"]
    if results["task"]["kind"] == "regression":
        return as_data_uri(draw_values(panels, targets[:, 0], labels[0]))
    return as_data_uri(draw_embeddings(panels, targets, labels))
