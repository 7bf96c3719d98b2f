"""The base of all configuration models, and how their errors read."""

import reprlib

from pydantic import BaseModel, ConfigDict, ValidationError

# A message is for people: it names the first errors, and shows the beginning of what was found.
_MOST_ERRORS = 10
_MOST_KEYS = 200
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = 4
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


class Section(BaseModel):
    """Base of all configuration models: immutable; unknown keys, NaN and infinity are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def describe_validation_error(error: ValidationError, source: str) -> str:
    """Return pydantic's findings as one line per key, without its links, cut to what can be read.

    Args:
        error: What pydantic found.
        source: Where the values come from, such as a file.
    """
    found = error.errors(include_url=False)
    lines = []
    for item in found[:_MOST_ERRORS]:
        key = ".".join(str(part) for part in item["loc"])[:_MOST_KEYS] or "(whole)"
        value = "" if item["type"] == "missing" else f", found {short_repr(item['input'])}"
        if item["type"] == "extra_forbidden":
            lines.append(f"{key}: no such key{value}")
        else:
            lines.append(
                f"{key}: {item['msg'].removeprefix('Value error, ')}"
                + (value if not isinstance(item["input"], dict) else "")
            )
    if len(found) > _MOST_ERRORS:
        lines.append(f"and {len(found) - _MOST_ERRORS:,} errors more")
    return f"{source}: " + "; ".join(lines)


def short_repr(value: object) -> str:
    """Return the beginning of a value's ``repr``, however large the value is."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python writes no whole number of more than some thousand digits.
        return f"a {type(value).__name__} too long to show"
