"""The verb: score a classifier that exists on labels of one's own, without training."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecgjepa.errors import ConfigError
from ecgjepa.evaluation.requests import describe_model, describe_request
from ecgjepa.evaluation.results import INTERVAL, Evaluation, describe_data, write_files
from ecgjepa.evaluation.saving import result_folder, writing_results
from ecgjepa.files import as_json
from ecgjepa.inference.predict import Model, load_model
from ecgjepa.judging.answers import Answers, Fit, answers_of_folder, fit_answers
from ecgjepa.judging.facts import describe_input, describe_judged
from ecgjepa.judging.outputs import Outputs, outputs_of
from ecgjepa.judging.records import Choice, JudgedRecords, open_judged, refuse_early
from ecgjepa.judging.refitted import save_refitted
from ecgjepa.judging.scores import Given, Judged, judge_classification, judge_regression
from ecgjepa.metrics.classification import check_scores
from ecgjepa.metrics.scoring import criteria
from ecgjepa.metrics.subgroups import MIN_PATIENTS
from ecgjepa.model.compute import choose_device
from ecgjepa.model.outputs import TaskConfig, parse_rule
from ecgjepa.protocols.outcome import Outcome
from ecgjepa.protocols.request import Workspace
from ecgjepa.results.layout import JUDGED, PRE_TRAINED, RESULTS_VERSION
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.opening import Data
from ecgjepa.tasks.records import EvaluationData
from ecgjepa.tasks.split import Split
from ecgjepa.version import __version__

logger = logging.getLogger(__name__)

# Share of the patients that is fitted to, where nothing else is said.
FIT_SHARE = 0.5


def evaluate(
    model: str | Path,
    data: Data,
    out: str | Path | None = None,
    *,
    task: str | None = None,
    mapping: Mapping[str, str] | None = None,
    folds: tuple[int, ...] = (),
    fit_thresholds: str | None = None,
    fit_calibration: bool = False,
    fit_folds: tuple[int, ...] = (),
    fit_share: float | None = None,
    seed: int = 0,
    allow_seen: bool = False,
    cache: str | Path | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score a classifier on labels of one's own; thresholds and calibration may be fitted to them.

    Nothing is trained, and the model stays as it is. What is fitted is fitted to one part of the
    records and scored on the other, and is written as a new model folder, ``model/`` in ``out``.

    Args:
        model: Model folder, or folder of a probe or fine-tuning.
        data: Databases, name to folder; or the folder of a store prepared as the model needs it.
        out: Folder for results and predictions; beside the model by default. If this very
            evaluation is finished there, it is read and not run again.
        task: See `ecgjepa.probe`; by default the task of the model.
        mapping: Label of the model to what the table calls it, where that differs.
        folds: Folds that are scored; by default all records.
        fit_thresholds: Rule of the thresholds to fit: ``best-f1``, ``sensitivity=X`` or
            ``specificity=X``; None for those of the model. Label sets are fitted with them.
        fit_calibration: Fit the calibration, and with it thresholds and label sets.
        fit_folds: Folds to fit to, which are not scored.
        fit_share: Share of the patients to fit to, who are not scored; a half by default.
        seed: Of the draw of these patients.
        allow_seen: Score also where pre-training saw the signals, but no labels, of a database
            without folds of its own; results say so.
        cache: Folder for the prepared records.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with (done, in all) while preparing and predicting.

    Raises:
        EcgjepaError: A named subclass for each way in which model, data and task may not fit.

    Example:
        >>> import ecgjepa
        >>> judged = ecgjepa.evaluate(
        ...     "runs/probe", {"ptb-xl": "data/ptb-xl"}, "runs/judged", folds=(10,)
        ... )
        >>> judged.score() == ecgjepa.evaluate(
        ...     "runs/probe", {"ptb-xl": "data/ptb-xl"}, "runs/judged", folds=(10,)
        ... ).score()
        True
    """
    loaded = load_model(model, device=device)
    fit = None
    if fit_thresholds is not None or fit_calibration:
        rule = None if fit_thresholds is None else parse_rule(fit_thresholds)
        fit = Fit(rule, fit_calibration)
        _check_fit(loaded)
        if not fit_folds and fit_share is None:
            fit_share = FIT_SHARE
    elif fit_folds or fit_share is not None:
        raise ConfigError("folds or patients to fit to are given, but nothing to fit")
    choice = Choice(
        task=task or loaded.task.name,
        mapping=dict(mapping or {}),
        folds=folds,
        fit_folds=fit_folds,
        fit_share=fit_share or 0.0,
        seed=seed,
        allow_seen=allow_seen,
    )
    work = Workspace(choose_device(device), cache, progress)
    return _evaluate(_Request(model, loaded, data, choice, fit), out, work)


@dataclass(frozen=True)
class _Request:
    """What is judged, on what, and what is fitted.

    Attributes:
        path: Where the model is.
        model: The classifier.
        data: Databases, or a store.
        choice: Which of the records.
        fit: What to fit; None for nothing.
    """

    path: str | Path
    model: Model
    data: Data
    choice: Choice
    fit: Fit | None

    @property
    def settings(self) -> dict[str, Any]:
        """Which records, and what is fitted, as JSON content."""
        fit = self.fit
        fitted = None
        if fit is not None:
            rule = None if fit.rule is None else str(fit.rule)
            fitted = {"thresholds": rule, "calibration": fit.calibrates}
        return {**self.choice.as_request(), "fit": fitted}

    def describe(self, work: Workspace, folder: Path) -> dict[str, Any]:
        """Return all that decides the numbers, as JSON content."""
        choice = self.choice
        cohort = Cohort(
            task=choice.task,
            kind=self.model.task.kind,
            split=Split((), choice.fit_folds, choice.folds or (1,)),
            allow_seen=choice.allow_seen,
            is_trained=False,
        )
        settings = {"protocol": JUDGED, "split": None, **self.settings}
        config = self.model.config
        return describe_request(
            self.path, config, self.data, cohort, settings, work,
            treatment=config.preprocessing, folder=folder,
        )  # fmt: skip


