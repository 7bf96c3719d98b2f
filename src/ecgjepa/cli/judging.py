"""The verb that judges a classifier as it is: evaluate."""

from typing import Annotated

import typer

from ecgjepa.cli.application import app
from ecgjepa.cli.arguments import evaluated_data, parse_folds, with_columns
from ecgjepa.cli.options import (
    AllowSeenOption,
    CacheOption,
    DataOption,
    DeviceOption,
    DivideOption,
    FileOption,
    JsonOption,
    LabelsOption,
    OutOption,
    PatientOption,
    SeedOption,
    StoreDataOption,
)
from ecgjepa.terminal.judging import print_judged
from ecgjepa.terminal.next_steps import after_evaluation
from ecgjepa.terminal.screen import ProgressBar, print_json


@app.command()
def evaluate(
    model: Annotated[
        str,
        typer.Option("--model", help="Folder or name of a classifier.", show_default=False),
    ],
    data: DataOption = None,
    store: StoreDataOption = None,
    out: OutOption = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="See 'probe --task' [default: the model's task]."),
    ] = None,
    labels: LabelsOption = None,
    divide: DivideOption = "auto",
    patient: PatientOption = None,
    file: FileOption = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="MODEL=TABLE", help="Label that the table calls otherwise."),
    ] = None,
    test_folds: Annotated[
        str, typer.Option("--test-folds", help="all, or folds to score, e.g. 10.")
    ] = "all",
    fit_thresholds: Annotated[
        str | None,
        typer.Option(
            "--fit-thresholds",
            metavar="RULE",
            help="best-f1, sensitivity=0.95 or specificity=0.9, on a part that is not scored.",
        ),
    ] = None,
    fit_calibration: Annotated[
        bool, typer.Option("--fit-calibration", help="Fit calibration and thresholds there.")
    ] = False,
    fit_folds: Annotated[str, typer.Option("--fit-folds", help="That part, by fold, e.g. 9.")] = "",
    fit_share: Annotated[
        float | None,
        typer.Option("--fit-share", help="That part, as a share of the patients [default: 0.5]."),
    ] = None,
    allow_seen: AllowSeenOption = False,
    seed: SeedOption = 0,
    cache: CacheOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Score a classifier on labels of your own."""
    from ecgjepa.judging.evaluate import evaluate as run

    with ProgressBar("preparing and predicting") as progress:
        judged = run(
            model,
            evaluated_data(data, store),
            out,
            task=with_columns(task or "", labels, divide, patient, file) or None,
            mapping=_pairs(mapping or [], model),
            folds=() if test_folds == "all" else parse_folds(test_folds),
            fit_thresholds=fit_thresholds,
            fit_calibration=fit_calibration,
            fit_folds=parse_folds(fit_folds) if fit_folds else (),
            fit_share=fit_share,
            seed=seed,
            allow_seen=allow_seen,
            cache=cache,
            device=device,
            progress=progress,
        )
    if as_json:
        print_json(judged.results)
    else:
        print_judged(judged)
        has_model = judged.results["judged"]["request"]["fit"] is not None
        print()
        after_evaluation(model, judged.path, has_classifier=has_model)


def _pairs(items: list[str], model: str) -> dict[str, str]:
    """Read ``MODEL=TABLE`` items, where either label may hold an equals sign.

    Raises:
        BadParameter: If one is not like that, or a label of the model is given twice.
        ModelFolderError: If there is no model.
    """
    from ecgjepa.model.folder import read_model_config
    from ecgjepa.sharing.references import find_model

    if not items:
        return {}
    task = read_model_config(find_model(model)).task
    labels = () if task is None else task.labels
    pairs: dict[str, str] = {}
    for item in items:
        starts = [label for label in labels if item.startswith(f"{label}=")]
        label = max(starts, key=len, default=item.partition("=")[0])
        name = item[len(label) + 1 :]
        if not (label and name):
            raise typer.BadParameter(f"--map {item!r}: expected MODEL=TABLE, e.g. MI=infarction")
        if label in pairs:
            raise typer.BadParameter(f"--map: {label} is given twice")
        pairs[label] = name
    return pairs
