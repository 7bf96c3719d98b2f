"""Figures of a run: training curves, masks, embedding map; how figures look and are kept.

All are drawn on bare `Figure` objects, without pyplot and its global state.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib import rc_context
from matplotlib.figure import Figure

from ecgjepa.errors import ConfigError
from ecgjepa.files import write_bytes
from ecgjepa.sampling.masking import MaskIndices

_FORMATS = ("png", "svg", "pdf")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "svg.hashsalt": "ecgjepa",  # the same figure gives the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# Colour-blind safe (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b6b6b")
GREY = "#8a8f98"


def save_figure(figure: Figure, path: Path, *, dpi: int = 160) -> Path:
    """Write a figure; the ending says the format.

    Raises:
        ConfigError: If the ending is not .png, .svg or .pdf.
    """
    write_bytes(path, _render(figure, _format_of(path), dpi))
    return path


def as_data_uri(figure: Figure) -> str:
    """Return a figure as an SVG that a page can hold without a file beside it."""
    return "data:image/svg+xml;base64," + base64.b64encode(_render(figure, "svg", 100)).decode()


def _format_of(path: Path) -> str:
    ending = path.suffix.lower().removeprefix(".")
    if ending not in _FORMATS:
        raise ConfigError(f"{path}: picture format {ending!r}; expected .png, .svg or .pdf")
    return ending


def _render(figure: Figure, file_format: str, dpi: int) -> bytes:
    stream = io.BytesIO()
    # Without a date, the same figure gives the same bytes.
    metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[file_format]
    with rc_context(STYLE):
        figure.savefig(stream, format=file_format, dpi=dpi, metadata=metadata)
    return stream.getvalue()


def draw_training(metrics: Sequence[dict[str, float]], *, warmup_steps: int) -> Figure:
    """Return loss and schedules of a pre-training run over its steps."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.6, 2.7), layout="constrained")
        left, right = figure.subplots(1, 2)
        steps = [line["step"] for line in metrics]
        left.plot(steps, [line["loss"] for line in metrics], color=COLOURS[0])
        left.set(xlabel="step", ylabel="loss (mean absolute error)", ylim=(0, None))
        right.plot(steps, [line["learning_rate"] for line in metrics], color=COLOURS[1])
        right.set(xlabel="step", ylim=(0, None))
        right.set_ylabel("learning rate", color=COLOURS[1])
        if warmup_steps:
            right.axvline(warmup_steps, color=GREY, linewidth=0.8, linestyle=":")
        other = right.twinx()
        other.spines["right"].set_visible(True)
        other.plot(steps, [line["momentum"] for line in metrics], color=COLOURS[2])
        other.set_ylabel("target momentum", color=COLOURS[2])
        other.ticklabel_format(useOffset=False)
    return figure


