"""The figure of a comparison: every model's macro AUROC with its interval, by protocol."""

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecgjepa.comparing.table import TableRow
from ecgjepa.reporting.figures import COLOURS, STYLE

_SPREAD = 0.4  # height that the shares of labels of one model take up together, in lines


@rc_context(STYLE)
def draw_comparison(entries: list[TableRow]) -> Figure:
    """Return one row of panels per task, one panel per protocol, one line per model.

    Shares of labels have a colour each; small strokes are single runs.
    """
    tasks = list(dict.fromkeys(entry.task for entry in entries))
    protocols = list(dict.fromkeys(entry.panel for entry in entries))
    models = list(dict.fromkeys(entry.model for entry in entries))
    shares = sorted({entry.label_fraction for entry in entries}, reverse=True)
    size = (1.2 + 2.6 * len(protocols), 1.0 + (0.6 + 0.42 * len(models)) * len(tasks))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(tasks), len(protocols), squeeze=False, sharey=True)
    for task, row in zip(tasks, panels, strict=True):
        for protocol, axes in zip(protocols, row, strict=True):
            for entry in entries:
                if (entry.task, entry.panel) == (task, protocol):
                    number = shares.index(entry.label_fraction)
                    offset = _SPREAD * (number - (len(shares) - 1) / 2) / max(1, len(shares) - 1)
                    _draw(axes, entry, models.index(entry.model) + offset, COLOURS[number])
            axes.set_title(f"{task}, {protocol}", fontsize=9)
            axes.set_yticks(range(len(models)), models)
            axes.set_ylim(len(models) - 0.5, -0.5)
            axes.set_xlabel("macro AUROC", fontsize=9)
            axes.tick_params(labelsize=8)
    if len(shares) > 1:
        handles = [
            panels[0, 0].plot([], [], "o", color=COLOURS[number])[0]
            for number in range(len(shares))
        ]
        names = [f"{100 * share:g} % of the labels" for share in shares]
        figure.legend(handles, names, loc="outside lower center", ncols=len(shares), fontsize=8)
    return figure


def _draw(axes: Axes, entry: TableRow, place: float, colour: str) -> None:
    value, low, high = entry.macro_auroc
    axes.plot([low, high], [place, place], color=colour, alpha=0.4)
    axes.plot(entry.runs, [place] * len(entry.runs), "|", color=colour)
    axes.plot([value], [place], "o", color=colour, markersize=4)
