"""The figure of a comparison: every model's macro AUROC with its interval, by protocol."""

from matplotlib.figure import Figure

from ecgjepa.comparing.table import Entry
from ecgjepa.reporting.figures import COLOURS


def draw_comparison(entries: list[Entry]) -> Figure:
    """Return one row of panels per task, one panel per protocol, one line per model."""
    tasks = list(dict.fromkeys(entry.task for entry in entries))
    protocols = list(dict.fromkeys(entry.column for entry in entries))
    models = list(dict.fromkeys(entry.model for entry in entries))
    size = (1.2 + 2.3 * len(protocols), 0.8 + (0.5 + 0.28 * len(models)) * len(tasks))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(tasks), len(protocols), squeeze=False, sharey=True)
    for task, row in zip(tasks, panels, strict=True):
        for protocol, axes in zip(protocols, row, strict=True):
            for entry in entries:
                if (entry.task, entry.column) == (task, protocol):
                    value, low, high = entry.macro_auroc
                    place = models.index(entry.model)
                    axes.plot([low, high], [place, place], color="0.6")
                    axes.plot(entry.runs, [place] * len(entry.runs), "|", color="0.3")
                    axes.plot([value], [place], "o", color=COLOURS[0])
            axes.set_title(f"{task}, {protocol}")
            axes.set_yticks(range(len(models)), models)
            axes.set_ylim(len(models) - 0.5, -0.5)
            axes.set_xlabel("macro AUROC")
    return figure
