"""Verbs that use a model on records: predict, embed."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ecgjepa.cli.application import FELL_SHORT, app
from ecgjepa.cli.options import (
    AnyModelOption,
    DescribeOption,
    DeviceOption,
    InputsArgument,
    JsonOption,
    ListOption,
    ModelOption,
    OnBadOption,
    OverwriteOption,
    RestartOption,
    WorkerOptions,
)
from ecgjepa.cli.records import as_layer, as_on_bad, choice, find_records
from ecgjepa.cli.sharing import sharing
from ecgjepa.sharing.box import DEFAULT_MODEL
from ecgjepa.terminal.next_steps import after_answers, after_decisions, after_embedding
from ecgjepa.terminal.outputs import print_notices, print_written, written_as_json
from ecgjepa.terminal.predictions import (
    count_resampled,
    print_explanation,
    print_notes,
    print_notes_of,
    print_prediction,
    print_resampled,
)
from ecgjepa.terminal.screen import ProgressBar, print_json, print_json_list, print_line

if TYPE_CHECKING:
    from ecgjepa.inference.inputs.records import Inputs
    from ecgjepa.inference.outputs.written import Written
    from ecgjepa.inference.predict import Model
    from ecgjepa.signals.acceptance import OnBad

Chosen = TypeVar("Chosen", bound=str)

logger = logging.getLogger(__name__)


@app.command()
@sharing(WorkerOptions, last=True)
def predict(
    shared: WorkerOptions,
    inputs: InputsArgument = None,
    model: AnyModelOption = None,
    lists: ListOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Table to write: .csv, .parquet or .jsonl.")
    ] = None,
    decision: Annotated[
        str | None,
        typer.Option(
            "--decision",
            metavar="RULE",
            help="When the model says yes: best-f1, sensitivity or specificity.",
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Labels shown per record.")] = 10,
    on_bad: OnBadOption = "skip",
    describe: DescribeOption = None,
    explain: Annotated[
        Path | None,
        typer.Option("--explain", help="Picture of what the answer for one ECG rests on."),
    ] = None,
    label: Annotated[
        str, typer.Option("--label", help="Label to explain [default: the likeliest].")
    ] = "",
    device: DeviceOption = "auto",
    restart: RestartOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Predict ECGs: a folder in, a table out.

    Each record has one row, and a file that cannot be used says why in its row. A run that was
    killed resumes with the same command. Without --out, the answers are printed.

    Exit status: 0 all predicted; 1 some records have no prediction; 2 wrong use.
    """
    chosen = as_on_bad(on_bad)
    found = find_records(inputs, lists, out, describe)
    if model is None:
        model = DEFAULT_MODEL
        logger.info("no --model is given: %s answers; 'ecgjepa models' lists others", model)
    if label and explain is None:
        raise typer.BadParameter("expected --explain PICTURE beside it", param_hint="--label")
    if explain is not None:
        if out is not None or len(found.names()) != 1:
            raise typer.BadParameter("takes one ECG, without --out", param_hint="--explain")
        _explain(found.names()[0], model, explain, label, describe, device, as_json)
        return
    if out is None:
        if shared.are_given:
            raise typer.BadParameter("--workers, --backend and --scheduler need --out")
        from ecgjepa.inference.predict import load_model

        loaded = load_model(model, device=device, decision=decision)
        _print_predictions(loaded, model, found, chosen, describe, top, as_json)
        return
    from ecgjepa.inference.outputs.predicting import predict_table

    with shared.engaged(), _resumable(out), ProgressBar("predicting", "record") as bar:
        written = predict_table(
            found,
            model,
            out,
            decision=decision,
            on_bad=chosen,
            description=describe,
            device=device,
            restart=restart,
            overwrite=overwrite,
            workers=shared.workers,
            progress=bar,
        )

    def and_also() -> None:
        print_notes_of(model, decision)
        after_decisions(model)

    _tell(written, "predicted", as_json, and_also)


