"""What every command shows: progress, errors, JSON, numbers in words."""

import json
import logging
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tqdm import tqdm

from ecgjepa.files import as_json

# Control characters but the line break, marks that turn the direction of text, and what stands for
# the bytes of a name that is not UTF-8.
_UNSEEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class ProgressBar:
    """A bar on a terminal, a line every quarter otherwise."""

    def __init__(self, text: str, unit: str = "it") -> None:
        """Show ``text`` before the numbers, and a rate in ``unit`` per second."""
        self._text, self._unit = text, unit
        self._bar: Any = None
        self._quarters = 0

    def __enter__(self) -> "ProgressBar":
        """Show nothing until the first call."""
        return self

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done."""
        if sys.stderr.isatty():
            self._draw(done, total)
            return
        quarters = done * 4 // total
        if quarters > self._quarters:
            logging.getLogger("ecgjepa").info("%s %d of %d", self._text, done, total)
        self._quarters = quarters % 4

    def _draw(self, done: int, total: int) -> None:
        if self._bar is None or self._bar.total != total or done < self._bar.n:
            self._close()
            self._bar = tqdm(
                # What an earlier run did is not counted to this run's speed.
                initial=max(done - 1, 0),
                total=total,
                desc=self._text,
                unit=f" {self._unit}",
                ncols=78,
                leave=False,
            )
        self._bar.update(done - self._bar.n)
        if done == total:
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._close()


def as_records(count: int) -> str:
    """Return a number of records in words."""
    return "1 record" if count == 1 else f"{count:,} records"


def as_folds(folds: Sequence[int]) -> str:
    """Return folds in words, such as ``fold 9`` or ``folds 1 to 8``."""
    if len(folds) > 2 and list(folds) == list(range(folds[0], folds[-1] + 1)):
        return f"folds {folds[0]} to {folds[-1]}"
    return f"fold{'' if len(folds) == 1 else 's'} {', '.join(map(str, folds))}"


def as_hours(seconds: float) -> str:
    """Return hours, or minutes where hours would be 0.0."""
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def visible(text: str) -> str:
    """Return text whose control characters are written out: they may be of a file's name.

    A terminal obeys them: it changes colours, its title, or the direction of what follows.
    """
    return _UNSEEN.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def print_line(text: str) -> None:
    """Print one line of text that may hold names of files, labels or records."""
    print(visible(text).replace("\n", "\\n"))


def print_error(text: str) -> None:
    """Print one readable block to stderr."""
    print(to_width(visible(f"ecgjepa: {text}"), indent=9), file=sys.stderr)


def to_width(text: str, *, indent: int = 2) -> str:
    """Return text broken at blanks to the terminal's width; whole lines where there is none.

    A log is searched by line, so it gets lines as long as they are, unless ``COLUMNS`` is set.

    Args:
        text: Lines.
        indent: Blanks before what continues a line.
    """
    width = _columns()
    if width is None:
        return text
    return "\n".join(
        textwrap.fill(
            line,
            width=max(width - 1, 20),
            subsequent_indent=" " * indent,
            break_on_hyphens=False,
            break_long_words=False,
            drop_whitespace=True,
            replace_whitespace=False,
        )
        if len(line) >= width
        else line
        for line in text.split("\n")
    )


def _columns() -> int | None:
    """Return how wide the terminal is that stderr is shown on, or None if that is no terminal."""
    if not (sys.stderr.isatty() or os.environ.get("COLUMNS", "").isdigit()):
        return None
    return shutil.get_terminal_size().columns


def print_json(content: Any) -> None:  # noqa: ANN401
    """Print indented JSON to stdout; numbers that are not finite are null, as JSON has none."""
    print(_json_text(content))


def _json_text(content: Any) -> str:  # noqa: ANN401
    text = json.dumps(as_json(content), indent=2, ensure_ascii=False, allow_nan=False)
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def print_json_list(
    contents: Iterable[dict[str, Any]], is_counted: Callable[[dict[str, Any]], bool]
) -> int:
    """Print a list as `print_json` does, item by item as they come.

    Args:
        contents: The items.
        is_counted: Of which items the number is returned.
    """
    number, separator = 0, ""
    print("[", end="")
    for content in contents:
        lines = textwrap.indent(_json_text(content), "  ")
        print(f"{separator}\n{lines}", end="", flush=True)
        separator = ","
        number += is_counted(content)
    print("\n]" if separator else "]")
    return number


def as_clock(seconds: float) -> str:
    """Return seconds in minutes, hours or days, whichever reads best."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{seconds / 86400:.1f} days"
    return f"{hours}:{minutes:02d}:{rest:02d} h" if hours else f"{minutes}:{rest:02d} min"


def as_bytes(count: float) -> str:
    """Return a number of bytes as MB or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def print_facts(facts: dict[str, Any]) -> None:
    """Print one paragraph per fact."""
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {item}" for name, item in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value)) or "none"
        print_wrapped(key.replace("_", " "), str(value))


def print_wrapped(key: str, text: str) -> None:
    """Print ``key: text`` within 79 columns, broken at blanks only: a path stays whole."""
    indent = len(key) + 2 if len(key) < 24 else 6
    lines = textwrap.wrap(
        visible(f"{key}: {text}"),
        width=79,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    print("\n".join(lines))
