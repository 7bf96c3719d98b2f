"""Frozen evaluation: what can be read from an encoder's features as they are.

The same probe is always run on the identical encoder without pre-training: a random transformer
is a strong feature extractor, and a score says little without its score.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ecgjepa.evaluation.requests import describe_model, describe_request
from ecgjepa.evaluation.results import Evaluation, write_embeddings
from ecgjepa.evaluation.saving import result_folder, save_evaluation, writing_results
from ecgjepa.model.compute import choose_device
from ecgjepa.model.outputs import TaskKind
from ecgjepa.protocols.encoders import DescribedEncoder, load_encoder
from ecgjepa.protocols.request import ProtocolRequest, ReadingName, Workspace, request_protocol
from ecgjepa.protocols.run import run
from ecgjepa.protocols.settings import FROZEN, FrozenProtocol, check_protocol
from ecgjepa.results.layout import PRE_TRAINED, RAW_SIGNAL
from ecgjepa.tasks.cohort import Cohort, database_names
from ecgjepa.tasks.early.refusing import refuse_early
from ecgjepa.tasks.leakage import open_unseen
from ecgjepa.tasks.opening import Data
from ecgjepa.tasks.records import EvaluationData
from ecgjepa.tasks.split import PAPER_SPLIT, Split

logger = logging.getLogger(__name__)


def probe(
    model: str | Path | DescribedEncoder,
    data: Data,
    out: str | Path | None = None,
    *,
    task: str = "all",
    protocol: FrozenProtocol = "attentive",
    split: Split = PAPER_SPLIT,
    overrides: Sequence[str] = (),
    seed: int = 0,
    kind: TaskKind = "multi-label",
    layers: tuple[int, ...] = (),
    reading: ReadingName = "paper",
    label_fraction: float = 1.0,
    label_draw: int = 0,
    test_on: Sequence[str] = (),
    allow_seen: bool = False,
    decision: str = "best-f1",
    cache: str | Path | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Train a head on frozen features, beside the same on the untrained encoder.

    Args:
        model: Run, checkpoint or model folder; or what `ecgjepa.own_encoder` returned, of which no
            model is written.
        data: Databases, name to folder; or the folder of a store prepared as the encoder needs it.
        out: Folder for results, predictions and the trained model; beside the model by default. If
            this very evaluation is finished there, it is read and not run again.
        task: One of `ecgjepa.tasks.task.TASKS` or ``INDEX_TASKS``, or a CSV of labels.
        protocol: ``attentive`` (the paper's frozen evaluation), ``linear`` (logistic or ridge
            regression on mean-pooled features) or ``knn`` (nearest neighbours; writes no model).
        split: Folds for training, selection and test.
        overrides: ``key=value`` items of the attentive protocol; the others have no settings.
        seed: Seed of the head's initial weights and the order of records.
        kind: What the columns of a CSV of labels hold.
        layers: Blocks, counted from 1, whose outputs are averaged into the features; none for the
            encoder's output.
        reading: ``paper`` reads the encoder's output, ``all-blocks`` the outputs of all its blocks
            side by side: ``linear`` and ``knn`` by mean and standard deviation over patches.
        label_fraction: Share of the training patients whose labels are used.
        label_draw: Another one chooses other patients.
        test_on: Databases that are tested and not trained on; the others are trained on.
        allow_seen: Test also where pre-training saw the signals, but no labels, of a database
            without folds of its own; results say so.
        decision: Rule of the thresholds by which the written model says yes: ``best-f1``,
            ``sensitivity=X`` or ``specificity=X``, fitted on the validation records.
        cache: Folder for the prepared records and the features.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with (done, in all) while preparing and encoding.

    Raises:
        EcgjepaError: A named subclass for each way in which model, data and task may not fit.

    Example:
        >>> import ecgjepa
        >>> result = ecgjepa.probe(
        ...     "runs/jepa",
        ...     {"ptb-xl": "data/ptb-xl"},
        ...     "runs/probe",
        ...     task="superdiagnostic",
        ...     protocol="linear",
        ... )
        >>> 0 <= result.score().low <= result.score().value <= result.score().high <= 1
        True
    """
    check_protocol(protocol, FROZEN)
    cohort = Cohort(
        task=task,
        kind=kind,
        split=split,
        label_fraction=label_fraction,
        label_draw=label_draw,
        test_on=database_names(test_on),
        allow_seen=allow_seen,
    )
    request = request_protocol(
        protocol, overrides, seed=seed, layers=layers, reading=reading, decision=decision
    )
    work = Workspace(choose_device(device), cache, progress)
    return probe_cohort(model, data, out, cohort, request, work)


def probe_cohort(
    model: str | Path | DescribedEncoder,
    data: Data,
    out: str | Path | None,
    cohort: Cohort,
    request: ProtocolRequest,
    work: Workspace,
) -> Evaluation:
    """Do what `probe` does, for a request that was checked already."""
    folder = result_folder(model, out, cohort.task, request.protocol)
    encoder = load_encoder(model)
    request.check_encoder(encoder.config)
    refuse_early(data, encoder.config, cohort)
    asked = describe_request(
        model, encoder.config, data, cohort, request.as_request(), work, folder=folder
    )
    with writing_results(folder, model, asked) as place:
        if place.finished is not None:
            return place.finished
        with open_unseen(
            data, encoder.config, cohort, cache=work.cache, progress=work.progress
        ) as records:
            place.begin()
            named = describe_model(model, encoder.config)
            return probe_records(encoder, records, folder, request, work, named)


def probe_records(
    encoder: DescribedEncoder,
    records: EvaluationData,
    out: Path,
    request: ProtocolRequest,
    work: Workspace,
    model: Mapping[str, Any],
) -> Evaluation:
    """Probe an encoder and the untrained one on open records, and write what came of it."""
    results = {}
    for name in (PRE_TRAINED, encoder.rival_name):
        words = "features of the raw signal" if name == RAW_SIGNAL else f"the {name} encoder"
        logger.info("%s probe of %s", request.protocol, words)
        one = replace(request, untrained=name != PRE_TRAINED)
        results[name] = run(encoder, records, one, work)
    written = save_evaluation(out, encoder.config, results, work, model)
    embeddings = {
        name: item.embeddings for name, item in results.items() if item.embeddings is not None
    }
    write_embeddings(out, records, embeddings)
    return written
