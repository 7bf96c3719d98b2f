"""The verb: one protocol, one model, one seed; what a comparison of many repeats."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ecgjepa.model.compute import choose_device
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.heads import Classifier
from ecgjepa.model.outputs import TaskKind
from ecgjepa.protocols.attentive import read_attentive
from ecgjepa.protocols.encoders import DescribedEncoder, load_encoder, refuse_training
from ecgjepa.protocols.finetuning import finetune_encoder, train_residual_network
from ecgjepa.protocols.frozen import Frozen, freeze
from ecgjepa.protocols.linear import read_linear
from ecgjepa.protocols.neighbours import read_neighbours
from ecgjepa.protocols.outcome import EvaluationResult, ProbeResult
from ecgjepa.protocols.request import (
    DEFAULT_NETWORK,
    ProtocolRequest,
    ReadingName,
    Workspace,
    request_protocol,
)
from ecgjepa.protocols.settings import FROZEN, TUNING, Protocol
from ecgjepa.tasks.cohort import Cohort, database_names
from ecgjepa.tasks.leakage import open_unseen, unseen_records
from ecgjepa.tasks.opening import Data
from ecgjepa.tasks.records import EvaluationData
from ecgjepa.tasks.split import PAPER_SPLIT, Split


def run_protocol(
    model: str | Path | DescribedEncoder | tuple[Encoder, ModelConfig],
    data: Data | EvaluationData,
    *,
    task: str = "all",
    protocol: Protocol = "attentive",
    split: Split = PAPER_SPLIT,
    seed: int = 0,
    untrained: bool = False,
    label_fraction: float | None = None,
    label_draw: int = 0,
    layers: tuple[int, ...] = (),
    reading: ReadingName = "paper",
    network: str = DEFAULT_NETWORK,
    overrides: Sequence[str] = (),
    probe_overrides: Sequence[str] = (),
    kind: TaskKind = "multi-label",
    test_on: Sequence[str] = (),
    allow_seen: bool = False,
    cache: str | Path | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Run a protocol once and return its predictions; nothing but the cache is written.

    Args:
        model: Run, checkpoint or model folder; what `ecgjepa.own_encoder` returned; or an encoder
            with its description.
        data: See `ecgjepa.tasks.opening.open_data`; or what it returned, to open it once for many
            runs: its task, split and databases hold then, and it stays open.
        task: See `ecgjepa.tasks.task`.
        protocol: ``attentive`` (the paper's "linear"), ``linear`` or ``knn`` on frozen features;
            ``finetune`` or ``finetune-after-probe`` (an attentive probe first, then all of it);
            ``scratch``: ``finetune`` of the untrained encoder; ``supervised``: a residual network
            from scratch, on the same records, windows and crops.
        split: Folds for training, selection and test.
        seed: Seed of head weights, order, crops and dropout.
        untrained: Take the identical encoder without pre-training.
        label_fraction: Share of the training patients whose labels are used; None for the data as
            they are, which is all unless they were opened otherwise.
        label_draw: Which patients: see `EvaluationData.with_labels`.
        layers: Blocks, counted from 1, whose outputs are averaged into the features.
        reading: See `ecgjepa.probe`.
        network: For ``supervised``, one of `ecgjepa.model.xresnet.NETWORKS`.
        overrides: ``key=value`` items of the protocol; ``linear`` and ``knn`` have none.
        probe_overrides: ``key=value`` items of the probe before ``finetune-after-probe``.
        kind: What the columns of a CSV of labels hold.
        test_on: Databases that are tested and not trained on.
        allow_seen: See `ecgjepa.tasks.leakage.refuse_leak`.
        cache: Folder for prepared records and features.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with (done, in all) while preparing and encoding.

    Raises:
        EcgjepaError: A named subclass for each way in which model, data and task may not fit.

    Example:
        >>> import ecgjepa
        >>> found = ecgjepa.run_protocol(
        ...     "runs/jepa", {"ptb-xl": "data/ptb-xl"}, task="superdiagnostic", protocol="knn"
        ... )
        >>> found.outcome.test.shape == (len(found.records.parts.test), 5)
        True
    """
    request = request_protocol(
        protocol,
        overrides,
        seed=seed,
        layers=layers,
        reading=reading,
        untrained=untrained,
        network=network,
        probe_overrides=probe_overrides,
    )
    if isinstance(model, tuple) and not isinstance(model, DescribedEncoder):
        encoder = DescribedEncoder(*model)
    else:
        encoder = load_encoder(model)
    request.check_encoder(encoder.config)
    work = Workspace(choose_device(device), cache, progress)
    if isinstance(data, EvaluationData):
        records = unseen_records(data, encoder.config, allow_seen=allow_seen)
        if label_fraction is not None:
            records = records.with_labels(label_fraction, label_draw)
        return run(encoder, records, request, work)
    cohort = Cohort(
        task=task,
        kind=kind,
        split=split,
        label_fraction=1.0 if label_fraction is None else label_fraction,
        label_draw=label_draw,
        test_on=database_names(test_on),
        allow_seen=allow_seen,
    )
    with open_unseen(data, encoder.config, cohort, cache=cache, progress=progress) as records:
        return run(encoder, records, request, work)


def run(
    model: DescribedEncoder,
    records: EvaluationData,
    request: ProtocolRequest,
    work: Workspace,
    *,
    start: Classifier | None = None,
) -> EvaluationResult:
    """Run a protocol on open records that the encoder may be judged by.

    Args:
        model: Encoder; it stays as it is.
        records: Records, labels and split.
        request: Protocol, settings, seed and layers.
        work: Device, cache and progress.
        start: For ``finetune-after-probe``, the probe whose head it starts from, if there is one;
            otherwise a probe is run first.

    Raises:
        ConfigError: If the protocol trains encoders, and this one was made elsewhere.
    """
    if request.protocol not in (*FROZEN, "supervised"):
        refuse_training(model, request.protocol)
    if request.untrained:
        model = model.without_training()
    if request.protocol in FROZEN:
        frozen = freeze(model, records, work, request.reading_of(model.config))
        read = _read(frozen, request, work)
        if model.foreign is not None:  # a model folder could not hold the encoder
            read = read._replace(classifier=None, head=None)
        return _result(records, request, read, frozen)
    if request.protocol == "supervised":
        trained = train_residual_network(model.config, records, request, work.device)
        return _result(records, request, trained)
    assert request.protocol in (*TUNING, "scratch")
    if request.probe is not None and start is None:
        start = run(model, records, request.probe, work).classifier
    return _result(
        records, request, finetune_encoder(model, records, request, work.device, start=start)
    )


def _read(frozen: Frozen, request: ProtocolRequest, work: Workspace) -> ProbeResult:
    """Read the labels from frozen features."""
    if request.protocol == "linear":
        return read_linear(frozen)
    if request.protocol == "knn":
        return read_neighbours(frozen)
    assert request.protocol == "attentive"
    assert request.settings is not None
    return read_attentive(frozen, request.settings, request.seed, work.device)


def _result(
    records: EvaluationData,
    request: ProtocolRequest,
    read: ProbeResult,
    frozen: Frozen | None = None,
) -> EvaluationResult:
    return EvaluationResult(
        records=records,
        outcome=read.outcome,
        request=request,
        classifier=read.classifier,
        head=read.head,
        means=None if frozen is None else frozen.whole_means(),
    )
