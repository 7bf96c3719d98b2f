"""The command itself: what all verbs share, and how errors end."""

import logging
import sys
from typing import Annotated

import typer

from ecgjepa.cli.verbs import Verbs, explain_refusal, is_help
from ecgjepa.errors import EcgjepaError
from ecgjepa.terminal.screen import print_error, to_width, visible
from ecgjepa.version import __version__

app = typer.Typer(
    name="ecgjepa",
    cls=Verbs,
    help="Self-supervised pre-training of ECG models, their evaluation and use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)

FELL_SHORT, WRONG_USE = 1, 2
# What typer raises for options and arguments; its name and home differ between versions.
_Refusal: type[Exception] = typer.BadParameter.__mro__[1]


logger = logging.getLogger(__name__)


def _print_version(wanted: bool) -> bool:
    if wanted:
        print(f"ecgjepa {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Warnings only.")] = False,
    own: Annotated[
        list[str] | None,
        typer.Option(
            "--use",
            metavar="MODULE:CLASS",
            help="Import an encoder or objective of your own; repeatable.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Visible("%(message)s"))
    level = logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # This logger alone: other libraries say a great deal at that level.
    logger.setLevel(logging.DEBUG if debug else logging.NOTSET)
    if own:
        from ecgjepa.objectives.own.using import use

        for code in own:
            use(code)


class _Visible(logging.Formatter):
    """Writes out control characters, which may be of a file's name, and breaks long lines."""

    def format(self, record: logging.LogRecord) -> str:
        return to_width(visible(super().format(record)))


def main() -> None:
    """Run the command; errors become one readable block and an exit code."""
    try:
        code = app(standalone_mode=False)
    except _Refusal as error:
        if is_help(error):
            print(error.format_message(), file=sys.stderr)  # type: ignore[attr-defined]
        else:
            print_error(explain_refusal(error, sys.argv[1:]))
        sys.exit(WRONG_USE)
    except EcgjepaError as error:
        _fail(error, WRONG_USE)
    except (OSError, KeyboardInterrupt, typer.Abort) as error:
        _fail(error, FELL_SHORT)
    else:
        sys.exit(code or 0)


def _fail(error: BaseException, code: int) -> None:
    logger.debug("%s", type(error).__name__, exc_info=error)
    text = str(error) if isinstance(error, EcgjepaError | OSError) else "interrupted"
    print_error(text)
    sys.exit(code)
