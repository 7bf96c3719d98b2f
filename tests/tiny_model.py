"""A classifier with random weights, small enough to be saved and loaded in a moment."""

import torch

from ecgjepa.config import EncoderConfig
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.model.folder import ModelConfig, PretrainingFacts, save_model
from ecgjepa.model.heads import Classifier, HeadConfig, build_head
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.model.outputs import TaskConfig
from ecgjepa.signals.preprocessing import PreprocessingConfig


def save_tiny_model(folder, *, seed=0, head=True, **encoder):
    """Write a model of dimension 16 for 100 Hz, with labels A, B and C, and return its folder."""
    torch.manual_seed(seed)
    labels = ("A", "B", "C")
    config = ModelConfig(
        encoder=EncoderConfig(
            **({"patch_size": 10, "dim": 16, "depth": 2, "num_heads": 2} | encoder)
        ),
        preprocessing=PreprocessingConfig(sampling_rate=100.0),
        normalisation=NormalisationConfig(mean=(0.0,) * 12, std=(0.2,) * 12),
        pretraining=PretrainingFacts(steps=0, seed=0, store="", folds={}, records={}),
    )
    model = VisionTransformer(config.encoder)
    if head:
        task = TaskConfig(name="t", kind="multi-label", labels=labels, descriptions=labels)
        config = config.model_copy(
            update={"head": HeadConfig(kind="attentive", num_labels=3), "task": task}
        )
        model = Classifier(model, build_head(config.head, model))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_model(folder, model, config, "card")
    return folder
