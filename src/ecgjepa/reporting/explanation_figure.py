"""What a prediction rests on, drawn behind the ECG."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ecgjepa.errors import ConfigError
from ecgjepa.inference.explanation import Explanation
from ecgjepa.reporting.ecg_paper import Band, draw_ecg
from ecgjepa.reporting.figures import save_figure
from ecgjepa.signals.record import Record

_FOR, _AGAINST, _LOOKED = "#d95f02", "#1f78b4", "#6a3d9a"
_STRONGEST = 0.75  # opacity of the greatest effect


class _Behind(NamedTuple):
    """Draws the effects on one label behind each lead, and attention below the rhythm strip."""

    explanation: Explanation
    effects: Float64[np.ndarray, "leads stretches"]

    def draw(self, axes: Axes, band: Band) -> None:
        """Draw what lies within the band."""
        found = self.explanation
        greatest = float(np.abs(self.effects).max()) or 1.0
        if band.lead in found.leads:
            for number, effect in enumerate(self.effects[found.leads.index(band.lead)].tolist()):
                opacity = _STRONGEST * abs(effect) / greatest
                colour = _FOR if effect > 0 else _AGAINST
                self._box(axes, band, number, (-0.45, 0.9), colour, opacity)
        if band.is_rhythm and found.attention is not None:
            height = found.attention / max(float(found.attention.max()), 1.0)
            for number, share in enumerate(height.tolist()):
                self._box(axes, band, number, (-0.5, 0.15 * share), _LOOKED, 0.4)

    def _box(
        self,
        axes: Axes,
        band: Band,
        number: int,
        rows: tuple[float, float],
        colour: str,
        opacity: float,
    ) -> None:
        """Fill one stretch, from a place in the row on and so high, both relative to the row."""
        edges = self.explanation.edges
        first, last = max(edges[number], band.start), min(edges[number + 1], band.stop)
        if first < last:
            corner = (band.at(first), band.baseline + rows[0] * band.row)
            size = (band.at(last) - band.at(first), rows[1] * band.row)
            axes.add_patch(
                Rectangle(corner, *size, facecolor=colour, alpha=opacity, linewidth=0, zorder=0.5)
            )


def check_label(labels: tuple[str, ...], label: str) -> None:
    """Refuse a label that a model does not have.

    Raises:
        ConfigError: If it is none of the labels.
    """
    if label not in labels:
        raise ConfigError(f"no label {label!r}: expected one of {', '.join(labels)}")


def draw_explanation(record: Record, explanation: Explanation, label: str) -> Figure:
    """Return an ECG with what speaks for and against a label behind its leads.

    The first 10 s are drawn. Orange stretches speak for the label, blue ones against it; the
    deepest colour is the greatest effect. Where the model's head attends, violet bars stand at the
    foot of the rhythm strip.

    Args:
        record: The record that was explained.
        explanation: Of that record.
        label: One of its labels.

    Raises:
        ConfigError: If the model has no such label.
    """
    check_label(explanation.labels, label)
    effects = explanation.effects[explanation.labels.index(label)]
    lead, stretch = np.unravel_index(np.abs(effects).argmax(), effects.shape)
    first, last = explanation.edges[stretch : stretch + 2]
    note = (
        f"{label}: orange speaks for it, blue against it; greatest effect "
        f"{effects[lead, stretch]:+.2g} in {explanation.leads[lead]}, {first:g} to {last:g} s"
    )
    if explanation.attention is not None:
        note += "; violet: where the model's head attends"
    return draw_ecg(
        record, title=record.record_id, note=note, behind=_Behind(explanation, effects).draw
    )


def save_explanation(record: Record, explanation: Explanation, label: str, out: str | Path) -> Path:
    """Write what `draw_explanation` draws as ``.png``, ``.svg`` or ``.pdf``.

    Args:
        record: See `draw_explanation`.
        explanation: See `draw_explanation`.
        label: See `draw_explanation`.
        out: The picture.

    Raises:
        ConfigError: If the model has no such label, or the picture's format is not known.
    """
    return save_figure(draw_explanation(record, explanation, label), Path(out))
