"""The run folder: configuration, copy of the store's manifest, metrics, checkpoints, model."""

import datetime
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgjepa.checking.seen import write_seen
from ecgjepa.config import PretrainConfig, load_preset, to_yaml
from ecgjepa.errors import CheckpointError
from ecgjepa.files import PARTIAL_PREFIX, remove_partial, sha256_of_file, write_json, write_text
from ecgjepa.locks import LOCK_FILE
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.folder import (
    MODEL_FOLDER,
    SEEN_FILE,
    ModelConfig,
    PretrainingFacts,
    read_model_config,
    save_model,
)
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.objectives.build import objective_class, objective_of
from ecgjepa.objectives.teacher import taken_over
from ecgjepa.objectives.words import WORDS_FILE
from ecgjepa.pretraining.trackers import Tracker
from ecgjepa.results.layout import METRICS_FILE
from ecgjepa.store.manifest import MANIFEST_FILE
from ecgjepa.store.reading import Store

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
STORE_FILE = "store.json"
CHECKPOINTS_FOLDER = "checkpoints"
BEST_FOLDER = "best"
_DESCRIPTION_FILE = "encoder.json"
# Settings that change what is written about a run, but nothing in it: a resumed run may differ.
_FREE = {
    "data.resident",
    "train.trackers",
    "train.stop_on_collapse",
    "probe.every",
    "salt.teacher",  # a place; what lies there has to be the same
}


def check_run(run: Path, config: PretrainConfig, store: Store) -> None:
    """Make sure that the folder is free, or holds the same run; nothing is written.

    A run that ended before its first line of the log left nothing to keep: its folder is free.

    Raises:
        CheckpointError: If it holds something else.
    """
    if _is_without_step(run):
        return
    if (run / CONFIG_FILE).is_file():
        before, now = _flat(read_run_config(run)), _flat(config)
        changed = sorted(key for key in now.keys() - _FREE if before.get(key) != now[key])
        if changed:
            details = ", ".join(f"{key}: {before.get(key)} → {now[key]}" for key in changed)
            raise CheckpointError(
                f"{run}: holds a run with another configuration ({details}); choose another "
                "folder, or repeat the same settings to continue it"
            )
        if (run / STORE_FILE).read_bytes() != (store.path / MANIFEST_FILE).read_bytes():
            raise CheckpointError(
                f"{run}: was trained on another store than {store.path}; continue with the same "
                "store, or start a new run"
            )
    elif run.exists() and not (run.is_dir() and all(map(_is_begun, run.iterdir()))):
        raise CheckpointError(f"{run}: exists and is not a pre-training run; choose a new folder")


def claim_run(run: Path, config: PretrainConfig, store: Store) -> None:
    """Write what the run is, if it is a new one, and clear away half-written files.

    The configuration comes last: a folder without it is free to be claimed again.

    Raises:
        CheckpointError: As `check_run`, for another process may have claimed it meanwhile.
    """
    check_run(run, config, store)
    remove_partial(run)
    path = run / CONFIG_FILE
    if _is_without_step(run):
        path.unlink()
        (run / WORDS_FILE).unlink(missing_ok=True)
    if not ((run / WORDS_FILE).is_file() or (run / MODEL_FOLDER).is_dir()):
        # Of a new run, or of one that an older version began and did not finish.
        words = objective_of(config).words()
        write_json(run / WORDS_FILE, words.model_dump(mode="json"))
    if not path.is_file():
        write_text(run / STORE_FILE, (store.path / MANIFEST_FILE).read_text(encoding="utf-8"))
        description = describe_start(config, store, run).model_dump(mode="json")
        write_json(run / _DESCRIPTION_FILE, description)
        write_text(path, to_yaml(config))


def _is_without_step(run: Path) -> bool:
    """Return whether a folder holds a run that was claimed, and nothing that it learned."""
    if not all((run / name).is_file() for name in (CONFIG_FILE, STORE_FILE, _DESCRIPTION_FILE)):
        return False
    log = run / METRICS_FILE
    if log.exists() and log.stat().st_size:
        return False
    return all(
        path.name in (CONFIG_FILE, METRICS_FILE) or _is_begun(path) for path in run.iterdir()
    )


def _is_begun(path: Path) -> bool:
    """Return whether a file is what an interrupted claim leaves behind."""
    ours = (STORE_FILE, SEEN_FILE, _DESCRIPTION_FILE, WORDS_FILE, LOCK_FILE)
    return path.name in ours or path.name.startswith(PARTIAL_PREFIX)


def read_run_config(run: Path) -> PretrainConfig:
    """Return the configuration a run was started with.

    Raises:
        CheckpointError: If the folder holds no run.
    """
    path = run / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(f"{run}: is not a pre-training run: it has no {CONFIG_FILE}")
    return load_preset(path)


def _flat(config: PretrainConfig) -> dict[str, Any]:
    content = config.model_dump(mode="json")
    return {"objective": content.pop("objective")} | {
        f"{section}.{key}": value
        for section, values in content.items()
        for key, value in values.items()
    }


