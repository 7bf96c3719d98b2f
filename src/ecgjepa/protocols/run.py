"""One protocol, one model, one seed: what a comparison of many repeats."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch

from ecgjepa.errors import ConfigError
from ecgjepa.model.compute import choose_device
from ecgjepa.model.encoder import VisionTransformer
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.heads import HeadConfig, check_head, check_layers
from ecgjepa.model.outputs import TaskKind
from ecgjepa.model.xresnet import build_xresnet, check_network
from ecgjepa.protocols.attentive import read_attentive
from ecgjepa.protocols.encoders import load_encoder, untrained_encoder
from ecgjepa.protocols.features import PartMeans
from ecgjepa.protocols.finetuning import build_classifier, train_classifier
from ecgjepa.protocols.frozen import Frozen, freeze, read_linear, read_neighbours
from ecgjepa.protocols.outcome import EvaluationResult, ProbeResult
from ecgjepa.protocols.settings import ProtocolConfig, load_protocol, load_settings
from ecgjepa.tasks.leakage import open_unseen, refuse_other_folds, refuse_seen
from ecgjepa.tasks.records import Data, EvaluationData
from ecgjepa.tasks.split import PAPER_SPLIT, Split

Protocol = Literal[
    "attentive", "linear", "knn", "finetune", "finetune-after-probe", "scratch", "supervised"
]
FROZEN = ("attentive", "linear", "knn")
_PROTOCOLS = (*FROZEN, "finetune", "finetune-after-probe", "scratch", "supervised")


def run_protocol(
    model: str | Path | tuple[VisionTransformer, ModelConfig],
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
    network: str = "xresnet1d18",
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
        model: Run, checkpoint or model folder; or an encoder with its description.
        data: See `open_data`; or what it returned, to open it once for many runs (its task, split
            and databases hold then).
        task: See `ecgjepa.tasks.task`.
        protocol: ``attentive`` (the paper's "linear"), ``linear`` or ``knn`` on frozen features;
            ``finetune`` or ``finetune-after-probe`` (an attentive probe first, then all of it);
            ``scratch``: ``finetune`` of the untrained encoder; ``supervised``: a residual network
            from scratch, on the same records, windows and crops.
        split: Folds for training, selection and test.
        seed: Of head weights, order, crops and dropout.
        untrained: Take the identical encoder without pre-training.
        label_fraction: Share of the training patients whose labels are used; None for the data as
            they are, which is all unless they were opened otherwise.
        label_draw: Which patients: see `EvaluationData.with_labels`.
        layers: Blocks, counted from 1, whose outputs are averaged into the features.
        network: For ``supervised``, one of `ecgjepa.model.xresnet.NETWORKS`.
        overrides: ``key=value`` items of the protocol; ``linear`` and ``knn`` have none.
        probe_overrides: The same for the probe of ``finetune-after-probe``.
        kind: Of a table of labels.
        test_on: Databases that are tested and not trained on.
        allow_seen: See `ecgjepa.tasks.leakage.refuse_leak`.
        cache: Folder for prepared records and features.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with (done, in all) while preparing and encoding.

    Raises:
        EcgjepaError: A named subclass for each way in which model, data and task may not fit.
    """
    if protocol not in _PROTOCOLS:
        raise ConfigError(f"unknown protocol {protocol!r}: expected one of {', '.join(_PROTOCOLS)}")
    settings = load_settings(protocol, overrides)
    if protocol == "finetune-after-probe":
        load_protocol("attentive", probe_overrides)
    if protocol == "supervised":
        check_network(network)
        if layers:
            raise ConfigError(f"layers {list(layers)}: a residual network has none to choose from")
    encoder, config = model if isinstance(model, tuple) else load_encoder(model)
    check_layers(layers, config.encoder.depth)
    if settings is not None and protocol in ("finetune", "scratch"):
        check_head(settings.head, config.encoder.num_registers)
    if isinstance(data, EvaluationData):
        records = data.for_encoder(config)
        seen = dict.fromkeys(records.databases, "")
        refuse_seen(config, seen, records.split, records.tested, allow_seen=allow_seen)
        refuse_other_folds(config, records.facts["folds"], allow_seen=allow_seen)
        if label_fraction is not None:
            records = records.with_labels(label_fraction, label_draw)
    else:
        records = open_unseen(
            data,
            config,
            task=task,
            split=split,
            kind=kind,
            label_fraction=1.0 if label_fraction is None else label_fraction,
            label_draw=label_draw,
            test_on=test_on,
            allow_seen=allow_seen,
            cache=cache,
            progress=progress,
        )
    if untrained or protocol == "scratch":
        encoder = untrained_encoder(config)
    where = choose_device(device)
    if settings is None or protocol == "attentive":
        frozen = freeze(
            encoder, config, records, where, layers=layers, cache=cache, progress=progress
        )
        return _read(frozen, protocol, settings, seed, where)
    if protocol == "supervised":
        return _supervised(network, config, records, settings, seed, where)
    after = probe_overrides if protocol == "finetune-after-probe" else None
    return _trained(encoder, config, records, settings, seed, layers, after, cache, device)


