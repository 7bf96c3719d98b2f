"""Tiny models of every architecture, head and kind of task, with all that a folder may hold."""

import numpy as np
import torch

from ecgjepa.config import EncoderConfig
from ecgjepa.model.answers import AnswersConfig
from ecgjepa.model.distribution import DistributionConfig, FeatureDistribution
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.folder import ModelConfig, PretrainingFacts, WindowConfig, save_model
from ecgjepa.model.heads import Classifier, HeadConfig, build_head
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.model.outputs import CalibrationConfig, DecisionConfig, TaskConfig
from ecgjepa.signals.preprocessing import PreprocessingConfig

LABELS = ("CD", "HYP", "MI", "NORM", "STTC")
DIM = 16


def save_model_of(
    folder,
    *,
    encoder=None,
    head="attentive",
    layers=(),
    beside=False,
    kind="multi-label",
    leads=None,
    highpass_hz=None,
    seconds=2.5,
):
    """Write a model for 100 Hz with random weights, and return its folder; ``head`` may be None."""
    size = EncoderConfig(
        **{"patch_size": 10, "dim": DIM, "depth": 1, "num_heads": 2, **(encoder or {})}
    )
    kept = {} if leads is None else {"leads": leads}
    config = ModelConfig(
        encoder=size,
        preprocessing=PreprocessingConfig(sampling_rate=100.0, highpass_hz=highpass_hz, **kept),
        normalisation=NormalisationConfig(
            mean=(0.01,) * size.num_leads, std=(0.2,) * size.num_leads
        ),
        window=WindowConfig(seconds=seconds),
        pretraining=PretrainingFacts(steps=0, seed=0, store="", folds={}, records={"ptb-xl": 1}),
    )
    torch.manual_seed(0)
    model = build_encoder(size)
    distribution = None
    if head is not None:
        read = HeadConfig(
            kind=head, num_labels=len(LABELS), bias=True, layers=layers, beside=beside
        )
        model = Classifier(model, build_head(read, model), read.reading)
        config = config.model_copy(update={"head": read, **_answers(kind)})
        distribution = FeatureDistribution(
            np.full(DIM, 0.1),
            np.full(DIM, 1.5),
            np.linalg.cholesky(np.eye(DIM) / 2 + 0.2),
            0.1,
        )
    for name, parameter in model.named_parameters():
        if "state_space" not in name:  # whose random weights are those of a trained layer
            torch.nn.init.normal_(parameter, std=0.3)
    save_model(folder, model, config, "card", distribution=distribution)
    return folder


def _answers(kind):
    task = {"name": "superdiagnostic", "kind": kind, "labels": LABELS, "descriptions": LABELS}
    known = {"distribution": DistributionConfig(records=100, shrinkage=0.1, threshold=1.2)}
    if kind == "regression":
        # Values that are large beside their spread: single precision could not tell them apart.
        centre, spread = (60.0, 1e6, 0.0, -3.0, 1.0), (10.0, 2.0, 1.0, 0.1, 5.0)
        return {"task": TaskConfig(**task, centre=centre, spread=spread), **known}
    scale, shift = (1.5, 0.5, 2.0, 1.0, 1.2), (0.1, -0.3, 0.0, 0.2, 0.0)
    decided = {"rule": "best-f1", "values": (0.5, 0.4, None, 0.3, 0.6)}
    return {
        "task": TaskConfig(**task),
        "calibration": CalibrationConfig(method="platt", kind=kind, scale=scale, shift=shift),
        "answers": AnswersConfig(decisions=DecisionConfig(rules=(decided,), chosen="best-f1")),
        **known,
    }
