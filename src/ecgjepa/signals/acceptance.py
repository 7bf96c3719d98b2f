"""Which records can be used: one rule for training, prediction, features and pictures."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, TypeVar, get_args

from ecgjepa.errors import (
    EcgjepaError,
    FewLeadsError,
    LeadError,
    RecordError,
    RecordFormatError,
)
from ecgjepa.signals.leads import LEADS, lead_positions, with_derived
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
        FewLeadsError: If fewer leads can be used; the message names the leads and the causes.
        RecordFormatError: If every lead is flat (``flat_record``).
    """
    issues = [issue for issue in prepared.issues if issue.lead in leads]
    unusable = _leads_with(issues, "missing_lead", "invalid_lead")
    num_usable = len(leads) - len(unusable)
    if num_usable < min(MIN_USABLE_LEADS, len(leads)):
        causes = "; ".join(_describe(issues, leads))
        lost = _leads_with(prepared.issues, "missing_lead", "invalid_lead", "flat_lead")
        raise FewLeadsError(
            f"{source}: only {num_usable} of {len(leads)} leads are usable: {causes}",
            leads=[lead for lead in LEADS if lead not in lost],
        )
    if len(_leads_with(issues, "flat_lead") | unusable) == len(leads):
        others = "".join(f"; {cause}" for cause in _describe(issues, leads))
        raise RecordFormatError(f"{source}: every lead is flat{others}", reason="flat_record")


def usable_leads(
    prepared: Prepared, source: str, sets: Sequence[tuple[str, ...]]
) -> tuple[str, ...]:
    """Return the first of several sets of leads that a record can be used by.

    Files of devices with few leads may hold flat lines for the others; a set without a flat lead is
    therefore preferred.

    Args:
        prepared: The record.
        source: Its file, for the message.
        sets: Sets of leads, any of which is enough.

    Raises:
        RecordFormatError: As `refuse_unusable` for the first of them.
    """
    if len(sets) > 1:
        lost = _leads_with(prepared.issues, "missing_lead", "invalid_lead", "flat_lead")
        for leads in sets:
            left = sum(lead not in lost for lead in leads)
            if left >= min(MIN_USABLE_LEADS, len(leads)):
                return leads
    refuse_unusable(prepared, source, sets[0])
    return sets[0]


class Usable(NamedTuple):
    """A record that can be used.

    Attributes:
        source: The record as it was read.
        prepared: The record as it is prepared.
        leads: Leads by which it can be used; none where nothing else than all were asked for.
    """

    source: Source
    prepared: Prepared
    leads: tuple[str, ...] = ()


def prepare_each(
    sources: Iterable[tuple[Key, Source | RecordError]],
    config: PreprocessingConfig,
    sets: Sequence[tuple[str, ...]] = (),
) -> Iterator[tuple[Key, Usable | RecordError]]:
    """Prepare records one after the other, or say why one cannot be used; a few are read ahead.

    Those that are alike are worked on together, see `ecgjepa.signals.preprocessing`.

    Args:
        sources: Records, each with whatever tells it from others; errors are passed on.
        config: What is done to them.
        sets: Sets of leads, of which the first that a record has is used; all of ``config`` by
            default.

    Yields:
        For each, in order: what told it, and the record or why it cannot be used.
    """
    sets = sets or (config.leads,)
    waiting: list[tuple[Key, Source | RecordError]] = []
    size = 0
    for key, source in sources:
        if not isinstance(source, RecordError) and source.num_samples >= _LONG_SAMPLES:
            source = _without_enough_names(source, sets) or source
        waiting.append((key, source))
        size += 0 if isinstance(source, RecordError) else source.num_samples
        if size >= _SAMPLES_TOGETHER or len(waiting) == _RECORDS_TOGETHER:
            yield from _prepare_waiting(waiting, config, sets)
            waiting, size = [], 0
    yield from _prepare_waiting(waiting, config, sets)


def _without_enough_names(
    source: Source, sets: Sequence[tuple[str, ...]]
) -> RecordFormatError | None:
    """Return the refusal of a record whose file names too few leads.

    A long record would take minutes and gigabytes before `refuse_unusable` says the same.
    """
    try:
        found = with_derived(tuple(lead_positions(source.leads)))
    except LeadError:
        return None  # Preparing it will tell.
    for leads in sets:
        if len(set(leads) & set(found)) >= min(MIN_USABLE_LEADS, len(leads)):
            return None
    missing = [lead for lead in sets[0] if lead not in found]
    return FewLeadsError(
        f"{source.source or source.record_id}: only {len(sets[0]) - len(missing)} of "
        f"{len(sets[0])} leads are usable: {', '.join(missing)}: {_CAUSES['missing_lead']}",
        leads=found,
    )


def _prepare_waiting(
    waiting: list[tuple[Key, Source | RecordError]],
    config: PreprocessingConfig,
    sets: Sequence[tuple[str, ...]],
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
                    hours = f"{source.duration / 3600:.1f} h"
                    logger.info("%s: %s, which are read in pieces and take a while", name, hours)
                    prepared = prepare_long(source, config)
                else:
                    prepared = next(together) if together else prepare_record(source, config)
                found = Usable(source, prepared, usable_leads(prepared, name, sets))
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
