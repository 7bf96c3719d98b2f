"""What people type: folders by name, folds, layers, label fractions, shares, settings."""

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from ecgjepa.config import describe_validation_error, short_repr

logger = logging.getLogger(__name__)

Settings = TypeVar("Settings", bound=BaseModel)
# Whole numbers as people type them. (Python's `isdigit` is true of ², which is not a number.)
_RANGE = re.compile(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?")
# The largest that a store's index can hold.
_LAST_FOLD = 32_767
_MOST_LAYERS = 512


def named_folders(items: list[str]) -> dict[str, Path]:
    """Read ``NAME=DIR`` items; a folder without a name gets its own, which is reported.

    Raises:
        BadParameter: If one is not like that, or a name is given twice.
    """
    folders: dict[str, Path] = {}
    for item in items:
        name, separator, folder = item.partition("=")
        if not separator or (Path(item).is_dir() and not Path(folder).is_dir()):
            name, folder = _name_of(item), item
        if not (name and folder):
            raise typer.BadParameter(
                f"{item!r}: expected NAME=DIR, e.g. ptb-xl=data/ptb-xl, or a name of your own, "
                f"e.g. clinic={folder or 'archive'}"
            )
        if name in folders:
            raise typer.BadParameter(f"{name} is given twice")
        folders[name] = Path(folder)
    return folders


def _name_of(folder: str) -> str:
    """Return the name of the database in a folder that is given without one."""
    path = Path(folder)
    if not path.is_dir():
        raise typer.BadParameter(
            f"{folder!r}: no such folder; expected NAME=DIR, e.g. ptb-xl=data/ptb-xl, or a name of "
            f"your own, e.g. clinic={folder or 'archive'}"
        )
    name = re.sub(r"[^\w.-]+", "-", path.resolve().name).lstrip("-_.")[:64] or "archive"
    logger.warning("%s: called %s here, after the folder; NAME=DIR gives another name", path, name)
    return name


def named_tables(items: list[str], databases: Iterable[str]) -> dict[str, Path]:
    """Read ``NAME=FILE`` items; with one archive, the file alone is enough.

    Args:
        items: What was typed.
        databases: Names of the databases.

    Raises:
        BadParameter: If it is not told which archive a table describes, or one is given twice.
    """
    from ecgjepa.databases import database_names

    names = set(databases)
    own = sorted(names - set(database_names()))
    tables: dict[str, Path] = {}
    for item in items:
        name, separator, file = item.partition("=")
        if not separator or (name not in names and Path(item).is_file()):
            if len(own or names) != 1:
                raise typer.BadParameter(
                    f"{item!r}: which of {', '.join(own or sorted(names))} does it describe? "
                    "Expected NAME=FILE"
                )
            name, file = (own or sorted(names))[0], item
        if not (name and file):
            raise typer.BadParameter(f"{item!r}: expected NAME=FILE, or FILE with one archive")
        if name in tables:
            raise typer.BadParameter(f"a table of {name} is given twice")
        tables[name] = Path(file)
    return tables


def named_columns(items: list[str] | None) -> tuple[str, ...]:
    """Read names of columns, one an item or several between commas."""
    return tuple(name.strip() for item in items or () for name in item.split(",") if name.strip())


def named_descriptions(items: list[str], archives: list[str]) -> dict[str, Path]:
    """Read ``FILE``, which describes all archives of the call, and ``NAME=FILE``, for one.

    Args:
        items: What was typed.
        archives: Names of the archives of the call.

    Raises:
        BadParameter: If an archive gets two, or there is none.
    """
    for_one: dict[str, Path] = {}
    for_all: list[Path] = []
    for item in items:
        name, _, file = item.partition("=")
        if not archives:
            raise typer.BadParameter(f"--describe {item}: no NAME=DIR is an archive of your own")
        if name in for_one or (for_all and name not in archives):
            raise typer.BadParameter(f"--describe {item}: a description is given already")
        if name in archives and file:
            for_one[name] = Path(file)
        else:
            for_all.append(Path(item))
    return {name: file for file in for_all for name in archives} | for_one


def with_columns(
    task: str,
    labels: list[str] | None,
    divide: str = "auto",
    patient: str | None = None,
    file: str | None = None,
) -> str:
    """Return a task that is a table of labels with the columns to take from it.

    Args:
        task: The task.
        labels: Columns of labels.
        divide: See `ecgjepa.databases.sheets.columns.SheetOptions`.
        patient: Likewise.
        file: Likewise.

    Raises:
        BadParameter: If columns are named and the task is no table.
    """
    from ecgjepa.tasks.task import is_table

    columns = named_columns(labels)
    told = {"--divide": None if divide == "auto" else divide, "--patient": patient, "--file": file}
    given = {option: value for option, value in told.items() if value is not None}
    if given and not is_table(task):
        raise typer.BadParameter(
            f"{', '.join(given)}: says how a table is read; expected --task FILE.csv beside it"
        )
    if columns and not is_table(task):
        raise typer.BadParameter(
            f"--labels {','.join(columns)} names columns of a table; expected --task FILE.csv, or "
            "with --store the column itself as --task"
        )
    if not (columns or given):
        return task
    # What divides may be a colon, and so comes last.
    behind = [f"{option[2:]}={given[option]}" for option in reversed(told) if option in given]
    return ":".join([task, *([",".join(columns)] if columns else []), *behind])


def check_word(word: str, known: Sequence[str], option: str) -> None:
    """Refuse a word that an option does not take.

    Raises:
        BadParameter: If it is none of those that are known.
    """
    if word not in known:
        raise typer.BadParameter(f"expected {' or '.join(known)}", param_hint=option)


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


def evaluated_model(model: str, description: Path | None) -> Any:  # noqa: ANN401
    """Return what is evaluated: a model of this package, or an encoder that was made elsewhere."""
    if description is None:
        return model
    from ecgjepa.protocols.encoders import own_encoder

    return own_encoder(model, description)


def evaluated_data(data: list[str] | None, store: Path | None) -> Any:  # noqa: ANN401
    """Return the records that are evaluated: databases by name, or a store.

    Raises:
        BadParameter: If none of both is given, or both are.
    """
    if (store is None) == (not data):
        raise typer.BadParameter("expected either --data NAME=DIR or --store DIR")
    return named_folders(data or []) if store is None else store
