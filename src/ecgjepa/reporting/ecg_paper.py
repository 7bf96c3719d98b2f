"""The 12-lead ECG as it is printed: 25 mm/s, 10 mm/mV, true to size.

Three rows of four leads, 2.5 s each, above a rhythm strip of lead II, with a calibration pulse.
One inch of the figure is one inch of paper at ``dpi`` dots.
"""

import math
from collections.abc import Callable, Sequence
from textwrap import shorten
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ecgjepa.errors import LeadError
from ecgjepa.reporting.figures import STYLE
from ecgjepa.signals.record import (
    Issue,
    Record,
    standardise_leads,
)

_SPEED = 25.0  # mm per second
_GAIN = 10.0  # mm per mV
_LAYOUT = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
_RHYTHM = "II"
_COLUMN_SECONDS = 2.5
PAGE_SECONDS = 4 * _COLUMN_SECONDS
_ROW_MM = 25.0
_MARGIN_MM = 6.0
_PULSE_MM = 7.0
_LINE_MM = 3.2
_MOST_LINES, _MOST_LETTERS = 12, 170
_FINE, _COARSE, _TRACE, _INVALID = "#f6d5d5", "#e9a8a8", "#10202f", "#c65a11"
_MM_PER_INCH = 25.4


def in_words(issue: Issue) -> str:
    """Return what was noticed, with the lead that it is about."""
    return f"{issue.lead}: {issue.message}" if issue.lead else issue.message


@rc_context(STYLE)
def draw_ecg(
    record: Record,
    *,
    title: str = "",
    note: str = "",
    findings: Sequence[Issue] = (),
    behind: "Callable[[Axes, Band], None] | None" = None,
) -> Figure:
    """Return a 12-lead ECG on paper; stretches without a valid sample are left empty and marked.

    Rows are as high as tall beats need, up to twice the usual; what lies beyond is cut off at the
    edge of its row, and noted.

    Args:
        record: Any record with at least one standard lead; only the first 10 s are drawn.
        title: Printed top left.
        note: Printed below the title.
        findings: What was noticed: listed at the foot, and the names of their leads in colour.
        behind: Draws something behind each lead.

    Raises:
        LeadError: If none of the twelve leads is there.
    """
    # A name's bytes that are not UTF-8 come as surrogates, which no font has.
    title, note = (text.encode(errors="backslashreplace").decode() for text in (title, note))
    record = standardise_leads(record)
    if not record.valid.any():
        raise LeadError(f"{record.source or record.record_id}: no valid sample to draw")
    row = _row_height(record)
    width = _PULSE_MM + 4 * _COLUMN_SECONDS * _SPEED
    height = row * (len(_LAYOUT) + 1)
    header = 12.0 if title or note else 4.0
    lines = _footnotes(record, findings, row)
    footer = _MARGIN_MM + _LINE_MM * len(lines)
    total_width, total_height = width + 2 * _MARGIN_MM, height + footer + header
    figure = Figure(
        figsize=(total_width / _MM_PER_INCH, total_height / _MM_PER_INCH), facecolor="white"
    )
    axes = figure.add_axes(
        (
            _MARGIN_MM / total_width,
            footer / total_height,
            width / total_width,
            height / total_height,
        )
    )
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    _draw_grid(axes, width, height)
    marked = {issue.lead for issue in findings}
    for number, leads in enumerate((*_LAYOUT, (_RHYTHM,))):
        baseline = height - row * (number + 0.5)
        _draw_pulse(axes, baseline)
        seconds = 4 * _COLUMN_SECONDS / len(leads)
        for column, lead in enumerate(leads):
            band = Band(lead, column * seconds, (column + 1) * seconds, baseline, row)
            if behind is not None:
                behind(axes, band)
            _draw_lead(axes, record, band, _INVALID if lead in marked else _TRACE)
    _draw_text(figure, record, title, note, total_width, total_height)
    for number, line in enumerate(lines):
        y = (footer - 2.0 - _LINE_MM * (number + 0.5)) / total_height
        figure.text(
            _MARGIN_MM / total_width,
            y,
            line,
            fontsize=7,
            color=_INVALID,
            va="center",
        )
    return figure


def _row_height(record: Record) -> float:
    """Return how high a row must be, in mm, for all but the most extreme samples."""
    shown = record.signal[: round(4 * _COLUMN_SECONDS * record.sampling_rate)]
    # One lead that is far off must not make all rows high: the last but one in order decides.
    reach = np.sort(np.quantile(np.abs(shown), 0.995, axis=0))[-2]
    needed = 2 * float(reach) * _GAIN + 2.0
    return float(np.clip(math.ceil(needed / 5.0) * 5.0, _ROW_MM, 2 * _ROW_MM))


