"""The keys of all settings, and which of them a misspelled or unknown one may mean."""

import difflib
import inspect
from collections.abc import Iterable

from pydantic import BaseModel

from ecgjepa.config.run import PretrainConfig
from ecgjepa.config.section import short_repr
from ecgjepa.errors import did_you_mean

# What other programs call a setting, and what it is here.
_ELSEWHERE = {
    "ratio": "mask.min_keep_ratio and mask.max_keep_ratio (a mask ratio is 1 minus the keep ratio)",
    "lr": "train.learning_rate",
    "epochs": "train.steps (an epoch is the number of records divided by train.batch_size)",
    "ema": "train.momentum",
    "wd": "train.weight_decay",
    "heads": "encoder.num_heads",
    "layers": "encoder.depth",
    "width": "encoder.dim",
    "embed_dim": "encoder.dim",
    "window": "data.window_seconds",
    "fs": "data.sampling_rate",
}
for _name, _like in {
    "mask_ratio": "ratio",
    "keep_ratio": "ratio",
    "max_lr": "lr",
    "max_epochs": "epochs",
    "ema_decay": "ema",
    "num_layers": "layers",
    "hidden_size": "width",
    "window_size": "window",
    "sfreq": "fs",
}.items():
    _ELSEWHERE[_name] = _ELSEWHERE[_like]


def sections() -> dict[str, type[BaseModel]]:
    """Return the sections of a pre-training run's settings by name."""
    return {
        name: field.annotation
        for name, field in PretrainConfig.model_fields.items()
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel)
    }


def keys_named(name: str) -> list[str]:
    """Return the keys, with their sections, that end in a name, such as ``train.steps``."""
    return [
        f"{section}.{name}" for section, kind in sections().items() if name in kind.model_fields
    ]


def describe_unknown(path: str, *, has_value: bool = True) -> str | None:
    """Return why a key cannot be set and which may be meant, or None if it can.

    Args:
        path: Text before the ``=``, such as ``train.steps``.
        has_value: Whether there was a ``=``.
    """
    section, dot, key = path.partition(".")
    if not (has_value and dot and section and key):
        meant = [] if dot else keys_named(section)
        hint = f"; did you mean {' or '.join(meant)}?" if meant else ""
        return f"expected section.key=value, e.g. train.steps=500{hint}"
    known = sections()
    if section not in known:
        meant = keys_named(key)
        hint = did_you_mean(section, known)
        if meant:
            hint = f"; did you mean {' or '.join(meant)}?"
        return f"no section {short_repr(section)}{_list(hint, known)}"
    if key in known[section].model_fields:
        return None
    return (
        f"section {section!r} has no key {short_repr(key)}"
        f"{_list(_meant(section, key), known[section].model_fields)}"
    )


def _list(hint: str, known: Iterable[str]) -> str:
    """Return the hint and where all keys are explained; without a hint, all of them."""
    if hint:
        return f"{hint} 'ecgjepa presets tiny' explains every setting"
    return f"; expected one of {', '.join(known)}"


def _meant(section: str, key: str) -> str:
    """Return which key may be meant: of other programs, of another section, or spelled alike."""
    if key in _ELSEWHERE and not (section == "mae" and key == "ratio"):
        return f"; here it is {_ELSEWHERE[key]}."
    if elsewhere := keys_named(key):
        return f"; did you mean {' or '.join(elsewhere)}?"
    if close := did_you_mean(key, sections()[section].model_fields):
        return close
    names = {name for kind in sections().values() for name in kind.model_fields}
    similar = difflib.get_close_matches(key[:100], names, n=1, cutoff=0.8)
    return f"; did you mean {' or '.join(keys_named(similar[0]))}?" if similar else ""
