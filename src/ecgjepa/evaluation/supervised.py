"""The honest rival: a residual network, trained from scratch on the labels alone."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ecgjepa.evaluation.data import open_data
from ecgjepa.evaluation.encoders import load_encoder
from ecgjepa.evaluation.protocols import load_protocol
from ecgjepa.evaluation.results import Evaluation, write_evaluation
from ecgjepa.evaluation.tasks import PAPER_SPLIT, Split, check_split, check_task
from ecgjepa.evaluation.training import train_classifier
from ecgjepa.model.compute import choose_device
from ecgjepa.model.xresnet import build_xresnet

logger = logging.getLogger(__name__)


def supervised(
    model: str | Path,
    data: Mapping[str, str | Path],
    out: str | Path,
    *,
    network: str = "xresnet1d18",
    task: str = "all",
    split: Split = PAPER_SPLIT,
    overrides: Sequence[str] = (),
    seed: int = 0,
    cache: str | Path | None = None,
    device: str = "auto",
) -> Evaluation:
    """Train a residual network on the records, crops and steps that fine-tuning would get.

    Args:
        model: Run, checkpoint or model folder whose rate, leads and window are taken; its weights
            are not.
        data: One database: name to folder.
        out: Folder for results and predictions; the network itself is not kept.
        network: One of `ecgjepa.model.xresnet.NETWORKS`.
        task: One of `ecgjepa.evaluation.tasks.TASKS`.
        split: Folds for training, selection and test.
        overrides: ``key=value`` items of the protocol ``supervised``.
        seed: Of weights, order and crops.
        cache: Folder for the prepared records.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        EcgjepaError: A named subclass for each way in which network, data and task may not fit.
    """
    check_task(task)
    check_split(split)
    settings = load_protocol("supervised", overrides)
    _, config = load_encoder(model)
    records = open_data(data, config, task=task, split=split, cache=cache)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = build_xresnet(network, records.store.num_leads, len(records.task.labels))
    logger.info("training %s from scratch", network)
    outcome = train_classifier(classifier, records, config, settings, seed, choose_device(device))
    result = write_evaluation(
        Path(out),
        records,
        config,
        {network: outcome},
        protocol="supervised",
        settings={"network": network, **settings.model_dump(mode="json", exclude={"head"})},
        seed=seed,
    )
    records.store.close()
    return result
