"""Frozen evaluation: what can be read from an encoder's features as they are.

The same probe is always run on the identical encoder without pre-training: a random transformer
is a strong feature extractor, and a score says little without its score.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from ecgjepa.evaluation.out_of_distribution import fit_outlier_detector
from ecgjepa.evaluation.results import (
    Evaluation,
    TrainingRecipe,
    write_embeddings,
    write_evaluation,
)
from ecgjepa.evaluation.saving import refuse_to_overwrite, result_folder, save_classifier
from ecgjepa.evaluation.spoiled import evaluate_spoiled
from ecgjepa.model.compute import choose_device
from ecgjepa.model.heads import check_layers
from ecgjepa.model.outputs import TaskKind
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.protocols.run import run_protocol
from ecgjepa.protocols.settings import load_settings
from ecgjepa.tasks.leakage import open_unseen
from ecgjepa.tasks.records import Data
from ecgjepa.tasks.split import PAPER_SPLIT, Split

logger = logging.getLogger(__name__)

ProbeProtocol = Literal["attentive", "linear", "knn"]


def probe(
    model: str | Path,
    data: Data,
    out: str | Path | None = None,
    *,
    task: str = "all",
    protocol: ProbeProtocol = "attentive",
    split: Split = PAPER_SPLIT,
    overrides: Sequence[str] = (),
    seed: int = 0,
    kind: TaskKind = "multi-label",
    layers: tuple[int, ...] = (),
    label_fraction: float = 1.0,
    label_draw: int = 0,
    test_on: Sequence[str] = (),
    allow_seen: bool = False,
    cache: str | Path | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Train a head on frozen features, beside the same on the untrained encoder.

    Args:
        model: Run, checkpoint or model folder.
        data: Databases, name to folder; or the folder of a store prepared as the encoder needs it.
        out: Folder for results, predictions and the trained model; beside the model by default.
        task: One of `ecgjepa.tasks.task.TASKS` or ``INDEX_TASKS``, or a CSV of labels.
        protocol: ``attentive`` (the paper's frozen evaluation), ``linear`` (logistic or ridge
            regression on mean-pooled features) or ``knn`` (nearest neighbours; writes no model).
        split: Folds for training, selection and test.
        overrides: ``key=value`` items of the attentive protocol; the others have no settings.
        seed: Of the head's initial weights and the order of records.
        kind: What the columns of a CSV of labels hold.
        layers: Blocks, counted from 1, whose outputs are averaged into the features; none for the
            encoder's output.
        label_fraction: Share of the training patients whose labels are used.
        label_draw: Another one chooses other patients.
        test_on: Databases that are tested and not trained on; the others are trained on.
        allow_seen: Test also where pre-training saw the signals, but no labels, of a database
            without folds of its own; results say so.
        cache: Folder for the prepared records and the features.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with (done, in all) while preparing and encoding.

    Raises:
        EcgjepaError: A named subclass for each way in which model, data and task may not fit.
    """
    out = result_folder(model, out, task, protocol)
    refuse_to_overwrite(out, model, task, protocol)
    load_settings(protocol, overrides)  # of the wrong ones nothing is begun
    encoder, config = load_encoder(model)
    check_layers(layers, config.encoder.depth)
    where = choose_device(device)
    records = open_unseen(
        data,
        config,
        task=task,
        split=split,
        kind=kind,
        label_fraction=label_fraction,
        label_draw=label_draw,
        test_on=test_on,
        allow_seen=allow_seen,
        cache=cache,
        progress=progress,
    )
    results = {}
    for name in ("pre-trained", "untrained"):
        logger.info("%s probe of the %s encoder", protocol, name)
        results[name] = run_protocol(
            (encoder, config),
            records,
            protocol=protocol,
            seed=seed,
            untrained=name == "untrained",
            layers=layers,
            overrides=overrides,
            allow_seen=allow_seen,
            cache=cache,
            device=device,
            progress=progress,
        )
    first = results["pre-trained"]
    known, detection = None, None
    if first.classifier is not None and first.means is not None:
        known = fit_outlier_detector(first.means.train, first.means.validation)
        detection = evaluate_spoiled(
            first.classifier, config, records, known, first.means.test, device=where, cache=cache
        )
    result = write_evaluation(
        out,
        records,
        config,
        {name: item.outcome for name, item in results.items()},
        trained={name: TrainingRecipe(protocol, item.settings) for name, item in results.items()},
        seed=seed,
        out_of_distribution=detection,
    )
    embeddings = {
        name: item.embeddings for name, item in results.items() if item.embeddings is not None
    }
    write_embeddings(out, records, embeddings)
    if first.classifier is not None and first.head is not None and known is not None:
        save_classifier(out, first.classifier.cpu(), first.head, config, records, result, known)
    records.store.close()
    return result
