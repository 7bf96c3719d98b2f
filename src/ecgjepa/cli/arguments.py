"""What people type: folders by name, folds, layers, label fractions, shares, settings."""

import re
from pathlib import Path
from typing import Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from ecgjepa.config import describe_validation_error, short_repr

Settings = TypeVar("Settings", bound=BaseModel)
# Whole numbers as people type them. (Python's `isdigit` is true of ², which is not a number.)
_RANGE = re.compile(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?")
# The largest that a store's index can hold.
_LAST_FOLD = 32_767
_MOST_LAYERS = 512


def named_folders(items: list[str]) -> dict[str, Path]:
    """Read ``NAME=DIR`` items.

    Raises:
        BadParameter: If one is not like that, or a name is given twice.
    """
    folders: dict[str, Path] = {}
    for item in items:
        name, separator, folder = item.partition("=")
        if not (name and separator and folder):
            raise typer.BadParameter(
                f"{item!r}: expected NAME=DIR, e.g. ptb-xl=data/ptb-xl, or a name of your own, "
                f"e.g. clinic={item or 'archive'}"
            )
        if name in folders:
            raise typer.BadParameter(f"{name} is given twice")
        folders[name] = Path(folder)
    return folders


def parse_folds(text: str) -> tuple[int, ...]:
    """Read ``1-8`` or ``1,2,5``.

    Raises:
        BadParameter: If it is not like that, or no fold can have such a number.
    """
    return _parse_numbers(text, "folds", "1-8 or 1,2,5", _LAST_FOLD)


def parse_layers(text: str) -> tuple[int, ...]:
    """Read ``4`` or ``5-8``; nothing gives no layers.

    Raises:
        BadParameter: If it is not like that, or no encoder has so many layers.
    """
    return _parse_numbers(text, "layers", "4 or 5-8", _MOST_LAYERS) if text else ()


def _parse_numbers(text: str, what: str, example: str, most: int) -> tuple[int, ...]:
    numbers: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise typer.BadParameter(f"{what} {short_repr(text)}: expected e.g. {example}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last > most:
            raise typer.BadParameter(f"{what} {short_repr(text)}: expected numbers up to {most:,}")
        if first > last:
            raise typer.BadParameter(
                f"{what} {short_repr(text)}: {first} is above {last}; expected e.g. {example}"
            )
        numbers += range(first, last + 1)
    return tuple(numbers)


def parse_fractions(text: str) -> tuple[float, ...]:
    """Read ``1%,10%,100%`` or ``0.01,0.1`` as shares of one.

    A bare number of 1 or more is refused: 10 was ten percent in older versions, and the functions
    of this package take shares, of which 1 is all.

    Raises:
        BadParameter: If one is neither a share between 0 and 1 nor a percentage up to 100 %.
    """
    return tuple(_parse_fraction(part.strip()) for part in text.split(","))


def _parse_fraction(text: str) -> float:
    number = text.removesuffix("%").strip()
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    is_percent = text.endswith("%")
    if not is_percent and 1 <= value <= 100:
        raise typer.BadParameter(
            f"{text}: is that percent? Write {number}% or, as a share, {value / 100:g}"
            + ("; all are 100%" if value == 1 else "")
        )
    share = value / 100 if is_percent else value
    if not 0 < share <= 1:
        raise typer.BadParameter(
            f"{short_repr(text)}: expected percentages such as 1%,10%,100% or shares such as 0.1"
        )
    return share


def validated(settings: type[Settings], **values: Any) -> Settings:  # noqa: ANN401
    """Return settings made of options.

    Raises:
        BadParameter: If a value is impossible.
    """
    try:
        return settings(**values)
    except ValidationError as error:
        raise typer.BadParameter(describe_validation_error(error, "options")) from None


def parse_share(text: str) -> tuple[int, int]:
    """Read ``3/16``.

    Raises:
        BadParameter: If it is not like that.
    """
    match = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", text)
    if match is None:
        raise typer.BadParameter(f"share {short_repr(text)}: expected i/n, e.g. 3/16")
    return int(match[1]), int(match[2])
