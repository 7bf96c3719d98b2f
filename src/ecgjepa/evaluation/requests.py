"""What an evaluation was asked, written down in its folder, so that another one is refused there.

``request.json`` has all that decides the numbers. It is written before the work begins and again
when everything is written, so a folder is known to be free, begun or finished.
"""

import json
import logging
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from ecgjepa.claims import differences
from ecgjepa.errors import ConfigError, ScoreError
from ecgjepa.files import read_versioned, remove, sha256_of_file, write_json
from ecgjepa.model.folder import CONFIG_FILE, MODEL_FOLDER, ModelConfig
from ecgjepa.pretraining.run import CONFIG_FILE as RUN_CONFIG_FILE
from ecgjepa.protocols.encoders import DescribedEncoder
from ecgjepa.protocols.feature_cache import digest_of_weights
from ecgjepa.protocols.request import Workspace
from ecgjepa.results.layout import (
    COMPARISON_PLAN,
    EMBEDDINGS_FILE,
    PREDICTIONS_FILE,
    PROBE_FOLDER,
    REPEATS_FILE,
    REQUEST_FILE,
    RESULTS_FILE,
    SPLIT_FILE,
)
from ecgjepa.sharing.references import find_model, resolve, title_of
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.manifest import MANIFEST_FILE
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.label_table import digest_of_table
from ecgjepa.tasks.opening import Data, fingerprint_of, names_of
from ecgjepa.tasks.task import is_table
from ecgjepa.tasks.treatment import one_treatment
from ecgjepa.version import __version__

logger = logging.getLogger(__name__)

_VERSION = 1
# All that an evaluation leaves in its folder, besides the request.
_WRITTEN = (
    RESULTS_FILE,
    PREDICTIONS_FILE,
    SPLIT_FILE,
    EMBEDDINGS_FILE,
    MODEL_FOLDER,
    PROBE_FOLDER,
)
_MOST_SHOWN = 6
# The field that is known only when the records are prepared.
_RECORDS = "records"
_REMEDY = "choose another --out, or delete the folder to evaluate anew"
AN_EVALUATION, REPEATS, A_COMPARISON = "an evaluation", "repeats of an evaluation", "a comparison"
# What a folder holds, by a file of it; the first that fits.
_CONTENTS = {
    RUN_CONFIG_FILE: "a pre-training run",
    REPEATS_FILE: REPEATS,
    COMPARISON_PLAN: A_COMPARISON,
    REQUEST_FILE: AN_EVALUATION,
    RESULTS_FILE: AN_EVALUATION,
    MANIFEST_FILE: "a store",
    CONFIG_FILE: "a model",
}


