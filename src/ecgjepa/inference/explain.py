"""Explain a prediction by hiding stretches of single leads, and by where the head looks.

Occlusion as in Zeiler & Fergus 2014 (https://arxiv.org/abs/1311.2901), over leads and time. A map
is worth looking at only if it changes with the weights (Adebayo et al. 2018,
https://arxiv.org/abs/1810.03292) and if what it marks matters more than the rest; the tests show
both on a trained model.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int16, Int64
from torch import Tensor

from ecgjepa.errors import ConfigError, RecordError
from ecgjepa.inference.explanation import Explanation
from ecgjepa.inference.lead_sets import advised
from ecgjepa.inference.predict import Model, load_model
from ecgjepa.inference.sources import read_source
from ecgjepa.inference.windows import (
    RecordWindows,
    chunk_size,
    outputs_of_logits,
    windows_of,
)
from ecgjepa.model.heads import AttentiveHead
from ecgjepa.model.outputs import logits_of
from ecgjepa.signals.acceptance import Source, prepare_each
from ecgjepa.signals.record import Record
from ecgjepa.signals.units import INVALID_MICROVOLT

# A longer record has so many windows that hiding a stretch hardly changes their mean.
MOST_SECONDS = 60.0


class _Hidden(NamedTuple):
    """One stretch of one lead, or a whole lead, in one window that it overlaps."""

    cell: int
    window: int
    lead: int
    first: int
    last: int


def explain(
    file: str | Path | Record,
    model: str | Path | Model,
    *,
    stretch_seconds: float = 0.5,
    description: str | Path | None = None,
    device: str = "auto",
) -> Explanation:
    """Return what a model's prediction for a record rests on.

    Args:
        file: ECG file of any format, or a record; up to 60 s.
        model: Model folder, folder of a probe or fine-tuning, or a loaded model.
        stretch_seconds: Length of the stretches that are hidden.
        description: File that describes an array or a table; None for the one beside it.
        device: ``auto``, ``cpu`` or ``cuda``; not for a loaded model.

    Raises:
        RecordError: If the record cannot be used, as for `ecgjepa.predict`.
        ConfigError: If the record is too long, or the stretches are shorter than a patch.

    Example:
        >>> import ecgjepa
        >>> file = "data/ptb-xl/records500/00000/00001_hr.hea"
        >>> found = ecgjepa.explain(file, "runs/probe")
        >>> found.effects.shape
        (5, 12, 20)
    """
    loaded = model if isinstance(model, Model) else load_model(model, device=device)
    config = loaded.config
    name, source = _source(file, description)
    if isinstance(source, RecordError):
        raise source
    if source.duration > MOST_SECONDS:
        raise ConfigError(
            f"{name}: {source.duration:g} s are too long to explain; expected {MOST_SECONDS:g} s "
            "at most: cut out the part that matters"
        )
    rate, patch = config.preprocessing.sampling_rate, config.encoder.patch_size
    step = round(stretch_seconds * rate)
    if step < patch:
        raise ConfigError(
            f"stretch_seconds {stretch_seconds:g}: expected {patch / rate:g} or more, a patch of "
            "this model"
        )
    ((_, usable),) = prepare_each([(name, source)], config.preprocessing, config.sets_of_leads)
    if isinstance(usable, RecordError):
        raise advised(usable, config)
    windows, _ = windows_of(usable.prepared, config, usable.leads)
    loaded = loaded._replace(config=config.for_leads(usable.leads))
    length = max(step, len(usable.prepared.samples))
    firsts = np.arange(0, length, step)
    return _explain(loaded, name, windows, np.append(firsts, length))


def _source(
    file: str | Path | Record, description: str | Path | None
) -> tuple[str, Source | RecordError]:
    if isinstance(file, Record):
        return file.source or file.record_id, file
    return str(file), read_source(file, "raise", description)


def _explain(
    model: Model, name: str, windows: RecordWindows, edges: Int64[np.ndarray, " edges"]
) -> Explanation:
    leads = model.config.preprocessing.leads
    cells = [
        (lead, int(first), int(last))
        for lead in range(len(leads))
        for first, last in pairwise(edges)
    ]
    cells += [(lead, 0, len(windows.samples)) for lead in range(len(leads))]
    whole = np.concatenate([_logits(model, chunk) for chunk in windows.chunks()])
    mean = np.repeat(whole.mean(axis=0, keepdims=True), len(cells), axis=0)
    hidden = list(_overlaps(cells, windows))
    for start in range(0, len(hidden), chunk_size(model.device)):
        some = hidden[start : start + chunk_size(model.device)]
        logits = _logits(model, _occluded(windows, some))
        change = (logits - whole[[each.window for each in some]]) / len(windows)
        np.add.at(mean, [each.cell for each in some], change)
    scores = _scores(model, whole.mean(axis=0, keepdims=True))[0]
    effects = (scores - _scores(model, mean)).T
    stretches = len(edges) - 1
    return Explanation(
        file=name,
        labels=model.task.labels,
        leads=leads,
        edges=edges / model.config.preprocessing.sampling_rate,
        scores=scores,
        effects=effects[:, : len(leads) * stretches].reshape(-1, len(leads), stretches),
        lead_effects=effects[:, len(leads) * stretches :],
        attention=_attention(model, windows, edges),
    )


def _overlaps(cells: list[tuple[int, int, int]], windows: RecordWindows) -> Iterator[_Hidden]:
    """Yield each cell for each window that shows some of it, as a part of that window."""
    for cell, (lead, first, last) in enumerate(cells):
        for number, start in enumerate(windows.starts):
            begin, end = max(first - start, 0), min(last - start, windows.size)
            if begin < end:
                yield _Hidden(cell, number, lead, begin, end)


def _occluded(windows: RecordWindows, some: list[_Hidden]) -> Int16[Tensor, "_ size leads"]:
    """Return windows with the hidden samples marked as missing."""
    starts = [windows.starts[each.window] for each in some]
    cut = np.stack([windows.at(start) for start in starts])
    for row, each in zip(cut, some, strict=True):
        row[each.first : each.last, each.lead] = INVALID_MICROVOLT
    return torch.from_numpy(cut)


@torch.inference_mode()
def _logits(
    model: Model, windows: Int16[Tensor, "windows size leads"]
) -> Float64[np.ndarray, "windows labels"]:
    normaliser = model.config.normalisation.build().to(model.device)
    return model.classifier(normaliser(windows.to(model.device))).double().cpu().numpy()


def _scores(
    model: Model, logits: Float64[np.ndarray, "cells labels"]
) -> Float64[np.ndarray, "cells labels"]:
    """Return calibrated log-odds, or the values of a regression."""
    values = outputs_of_logits(torch.from_numpy(logits), model.task).numpy()
    if model.task.kind == "regression":
        return values
    if model.config.calibration is not None:
        values = model.config.calibration.apply(values)
    return logits_of(values, "multi-label")


@torch.inference_mode()
def _attention(
    model: Model, windows: RecordWindows, edges: Int64[np.ndarray, " edges"]
) -> Float64[np.ndarray, " stretches"] | None:
    """Return the density of the head's attention in each stretch; its mean over time is 1."""
    head, size = model.classifier.head, model.config.encoder
    if not isinstance(head, AttentiveHead):
        return None
    normaliser = model.config.normalisation.build().to(model.device)
    total, shown = (np.zeros(len(windows.samples)) for _ in range(2))
    starts = iter(windows.starts)
    for chunk in windows.chunks(chunk_size(model.device)):
        tokens = model.classifier.tokens(normaliser(chunk.to(model.device)))
        weights = _of_patches(head.attention(tokens), size.num_registers, size.tokens_per_patch)
        for row in np.repeat(weights.double().cpu().numpy(), size.patch_size, axis=1):
            start = next(starts)
            total[start : start + windows.size] += row
            shown[start : start + windows.size] += 1
    density = np.divide(total, shown, out=np.zeros_like(total), where=shown > 0)
    return np.array([density[a:b].mean() for a, b in pairwise(edges)]) / density[shown > 0].mean()


def _of_patches(
    weights: Float[Tensor, "windows tokens"], registers: int, tokens_per_patch: int
) -> Float[Tensor, "windows patches"]:
    """Return the attention to each patch, that to all its tokens together; without registers."""
    return weights[:, registers:].unflatten(1, (-1, tokens_per_patch)).sum(dim=2)
