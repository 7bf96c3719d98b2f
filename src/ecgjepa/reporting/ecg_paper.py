"""The 12-lead ECG as it is printed: 25 mm/s, 10 mm/mV, true to size.

Three rows of four leads, 2.5 s each, above a rhythm strip of lead II, with a calibration pulse.
One inch of the figure is one inch of paper at ``dpi`` dots.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ecgjepa.errors import LeadError
from ecgjepa.io import read_record
from ecgjepa.reporting.figures import STYLE, save_figure
from ecgjepa.signals.record import Record, standardise_leads

_SPEED = 25.0  # mm per second
_GAIN = 10.0  # mm per mV
_LAYOUT = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
_RHYTHM = "II"
_COLUMN_SECONDS = 2.5
_ROW_MM = 25.0
_MARGIN_MM = 6.0
_PULSE_MM = 7.0
_FINE, _COARSE, _TRACE, _INVALID = "#f6d5d5", "#e9a8a8", "#10202f", "#c65a11"
_MM_PER_INCH = 25.4


def plot(file: str | Path, out: str | Path) -> Path:
    """Draw an ECG file on paper and write the picture (``.png``, ``.svg`` or ``.pdf``).

    Raises:
        RecordError: If the file cannot be read or is no 12-lead ECG.
        ConfigError: If the picture's format is not known.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.plot("data/ptb-xl/records500/00000/00001_hr.hea", "ecg.png")
        PosixPath('ecg.png')
    """
    record = read_record(file)
    figure = draw_ecg(record, title=record.record_id)
    return save_figure(figure, Path(out))


@rc_context(STYLE)
def draw_ecg(record: Record, *, title: str = "", note: str = "") -> Figure:
    """Return a 12-lead ECG on paper; stretches without a valid sample are left empty and marked.

    Args:
        record: Any record with at least one standard lead; only the first 10 s are drawn.
        title: Printed top left.
        note: Printed below the title.

    Raises:
        LeadError: If none of the twelve leads is there.
    """
    record = standardise_leads(record)
    if not record.valid.any():
        raise LeadError(f"{record.source or record.record_id}: no valid sample to draw")
    width = _PULSE_MM + 4 * _COLUMN_SECONDS * _SPEED
    height = _ROW_MM * (len(_LAYOUT) + 1)
    header = 12.0 if title or note else 4.0
    figure = Figure(
        figsize=(
            (width + 2 * _MARGIN_MM) / _MM_PER_INCH,
            (height + _MARGIN_MM + header) / _MM_PER_INCH,
        ),
        facecolor="white",
    )
    total_width, total_height = width + 2 * _MARGIN_MM, height + _MARGIN_MM + header
    axes = figure.add_axes(
        (
            _MARGIN_MM / total_width,
            _MARGIN_MM / total_height,
            width / total_width,
            height / total_height,
        )
    )
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    _draw_grid(axes, width, height)
    for row, leads in enumerate(_LAYOUT):
        baseline = height - _ROW_MM * (row + 0.5)
        _draw_pulse(axes, baseline)
        for column, lead in enumerate(leads):
            start = column * _COLUMN_SECONDS
            _draw_lead(axes, record, lead, start, start + _COLUMN_SECONDS, baseline)
    _draw_pulse(axes, _ROW_MM * 0.5)
    _draw_lead(axes, record, _RHYTHM, 0.0, 4 * _COLUMN_SECONDS, _ROW_MM * 0.5)
    _draw_text(figure, record, title, note, total_width, total_height)
    return figure


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


def _draw_lead(
    axes: Axes, record: Record, lead: str, start: float, stop: float, baseline: float
) -> None:
    column = record.leads.index(lead)
    first, last = round(start * record.sampling_rate), round(stop * record.sampling_rate)
    values = record.signal[first:last, column].astype(np.float64)
    valid = record.valid[first:last, column]
    x = _PULSE_MM + (start + np.arange(len(values)) / record.sampling_rate) * _SPEED
    y = np.where(valid, baseline + values * _GAIN, np.nan)
    # A spike far outside must not cover the neighbouring rows of the whole page.
    y = np.clip(y, baseline - 1.2 * _ROW_MM, baseline + 1.2 * _ROW_MM)
    axes.plot(x, y, color=_TRACE, linewidth=0.7, solid_joinstyle="round")
    if not valid.all() and len(x):
        axes.plot(
            x, np.where(valid, np.nan, baseline), color=_INVALID, linewidth=1.2, linestyle=":"
        )
    left = _PULSE_MM + start * _SPEED
    axes.plot([left, left], [baseline - 2, baseline + 2], color=_TRACE, linewidth=0.5)
    axes.text(
        left + 1.2,
        baseline + _ROW_MM * 0.30,
        lead,
        fontsize=8,
        fontweight="bold",
        color=_TRACE,
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
    figure.text(
        1 - left, _MARGIN_MM / 2 / height, scale, fontsize=7, color="#444", ha="right", va="center"
    )
    marked = _leads_with_gaps(record)
    if marked:
        figure.text(
            left,
            _MARGIN_MM / 2 / height,
            f"dotted: no valid samples ({', '.join(marked)})",
            fontsize=7,
            color=_INVALID,
            va="center",
        )


def _leads_with_gaps(record: Record) -> Sequence[str]:
    """Return the leads in which some sample is invalid."""
    return [lead for lead, ok in zip(record.leads, record.valid.T, strict=True) if not ok.all()]
