"""What a model card says beside labels: scores by age and sex, and where the records are from."""

from collections.abc import Iterator, Sequence
from typing import Any

from ecgjepa.databases.catalogue import CATALOGUE
from ecgjepa.metrics.subgroups import MIN_PATIENTS
from ecgjepa.model.folder import ModelConfig
from ecgjepa.results.layout import PRE_TRAINED

# Of whom people ask first; results.json has sites, devices and signal quality too.
_ATTRIBUTES = ("age", "sex")
_MOST_DEVICES = 4


def by_age_and_sex(results: dict[str, Any]) -> Iterator[str]:
    """Yield the scores of patients of each age and sex, where the test records tell them.

    Args:
        results: Content of ``results.json``.
    """
    groups = results["models"][PRE_TRAINED].get("subgroups", {})
    rows = [
        [attribute, one["group"], f"{one['records']:,}", f"{one['patients']:,}", _score(one)]
        for attribute in _ATTRIBUTES
        for one in groups.get(attribute, ())
    ]
    if not rows:
        return
    yield "## By age and sex"
    yield (
        "Macro AUROC on the test records of each group, with 95 % intervals over patients; groups "
        f"of fewer than {MIN_PATIENTS} patients are counted and not scored. A group may lack "
        "labels that another has, so compare with care."
    )
    yield table(["", "group", "records", "patients", "macro AUROC"], rows)


def _score(group: dict[str, Any]) -> str:
    measured = group["macro_auroc"]
    return "-" if measured is None else "{:.3f} ({:.3f} to {:.3f})".format(*measured)


def training_data(config: ModelConfig, results: dict[str, Any]) -> Iterator[str]:
    """Yield which records a model was made from, their licence, and what to cite.

    Args:
        config: Description of the model.
        results: Content of ``results.json``.
    """
    yield "## Training data"
    counts, earlier = results["counts"], _earlier(config)
    yield (
        f"{counts['train']:,} records with a label of the task; {counts['validation']:,} to select "
        f"and calibrate by. {_before(config, earlier)}"
    )
    names = (*config.training["databases"], *earlier, *config.pretraining.records)
    for name in dict.fromkeys(names):
        known = CATALOGUE.get(name)
        if known is None:
            yield f"{name}: data of its owner; licence and citation are theirs to tell."
        else:
            cited = "\n".join(f"- {one}" for one in known.citations)
            yield f"{known.title}, licence {known.licence}. Please cite:\n\n{cited}"
    if devices := _devices(results):
        yield (
            f"Test records by device: {devices}. Other devices, filters and populations may score "
            "otherwise: 'ecgjepa evaluate' measures a model on labelled records of your own."
        )


def _earlier(config: ModelConfig) -> list[str]:
    """Return the databases whose labels the network had learned before this training."""
    stages = config.training.get("seen", [])
    before = stages[: len(stages) - len(config.training["databases"])]
    return list(dict.fromkeys(str(stage["database"]) for stage in before))


def _before(config: ModelConfig, earlier: Sequence[str]) -> str:
    words = []
    if config.pretraining.steps != 0:
        seen = ", ".join(config.pretraining.records) or "records that are not known"
        kind = config.pretraining.objective
        words.append(f"The encoder was pre-trained without labels ({kind}) on {seen}.")
    if earlier:
        words.append(f"It had been trained with labels before, of {', '.join(earlier)}.")
    if not words:
        words.append("The network began with random weights and saw nothing but these.")
    return " ".join(words)


def _devices(results: dict[str, Any]) -> str:
    groups = results["models"][PRE_TRAINED].get("subgroups", {}).get("device", ())
    found = sorted(groups, key=lambda one: -int(one["records"]))
    shown = [f"{' '.join(one['group'].split())}: {one['records']:,}" for one in found]
    more = [f"{len(found) - _MOST_DEVICES} others"] if len(found) > _MOST_DEVICES else []
    return "; ".join([*shown[:_MOST_DEVICES], *more])


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