@app.command()
@sharing(WorkerOptions, last=True)
def embed(
    shared: WorkerOptions,
    model: ModelOption,
    out: Annotated[
        Path,
        typer.Option("--out", help="File to write: .parquet, .npz or .npy.", show_default=False),
    ],
    inputs: InputsArgument = None,
    lists: ListOption = None,
    pool: Annotated[
        str, typer.Option("--pool", help="A row for each record, window or token.")
    ] = "record",
    layer: Annotated[
        str, typer.Option("--layer", help="last, all, or the number of a block from 1.")
    ] = "last",
    leads: Annotated[
        str, typer.Option("--leads", help="Leads to encode, such as I,II [default: all].")
    ] = "",
    dtype: Annotated[str, typer.Option("--dtype", help="float32 or float16.")] = "float32",
    on_bad: OnBadOption = "skip",
    describe: DescribeOption = None,
    device: DeviceOption = "auto",
    restart: RestartOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write an encoder's features of ECGs.

    Records that cannot be used have no row and are listed with the reason in the summary beside the
    output. A run that was killed resumes with the same command.

    Exit status: 0 all encoded; 1 some records have no row; 2 wrong use.
    """
    from ecgjepa.inference.encoding import POOLS
    from ecgjepa.inference.outputs.embedding import DATA_TYPES, embed_table

    with shared.engaged(), _resumable(out), ProgressBar("encoding", "record") as bar:
        written = embed_table(
            find_records(inputs, lists, out, describe),
            model,
            out,
            pool=choice(pool, POOLS, "--pool"),
            layer=as_layer(layer),
            leads=[name.strip() for name in leads.split(",")] if leads else None,
            dtype=choice(dtype, DATA_TYPES, "--dtype"),
            on_bad=as_on_bad(on_bad),
            description=describe,
            device=device,
            restart=restart,
            overwrite=overwrite,
            workers=shared.workers,
            progress=bar,
        )
    _tell(written, "encoded", as_json, lambda: after_embedding(written.path))


def _print_predictions(
    loaded: "Model",
    model: str,
    found: "Inputs",
    on_bad: "OnBad",
    describe: Path | None,
    top: int,
    as_json: bool,
) -> None:
    from ecgjepa.inference.schema import PredictionSchema

    config = loaded.config
    usable = found.usable(
        config.preprocessing, sets=config.sets_of_leads, on_bad=on_bad, description=describe
    )
    failed = 0
    if as_json:
        schema = PredictionSchema(loaded.task)
        contents = map(schema.content, loaded.answers(usable, on_bad))
        failed = print_json_list(contents, lambda content: content["error"] is not None)
        for notice in found.notices:
            logger.info("%s", notice)
    else:
        resampled = total = 0
        for prediction in loaded.answers(usable, on_bad):
            print_prediction(prediction, loaded.config, top)
            failed += prediction.error is not None
            resampled += count_resampled(prediction)
            total += 1
        print_notices(found.notices)
        print_resampled(resampled, total, loaded.config)
        print_notes(loaded.config)
        after_answers(model)
    if failed:
        raise typer.Exit(FELL_SHORT)


def _explain(
    file: str,
    model: str,
    picture: Path,
    label: str,
    describe: Path | None,
    device: str,
    as_json: bool,
) -> None:
    from ecgjepa.inference.explain import explain
    from ecgjepa.inference.predict import load_model
    from ecgjepa.io import read_record
    from ecgjepa.reporting.explanation_figure import check_label, save_explanation
    from ecgjepa.reporting.figures import check_picture

    check_picture(picture)
    loaded = load_model(model, device=device)
    if label:
        check_label(loaded.task.labels, label)
    found = explain(file, loaded, description=describe)
    shown = label or found.labels[int(found.scores.argmax())]
    path = save_explanation(read_record(file, description=describe), found, shown, picture)
    if as_json:
        print_json(found.as_json())
    else:
        print_explanation(found, shown)
        print_line(str(path))


@contextmanager
def _resumable(out: Path) -> Iterator[None]:
    """Tell whoever stops a run that the same command continues it."""
    try:
        yield
    except KeyboardInterrupt:
        logger.info("the same command resumes; what is done lies in %s.parts", out)
        raise


def _tell(
    written: "Written", done: str, as_json: bool, and_also: Callable[[], None] = lambda: None
) -> None:
    if as_json:
        print_json(written_as_json(written))
    else:
        print_written(written, done)
        and_also()
    if written.failures:
        raise typer.Exit(FELL_SHORT)