def _evaluate(request: _Request, out: str | Path | None, work: Workspace) -> Evaluation:
    folder = result_folder(request.path, out, request.choice.task, JUDGED)
    refuse_early(request.model.config, request.data, request.choice)
    with writing_results(folder, request.path, request.describe(work, folder)) as place:
        if place.finished is not None:
            return place.finished
        opened = open_judged(request.model, request.data, request.choice, work)
        with opened.records as records:
            place.begin()
            parts = records.parts
            outputs = [
                outputs_of(request.model, records.store, records.rows(part), work.progress)
                for part in (parts.validation, parts.test)
            ]
            answers = _answers(request, opened, outputs[0])
            given = _given(opened, outputs, answers)
            judged = _judge(request, records, given, answers)
            results = _results(request, opened, judged, outputs[1])
            outcomes = {PRE_TRAINED: Outcome(given.validation, given.test, None, "")}
            written = write_files(folder, records, outcomes, results)
            if request.fit is not None:
                save_refitted(written, request.path, request.model, opened, answers, judged.answers)
            return written


def _check_fit(model: Model) -> None:
    if model.task.kind == "regression":
        raise ConfigError(
            "the model predicts values, which have neither thresholds nor a calibration to fit; "
            "leave out --fit-thresholds and --fit-calibration"
        )


def _answers(request: _Request, opened: JudgedRecords, outputs: Outputs) -> Answers:
    """Return what turns probabilities into answers: the folder's, or fitted."""
    config, columns = request.model.config, opened.matched.columns
    if request.fit is None:
        return answers_of_folder(config, columns)
    records = opened.records
    targets = records.targets(records.parts.validation)
    return fit_answers(
        config,
        columns,
        targets,
        outputs.values,
        request.fit,
        folds=records.split.validation,
    )


def _given(opened: JudgedRecords, outputs: list[Outputs], answers: Answers) -> Given:
    """Return the outputs of the labels that are scored.

    Raises:
        ScoreError: If one is not finite.
    """
    records, columns = opened.records, opened.matched.columns
    validation, test = (one.values[:, columns] for one in outputs)
    for values, part in ((validation, records.parts.validation), (test, records.parts.test)):
        if part.size:
            check_scores(values, records.targets(part), records.task.labels)
    is_regression = records.task.kind == "regression"
    calibrated = test if is_regression else answers.calibrate(outputs[1].values)[:, columns]
    return Given(validation, test, calibrated, tuple(columns))


def _judge(request: _Request, records: EvaluationData, given: Given, answers: Answers) -> Judged:
    config = request.model.config
    if records.task.kind == "regression":
        held = None if config.answers is None else config.answers.value_intervals
        return judge_regression(records, given, held)
    words = "nothing; the model is judged as it is"
    if request.fit is not None:
        what = "calibration, thresholds" if request.fit.calibrates else "thresholds"
        words = f"{what} and label sets, on {len(records.parts.validation):,} other records"
    return judge_classification(records, given, answers, words)


def _results(
    request: _Request, opened: JudgedRecords, judged: Judged, outputs: Outputs
) -> dict[str, Any]:
    """Return the content of ``results.json``."""
    records, model, matched = opened.records, request.model, opened.matched
    is_regression = model.task.kind == "regression"
    described = describe_data(records, model.config, _task_config(opened, model))
    trained = list(model.config.training.get("databases", []))
    described["data"] = {**described["data"], "trained_on": trained}
    return as_json(
        {
            "format_version": RESULTS_VERSION,
            "software_version": __version__,
            "protocol": JUDGED,
            "settings": {},
            "seed": request.choice.seed,
            "measure": "r2" if is_regression else "macro_auroc",
            "model": describe_model(request.path, model.config),
            **described,
            "judged": {**describe_judged(model, matched), "request": request.settings},
            "models": {PRE_TRAINED: {"protocol": JUDGED, "settings": {}, **judged.content}},
            "differences": {},
            "p_values": {},
            **describe_input(model, records, outputs.distances),
            "criteria": {} if is_regression else {**criteria(), **_CRITERIA},
            "subgroups_need_patients": MIN_PATIENTS,
            "interval": INTERVAL,
        }
    )


def _task_config(opened: JudgedRecords, model: Model) -> TaskConfig:
    """Return what the outputs that are scored mean."""
    matched, task = opened.matched, model.task
    scaled = task.kind == "regression"
    return task.model_copy(
        update={
            "name": matched.task.name,
            "labels": matched.task.labels,
            "descriptions": matched.task.descriptions,
            "centre": tuple(np.array(task.centre)[matched.columns].tolist()) if scaled else (),
            "spread": tuple(np.array(task.spread)[matched.columns].tolist()) if scaled else (),
        }
    )


_CRITERIA = {
    "thresholds": "of the model, or fitted to other records; of calibrated probabilities",
    "f1": "at the threshold of best F1, of calibrated probabilities",
    "sensitivity": "at the threshold of the specificity rule, of calibrated probabilities",
    "calibration_line": "slope and intercept (slope fixed at 1) of calibrated probabilities",
}
