"""The verb `plot`: a page of an ECG file, drawn on paper."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ecgjepa.errors import ConfigError, RecordFormatError
from ecgjepa.io import open_record
from ecgjepa.reporting.ecg_paper import PAGE_SECONDS, draw_ecg, in_words
from ecgjepa.reporting.figures import save_as_new, save_figure
from ecgjepa.signals.acceptance import one_record, refuse_unusable
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.preprocessing import PreprocessingConfig, prepare_record
from ecgjepa.signals.record import Issue, LongRecord, MicrovoltRecord, Record

logger = logging.getLogger(__name__)


class Plotted(NamedTuple):
    """A picture of an ECG, and what was noticed about the file.

    Attributes:
        path: The picture.
        findings: All that was noticed.
        refusal: Why `ecgjepa.prepare` and `ecgjepa.predict` would not use the record, or None.
    """

    path: Path
    findings: tuple[Issue, ...]
    refusal: str | None


def plot(
    file: str | Path,
    out: str | Path | None = None,
    *,
    start: float = 0.0,
    duration: float = PAGE_SECONDS,
) -> Path:
    """Draw an ECG file on paper and write the picture (``.png``, ``.svg`` or ``.pdf``).

    What is noticed about the record is marked on the picture and logged as warnings.

    Args:
        file: The ECG.
        out: The picture. By default it is named for the file and lies in the working folder; where
            another picture has that name, a number is added.
        start: Second of the record at which the picture begins. Of a recording that is read in
            pieces, no more is read than is drawn.
        duration: Seconds that are drawn, at most the 10 of a page.

    Raises:
        RecordError: If the file cannot be read or is not a 12-lead ECG.
        ConfigError: If the picture's format is not known, or nothing of the record lies there.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.plot("data/ptb-xl/records500/00000/00001_hr.hea", "ecg.png")
        PosixPath('ecg.png')
    """
    plotted = plot_with_findings(file, out, start=start, duration=duration)
    for issue in plotted.findings:
        logger.warning("%s: %s", file, in_words(issue))
    if plotted.refusal is not None:
        logger.warning("not usable: %s", plotted.refusal)
    return plotted.path


def plot_with_findings(
    file: str | Path,
    out: str | Path | None = None,
    *,
    start: float = 0.0,
    duration: float = PAGE_SECONDS,
    description: str | Path | None = None,
) -> Plotted:
    """Draw an ECG file as `plot` does, and return what was noticed about it.

    Args:
        file: The ECG.
        out: The picture; see `plot`.
        start: See `plot`.
        duration: See `plot`.
        description: File that describes an array or a table; None for the one beside it.

    Raises:
        RecordError: See `plot`.
        ConfigError: See `plot`.
    """
    found = open_record(file, description=description, is_verified=False)
    record, note = _part(found, start, duration)
    with one_record(str(file)):
        prepared = prepare_record(record, PreprocessingConfig())
    refusal = None
    try:
        refuse_unusable(prepared, str(file), LEADS)
    except RecordFormatError as error:
        refusal = str(error)
    figure = draw_ecg(record, title=record.record_id, note=note, findings=prepared.issues)
    if out is None:
        path = save_as_new(figure, f"{Path(file).stem}.png")
    else:
        path = save_figure(figure, Path(out))
    return Plotted(path, prepared.issues, refusal)


def _part(
    found: Record | MicrovoltRecord | LongRecord, start: float, duration: float
) -> tuple[Record, str]:
    """Return what is drawn of a recording, and a note on where it lies if that is not all.

    A record that is not long is drawn from its beginning with all that is known of it.

    Raises:
        ConfigError: If nothing of the record lies there, or a page does not hold it.
    """
    if not 0 < duration <= PAGE_SECONDS:
        raise ConfigError(f"duration is {duration:g} s; a page holds up to {PAGE_SECONDS:g} s")
    is_all = start == 0 and duration == PAGE_SECONDS
    if isinstance(found, MicrovoltRecord):
        found = found.as_record()
    if isinstance(found, Record) and is_all:
        return found, ""
    rate, last = found.sampling_rate, found.num_samples
    if not 0 <= start * rate < last:
        raise ConfigError(
            f"start is {start:g} s; the record {found.record_id} lasts {last / rate:g} s"
        )
    first = int(start * rate)
    stop = min(last, first + max(1, round(duration * rate)))
    note = f"{(stop - first) / rate:g} s from {first / rate:g} s of {last / rate:g} s"
    if isinstance(found, Record):
        kept = slice(first, stop)
        return replace(found, signal=found.signal[kept], valid=found.valid[kept]), note
    part = found.read(first, stop)
    return part.as_record() if isinstance(part, MicrovoltRecord) else part, note