def describe_request(
    model: str | Path | DescribedEncoder,
    config: ModelConfig,
    data: Data,
    cohort: Cohort,
    settings: Mapping[str, Any],
    work: Workspace,
    *,
    treatment: PreprocessingConfig | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Return all that decides the numbers of an evaluation, as JSON content.

    Records of databases are prepared for it: their samples are part of the request. What can be
    refused without them is refused first.

    Neither the paths of the model, of the table of labels and of the records, nor the device or
    the cache are part of it.

    Args:
        model: Run, checkpoint or model folder, or an encoder that was made elsewhere.
        config: Its description.
        data: Databases, or a store.
        cohort: Labels, folds and databases.
        settings: Protocol, seed and what differs from the protocol's settings.
        work: Tells where prepared records are kept.
        treatment: What is done to every record; by default what `open_data` does.
        folder: Where the results go, unless what it may hold is looked at elsewhere.

    Raises:
        ConfigError: If the folder holds the answer to another request, whatever the records.
    """
    known = {
        "software_version": __version__,
        "model": _digest_of_model(model),
        "labels": digest_of_table(cohort.task) if is_table(cohort.task) else None,
        **cohort.as_request(),
        "task": cohort.task_name,
        **settings,
    }
    if folder is not None:
        refuse_model_itself(folder, model)
        is_answered(folder, known)
    treatment = treatment or one_treatment(config.preprocessing, names_of(data))
    records = fingerprint_of(data, treatment, cache=work.cache, progress=work.progress)
    return {**known, _RECORDS: records}


def describe_model(model: str | Path | DescribedEncoder, config: ModelConfig) -> dict[str, str]:
    """Return what results say of which model they are of: its name, and a hash of its weights.

    The name is no path, for results may be given to others.

    Args:
        model: Run, checkpoint or model folder, or an encoder that was made elsewhere.
        config: Its description.
    """
    digest = config.weights_sha256
    if not digest:  # a checkpoint, or weights in memory
        digest = sha256(json.dumps(_digest_of_model(model)).encode()).hexdigest()
    if not isinstance(model, DescribedEncoder):
        return {"name": title_of(model), "weights_sha256": digest}
    source = config.encoder.architecture if model.foreign is None else model.foreign.source
    return {"name": Path(source).name, "weights_sha256": digest}


def _digest_of_model(model: str | Path | DescribedEncoder) -> dict[str, str]:
    """Return hashes of the files that a model is loaded from, or of what is in memory."""
    if isinstance(model, DescribedEncoder):
        return {
            "identity": model.encoder.identity,
            "weights": digest_of_weights(model.encoder),
            "description": sha256(model.config.model_dump_json().encode()).hexdigest(),
        }
    folder = find_model(model)
    files = [*folder.glob("*.safetensors"), *folder.glob(CONFIG_FILE)]
    return {file.name: sha256_of_file(file) for file in sorted(files)}


def refuse_model_itself(folder: Path, model: str | Path | DescribedEncoder) -> None:
    """Refuse a folder for results that is the model's own.

    Raises:
        ConfigError: If it is.
    """
    places = (folder.resolve(), (folder / MODEL_FOLDER).resolve())
    if not isinstance(model, DescribedEncoder) and resolve(model).resolve() in places:
        raise ConfigError(f"{folder}: holds the model that is evaluated; choose another --out")


def refuse_foreign(folder: Path, allowed: str) -> None:
    """Refuse a folder that holds a result of another kind.

    Args:
        folder: Where results are to go.
        allowed: What may be there.

    Raises:
        ConfigError: If it holds something else.
    """
    there = next((words for name, words in _CONTENTS.items() if (folder / name).is_file()), allowed)
    if there != allowed:
        raise ConfigError(f"{folder}: holds {there}; choose another --out")


def is_answered(folder: Path, request: Mapping[str, Any]) -> bool:
    """Return whether a folder holds the answer to a request.

    Args:
        folder: The folder, which need not exist.
        request: What is asked; see `describe_request`. If it does not tell the records, they may
            be any.

    Raises:
        ConfigError: If the folder holds the answer to another request, or something else.
    """
    path = folder / REQUEST_FILE
    if not path.is_file():
        refuse_foreign(folder, AN_EVALUATION)
        if (folder / RESULTS_FILE).exists():
            raise ConfigError(
                f"{folder}: holds an evaluation, and no {REQUEST_FILE} tells of what (an older "
                f"ecgjepa wrote none); {_REMEDY}"
            )
        return False
    content, differing = _read(path, request)
    if not (content.get("is_finished") and (folder / RESULTS_FILE).is_file()):
        return False
    if differing:
        raise ConfigError(_describe(folder, differing))
    return True


def begin_request(folder: Path, request: Mapping[str, Any]) -> None:
    """Write down what a folder is going to answer.

    What an interrupted evaluation of another request left behind is removed.

    Args:
        folder: The folder, in which no other process is at work, and which holds no answer.
        request: What is asked; see `describe_request`.
    """
    path = folder / REQUEST_FILE
    if path.is_file() and _read(path, request)[1]:
        for name in _WRITTEN:
            remove(folder / name)
    _write(path, request, is_finished=False)


def finish_request(folder: Path, request: Mapping[str, Any]) -> None:
    """Write down that everything a request asks is in its folder."""
    _write(folder / REQUEST_FILE, request, is_finished=True)


def _read(path: Path, request: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """Return the content of a request's file, and in what the request differs from another."""
    content, _ = read_versioned(path, (_VERSION,), ScoreError, remedy=_REMEDY.capitalize())
    there = content.get("request")
    if isinstance(there, dict) and _RECORDS not in request:
        there = {name: value for name, value in there.items() if name != _RECORDS}
    return content, differences(there, request)


def _write(path: Path, request: Mapping[str, Any], *, is_finished: bool) -> None:
    write_json(
        path, {"format_version": _VERSION, "is_finished": is_finished, "request": dict(request)}
    )


def _describe(folder: Path, differing: list[str]) -> str:
    shown = "; ".join(differing[:_MOST_SHOWN])
    more = f"; and {len(differing) - _MOST_SHOWN} more" if len(differing) > _MOST_SHOWN else ""
    return f"{folder}: holds another evaluation, which differs in {shown}{more}; {_REMEDY}"
