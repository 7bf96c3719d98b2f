"""A linear probe that follows a pre-training run and says which of its encoders is the best."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from ecgjepa.errors import TaskError
from ecgjepa.inference.windows import window_size
from ecgjepa.model.encoder import VisionTransformer
from ecgjepa.model.folder import ModelConfig
from ecgjepa.pretraining.selection import OnlineProbe, OpenProbe
from ecgjepa.protocols.features import Windows, encode_means, grid_windows
from ecgjepa.protocols.linear import fit_linear_probe
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.folds import is_published
from ecgjepa.tasks.leakage import open_unseen
from ecgjepa.tasks.records import EvaluationData
from ecgjepa.tasks.split import PAPER_SPLIT, Split

# Fewer than in a final probe, and around those that one chooses: this is done again and again.
_STRENGTHS = (1e-2, 1.0, 100.0)


def online_probe(
    data: Mapping[str, str | Path],
    *,
    task: str = "superdiagnostic",
    train_folds: tuple[int, ...] = PAPER_SPLIT.train,
    validation_folds: tuple[int, ...] = PAPER_SPLIT.validation,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> OpenProbe:
    """Return what `ecgjepa.pretrain` takes as ``probe``: frozen features, logistic regression.

    Test folds take no part in it. The probe opens its records when the run begins.

    Args:
        data: One database: name to folder.
        task: One of `ecgjepa.tasks.task.TASKS`.
        train_folds: Folds the regression is fitted on.
        validation_folds: Folds that give the score.
        cache: Folder for the prepared records.
        progress: Called with (done, in all) while preparing.

    Raises:
        TaskError: If there is no such task.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.pretrain(
        ...     "data/store",
        ...     "runs/watched",
        ...     overrides=["train.steps=4", "train.warmup_steps=1", "probe.every=2"],
        ...     probe=ecgjepa.online_probe({"ptb-xl": "data/ptb-xl"}),
        ... )
        PosixPath('runs/watched')
    """
    split = Split(train_folds, validation_folds, ())
    cohort = Cohort(task=task, split=split, is_tested=False)

    def start(config: ModelConfig) -> OnlineProbe:
        records = open_unseen(data, config, cohort, cache=cache, progress=progress)
        size, stride = window_size(config)
        chosen = records.rows(np.concatenate((records.parts.train, records.parts.validation)))
        windows = grid_windows(records.store, chosen, size=size, stride=stride)
        score = partial(_score, records=records, windows=windows)
        published = all(map(is_published, records.folds.values()))
        return OnlineProbe(score, "+".join(records.tested), task, validation_folds, published)

    return start


def _score(encoder: VisionTransformer, *, records: EvaluationData, windows: Windows) -> float:
    """Return the macro AUROC of the probe on the validation records.

    Raises:
        TaskError: If no label has both positive and negative validation records.
    """
    parts = records.parts
    means = _record_means(encoder, records, windows)
    fitted = fit_linear_probe(
        means[: len(parts.train)],
        records.targets(parts.train),
        means[len(parts.train) :],
        records.targets(parts.validation),
        single_label=records.task.kind == "single-label",
        strengths=_STRENGTHS,
    )
    if math.isnan(fitted.validation_score):
        raise TaskError(
            f"task {records.task.name!r}: in the validation folds {list(records.split.validation)} "
            "no label has both positive and negative records; choose other folds for the probe"
        )
    return fitted.validation_score


def _record_means(
    encoder: VisionTransformer, records: EvaluationData, windows: Windows
) -> Float32[np.ndarray, "records dim"]:
    """Return one vector per record; nothing moves to another device."""
    return encode_means(
        encoder,
        records.normalisation.build(),
        windows.read_chunks(),
        windows.num_records,
        next(encoder.parameters()).device,
    )
