"""The last line of a verb: the command that usually follows, with the paths at hand."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ecgjepa.config import load_preset
from ecgjepa.terminal.screen import print_line, print_wrapped, visible

if TYPE_CHECKING:  # the terminal must not import torch just to print
    from ecgjepa.store.manifest import Manifest

_WIDTH = 79
# Presets that a store may be for, the ones for a laptop first.
_PRESETS = ("tiny", "paper-vit-xs-ptbxl", "paper-vit-xs-mimic", "paper-vit-xs-all")
# A task that a database has labels for. An archive of your own has those of its table.
_TASKS = {"ptb-xl": "superdiagnostic", "code-15": "code-15"}
_OF_AN_ARCHIVE = "TABLE.csv"


def print_next(*words: str | Path, instead: str = "next") -> None:
    """Print a command to type, ready to be copied; one that is too long continues on more lines.

    Args:
        words: Command and arguments.
        instead: What stands before the command.
    """
    print(_as_lines(instead, [_quoted(str(word)) for word in words]))


def after_obtaining(database: str, folder: Path) -> None:
    """Print how a store is made of simulated or downloaded records."""
    source = f"{database}={folder}"
    print_next("ecgjepa", "prepare", source, "--for", "tiny", "--store", "data/store")


def after_preparation(manifest: "Manifest", store: Path, preset: str | None = None) -> None:
    """Print how a store is used: with the preset that it is for, or one that reads it.

    Args:
        manifest: What is in the store.
        store: Its folder.
        preset: Preset that it was prepared for, if it was.
    """
    if not manifest.num_records:
        return
    chosen = preset or _preset_for(manifest)
    if chosen is None:
        rate = manifest.preprocessing.sampling_rate
        print_wrapped(
            "next",
            f"no preset reads these databases at {rate:g} Hz as it is: see 'ecgjepa presets', or "
            "prepare with --for tiny",
        )
        return
    common = ("--store", store, "--preset", chosen)
    run = f"runs/{load_preset(chosen).objective}"
    print_next("ecgjepa", "pretrain", *common, "--out", run)
    print_next("ecgjepa", "plan", *common, "--measure", instead="cost")


def after_pretraining(run: Path, databases: Sequence[str], given: Mapping[str, Path]) -> None:
    """Print how a pre-trained encoder is judged.

    Args:
        run: Folder of the run.
        databases: Names of the databases that it was trained on.
        given: Folders of databases that the command line named.
    """
    name = next(iter(given), next(iter(databases), "ptb-xl"))
    folder = given.get(name, "DIR")
    task = task_of(name)
    columns = ("--labels", "COLUMN") if task == _OF_AN_ARCHIVE else ()
    data = ("--data", f"{name}={folder}", "--task", task, *columns)
    out = run.with_name(f"{run.name}-probe")
    print_next("ecgjepa", "probe", "--model", run, *data, "--out", out)


def after_evaluation(model: str | Path, result: Path, *, has_classifier: bool) -> None:
    """Print where results are, how they are read, and how the classifier is used.

    Args:
        model: What was evaluated.
        result: Folder of the evaluation.
        has_classifier: Whether a model for ``predict`` was written.
    """
    print_line(f"results{' and model' * has_classifier}: {result}")
    print_next("ecgjepa", "report", *_reportable(Path(model)), result, "--out", "report.html")
    if has_classifier:
        print_next("ecgjepa", "predict", "FOLDER", "--model", result, instead="use")


def after_repeats(results: Path) -> None:
    """Print where the results of repeated evaluations are, and how they are read."""
    print_line(f"results: {results}")
    print_next("ecgjepa", "report", results, "--out", "report.html")


def after_answers(model: str) -> None:
    """Print how answers that were printed become a table."""
    print_next("ecgjepa", "predict", "FOLDER", "--model", model, "--out", "decisions.csv")


def after_decisions(model: str) -> None:
    """Print how one answer of a table is explained, and how all are judged."""
    common = ("--model", model)
    print_next("ecgjepa", "predict", "FILE", *common, "--explain", "explained.svg")
    data = ("--data", "NAME=DIR", "--task", _OF_AN_ARCHIVE, "--labels", "COLUMN")
    print_next("ecgjepa", "evaluate", *common, *data, instead="judge")


def after_embedding(features: Path) -> None:
    """Print how features are read."""
    path = visible(str(features))
    by = "pandas.read_parquet" if features.suffix.lower() == ".parquet" else "numpy.load"
    print_wrapped("next", f"in Python, {by}({path!r}): docs/your-archive.md, part 6")


def after_report(page: Path) -> None:
    """Print where the page is, for a browser."""
    print_wrapped("next", f"open {page.resolve()} in a browser")


def task_of(database: str) -> str:
    """Return a task that a database has labels for."""
    from ecgjepa.databases import database_names

    if database in _TASKS:
        return _TASKS[database]
    return "challenge-2021" if database in database_names() else _OF_AN_ARCHIVE


def _preset_for(manifest: "Manifest") -> str | None:
    """Return the first preset that reads a store as it is, or None."""
    for name in _PRESETS:
        data = load_preset(name).data
        if (
            data.sampling_rate == manifest.preprocessing.sampling_rate
            and data.leads == manifest.preprocessing.leads
            and set(data.weights) <= set(manifest.databases)
        ):
            return name
    return None


def _reportable(model: Path) -> list[Path]:
    """Return the folder of the run that a model lies in, if it is one that a report describes."""
    from ecgjepa.results.layout import METRICS_FILE

    return [folder for folder in (model, *model.parents[:2]) if (folder / METRICS_FILE).is_file()]


def _quoted(word: str) -> str:
    """Return a word as a shell reads it, without what would command the terminal."""
    return shlex.quote(visible(word))


def _as_lines(before: str, words: Sequence[str]) -> str:
    """Return a command on one line, or on several that a shell reads as one."""
    lines, line = [], f"{before}:"
    for word, following in zip(words, [*words[1:], ""], strict=True):
        # An option stays with its value.
        least = len(word) + (len(following) + 1 if word.startswith("--") else 0)
        if len(line) + 1 + least > _WIDTH - 2 and line.strip() != f"{before}:":
            lines.append(line + " \\")
            line = " " * (len(before) + 1)
        line += f" {word}"
    return "\n".join([*lines, line])