class MetricsLog:
    """Appends to ``metrics.jsonl`` and to the log; lines later than the start are dropped first."""

    def __init__(
        self,
        run: Path,
        *,
        first_step: int,
        total_steps: int,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        """Continue the run's log after ``first_step``; trackers get the same lines."""
        self._trackers = trackers
        self._path = run / METRICS_FILE
        self._first_step, self._total_steps = first_step, total_steps
        kept = []
        if self._path.is_file():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= first_step]
        write_text(self._path, "".join(f"{line}\n" for line in kept))
        self._started = time.perf_counter()

    def write(self, values: dict[str, float]) -> None:
        """Append one line; ``values`` names at least step, loss, speed and collapse signs."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(values) + "\n")
        step = int(values["step"])
        for tracker in self._trackers:
            tracker.write(step, values)
        pace = (time.perf_counter() - self._started) / (step - self._first_step)
        logger.info(
            "step %d/%d  loss %.4f  spread %.2f  %.0f records/s  waiting %.0f %%  %s left",
            step,
            self._total_steps,
            values["loss"],
            values["spread"],
            values["records_per_second"],
            100 * values["data_wait"],
            datetime.timedelta(seconds=round(pace * (self._total_steps - step))),
        )

    def close(self) -> None:
        """Finish the trackers."""
        for tracker in self._trackers:
            tracker.close()


def _step_of(line: str) -> float:
    """Return a line's step; one cut off by a crash counts as later than everything."""
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")


def describe_encoder(run: Path, *, steps: int) -> ModelConfig:
    """Return the model configuration of a run's encoder after some steps."""
    content = json.loads((run / _DESCRIPTION_FILE).read_text(encoding="utf-8"))
    config = ModelConfig.model_validate(content)
    facts = config.pretraining.model_copy(update={"steps": steps})
    return config.model_copy(update={"pretraining": facts}).with_seen_file(run)


def save_encoder(
    run: Path,
    encoder: Encoder,
    *,
    steps: int,
    folder: str = MODEL_FOLDER,
    training: dict[str, Any] | None = None,
) -> None:
    """Write the encoder to keep as a model folder of the run; ``training``: how it was chosen."""
    config, training = describe_encoder(run, steps=steps), training or {}
    # Stages of training and selection: those of a teacher, then the run's own.
    if stages := [*config.training.get("seen", []), *training.get("seen", [])]:
        training = {**training, "seen": stages}
    config = config.model_copy(update={"training": training})
    save_model(run / folder, encoder, config, _card(config))


def describe_start(config: PretrainConfig, store: Store, folder: Path | None = None) -> ModelConfig:
    """Return the model configuration of a run's encoder before its first step.

    Args:
        config: Of the run.
        store: What it trains on.
        folder: Where to write what the store's records hold, which is then part of the description.
    """
    seen, place = "", objective_of(config).teacher
    teacher = None if place is None else read_model_config(place)
    if folder is not None:
        write_seen(store, folder / SEEN_FILE, None if teacher is None else teacher.seen_file)
        seen = sha256_of_file(folder / SEEN_FILE)
    # Each database is scaled by its own constants while training; a record of unknown origin is
    # scaled by those over all training records.
    statistics = store.statistics(np.arange(len(store)))
    databases = store.manifest.databases
    described = ModelConfig(
        encoder=config.encoder,
        preprocessing=store.manifest.common_preprocessing,
        normalisation=NormalisationConfig.of(statistics.mean, statistics.std, config.data.clip),
        pretraining=PretrainingFacts(
            objective=config.objective,
            steps=0,
            seed=config.train.seed,
            store=store.fingerprint,
            folds={name: summary.folds for name, summary in databases.items()},
            records={name: summary.stored for name, summary in databases.items()},
            seen=seen,
            hashed_folds={
                name: summary.hashed_folds
                for name, summary in databases.items()
                if summary.hashed_folds
            },
        ),
    )
    if teacher is not None:
        described = described.model_copy(
            update={
                "pretraining": taken_over(
                    described.pretraining, teacher.pretraining, teacher.weights_sha256
                ),
                "training": {"seen": teacher.training.get("seen", [])},
            }
        )
    return described if folder is None else described.with_seen_file(folder)


def _card(config: ModelConfig) -> str:
    facts = config.pretraining
    objective = objective_class(facts.objective)
    records = ", ".join(f"{name} ({count:,} records)" for name, count in facts.records.items())
    size = config.encoder
    return (
        f"# ECG encoder pre-trained with {objective.title}\n\n"
        "For research use only; not a medical device.\n\n"
        f"- {size.title}, width {size.dim}, depth {size.depth}; patches of "
        f"{1000 * size.patch_size / config.preprocessing.sampling_rate:.0f} ms"
        f"{', each of one lead' if size.lead_patches else ''}.\n"
        f"- Input: {', '.join(config.preprocessing.leads)} at "
        f"{config.preprocessing.sampling_rate:g} Hz; everything else about it is in config.json.\n"
        f"- Pre-trained for {facts.steps:,} steps on {records}.\n"
        f"- Weights: {objective.kept_weights}.\n" + _teacher(facts.teacher)
    )


def _teacher(facts: dict[str, str]) -> str:
    """Return the card's line on a frozen teacher; nothing without one."""
    if not facts:
        return ""
    title = objective_class(facts["objective"]).title
    return (
        f"- Teacher: an encoder pre-trained with {title}, SHA-256 {facts['sha256'][:12]}…; what it "
        "had seen counts as seen.\n"
    )
