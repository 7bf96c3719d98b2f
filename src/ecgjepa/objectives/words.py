"""The words of an objective, as a run writes them into its folder and a report reads them.

A report must not load torch and must not know the objectives: whatever it shows of a run's
objective stands in the run's ``objective.json``.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from ecgjepa.config import Section, describe_validation_error
from ecgjepa.errors import CheckpointError

WORDS_FILE = "objective.json"
FORMAT_VERSION = 1


class Sign(Section):
    """One number of ``metrics.jsonl`` that tells whether a run is failing.

    Attributes:
        name: Key of the number in ``metrics.jsonl``.
        label: Title of its axis.
        meaning: Explanation of the number for a reader who has not met it.
        below: The features are collapsing if the number is below this; None for no such level.
        above: The features are collapsing if the number is above this; None for no such level.
        alarm: Words of the warning, with ``{value}`` for the number; empty without a level.
        least: Lower end of its axis; None to leave it open.
        most: Upper end of its axis; None to leave it open.
    """

    name: str
    label: str
    meaning: str
    below: float | None = None
    above: float | None = None
    alarm: str = ""
    least: float | None = None
    most: float | None = None

    def alarm_of(self, value: float) -> str | None:
        """Return what a warning says of this value, or None if it is harmless."""
        too_low = self.below is not None and value < self.below
        too_high = self.above is not None and value > self.above
        return self.alarm.format(value=value) if too_low or too_high else None


class Span(Section):
    """A stretch of a window that an encoder does not see as it is.

    Attributes:
        start: Beginning of the stretch, as a share of the window.
        end: End of the stretch, as a share of the window.
        leads: Leads that the stretch is missing from; empty for all leads.
        kind: Reason why the stretch is not seen; the legend's words for its colour.
    """

    start: float
    end: float
    leads: tuple[str, ...] = ()
    kind: str = "hidden"


class Panel(Section):
    """One example of what an objective hides.

    Attributes:
        title: Heading of the example.
        spans: Stretches that are hidden in it.
    """

    title: str = ""
    spans: tuple[Span, ...]


class Picture(Section):
    """What an objective hides of a record, for a picture.

    Attributes:
        caption: Sentences on what is seen.
        panels: Examples that are drawn on an ECG, one below the other.
        strips: Further examples, drawn as narrow strips without an ECG.
        strips_title: Name of the strips, beside them.
    """

    caption: str
    panels: tuple[Panel, ...]
    strips: tuple[Panel, ...] = ()
    strips_title: str = ""


def picture_of_lead_patches(
    hidden: Sequence[int], leads: tuple[str, ...], num_patches: int, caption: str
) -> Picture:
    """Return a picture of hidden patches of single leads.

    Args:
        hidden: Their numbers, patch by patch and within each lead by lead.
        leads: Names of the leads.
        num_patches: Patches of a window.
        caption: What the picture says before it names the strips.
    """
    spans: dict[str, list[Span]] = {lead: [] for lead in leads}
    for place in hidden:
        patch, lead = divmod(place, len(leads))
        start, end = patch / num_patches, (patch + 1) / num_patches
        spans[leads[lead]].append(Span(start=start, end=end, leads=(leads[lead],)))
    return Picture(
        caption=f"{caption} Below, the same mask in all leads.",
        panels=(Panel(spans=tuple(span for found in spans.values() for span in found)),),
        strips=tuple(Panel(title=lead, spans=tuple(found)) for lead, found in spans.items()),
        strips_title="all\nleads",
    )


class ObjectiveWords(Section):
    """What ``objective.json`` says of a run's objective.

    Attributes:
        format_version: Version of this layout.
        name: Name of the objective in the configuration.
        title: Name of the objective for people.
        source: Who published the objective, and where.
        loss: Name of the loss.
        loss_note: Sentence on what the loss does not tell.
        moving_average: Whether the momentum of the schedules moves a target network.
        features: Name of the features that the signs describe.
        signs: Numbers that tell whether the run is failing.
        advice: Sentence on what to try against a collapse, without its full stop.
        picture: Examples of what the objective hides, or None if it hides nothing.
    """

    format_version: int = FORMAT_VERSION
    name: str
    title: str
    source: str
    loss: str
    loss_note: str
    moving_average: bool
    features: str
    signs: tuple[Sign, ...]
    advice: str
    picture: Picture | None


def read_words(run: Path) -> ObjectiveWords | None:
    """Return what a run says of its objective, or None if it was begun by an older version.

    Raises:
        CheckpointError: If the file is damaged, or of another format version.
    """
    path = run / WORDS_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["format_version"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise CheckpointError(f"{path}: damaged: expected JSON with a format_version") from None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format version {version!r}; this ecgjepa reads version {FORMAT_VERSION}"
        )
    try:
        return ObjectiveWords.model_validate(content)
    except ValidationError as error:
        raise CheckpointError(describe_validation_error(error, str(path))) from None
