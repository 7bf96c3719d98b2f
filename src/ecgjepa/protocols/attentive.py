"""Protocol ``attentive``: the paper's head with one learned query, trained on frozen tokens.

Before a fine-tuning with another head, that head is trained in the same way.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ecgjepa.inference.windows import average_over_windows, outputs_of_logits, window_size
from ecgjepa.model.heads import (
    AttentiveHead,
    Classifier,
    HeadConfig,
    LinearHead,
    build_head,
    tokens_of_layers,
)
from ecgjepa.protocols.features import Features, random_crops
from ecgjepa.protocols.fit import Examples, fit
from ecgjepa.protocols.frozen import Frozen
from ecgjepa.protocols.outcome import Outcome, ProbeResult
from ecgjepa.protocols.settings import ProtocolConfig


def read_attentive(
    frozen: Frozen, settings: ProtocolConfig, seed: int, device: torch.device
) -> ProbeResult:
    """Train a head on stored windows, or on random crops encoded anew."""
    records, parts = frozen.records, frozen.records.parts
    head_config = HeadConfig(
        kind=settings.head,
        num_labels=len(records.task.labels),
        layers=frozen.reading.layers,
        beside=frozen.reading.beside,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = build_head(head_config, frozen.encoder).to(device)
    examples = Examples(
        inputs=_token_source(frozen, settings, device),
        targets=records.scaled_targets(parts.train),
        kind=records.task.kind,
        validate=lambda: [_score_head(head, frozen, parts.validation, device)],
        validation_targets=records.targets(parts.validation),
    )
    result = fit(head, settings, examples, seed=seed)
    outcome = Outcome(
        validation=_score_head(head, frozen, parts.validation, device),
        test=_score_head(head, frozen, parts.test, device),
        fit=result,
        selected=f"step {result.best_step:,}",
    )
    classifier = Classifier(frozen.encoder, head.cpu(), frozen.reading)
    return ProbeResult(outcome, classifier, head_config)


def stored_tokens(
    features: Features, places: Int64[np.ndarray, " train"], device: torch.device
) -> Callable[[Int64[np.ndarray, " batch"], np.random.Generator], Tensor]:
    """Return a function that gives the stored tokens of one window of each chosen record.

    Args:
        features: Where the tokens are.
        places: Where the training records are among the records of the features.
        device: Where the head is.
    """
    first, count = features.windows.first[places], features.windows.num_windows[places]

    def stored(chosen: Int64[np.ndarray, " batch"], rng: np.random.Generator) -> Tensor:
        picked = first[chosen] + (rng.random(len(chosen)) * count[chosen]).astype(np.int64)
        return torch.from_numpy(np.array(features.tokens[picked])).to(device).float()

    return stored


def _token_source(
    frozen: Frozen, settings: ProtocolConfig, device: torch.device
) -> Callable[[Int64[np.ndarray, " batch"], np.random.Generator], Tensor]:
    """Return a function that gives the tokens of one window of each chosen training record."""
    records = frozen.records
    if not settings.random_crops:
        return stored_tokens(frozen.features, frozen.places(records.parts.train), device)
    normaliser = records.normalisation.build().to(device)
    train_rows = records.rows(records.parts.train)
    size = window_size(frozen.config)[0]

    encoder = copy.deepcopy(frozen.encoder).to(device)

    @torch.no_grad()
    def encoded_anew(chosen: Int64[np.ndarray, " batch"], rng: np.random.Generator) -> Tensor:
        signal = random_crops(records, train_rows[chosen], size, rng)
        return tokens_of_layers(encoder, normaliser(signal.to(device)), frozen.reading)

    return encoded_anew


@torch.inference_mode()
def _score_head(
    head: AttentiveHead | LinearHead,
    frozen: Frozen,
    part: Int64[np.ndarray, " part"],
    device: torch.device,
) -> np.ndarray:
    """Return probabilities or values of some records: logits averaged over their windows."""
    tokens, windows = frozen.features.tokens, frozen.features.windows
    places = frozen.places(part)
    first, count = windows.first[places], windows.num_windows[places]
    chosen = np.concatenate([np.arange(at, at + n) for at, n in zip(first, count, strict=True)])
    logits = [
        head(torch.from_numpy(np.array(tokens[some])).to(device).float()).cpu()
        for some in np.array_split(chosen, max(1, len(chosen) // 1024))
    ]
    averaged = average_over_windows(
        torch.cat(logits),
        torch.from_numpy(np.repeat(np.arange(len(places)), count)),
        num_records=len(places),
    )
    return outputs_of_logits(averaged, frozen.records.task_config()).numpy()
