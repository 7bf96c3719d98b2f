"""The card of a model on the Hub: what the Hub reads, the folder's card, and how to use it."""

import re

import yaml

from ecgjepa.model.folder import ModelConfig
from ecgjepa.sharing.cards import split_card

_METRICS = {
    "multi-label": ["roc_auc"],
    "single-label": ["roc_auc", "accuracy"],
    "regression": ["mae", "r_squared"],
}
# Ours ends the card of every classifier; it speaks of a folder that is at hand.
_USE_OF_FOLDER = re.compile(r"^## Use\b.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
# The Hub takes a data set for the name of a repository, with or without its owner.
_DATA_SET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")

_PREDICT = """    ecgjepa predict FOLDER_OF_ECGS --model hf:{name} --out table.csv

or in Python:

    import ecgjepa

    model = ecgjepa.load_model("hf:{name}")
    model.predict_proba("FOLDER_OF_ECGS")
"""
_EMBED = """    ecgjepa embed FOLDER_OF_ECGS --model hf:{name} --out features.parquet
    ecgjepa probe --model hf:{name} --data ptb-xl=FOLDER

or in Python:

    import ecgjepa

    features = ecgjepa.embed("FOLDER_OF_ECGS", "hf:{name}")
"""
_USE = """## Use

Install ecgjepa from a clone of its repository, then use the model by its name:

    pip install --constraint constraints.txt '.[formats,hub]'
{verbs}
`hf:{name}@COMMIT` stays with one version. Only safetensors, JSON and this card are downloaded, and
their hashes are checked.
"""


def hub_card(config: ModelConfig, card: str, name: str, licence: str | None = None) -> str:
    """Return the text of ``README.md`` for a repository on the Hub.

    Args:
        config: Description of the model.
        card: Card of its folder, or nothing.
        name: Name of the repository, ``owner/name``.
        licence: Licence of the weights as the Hub names it, such as ``cc-by-4.0``.
    """
    body = _USE_OF_FOLDER.sub("", split_card(card)[1]).strip()
    verbs = (_EMBED if config.head is None else _PREDICT).format(name=name)
    front = yaml.safe_dump(_front_matter(config, licence), sort_keys=False, allow_unicode=True)
    parts = [body or f"# {name.partition('/')[2]}", _USE.format(name=name, verbs=verbs)]
    return f"---\n{front}---\n\n" + "\n\n".join(parts)


def is_licence(text: str) -> bool:
    """Return whether a text looks like one of the Hub's names of licences."""
    return _LICENCE.fullmatch(text) is not None


def _front_matter(config: ModelConfig, licence: str | None) -> dict[str, object]:
    kind = "encoder" if config.head is None else "classifier"
    trained = config.training.get("databases", ())
    names = [*config.pretraining.folds, *config.pretraining.records, *map(str, trained)]
    sets = list(dict.fromkeys(one for one in names if _DATA_SET.fullmatch(one)))
    found: dict[str, object] = {
        "license": licence or "unknown",
        "library_name": "ecgjepa",
        "tags": ["ecg", "electrocardiogram", "ecgjepa", kind, config.pretraining.objective],
    }
    if sets:
        found["datasets"] = sets
    if config.task is not None:
        found["metrics"] = _METRICS[config.task.kind]
    return found
