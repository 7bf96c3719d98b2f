"""Sets of leads that a model answers by: what is noted of an answer, what a refusal advises."""

from collections.abc import Iterator
from functools import lru_cache

from ecgjepa.errors import FewLeadsError, RecordError
from ecgjepa.model.folder import ModelConfig, read_model_config
from ecgjepa.model.outputs import MEASURES
from ecgjepa.sharing.box import box_folder, box_names
from ecgjepa.signals.acceptance import MIN_USABLE_LEADS, Usable
from ecgjepa.signals.leads import name_of_set
from ecgjepa.signals.record import Issue


def note_of_leads(usable: Usable, config: ModelConfig) -> tuple[Issue, ...]:
    """Return a note on a record that is answered by fewer leads than the model has.

    Args:
        usable: The record.
        config: Of the model.
    """
    found = next((each for each in config.lead_sets if each.leads == usable.leads), None)
    if found is None or config.task is None:
        return ()
    words = f"answered from {_listed(found.leads)} alone, for which the model was trained"
    if found.score is not None:
        value, low, high = found.score
        measure = "r2" if config.task.kind == "regression" else "macro_auroc"
        words += f"; its test: {MEASURES[measure]} {value:.3f}"
        words += f" ({low:.3f} to {high:.3f})"
    lost = {issue.lead for issue in usable.prepared.issues if issue.code in _LOST}
    unused = [
        lead for lead in config.preprocessing.leads if lead not in lost and lead not in found.leads
    ]
    if unused:
        words += f". Leads that it was not trained to use with these: {', '.join(unused)}"
    return (Issue("lead_set", words),)


# Of a lead that is not there, another note tells.
_LOST = ("missing_lead", "invalid_lead", "flat_lead")


def advised(error: RecordError, config: ModelConfig) -> RecordError:
    """Return an error about a record, with what would answer it if it has too few leads.

    Args:
        error: Why the record cannot be used.
        config: Of the model that refuses it.
    """
    if not isinstance(error, FewLeadsError):
        return error
    leads = config.preprocessing.leads
    least = min(MIN_USABLE_LEADS, len(leads))
    some = f"at least {least} of its {len(leads)} leads" if least < len(leads) else "all its leads"
    others = "".join(f", or {name_of_set(each)}" for each in config.sets_of_leads[1:])
    words = f"{error}. The model needs {some}{others}; limb leads that follow from I and II count"
    if names := [f"{name} (from {of})" for name, of in _answering(error.leads)]:
        words += f". What answers this record: --model {' or '.join(names)}"
    return FewLeadsError(words, leads=error.leads, reason=error.reason)


def _answering(leads: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield each model in the box that answers from some of the leads, and the set it uses."""
    for name, sets in _in_the_box():
        for each in sets:
            if set(each) <= set(leads):
                yield name, name_of_set(each)
                break


@lru_cache(maxsize=1)
def _in_the_box() -> tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]:
    """Return the models in the box, which do not change, with their sets of leads."""
    return tuple((name, read_model_config(box_folder(name)).sets_of_leads) for name in box_names())


def _listed(leads: tuple[str, ...]) -> str:
    words = "lead" if len(leads) == 1 else "leads"
    return f"{words} {', '.join(leads)}"
