"""The base of all configuration models, and how their errors read."""

from pydantic import BaseModel, ConfigDict, ValidationError


class Section(BaseModel):
    """Base of all configuration models: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def describe_validation_error(error: ValidationError, source: str) -> str:
    """Return pydantic's findings as one line per key, without its links."""
    lines = []
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"]) or "(whole)"
        found = "" if item["type"] == "missing" else f", found {item['input']!r}"
        if item["type"] == "extra_forbidden":
            lines.append(f"{key}: no such key{found}")
        else:
            lines.append(
                f"{key}: {item['msg'].removeprefix('Value error, ')}"
                + (found if not isinstance(item["input"], dict) else "")
            )
    return f"{source}: " + "; ".join(lines)
