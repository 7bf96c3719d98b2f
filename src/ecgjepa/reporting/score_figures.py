"""Figures of scores: ROC and reliability curves, predicted against true values, intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter
from sklearn.metrics import roc_curve

from ecgjepa.reporting.figures import COLOURS, GREY, STYLE

# Labels that a figure of ROC curves, and of predicted values, has room for.
_MOST_CURVES, _MOST_PANELS = 6, 9


def draw_roc(
    targets: Bool[np.ndarray, "records labels"],
    scores: dict[str, Float[np.ndarray, "records labels"]],
    labels: Sequence[str],
) -> Figure:
    """Return ROC curves per label, one line per model, for the labels with most positives."""
    support = targets.sum(axis=0)
    usable = [i for i in np.argsort(-support) if 0 < support[i] < len(targets)][:_MOST_CURVES]
    columns = min(3, max(1, len(usable)))
    rows = -(-max(1, len(usable)) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(2.55 * columns, 2.5 * rows), layout="constrained")
        grid = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
        for axes, label in zip(grid, usable, strict=False):
            _draw_roc_panel(axes, targets[:, label], {m: s[:, label] for m, s in scores.items()})
            axes.set_title(f"{labels[label]} ({support[label]} positive)", fontsize=9)
        for axes in grid[len(usable) :]:
            axes.set_axis_off()
        if usable:
            grid[0].legend(fontsize=7.5, loc="lower right", frameon=False, handlelength=1.2)
        figure.supxlabel("1 - specificity", fontsize=9)
        figure.supylabel("sensitivity", fontsize=9)
    return figure


def _draw_roc_panel(axes: Axes, positive: np.ndarray, scores: dict[str, np.ndarray]) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.7, linestyle=":")
    for colour, (name, values) in zip(COLOURS, scores.items(), strict=False):
        false_positive, true_positive, _ = roc_curve(positive, values)
        axes.plot(false_positive, true_positive, color=colour, linewidth=1.2, label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])


def draw_reliability(curves: dict[str, dict[str, Sequence[float]]]) -> Figure:
    """Return reliability curves: the share of positives among records of about one probability.

    Args:
        curves: By name, what `ecgjepa.metrics.classification.Reliability` holds of its filled bins.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.6, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
        left.plot([0, 1], [0, 1], color=GREY, linewidth=0.7, linestyle=":")
        for colour, (name, curve) in zip(COLOURS, curves.items(), strict=False):
            x = curve["mean_probability"]
            left.plot(x, curve["share_positive"], "o-", color=colour, markersize=3.5, label=name)
            right.plot(x, curve["num_records"], "o-", color=colour, markersize=3.5, linewidth=0.8)
        left.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share positive", aspect="equal")
        left.legend(fontsize=8, frameon=False)
        right.set(xlim=(0, 1), yscale="log", ylabel="predictions")
        right.yaxis.set_minor_formatter(NullFormatter())
        # Powers of ten would be printed as their markup, for names in figures are not parsed.
        right.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        for axes in (left, right):
            axes.set_xlabel("mean predicted probability")
    return figure


def draw_intervals(rows: Sequence[dict[str, Any]], measure: str = "macro AUROC") -> Figure:
    """Return scores with intervals, one line per row.

    Args:
        rows: Each with ``name``, ``value``, ``low``, ``high`` and ``baseline`` (drawn hollow).
        measure: What the scores are, for people.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.6, 0.55 + 0.33 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for position, row in enumerate(rows):
            colour = GREY if row["baseline"] else COLOURS[0]
            axes.plot([row["low"], row["high"]], [position] * 2, color=colour, linewidth=2)
            axes.plot(
                row["value"],
                position,
                "o",
                color=colour,
                markerfacecolor="white" if row["baseline"] else colour,
            )
        axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)  # from top to bottom, no marker at the edge
        axes.set_xlabel(f"{measure}, 95 % interval")
        axes.grid(axis="x", color="#e4e6ea", linewidth=0.8)
        axes.set_axisbelow(True)
    return figure


def draw_agreement(
    targets: Float[np.ndarray, "records labels"],
    predicted: Float[np.ndarray, "records labels"],
    labels: Sequence[str],
) -> Figure:
    """Return predicted against true values, one panel per label with the line where they agree."""
    shown = labels[:_MOST_PANELS]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(2.55 * columns, 2.55 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for column, (axes, label) in enumerate(zip(grid, shown, strict=False)):
            x, y = targets[:, column], predicted[:, column]
            low, high = np.nanmin((x, y)), np.nanmax((x, y))
            edge = 0.04 * (high - low) or 1.0
            axes.axline((low, low), slope=1, color=GREY, linewidth=0.8, linestyle=":")
            size, alpha = (9, 0.6) if len(x) <= 500 else (4, 0.3)
            axes.scatter(x, y, s=size, alpha=alpha, color=COLOURS[0], linewidths=0)
            limits = (low - edge, high + edge)
            axes.set(xlim=limits, ylim=limits, aspect="equal")
            axes.set_title(label, fontsize=9)
            axes.locator_params(nbins=4)
        for axes in grid[len(shown) :]:
            axes.set_axis_off()
        figure.supxlabel("true", fontsize=9)
        figure.supylabel("predicted", fontsize=9)
    return figure


def draw_label_efficiency(means: Sequence[dict[str, Any]], measure: str) -> Figure:
    """Return mean scores over the share of the labels, with their deviation over runs.

    Args:
        means: Rows of ``summary.json``, of one tested database.
        measure: What the scores are, for people.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 2.9), layout="constrained")
        axes = figure.subplots()
        models = list(dict.fromkeys(row["model"] for row in means))
        for colour, model in zip(COLOURS, models, strict=False):
            rows = sorted(
                (row for row in means if row["model"] == model and row["mean"] is not None),
                key=lambda row: row["label_fraction"],
            )
            axes.errorbar(
                [100 * row["label_fraction"] for row in rows],
                [row["mean"] for row in rows],
                yerr=[row["std"] or 0.0 for row in rows],
                fmt="o-",
                capsize=2,
                markersize=4,
                color=colour,
                label=model,
            )
        shares = sorted({100 * row["label_fraction"] for row in means})
        axes.set(xscale="log", xlabel="% of the training patients' labels", ylabel=measure)
        axes.set_xticks(shares, [f"{share:g}" for share in shares])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(fontsize=8, frameon=False)
    return figure
