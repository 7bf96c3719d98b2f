"""How figures look and are kept, and the map of an evaluation's embeddings.

All are drawn on bare `Figure` objects, without pyplot and its global state.
"""

import base64
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib import rc_context
from matplotlib.figure import Figure

from ecgjepa.errors import ConfigError
from ecgjepa.files import write_bytes

_FORMATS = ("png", "svg", "pdf")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "svg.hashsalt": "ecgjepa",  # the same figure gives the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
    # Names of labels, records and databases may hold a $: what stands between two is not a formula.
    "text.parse_math": False,
}
# Colour-blind safe (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b6b6b")
GREY = "#8a8f98"
# Of pictures in files of their own.
_DPI = 160


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure; the ending says the format.

    Raises:
        ConfigError: If the ending is not .png, .svg or .pdf.
    """
    write_bytes(path, _render(figure, _format_of(path), _DPI))
    return path


def save_as_new(figure: Figure, name: str) -> Path:
    """Write a figure into the working folder and return its path; no other file is overwritten.

    The same figure gives the same bytes, so a file that holds them is left as it is. Where another
    file has the name, a number is added.

    Args:
        figure: What to write.
        name: Name with the ending of a picture.
    """
    first = Path(name)
    content = _render(figure, _format_of(first), _DPI)
    for number in itertools.count(1):
        path = first if number == 1 else first.with_stem(f"{first.stem}-{number}")
        if not path.exists():
            write_bytes(path, content)
            return path
        if path.is_file() and path.read_bytes() == content:
            return path
    raise AssertionError("numbers do not end")


def as_data_uri(figure: Figure) -> str:
    """Return a figure as an SVG that a page can hold without a file beside it."""
    return "data:image/svg+xml;base64," + base64.b64encode(_render(figure, "svg", 100)).decode()


def check_picture(path: Path) -> None:
    """Refuse a picture of a format that is not written, before anything is computed for it.

    Raises:
        ConfigError: If its name ends in another format.
    """
    _format_of(path)


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
