"""Read runs and evaluations from disk and turn each into what the page shows."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from ecgjepa.config import PretrainConfig, load_preset
from ecgjepa.errors import StoreError, TaskError
from ecgjepa.pretraining.collapse import (
    MIN_RANK_SHARE,
    MIN_SPREAD,
    CollapseSigns,
    collapse_warning,
)
from ecgjepa.reporting.ecg_paper import draw_ecg
from ecgjepa.reporting.figures import (
    as_data_uri,
    draw_collapse,
    draw_embeddings,
    draw_masks,
    draw_reliability,
    draw_roc,
    draw_training,
)
from ecgjepa.sampling.masking import MaskIndices, sample_masks
from ecgjepa.signals.preprocessing import from_microvolt
from ecgjepa.signals.record import Record
from ecgjepa.store.reading import Store

_PROTOCOL_NAMES = {
    "attentive": "frozen, attentive probe",
    "linear": "frozen, linear probe",
    "knn": "frozen, nearest neighbours",
    "finetune": "fine-tuned",
    "finetune-after-probe": "fine-tuned after probe",
}


@dataclass(frozen=True)
class PretrainingSection:
    """One pre-training run: its settings, facts, figures and warnings."""

    path: Path
    config: PretrainConfig
    databases: dict[str, Any]
    last: dict[str, float]
    curves: str
    collapse: str
    collapsed_steps: tuple[int, ...]


@dataclass(frozen=True)
class EvaluationSection:
    """One probe or fine-tuning: its results, predictions and figures."""

    path: Path
    results: dict[str, Any]
    name: str
    predictions: pd.DataFrame
    roc: str
    reliability: str | None
    embeddings: str | None


def describe_pretraining(path: Path) -> PretrainingSection:
    """Read a run folder."""
    config = load_preset(path / "config.yaml")
    lines = (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = [json.loads(line) for line in lines]
    dim = config.encoder.dim
    collapsed = [
        int(line["step"])
        for line in metrics
        if collapse_warning(CollapseSigns(line["spread"], line["effective_rank"], dim))
    ]
    manifest = json.loads((path / "store.json").read_text(encoding="utf-8"))
    return PretrainingSection(
        path=path,
        config=config,
        databases=manifest["databases"],
        last=metrics[-1],
        curves=as_data_uri(draw_training(metrics, warmup_steps=config.train.warmup_steps)),
        collapse=as_data_uri(
            draw_collapse(metrics, dim=dim, min_spread=MIN_SPREAD, min_rank_share=MIN_RANK_SHARE)
        ),
        collapsed_steps=tuple(collapsed),
    )


def describe_evaluation(path: Path) -> EvaluationSection:
    """Read the folder of a probe or fine-tuning."""
    results = json.loads((path / "results.json").read_text(encoding="utf-8"))
    predictions = pd.read_parquet(path / "predictions.parquet")
    labels = results["task"]["labels"]
    if results["task"]["kind"] == "regression":
        raise TaskError(f"{path}: is a regression; the report shows classifications only")
    test = predictions[predictions["part"] == "test"]
    by_model = {name: test[test["model"] == name] for name in results["models"]}
    first = next(iter(by_model.values()))
    return EvaluationSection(
        path=path,
        results=results,
        name=_PROTOCOL_NAMES.get(results["protocol"], results["protocol"]),
        predictions=predictions,
        roc=as_data_uri(
            draw_roc(
                _columns(first, "target", labels).astype(bool),
                {name: _columns(rows, "probability", labels) for name, rows in by_model.items()},
                labels,
            )
        ),
        reliability=_reliability(results),
        embeddings=_embedding_map(path, results),
    )


def result_rows(evaluations: list[EvaluationSection]) -> list[dict[str, Any]]:
    """Return one row per evaluation and model for the results table and its figure."""
    rows = []
    for number, section in enumerate(evaluations):
        for name, model in section.results["models"].items():
            value, low, high = model["macro_auroc"]
            difference = section.results["differences"].get(f"pre-trained - {name}")
            rows.append(
                {
                    "evaluation": number,
                    "name": f"{section.name}, {name}",
                    "protocol": section.name,
                    "model": name,
                    "value": value,
                    "low": low,
                    "high": high,
                    "validation": model["validation_macro_auroc"],
                    "scored": f"{model['labels_scored']} of {len(model['labels'])}",
                    "difference": difference,
                    "baseline": name != "pre-trained",
                    "selected": model["selected"],
                }
            )
    return rows


def draw_mask_example(pretraining: PretrainingSection, evaluation: EvaluationSection) -> str | None:
    """Return a picture of masks on the first test record, or None if its store is gone."""
    store = _open_store(evaluation)
    if store is None:
        return None
    config = pretraining.config
    table = store.table()
    test = evaluation.predictions[evaluation.predictions["part"] == "test"]
    row = int(np.flatnonzero(table["record_id"] == test["record_id"].iloc[0])[0])
    signal, _ = from_microvolt(store.read_record(row)[: config.data.window_samples])
    shown = [lead for lead in ("II", "V2", "V5") if lead in config.data.leads]
    masks = sample_masks(
        config.mask, np.random.default_rng(0), batch_size=13, num_patches=config.num_patches
    )
    # Begin with the one of most visible stretches: a picture of a single block explains little.
    stretches = (np.diff(masks.context_index, axis=1) > 1).sum(axis=1)
    order = np.argsort(-stretches, kind="stable")
    masks = MaskIndices(masks.context_index[order], masks.target_index[order])
    store.close()
    return as_data_uri(
        draw_masks(
            signal[:, [config.data.leads.index(lead) for lead in shown]],
            shown,
            masks,
            sampling_rate=config.data.sampling_rate,
            patch_size=config.encoder.patch_size,
        )
    )


def draw_example_ecgs(evaluation: EvaluationSection) -> list[dict[str, str]]:
    """Return a few test records on ECG paper: per label the surest hit, and the worst miss."""
    store = _open_store(evaluation)
    if store is None:
        return []
    test = evaluation.predictions
    test = test[(test["part"] == "test") & (test["model"] == "pre-trained")].reset_index(drop=True)
    labels = evaluation.results["task"]["labels"]
    targets = _columns(test, "target", labels).astype(bool)
    scores = _columns(test, "probability", labels)
    chosen: list[tuple[int, str]] = []
    for label in np.argsort(-targets.sum(axis=0))[:3]:
        if targets[:, label].any():
            hit = int(np.argmax(np.where(targets[:, label], scores[:, label], -1.0)))
            chosen.append((hit, f"surest true {labels[label]}"))
    defined = np.flatnonzero(targets.any(axis=0))
    if defined.size:
        # The positive record ranked lowest, relative to its label's own scores.
        rank = scores[:, defined].argsort(axis=0).argsort(axis=0)
        record, label = divmod(
            int(np.argmin(np.where(targets[:, defined], rank, len(test)))), len(defined)
        )
        chosen.append((record, f"worst miss of {labels[defined[label]]}"))
    table = store.table()
    pictures = []
    for record, why in chosen:
        record_id = str(test["record_id"].iloc[record])
        row = int(np.flatnonzero(table["record_id"] == record_id)[0])
        truth = ", ".join(np.array(labels)[targets[record]]) or "none"
        guess = ", ".join(
            f"{labels[i]} {scores[record, i]:.2f}" for i in np.argsort(-scores[record])[:4]
        )
        figure = draw_ecg(
            _record(store, row, record_id),
            title=f"Record {record_id}: {why}",
            note=f"labels: {truth}  ·  predicted: {guess}",
        )
        pictures.append({"why": why, "record_id": record_id, "image": as_data_uri(figure)})
    store.close()
    return pictures


def _open_store(evaluation: EvaluationSection) -> Store | None:
    """Return the records of an evaluation, or None where the cache was emptied since."""
    try:
        return Store(evaluation.results["store"])
    except StoreError:
        return None


def _record(store: Store, row: int, record_id: str) -> Record:
    signal, valid = from_microvolt(store.read_record(row))
    preprocessing = store.manifest.preprocessing
    return Record(signal, valid, preprocessing.leads, preprocessing.sampling_rate, record_id)


def _columns(frame: pd.DataFrame, kind: str, labels: list[str]) -> np.ndarray:
    return frame[[f"{kind}:{label}" for label in labels]].to_numpy()


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

    file = path / "embeddings.npz"
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
    return as_data_uri(draw_embeddings(panels, targets, results["task"]["labels"]))
