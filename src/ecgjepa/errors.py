"""Every error a user can cause, as a named `ValueError`.

A message says what was found, what was expected, in which file or field, and what to try. The
command line prints it as one block and exits with 2.
"""

import difflib
from collections.abc import Iterable

# Words are compared in time that grows with the square of their length.
_MOST_LETTERS = 100
# Beginning and end of a message that are kept: the end says what to do.
_FIRST, _LAST = 1_500, 450


class EcgjepaError(ValueError):
    """Base of all errors that a user's input or files can cause.

    A message is cut in the middle if it repeats more of a file than a person can read.

    Example:
        >>> import ecgjepa
        >>> try:
        ...     ecgjepa.read_record("nowhere.hea")
        ... except ecgjepa.EcgjepaError as error:
        ...     print(type(error).__name__)
        RecordFormatError
    """

    def __init__(self, message: str = "") -> None:
        if len(message) > _FIRST + _LAST:
            message = f"{message[:_FIRST]} […] {message[-_LAST:]}"
        super().__init__(message)


def did_you_mean(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return ``; did you mean 'X'?`` for the known word most like this one, or nothing.

    Args:
        word: What was typed.
        known: What could have been meant.
        cutoff: How alike two words must be, from 0 to 1.
    """
    close = difflib.get_close_matches(word[:_MOST_LETTERS], list(known), n=1, cutoff=cutoff)
    return f"; did you mean {close[0]!r}?" if close else ""


class ConfigError(EcgjepaError):
    """A preset, configuration file or ``--set`` override is wrong."""


class RecordError(EcgjepaError):
    """One ECG cannot be used; the rest of a folder still can.

    Attributes:
        reason: A short code under which skipped records are counted.
    """

    reason = "unreadable"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class RecordFormatError(RecordError):
    """An ECG file is damaged, lies about itself, or is of no known format."""


class FewLeadsError(RecordFormatError):
    """A record has too few usable leads for what is asked of it.

    Attributes:
        leads: Leads that it has, without those that are flat.
    """

    reason = "too_few_leads"

    def __init__(self, message: str, *, leads: Iterable[str], reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.leads = tuple(leads)

    def __reduce__(self) -> tuple[object, ...]:
        """Return what it is made of, so that another process can raise it again."""
        return _few_leads, (str(self), self.leads, self.reason)


def _few_leads(message: str, leads: tuple[str, ...], reason: str) -> FewLeadsError:
    return FewLeadsError(message, leads=leads, reason=reason)


class UnitError(RecordError):
    """An amplitude unit is not a voltage, or not known."""

    reason = "unknown_unit"


class LeadError(RecordError):
    """Lead names are duplicated, unknown or missing where they are needed."""

    reason = "unusable_leads"


class InputError(EcgjepaError):
    """What should be predicted or encoded cannot be listed: no file, no list, or no such store."""


class OutputError(EcgjepaError):
    """A table cannot be written: it is another request's, finished, or being written."""


class DatabaseError(EcgjepaError):
    """A folder is not laid out as the database it is said to hold."""


class FetchError(EcgjepaError):
    """A database cannot be downloaded: it is not open, or its list of files is not usable."""


class DiskSpaceError(FetchError):
    """The disk has not enough room for a download."""


class StoreError(EcgjepaError):
    """A store is missing, damaged, incomplete or of another format version."""


class DivergenceError(EcgjepaError):
    """Training diverged: the loss is NaN or infinite."""


class RankDriftError(EcgjepaError):
    """The processes that share a run no longer hold the same weights."""


class CollapseError(EcgjepaError):
    """Training continues, but the features no longer tell one record from another."""


class CheckpointError(EcgjepaError):
    """A checkpoint or run folder is damaged or does not fit what is asked of it."""


class OfficialCheckpointError(CheckpointError):
    """A file is not an official checkpoint, or it is one that cannot be converted."""


class ModelFolderError(EcgjepaError):
    """A model folder is incomplete, damaged or does not fit the input."""


class HubError(EcgjepaError):
    """A model cannot be taken from the Hub or put there: no such name, no access, no answer."""


class ServiceError(EcgjepaError):
    """The service cannot be started."""


class EncoderError(EcgjepaError):
    """An encoder or objective of one's own is not as its description or the documentation says."""


class TaskError(EcgjepaError):
    """An evaluation task cannot be built from the labels, folds or records at hand."""


class ScoreError(EcgjepaError):
    """Predictions cannot be scored or compared: values that are not numbers, or that do not fit."""


class ExportError(EcgjepaError):
    """A model cannot be written as an ONNX file, or the file would not say what the model says."""


class FeatureError(EcgjepaError):
    """An encoder gives features that are not finite."""


class EngineError(EcgjepaError):
    """Workers fail whatever is tried, a cluster cannot be reached, or sees other files."""