def draw_collapse(
    metrics: Sequence[dict[str, float]], *, dim: int, min_spread: float, min_rank_share: float
) -> Figure:
    """Return the collapse monitor's two signs over the steps, with their alarm levels."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.6, 2.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        steps = [line["step"] for line in metrics]
        left.plot(steps, [line["spread"] for line in metrics], color=COLOURS[0])
        left.axhspan(0, min_spread, color=COLOURS[1], alpha=0.15, linewidth=0)
        left.set(xlabel="step", ylabel="spread between records", ylim=(0, 1))
        rank = [line["effective_rank"] for line in metrics]
        right.plot(steps, rank, color=COLOURS[0])
        right.axhspan(0, min_rank_share * dim, color=COLOURS[1], alpha=0.15, linewidth=0)
        right.set(
            xlabel="step", ylabel=f"effective rank (of {dim})", ylim=(0, max(*rank, 1) * 1.15)
        )
        for axes in (left, right):
            axes.annotate(
                "collapse",
                (0.99, 0.015),
                xycoords="axes fraction",
                ha="right",
                fontsize=8,
                color=COLOURS[1],
            )
    return figure


def draw_masks(
    signal: Float[np.ndarray, "samples leads"],
    leads: Sequence[str],
    masks: MaskIndices,
    *,
    sampling_rate: float,
    patch_size: int,
) -> Figure:
    """Return an ECG whose masked patches are shaded, above further masks as strips.

    Args:
        signal: In mV; the leads to draw.
        leads: Their names.
        masks: The first row is drawn on the ECG, the others (at least one) as strips.
        sampling_rate: In Hz.
        patch_size: In samples.
    """
    seconds = patch_size / sampling_rate
    with rc_context(STYLE):
        figure = Figure(figsize=(7.6, 3.6), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        time = np.arange(len(signal)) / sampling_rate
        offset, below = 0.0, 0.0
        for lead, values in zip(leads, signal.T, strict=True):
            centred = values - np.median(values)
            offset -= below + float(centred.max()) + 0.2
            below = -float(centred.min())
            top.plot(time, centred + offset, color="#10202f", linewidth=0.8)
            top.annotate(
                lead, (-0.01, offset), xycoords=("axes fraction", "data"), ha="right", va="center"
            )
        for patch in masks.target_index[0]:
            top.axvspan(patch * seconds, (patch + 1) * seconds, color=COLOURS[0], alpha=0.22, lw=0)
        top.set(yticks=[], ylabel="", xlim=(0, len(signal) / sampling_rate))
        top.spines["left"].set_visible(False)
        num_patches = masks.context_index.shape[1] + masks.target_index.shape[1]
        strips = np.zeros((len(masks.target_index), num_patches))
        np.put_along_axis(strips, masks.target_index, 1.0, axis=1)
        bottom.imshow(
            1 - strips[1:] * 0.55,
            cmap="Blues_r",
            vmin=0,
            vmax=1,
            aspect="auto",
            interpolation="nearest",
            extent=(0, num_patches * seconds, len(strips) - 1, 0),
        )
        bottom.set(xlabel="seconds", yticks=[], ylabel="more\nmasks")
    return figure


def draw_embeddings(
    panels: dict[str, Float[np.ndarray, "records 2"]],
    targets: Bool[np.ndarray, "records labels"],
    labels: Sequence[str],
) -> Figure:
    """Return one map per model, coloured by label.

    A record is coloured if it has exactly one label and that is among the six most frequent.
    """
    order = np.argsort(-targets.sum(axis=0))[: len(COLOURS) - 1]
    with rc_context(STYLE):
        figure = Figure(figsize=(3.8 * len(panels), 3.6), layout="constrained")
        grid = np.atleast_1d(figure.subplots(1, len(panels))).ravel()
        single = targets.sum(axis=1) == 1
        for axes, (name, points) in zip(grid, panels.items(), strict=True):
            rest = ~(single & targets[:, order].any(axis=1))
            axes.scatter(*points[rest].T, s=7, color="#c9ccd1", label="several or other")
            for colour, label in zip(COLOURS, order, strict=False):
                chosen = single & targets[:, label]
                axes.scatter(*points[chosen].T, s=9, color=colour, label=labels[label])
            axes.set(xticks=[], yticks=[], title=name)
        handles, names = grid[0].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside lower center", ncols=4, fontsize=8, frameon=False
        )
    return figure


def draw_values(
    panels: dict[str, Float[np.ndarray, "records 2"]],
    values: Float[np.ndarray, " records"],
    name: str,
) -> Figure:
    """Return one map per model, coloured by a value from its 2nd to its 98th percentile."""
    low, high = np.percentile(values, (2, 98))
    with rc_context(STYLE):
        figure = Figure(figsize=(3.8 * len(panels), 3.6), layout="constrained")
        grid = np.atleast_1d(figure.subplots(1, len(panels))).ravel()
        for axes, (model, points) in zip(grid, panels.items(), strict=True):
            drawn = axes.scatter(*points.T, s=9, c=values, cmap="viridis", vmin=low, vmax=high)
            axes.set(xticks=[], yticks=[], title=model)
        figure.colorbar(drawn, ax=grid, label=name, shrink=0.8)
    return figure
