"""Figures of a pre-training run: loss and schedules, failure signs, what its objective hides."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ecgjepa.objectives.words import Panel, Picture, Sign
from ecgjepa.reporting.figures import COLOURS, GREY, STYLE

_COLUMNS = 2  # of the figure of the signs
_DARK = 0.5  # of the hidden stretches of a strip


def draw_training(
    metrics: Sequence[dict[str, float]], *, loss: str, warmup_steps: int, with_momentum: bool
) -> Figure:
    """Return loss and schedules of a pre-training run over its steps.

    Args:
        metrics: Lines of the run's log.
        loss: Name of the loss; empty if it is not known.
        warmup_steps: Step at which the warm-up of the learning rate ends.
        with_momentum: Whether to draw the momentum of a target network.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.6, 2.7), layout="constrained")
        left, right = figure.subplots(1, 2)
        steps = [line["step"] for line in metrics]
        left.plot(steps, [line["loss"] for line in metrics], color=COLOURS[0])
        left.set(xlabel="step", ylim=(0, None))
        left.set_title(f"loss: {loss}" if loss else "loss", loc="left", fontsize=9)
        right.plot(steps, [line["learning_rate"] for line in metrics], color=COLOURS[1])
        right.set(xlabel="step", ylim=(0, None))
        right.set_ylabel("learning rate", color=COLOURS[1])
        if warmup_steps:
            right.axvline(warmup_steps, color=GREY, linewidth=0.8, linestyle=":")
        if with_momentum:
            other = right.twinx()
            other.spines["right"].set_visible(True)
            other.plot(steps, [line["momentum"] for line in metrics], color=COLOURS[2])
            other.set_ylabel("target momentum", color=COLOURS[2])
            other.ticklabel_format(useOffset=False)
    return figure


def draw_signs(metrics: Sequence[dict[str, float]], signs: Sequence[Sign]) -> Figure:
    """Return a run's failure signs over its steps; where a sign means a collapse is shaded."""
    rows = -(-len(signs) // _COLUMNS)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.6, 2.3 * rows), layout="constrained")
        grid = np.atleast_1d(figure.subplots(rows, _COLUMNS)).ravel()
        steps = [line["step"] for line in metrics]
        for axes, sign in zip(grid, signs, strict=False):
            values = [line[sign.name] for line in metrics]
            axes.plot(steps, values, color=COLOURS[0])
            axes.set(xlabel="step", ylim=_limits(sign, values))
            axes.set_title(sign.label, loc="left", fontsize=9)
            _shade_collapse(axes, sign)
        for axes in grid[len(signs) :]:
            axes.set_visible(False)
    return figure


def _limits(sign: Sign, values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of a sign's axis: its own, or with some room around values and levels."""
    shown = [*values, *(level for level in (sign.below, sign.above) if level is not None)]
    low, high = min(shown), max(shown)
    room = 0.15 * (high - low) or 0.15 * abs(high) or 0.1
    least = low - room if sign.least is None else sign.least
    most = high + room if sign.most is None else sign.most
    return least, most


def _shade_collapse(axes: Axes, sign: Sign) -> None:
    low, high = axes.get_ylim()
    for start, end, place in ((low, sign.below, 0.015), (sign.above, high, 0.985)):
        if start is None or end is None:
            continue
        axes.axhspan(start, end, color=COLOURS[1], alpha=0.15, linewidth=0)
        axes.annotate(
            "collapse",
            (0.99, place),
            xycoords="axes fraction",
            ha="right",
            va="bottom" if place < 0.5 else "top",
            fontsize=8,
            color=COLOURS[1],
        )


def draw_picture(
    signal: Float[np.ndarray, "samples leads"],
    leads: Sequence[str],
    picture: Picture,
    *,
    sampling_rate: float,
) -> Figure:
    """Return an ECG on which is shaded what an objective hides of it, above further examples.

    Args:
        signal: Amplitudes of the leads to draw in mV; a window.
        leads: Names of those leads.
        picture: Stretches that are hidden.
        sampling_rate: Rate in Hz.
    """
    panels, strips = picture.panels, picture.strips
    kinds = list(dict.fromkeys(span.kind for panel in panels for span in panel.spans))
    colours = dict(zip(kinds, COLOURS, strict=False))
    seconds = len(signal) / sampling_rate
    is_named = any(strip.title for strip in strips)
    heights = [2.6] * len(panels) + [1.8 if is_named else 1.0] * bool(strips)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.6, sum(heights)), layout="constrained")
        grid = np.atleast_1d(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))
        for axes, panel in zip(grid, panels, strict=False):
            _draw_panel(axes, signal, leads, panel, colours, seconds)
        if strips:
            _draw_strips(grid[-1], strips, seconds)
            grid[-1].set_ylabel(picture.strips_title)
        grid[-1].set_xlabel("seconds")
        if len(kinds) > 1:
            handles = [Patch(color=colours[kind], alpha=0.22, label=kind) for kind in kinds]
            figure.legend(
                handles=handles, loc="outside lower center", ncols=len(kinds), frameon=False
            )
    return figure


def _draw_panel(
    axes: Axes,
    signal: Float[np.ndarray, "samples leads"],
    leads: Sequence[str],
    panel: Panel,
    colours: dict[str, str],
    seconds: float,
) -> None:
    """Draw the leads one below the other, and shade in each what is hidden of it."""
    time = np.arange(len(signal)) / len(signal) * seconds
    offset, below = 0.0, 0.0
    bands = {}
    for lead, values in zip(leads, signal.T, strict=True):
        centred = values - np.median(values)
        height = float(centred.max())
        offset -= below + height + 0.2
        below = -float(centred.min())
        bands[lead] = (offset - below - 0.1, below + height + 0.2)
        axes.plot(time, centred + offset, color="#10202f", linewidth=0.8)
        axes.annotate(
            lead, (-0.01, offset), xycoords=("axes fraction", "data"), ha="right", va="center"
        )
    for span in panel.spans:
        start, width = span.start * seconds, (span.end - span.start) * seconds
        colour = colours[span.kind]
        if not span.leads:
            axes.axvspan(start, start + width, color=colour, alpha=0.22, lw=0)
        for lead in bands.keys() & set(span.leads):
            bottom, height = bands[lead]
            axes.add_patch(
                Rectangle((start, bottom), width, height, color=colour, alpha=0.22, lw=0)
            )
    axes.set(yticks=[], ylabel="", xlim=(0, seconds))
    axes.set_title(panel.title, loc="left", fontsize=9)
    axes.spines["left"].set_visible(False)


def _draw_strips(axes: Axes, strips: Sequence[Panel], seconds: float) -> None:
    for row, strip in enumerate(strips):
        stretches = [
            (span.start * seconds, (span.end - span.start) * seconds) for span in strip.spans
        ]
        axes.broken_barh(stretches, (row, 1), color=COLOURS[0], alpha=_DARK, lw=0)
    axes.set(ylim=(len(strips), 0), xlim=(0, seconds), yticks=[])
    if any(strip.title for strip in strips):
        axes.set_yticks([row + 0.5 for row in range(len(strips))])
        axes.set_yticklabels([strip.title for strip in strips], fontsize=7)
        axes.tick_params(left=False)
