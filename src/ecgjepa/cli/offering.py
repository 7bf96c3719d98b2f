"""Verbs that give a model to others: push, serve."""

import logging
from typing import Annotated

import typer

from ecgjepa.cli.application import app
from ecgjepa.cli.options import AnyModelOption, DeviceOption, JsonOption, ModelOption
from ecgjepa.sharing.box import DEFAULT_MODEL
from ecgjepa.terminal.screen import print_json, print_line

logger = logging.getLogger(__name__)


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
            help="Of the weights, such as cc-by-4.0 [default: the card's].",
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
    from ecgjepa.sharing.references import find_model

    pushed = run(find_model(model), to, private=private, licence=licence, message=message)
    if as_json:
        print_json(pushed._asdict())
        return
    seen_by = "private" if pushed.is_private else "public"
    print_line(f"{pushed.url} ({seen_by}), commit {pushed.commit}")
    if pushed.left_out:
        print_line(f"left out: {', '.join(pushed.left_out)}")
    if pushed.licence is None:
        print_line("license: unknown; --license ID tells others what they may do with it")
    print_line(f"use it: ecgjepa predict FILES --model {pushed.name}@{pushed.commit}")


@app.command()
def serve(
    model: AnyModelOption = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port.")] = 8000,
    readers: Annotated[
        int | None,
        typer.Option("--readers", min=1, help="Processes that read files [default: one per CPU]."),
    ] = None,
    queue: Annotated[
        int, typer.Option("--queue", min=1, help="Requests that are worked on or wait.")
    ] = 16,
    megabytes: Annotated[
        int, typer.Option("--max-megabytes", min=1, help="Largest request, in MB.")
    ] = 50,
    seconds: Annotated[
        float, typer.Option("--max-seconds", min=0.1, help="Longest reading of a request.")
    ] = 20.0,
    memory: Annotated[
        int, typer.Option("--max-memory", min=50, help="Memory of a reading process, in MB.")
    ] = 1000,
    decision: Annotated[
        str | None,
        typer.Option("--decision", metavar="RULE", help="When the model says yes; as of predict."),
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Answer ECG files over HTTP: POST /predict and /embed.

    Also GET /health, /model, /metrics and /openapi.json. Files are read in processes of their own,
    which are replaced when one takes too long or too much.
    """
    from ecgjepa.serving.limits import Limits
    from ecgjepa.serving.serve import serve as run

    limits = Limits(
        body_bytes=megabytes * 1_000_000,
        seconds=seconds,
        memory_bytes=memory * 1_000_000,
        requests=queue,
    )
    if model is None:
        model = DEFAULT_MODEL
        logger.info("no --model is given: %s answers; 'ecgjepa models' lists others", model)
    run(
        model,
        host=host,
        port=port,
        limits=limits,
        readers=readers,
        device=device,
        decision=decision,
    )
