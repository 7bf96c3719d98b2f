"""Which records can be used: one rule for training, prediction, features and pictures."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, TypeVar, get_args

from ecgjepa.errors import EcgjepaError, LeadError, RecordError, RecordFormatError
from ecgjepa.signals.leads import LIMB_LEAD_WEIGHTS, lead_positions
from ecgjepa.signals.long.preparing import prepare_long
from ecgjepa.signals.preprocessing import (
    Prepared,
    PreprocessingConfig,
    prepare_record,
    prepare_records,
)
from ecgjepa.signals.record import Issue, LongRecord, MicrovoltRecord, Record

# What happens to a record that cannot be used as it is: stop there, leave it out, or mark damaged
# leads and missing ends invalid where that is enough.
OnBad = Literal["raise", "skip", "mask"]
ON_BAD: tuple[OnBad, ...] = get_args(OnBad)

Source = Record | MicrovoltRecord | LongRecord
Key = TypeVar("Key")

logger = logging.getLogger(__name__)

# A record with fewer usable leads cannot be read as a 12-lead ECG: 8 are independent.
MIN_USABLE_LEADS = 8
_MOST_LETTERS = 500
# How many records, and how many samples of each lead, are read before they are worked on.
_RECORDS_TOGETHER, _SAMPLES_TOGETHER = 16, 80_000
# Samples of each lead from which on names are looked at first: half an hour at 500 Hz.
_LONG_SAMPLES = 900_000
_CAUSES = {
    "missing_lead": "not in the file",
    "out_of_range": "beyond ±32.767 mV (is the unit right?)",
    "invalid_lead": "more than a fifth of the samples invalid",
}


def refuse_unusable(prepared: Prepared, source: str, leads: Sequence[str]) -> None:
    """Refuse a record of which too little can be used.

    A lead that is not in the file, and one that is empty, count alike. Of twelve leads, eight must
    be usable; of eight or fewer, all. One of them must move.

    Args:
        prepared: The record.
        source: Its file, for the message.
        leads: Those that are needed.

    Raises:
        RecordFormatError: If it cannot be used (``too_few_leads``, ``flat_record``); the message
            names the leads and the causes.
    """
    issues = [issue for issue in prepared.issues if issue.lead in leads]
    unusable = _leads_with(issues, "missing_lead", "invalid_lead")
    num_usable = len(leads) - len(unusable)
    if num_usable < min(MIN_USABLE_LEADS, len(leads)):
        causes = "; ".join(_describe(issues, leads))
        raise RecordFormatError(
            f"{source}: only {num_usable} of {len(leads)} leads are usable: {causes}",
            reason="too_few_leads",
        )
    if len(_leads_with(issues, "flat_lead") | unusable) == len(leads):
        others = "".join(f"; {cause}" for cause in _describe(issues, leads))
        raise RecordFormatError(f"{source}: every lead is flat{others}", reason="flat_record")


class Usable(NamedTuple):
    """A record that can be used, as it was read and as it is prepared."""

    source: Source
    prepared: Prepared


def prepare_each(
    sources: Iterable[tuple[Key, Source | RecordError]],
    config: PreprocessingConfig,
    leads: Sequence[str] | None = None,
) -> Iterator[tuple[Key, Usable | RecordError]]:
    """Prepare records one after the other, or say why one cannot be used; a few are read ahead.

    Those that are alike are worked on together, see `ecgjepa.signals.preprocessing`.

    Args:
        sources: Records, each with whatever tells it from others; errors are passed on.
        config: What is done to them.
        leads: Those that are needed, all of ``config`` by default.

    Yields:
        For each, in order: what told it, and the record or why it cannot be used.
    """
    needed = config.leads if leads is None else leads
    waiting: list[tuple[Key, Source | RecordError]] = []
    size = 0
    for key, source in sources:
        if not isinstance(source, RecordError) and source.num_samples >= _LONG_SAMPLES:
            source = _without_enough_names(source, needed) or source
        waiting.append((key, source))
        size += 0 if isinstance(source, RecordError) else source.num_samples
        if size >= _SAMPLES_TOGETHER or len(waiting) == _RECORDS_TOGETHER:
            yield from _prepare_waiting(waiting, config, needed)
            waiting, size = [], 0
    yield from _prepare_waiting(waiting, config, needed)


def _without_enough_names(source: Source, leads: Sequence[str]) -> RecordFormatError | None:
    """Return the refusal of a record whose file names too few leads.

    A long record would take minutes and gigabytes before `refuse_unusable` says the same.
    """
    try:
        found = lead_positions(source.leads)
    except LeadError:
        return None  # Preparing it will tell.
    derived = set(LIMB_LEAD_WEIGHTS) if {"I", "II"} <= set(found) else set()
    missing = [lead for lead in leads if lead not in found and lead not in derived]
    num_usable = len(leads) - len(missing)
    if num_usable >= min(MIN_USABLE_LEADS, len(leads)):
        return None
    return RecordFormatError(
        f"{source.source or source.record_id}: only {num_usable} of {len(leads)} leads are usable: "
        f"{', '.join(missing)}: {_CAUSES['missing_lead']}",
        reason="too_few_leads",
    )


def _prepare_waiting(
    waiting: list[tuple[Key, Source | RecordError]],
    config: PreprocessingConfig,
    leads: Sequence[str],
) -> Iterator[tuple[Key, Usable | RecordError]]:
    sources = [source for _, source in waiting if isinstance(source, Record | MicrovoltRecord)]
    try:
        together = iter(prepare_records(sources, config))
    except Exception:  # of any of them: each by itself, which tells
        together = None
    for key, source in waiting:
        if isinstance(source, RecordError):
            yield key, source
            continue
        name = source.source or source.record_id
        found: Usable | RecordError
        try:
            with one_record(name):
                if isinstance(source, LongRecord):
                    prepared = prepare_long(source, config)
                else:
                    prepared = next(together) if together else prepare_record(source, config)
                refuse_unusable(prepared, name, leads)
                found = Usable(source, prepared)
        except RecordError as error:
            found = error
        yield key, found


@contextmanager
def one_record(name: str) -> Iterator[None]:
    """Turn whatever goes wrong with one record into an error of that record.

    What no one foresaw in one odd file must not end the work on a whole archive. What concerns more
    than the record, such as a package that is missing, passes as it is.

    Raises:
        RecordFormatError: In place of any unforeseen error; its reason is ``internal``.
    """
    try:
        yield
    except EcgjepaError:
        raise
    except Exception as error:
        logger.debug("%s", name, exc_info=error)
        raise RecordFormatError(
            f"{name}: cannot be used, for a reason that was not foreseen: {type(error).__name__}: "
            f"{str(error)[:_MOST_LETTERS]}. Please report it, with the file if you may",
            reason="internal",
        ) from error


def _leads_with(issues: Sequence[Issue], *codes: str) -> set[str | None]:
    return {issue.lead for issue in issues if issue.code in codes}


def _describe(issues: Sequence[Issue], leads: Sequence[str]) -> Iterator[str]:
    """Yield the causes, each with the leads of which it is the first one."""
    unusable = _leads_with(issues, "missing_lead", "invalid_lead")
    told: set[str | None] = set()
    for code, words in _CAUSES.items():
        concerned = (_leads_with(issues, code) & unusable) - told
        told |= concerned
        if concerned:
            yield f"{', '.join(lead for lead in leads if lead in concerned)}: {words}"
