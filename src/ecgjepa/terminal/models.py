"""The models that are at hand by name, on a terminal and as JSON."""

from typing import Any

from ecgjepa.sharing.listing import KnownModel
from ecgjepa.signals.leads import name_of_set
from ecgjepa.terminal.screen import as_bytes, print_line, print_wrapped

_SHOWN = 8


def print_models(found: list[KnownModel]) -> None:
    """Print a paragraph for each model, and how one is used."""
    for model in found:
        print_line(model.name)
        if model.error:
            print_wrapped("  error", model.error)
            continue
        if model.task:
            more = f", … {len(model.labels)} in all" if len(model.labels) > _SHOWN else ""
            print_wrapped("  task", f"{model.task}: {', '.join(model.labels[:_SHOWN])}{more}")
        else:
            print_wrapped("  task", "none: an encoder, for embed, probe and finetune")
        leads = f"{len(model.leads)} leads" if len(model.leads) > 3 else ", ".join(model.leads)
        leads += "".join(f" or {name_of_set(each)}" for each in model.lead_sets[1:])
        print_wrapped("  input", f"{leads} at {model.sampling_rate:g} Hz; others are resampled")
        print_wrapped("  tested", "not told" if model.score is None else model.score.in_words())
        print_wrapped("  licence", _licence(model))
        print_wrapped("  size", as_bytes(model.num_bytes))
    if not found:
        print("no model in the box, and none in the cache")


def _licence(model: KnownModel) -> str:
    data = ", ".join(f"{name} {licence}" for name, licence in model.data_licences.items())
    return f"{model.licence or 'not told'}{f'; trained on {data}' if data else ''}"


def model_as_json(model: KnownModel) -> dict[str, Any]:
    """Return what is known of a model as JSON content."""
    score = model.score
    return {
        "name": model.name,
        "source": model.source,
        "folder": str(model.folder),
        "task": model.task or None,
        "labels": list(model.labels),
        "leads": list(model.leads),
        "lead_sets": [list(leads) for leads in model.lead_sets],
        "sampling_rate": model.sampling_rate,
        "score": None if score is None else {**score._asdict(), "databases": list(score.databases)},
        "licence": model.licence or None,
        "trained_on": list(model.trained_on),
        "data_licences": model.data_licences,
        "bytes": model.num_bytes,
        "error": model.error or None,
    }
