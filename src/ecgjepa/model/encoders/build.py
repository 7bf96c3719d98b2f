"""Make the encoder that a configuration describes."""

from ecgjepa.config import EncoderConfig
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.encoders.s4d import StateSpaceEncoder
from ecgjepa.model.encoders.vision_transformer import VisionTransformer


def build_encoder(config: EncoderConfig, *, dropout: float = 0.0) -> Encoder:
    """Return an encoder with fresh weights.

    Args:
        config: Architecture.
        dropout: Dropout of the blocks' branches while training; 0 in pre-training.
    """
    made = StateSpaceEncoder if config.architecture == "s4d" else VisionTransformer
    return made(config, dropout=dropout)
