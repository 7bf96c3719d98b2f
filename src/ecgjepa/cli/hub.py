"""The verb that gives a model to others: push."""

from typing import Annotated

import typer

from ecgjepa.cli.application import app
from ecgjepa.cli.options import JsonOption, ModelOption
from ecgjepa.terminal.screen import print_json, print_line


@app.command()
def push(
    model: ModelOption,
    to: Annotated[
        str,
        typer.Option("--to", metavar="hf:OWNER/NAME", help="Where to put it.", show_default=False),
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Only those with access may see it.")
    ] = False,
    licence: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="ID",
            help="Of the weights, such as cc-by-4.0 [default: unknown].",
        ),
    ] = None,
    message: Annotated[
        str | None, typer.Option("--message", help="First line of the commit.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put a model on the Hugging Face Hub.

    Weights, description and card travel, and nothing else of the folder. Log in with 'hf auth
    login' before, or set HF_TOKEN.
    """
    from ecgjepa.sharing.hub import push as run

    pushed = run(model, to, private=private, licence=licence, message=message)
    if as_json:
        print_json(pushed._asdict())
        return
    seen_by = "private" if pushed.is_private else "public"
    print_line(f"{pushed.url} ({seen_by}), commit {pushed.commit}")
    if pushed.left_out:
        print_line(f"left out: {', '.join(pushed.left_out)}")
    if licence is None:
        print_line("license: unknown; --license ID tells others what they may do with it")
    print_line(f"use it: ecgjepa predict FILES --model {pushed.name}@{pushed.commit}")
