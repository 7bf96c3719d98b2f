"""Protocols that train a whole network on random crops.

``finetune`` and ``finetune-after-probe`` train a pre-trained encoder with its head, ``scratch`` the
same encoder untrained, and ``supervised`` a residual network.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from ecgjepa.errors import ConfigError
from ecgjepa.inference.windows import average_over_windows, outputs_of_logits, window_size
from ecgjepa.model.compute import without_old_garbage
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.encoders.stochastic_depth import add_stochastic_depth
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.heads import Classifier, HeadConfig, build_head
from ecgjepa.model.xresnet import build_xresnet
from ecgjepa.protocols.encoders import DescribedEncoder
from ecgjepa.protocols.features import Windows, grid_windows, random_crops
from ecgjepa.protocols.fit import Examples, fit
from ecgjepa.protocols.outcome import LeadSetOutcome, Outcome, ProbeResult
from ecgjepa.protocols.request import ProtocolRequest
from ecgjepa.protocols.settings import ProtocolConfig
from ecgjepa.sampling.jitter import hide_leads, jitter, keep_sets
from ecgjepa.signals.leads import leads_of_set
from ecgjepa.tasks.records import EvaluationData


def finetune_encoder(
    model: DescribedEncoder,
    records: EvaluationData,
    request: ProtocolRequest,
    device: torch.device,
    *,
    start: Classifier | None = None,
) -> ProbeResult:
    """Train a copy of the encoder together with a head.

    Args:
        model: Encoder; it stays as it is.
        records: Records, labels and split.
        request: Settings, seed and what is read.
        device: Where to train.
        start: Classifier of the same head whose weights are the first; fresh ones by default.
    """
    settings = request.settings
    assert settings is not None
    reading = request.reading_of(model.config)
    head = HeadConfig(
        kind=settings.head,
        num_labels=len(records.task.labels),
        layers=reading.layers,
        beside=reading.beside,
    )
    classifier = build_classifier(model.encoder, head, settings, request.seed)
    if start is not None:
        classifier.load_state_dict(start.state_dict(), strict=True)
    outcome = train_classifier(classifier, records, model.config, settings, request.seed, device)
    return ProbeResult(outcome, classifier.cpu(), head)


def train_residual_network(
    config: ModelConfig, records: EvaluationData, request: ProtocolRequest, device: torch.device
) -> ProbeResult:
    """Train a residual network as fine-tuning trains the encoder.

    Args:
        config: Description of the encoder, whose windows the network gets.
        records: Records, labels and split.
        request: Network, settings and seed.
        device: Where to train.
    """
    assert request.settings is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        fresh = build_xresnet(request.network, records.store.num_leads, len(records.task.labels))
    add_stochastic_depth(fresh.blocks, request.settings.drop_path)
    outcome = train_classifier(fresh, records, config, request.settings, request.seed, device)
    return ProbeResult(outcome, None, None)


def build_classifier(
    encoder: Encoder, head: HeadConfig, settings: ProtocolConfig, seed: int
) -> Classifier:
    """Return a copy of the encoder with the protocol's dropout and depth, and a fresh head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        copied = build_encoder(encoder.config, dropout=settings.dropout)
        add_stochastic_depth(copied.blocks, settings.drop_path)
        classifier = Classifier(copied, build_head(head, copied), head.reading)
    copied.load_state_dict(encoder.state_dict(), strict=True)
    return classifier


