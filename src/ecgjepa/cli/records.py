"""What predict and embed are given: records, and words that say what to do with them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import typer

if TYPE_CHECKING:
    from ecgjepa.inference.encoding import Layer
    from ecgjepa.inference.inputs.records import Inputs
    from ecgjepa.signals.acceptance import OnBad

Chosen = TypeVar("Chosen", bound=str)


def as_layer(text: str) -> "Layer":
    """Read ``last``, ``all`` or the number of a block.

    Raises:
        BadParameter: If it is none of these.
    """
    if text.isascii() and text.isdigit() and len(text) <= 4:
        return int(text)
    named: tuple[Literal["last", "all"], ...] = ("last", "all")
    return choice(text, named, "--layer")


def choice(text: str, known: Sequence[Chosen], option: str) -> Chosen:
    """Return a word that an option takes.

    Raises:
        BadParameter: If it is none of those that are known.
    """
    for each in known:
        if text == each:
            return each
    raise typer.BadParameter(f"expected {' or '.join(known)}", param_hint=option)


def as_on_bad(text: str) -> "OnBad":
    """Read what happens to records that cannot be used.

    Raises:
        BadParameter: If it is no such word.
    """
    from ecgjepa.signals.acceptance import ON_BAD

    return choice(text, ON_BAD, "--on-bad")


def find_records(
    inputs: list[str] | None, lists: list[Path] | None, out: Path | None, describe: Path | None
) -> "Inputs":
    """List the records that a command line names.

    Args:
        inputs: Files, folders and the like; ``-`` for names on the standard input.
        lists: Lists of names.
        out: Output, which is none of the records.
        describe: What describes arrays and tables.

    Raises:
        InputError: As `ecgjepa.inference.inputs.named.find_inputs`.
    """
    from ecgjepa.inference.inputs.lists import read_lines
    from ecgjepa.inference.inputs.named import find_inputs
    from ecgjepa.inference.outputs.parts import own_files

    named = [name for name in inputs or [] if name != "-"]
    listed = read_lines(sys.stdin) if "-" in (inputs or []) else []
    without = () if out is None else own_files(out)
    return find_inputs(
        named, lists=lists or [], listed=listed, without=without, description=describe
    )
