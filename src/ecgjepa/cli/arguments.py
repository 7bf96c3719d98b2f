"""What people type: folders by name, folds, percents, shares."""

from pathlib import Path

import typer


def named_folders(items: list[str]) -> dict[str, Path]:
    """Read ``NAME=DIR`` items.

    Raises:
        BadParameter: If one is not like that, or a name is given twice.
    """
    folders: dict[str, Path] = {}
    for item in items:
        name, separator, folder = item.partition("=")
        if not (name and separator and folder):
            raise typer.BadParameter(f"{item!r}: expected NAME=DIR, e.g. ptb-xl=data/ptb-xl")
        if name in folders:
            raise typer.BadParameter(f"{name} is given twice")
        folders[name] = Path(folder)
    return folders


def parse_folds(text: str) -> tuple[int, ...]:
    """Read ``1-8`` or ``1,2,5``.

    Raises:
        BadParameter: If it is not like that.
    """
    folds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.strip().isdigit() or (dash and not last.strip().isdigit()):
            raise typer.BadParameter(f"folds {text!r}: expected e.g. 1-8 or 1,2,5")
        folds += range(int(first), int(last) + 1) if dash else [int(first)]
    return tuple(folds)


def parse_percents(text: str) -> tuple[float, ...]:
    """Read ``1,5,10`` as shares of one.

    Raises:
        BadParameter: If one is no number above 0, up to 100.
    """
    shares = []
    for part in text.split(","):
        try:
            share = float(part) / 100
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            raise typer.BadParameter(f"{text!r}: expected percents such as 1,10,100")
        shares.append(share)
    return tuple(shares)


def parse_share(text: str) -> tuple[int, int]:
    """Read ``3/16``.

    Raises:
        BadParameter: If it is not like that.
    """
    part, _, of = text.partition("/")
    if not (part.strip().isdigit() and of.strip().isdigit()):
        raise typer.BadParameter(f"share {text!r}: expected i/n, e.g. 3/16")
    return int(part), int(of)
