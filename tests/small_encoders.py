"""An untrained encoder as a model folder: what evaluation needs, without pre-training."""

from pathlib import Path

import torch

from ecgjepa.config import EncoderConfig
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.model.folder import ModelConfig, PretrainingFacts, save_model
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.signals.preprocessing import PreprocessingConfig


def describe(depth: int = 3, folds: dict | None = None) -> ModelConfig:
    """Return the description of a tiny encoder of 12 leads at 100 Hz."""
    return ModelConfig(
        encoder=EncoderConfig(patch_size=25, dim=16, depth=depth, num_heads=2),
        preprocessing=PreprocessingConfig(sampling_rate=100.0),
        normalisation=NormalisationConfig(mean=(0.0,) * 12, std=(0.2,) * 12),
        pretraining=PretrainingFacts(steps=0, seed=1, store="", folds=folds or {}, records={}),
    )


def small_encoder(depth: int = 3, seed: int = 0) -> VisionTransformer:
    """Return a tiny encoder, not the one that `untrained_encoder` draws."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VisionTransformer(describe(depth).encoder).eval()


def save_encoder(folder: Path, folds: dict | None = None, seed: int = 0) -> Path:
    """Write a tiny encoder as a model folder."""
    save_model(folder, small_encoder(seed=seed), describe(folds=folds), "card")
    return folder