def train_classifier(
    classifier: nn.Module,
    records: EvaluationData,
    config: ModelConfig,
    settings: ProtocolConfig,
    seed: int,
    device: torch.device,
) -> Outcome:
    """Train all of a classifier in place, on random crops, and return its predictions.

    Args:
        classifier: Gives logits of normalised windows; any module will do.
        records: Records, labels and split.
        config: Description of the model, which has the window.
        settings: The protocol.
        seed: Seed of order, crops and dropout.
        device: Where to train.
    """
    classifier.to(device)
    normaliser = records.normalisation.build().to(device)
    size, _ = window_size(config)
    train_rows = records.rows(records.parts.train)
    all_leads = records.preprocessing.leads
    sets = _lead_sets(settings.lead_sets, all_leads)
    kept = np.array([[lead in leads for lead in all_leads] for leads in sets], np.bool_)
    kept = kept.reshape(len(sets), len(all_leads))  # also without a set

    def crops(chosen: Int64[np.ndarray, " batch"], rng: np.random.Generator) -> Tensor:
        signal = normaliser(random_crops(records, train_rows[chosen], size, rng).to(device))
        changed = jitter(
            signal,
            rng,
            amplitude=settings.amplitude_jitter,
            wander=settings.baseline_wander,
            lead_dropout=settings.lead_dropout,
            sampling_rate=records.store.sampling_rate,
        )
        return keep_sets(changed, rng, kept, settings.lead_set_share)

    def score(part: Int64[np.ndarray, " part"], leads: Sequence[str] = all_leads) -> np.ndarray:
        return score_from_leads(classifier, records, config, part, leads, device)

    examples = Examples(
        inputs=crops,
        targets=records.scaled_targets(records.parts.train),
        kind=records.task.kind,
        validate=lambda: [score(records.parts.validation, leads) for leads in (all_leads, *sets)],
        validation_targets=records.targets(records.parts.validation),
    )
    with torch.random.fork_rng(), without_old_garbage():
        torch.manual_seed(seed)  # of dropout
        result = fit(classifier, settings, examples, seed=seed)
    return Outcome(
        validation=score(records.parts.validation),
        test=score(records.parts.test),
        fit=result,
        selected=f"step {result.best_step:,}",
        lead_sets=tuple(
            LeadSetOutcome(
                leads, score(records.parts.validation, leads), score(records.parts.test, leads)
            )
            for leads in sets
        ),
    )


def _lead_sets(names: Sequence[str], leads: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the leads of each set by which a model is trained, among those that it has."""
    found = [leads_of_set(name) for name in names]
    for name, wanted in zip(names, found, strict=True):
        if missing := [lead for lead in name.split("+") if lead not in leads]:
            raise ConfigError(
                f"lead_sets: {name} needs {', '.join(missing)}, but the model has "
                f"{', '.join(leads)}"
            )
        if set(leads) <= set(wanted):
            raise ConfigError(f"lead_sets: {name} has all leads of the model; leave it out")
    return [tuple(lead for lead in leads if lead in wanted) for wanted in found]


def score_from_leads(
    classifier: nn.Module,
    records: EvaluationData,
    config: ModelConfig,
    part: Int64[np.ndarray, " part"],
    leads: Sequence[str],
    device: torch.device,
) -> np.ndarray:
    """Return probabilities or values of some records; leads that are not named are 0.

    Args:
        classifier: Gives logits of normalised windows.
        records: Records and labels.
        config: Description of the model, which has the window.
        part: Places of the records among the labelled ones; there may be none.
        leads: Leads that the classifier sees.
        device: Where to compute.
    """
    if not part.size:  # a search that only validates has no test records
        return np.empty((0, len(records.task.labels)), np.float32)
    size, stride = window_size(config)
    windows = grid_windows(records.store, records.rows(part), size=size, stride=stride)
    hidden = ~np.isin(records.preprocessing.leads, leads)[None]
    return _score(classifier, windows, records, hidden, device)


@torch.inference_mode()
def _score(
    classifier: nn.Module,
    windows: Windows,
    records: EvaluationData,
    hidden: Bool[np.ndarray, "1 leads"],
    device: torch.device,
) -> np.ndarray:
    """Return probabilities or values: logits averaged over each record's windows."""
    normaliser = records.normalisation.build().to(device)
    logits = [
        classifier(hide_leads(normaliser(windows.read(chunk).to(device)), hidden)).cpu()
        for chunk in windows.chunks()
    ]
    averaged = average_over_windows(
        torch.cat(logits),
        torch.from_numpy(windows.record_index),
        num_records=windows.num_records,
    )
    return outputs_of_logits(averaged, records.task_config()).numpy()
