"""A linear probe that follows a pre-training run and says which of its encoders is the best."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from ecgjepa.errors import FeatureError
from ecgjepa.inference.windows import window_size
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.folder import ModelConfig
from ecgjepa.pretraining.selection import OnlineProbe, OpenProbe
from ecgjepa.protocols.features import Windows, encode_means, grid_windows
from ecgjepa.protocols.linear import fit_linear_probe, fit_ridge
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
    """Return what `ecgjepa.pretrain` takes as ``probe``: a linear probe of frozen features.

    Test folds take no part in it. The probe opens its records when the run begins.

    Args:
        data: Databases, name to folder.
        task: One of `ecgjepa.tasks.task.TASKS` or ``INDEX_TASKS``, or the path of a CSV of labels;
            encoders of a regression, such as ``age``, are chosen by the mean R² of a ridge
            regression, those of other tasks by the macro AUROC of a logistic regression.
        train_folds: Folds the probe is fitted on.
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
        return OnlineProbe(
            score,
            records.databases,
            records.task.name,
            validation_folds,
            tuple(name for name, origin in records.folds.items() if not is_published(origin)),
            "r2" if records.task.kind == "regression" else "macro_auroc",
        )

    return start


def _score(encoder: Encoder, *, records: EvaluationData, windows: Windows) -> float:
    """Return the macro AUROC, or mean R², of the probe on the validation records.

    Raises:
        FeatureError: If a feature is not finite.
    """
    parts = records.parts
    means = _record_means(encoder, records, windows)
    if wrong := int((~np.isfinite(means)).any(axis=1).sum()):
        raise FeatureError(
            f"the encoder's features of {wrong} of {len(means)} labelled records are not finite; "
            "try a lower train.learning_rate"
        )
    train, validation = means[: len(parts.train)], means[len(parts.train) :]
    targets, held_out = (
        records.scaled_targets(parts.train),
        records.scaled_targets(parts.validation),
    )
    if records.task.kind == "regression":
        fitted = fit_ridge(train, targets, validation, held_out)
    else:
        fitted = fit_linear_probe(
            train,
            targets,
            validation,
            held_out,
            single_label=records.task.kind == "single-label",
            strengths=_STRENGTHS,
        )
    return fitted.validation_score


def _record_means(
    encoder: Encoder, records: EvaluationData, windows: Windows
) -> Float32[np.ndarray, "records dim"]:
    """Return one vector per record; nothing moves to another device."""
    return encode_means(
        encoder,
        records.normalisation.build(),
        windows.read_chunks(),
        windows.num_records,
        next(encoder.parameters()).device,
    )