def _footnotes(record: Record, findings: Sequence[Issue], row: float) -> list[str]:
    """Return the lines at the foot: what was noticed, and what could not be drawn."""
    lines = [in_words(issue) for issue in findings]
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES - 1], f"… and {len(lines) - _MOST_LINES + 1} more findings"]
    lines = [shorten(line, _MOST_LETTERS, placeholder=" …") for line in lines]
    shown = record.signal[: round(4 * _COLUMN_SECONDS * record.sampling_rate)]
    limit = row / 2 / _GAIN
    over = np.flatnonzero((np.abs(shown) > limit).any(axis=0)).tolist()
    if over:
        names = ", ".join(record.leads[column] for column in over)
        lines.append(f"cut off at the edge of the row, ±{limit:g} mV: {names}")
    if gaps := _leads_with_gaps(record):
        lines.append(f"dotted: no valid samples ({', '.join(gaps)})")
    return lines


def _draw_grid(axes: Axes, width: float, height: float) -> None:
    for step, colour, line_width in ((1.0, _FINE, 0.35), (5.0, _COARSE, 0.55)):
        vertical = [[(x, 0), (x, height)] for x in np.arange(0, width + 0.1, step)]
        horizontal = [[(0, y), (width, y)] for y in np.arange(0, height + 0.1, step)]
        axes.add_collection(
            LineCollection(vertical + horizontal, colors=colour, linewidths=line_width, zorder=0)
        )


def _draw_pulse(axes: Axes, baseline: float) -> None:
    """Draw 1 mV for 0.2 s, so that a reader can check the scale."""
    x = [0.5, 1.0, 1.0, 6.0, 6.0, 6.5]  # 5 mm wide: 0.2 s
    y = [baseline + height for height in (0, 0, _GAIN, _GAIN, 0, 0)]
    axes.plot(x, y, color=_TRACE, linewidth=0.7)


class Band(NamedTuple):
    """Where a lead is drawn: from and to which second, about which height, in mm."""

    lead: str
    start: float
    stop: float
    baseline: float
    row: float

    @property
    def is_rhythm(self) -> bool:
        """Whether this is the strip below the four columns."""
        return self.stop - self.start > _COLUMN_SECONDS

    def at(self, second: float) -> float:
        """Return where a time of the record is, in mm from the left."""
        return _PULSE_MM + second * _SPEED


def _draw_lead(axes: Axes, record: Record, band: Band, colour: str) -> None:
    column = record.leads.index(band.lead)
    first, last = round(band.start * record.sampling_rate), round(band.stop * record.sampling_rate)
    values = record.signal[first:last, column].astype(np.float64)
    valid = record.valid[first:last, column]
    x = _PULSE_MM + (band.start + np.arange(len(values)) / record.sampling_rate) * _SPEED
    y = np.where(valid, band.baseline + values * _GAIN, np.nan)
    # What lies far outside must not cover the neighbouring rows.
    y = np.clip(y, band.baseline - band.row / 2, band.baseline + band.row / 2)
    axes.plot(x, y, color=_TRACE, linewidth=0.7, solid_joinstyle="round")
    if not valid.all() and len(x):
        gaps = np.where(valid, np.nan, band.baseline)
        axes.plot(x, gaps, color=_INVALID, linewidth=1.2, linestyle=":")
    left = band.at(band.start)
    mark = [band.baseline - 2, band.baseline + 2]
    axes.plot([left, left], mark, color=_TRACE, linewidth=0.5)
    axes.text(
        left + 1.2,
        band.baseline + band.row * 0.30,
        band.lead,
        fontsize=8,
        fontweight="bold",
        color=colour,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.6, "pad": 0.6},
    )


def _draw_text(
    figure: Figure, record: Record, title: str, note: str, width: float, height: float
) -> None:
    left = _MARGIN_MM / width
    if title:
        figure.text(left, 1 - 4.5 / height, title, fontsize=10, fontweight="bold", va="center")
    if note:
        figure.text(left, 1 - 9.0 / height, note, fontsize=8, color="#444", va="center")
    shown = min(record.duration, 4 * _COLUMN_SECONDS)
    whole = "" if shown == record.duration else f" of {record.duration:g} s"
    scale = f"25 mm/s   10 mm/mV   {record.sampling_rate:g} Hz   {shown:g} s{whole}"
    figure.text(1 - left, 2.0 / height, scale, fontsize=7, color="#444", ha="right", va="center")


def _leads_with_gaps(record: Record) -> Sequence[str]:
    """Return the leads in which some sample is invalid."""
    return [lead for lead, ok in zip(record.leads, record.valid.T, strict=True) if not ok.all()]