def _read(
    frozen: Frozen,
    protocol: Protocol,
    settings: ProtocolConfig | None,
    seed: int,
    device: torch.device,
) -> EvaluationResult:
    """Read the labels from frozen features."""
    if settings is not None:
        read = read_attentive(frozen, settings, seed, device)
    else:
        read = read_linear(frozen) if protocol == "linear" else read_neighbours(frozen)
    found = frozen.features.record_means()
    means = PartMeans(*(found[frozen.places(part)] for part in frozen.records.whole))
    described = {} if settings is None else settings.model_dump(mode="json")
    return _result(frozen.records, read, described, frozen.layers, means)


def _trained(
    encoder: VisionTransformer,
    config: ModelConfig,
    records: EvaluationData,
    settings: ProtocolConfig,
    seed: int,
    layers: tuple[int, ...],
    probe_overrides: Sequence[str] | None,
    cache: str | Path | None,
    device: str,
) -> EvaluationResult:
    """Train encoder and head together, after a probe if there are overrides for one."""
    head = HeadConfig(kind=settings.head, num_labels=len(records.task.labels), layers=layers)
    classifier = build_classifier(encoder, head, settings, seed)
    if probe_overrides is not None:
        probed = run_protocol(
            (encoder, config),
            records,
            seed=seed,
            layers=layers,
            overrides=probe_overrides,
            allow_seen=True,  # looked at already
            cache=cache,
            device=device,
        )
        assert probed.classifier is not None
        classifier.load_state_dict(probed.classifier.state_dict(), strict=True)
    outcome = train_classifier(classifier, records, config, settings, seed, choose_device(device))
    read = ProbeResult(outcome, classifier.cpu(), head)
    return _result(records, read, settings.model_dump(mode="json"), layers, None)


def _supervised(
    network: str,
    config: ModelConfig,
    records: EvaluationData,
    settings: ProtocolConfig,
    seed: int,
    device: torch.device,
) -> EvaluationResult:
    """Train a residual network as fine-tuning would train the encoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = build_xresnet(network, records.store.num_leads, len(records.task.labels))
    outcome = train_classifier(fresh, records, config, settings, seed, device)
    described = {"network": network, **settings.model_dump(mode="json", exclude={"head"})}
    return _result(records, ProbeResult(outcome, None, None), described, (), None)


def _result(
    records: EvaluationData,
    read: ProbeResult,
    settings: dict[str, object],
    layers: tuple[int, ...],
    means: PartMeans | None,
) -> EvaluationResult:
    settings = {**settings, "layers": list(layers)} if layers else settings
    return EvaluationResult(records, read.outcome, settings, read.classifier, read.head, means)
