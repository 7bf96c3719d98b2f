"""The command itself: what all verbs share, and how errors end."""

import logging
import sys
from typing import Annotated

import typer

from ecgjepa.errors import EcgjepaError
from ecgjepa.terminal.screen import print_error, visible

app = typer.Typer(
    name="ecgjepa",
    help="Self-supervised pre-training of ECG models, their evaluation and use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)

FELL_SHORT, WRONG_USE = 1, 2


logger = logging.getLogger(__name__)


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Warnings only.")] = False,
) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Visible("%(message)s"))
    level = logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # This logger alone: other libraries say a great deal at that level.
    logger.setLevel(logging.DEBUG if debug else logging.NOTSET)


class _Visible(logging.Formatter):
    """Writes out control characters, which may be of a file's name."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def main() -> None:
    """Run the command; errors become one readable block and an exit code."""
    try:
        app()
    except EcgjepaError as error:
        _fail(error, WRONG_USE)
    except (OSError, KeyboardInterrupt) as error:
        _fail(error, FELL_SHORT)


def _fail(error: BaseException, code: int) -> None:
    logger.debug("%s", type(error).__name__, exc_info=error)
    text = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
    print_error(text)
    sys.exit(code)
