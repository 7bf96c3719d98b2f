"""Make the encoder that a configuration describes."""

from collections.abc import Callable

from ecgjepa.config import EncoderConfig
from ecgjepa.errors import EncoderError
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.encoders.residual import ResidualEncoder
from ecgjepa.model.encoders.s4d import StateSpaceEncoder
from ecgjepa.model.encoders.vision_transformer import VisionTransformer

# By the names of `EncoderConfig.architecture`.
_ENCODERS: dict[str, Callable[..., Encoder]] = {
    "vit": VisionTransformer,
    "s4d": StateSpaceEncoder,
    "xresnet": ResidualEncoder,
}


def build_encoder(config: EncoderConfig, *, dropout: float = 0.0) -> Encoder:
    """Return an encoder with fresh weights.

    Args:
        config: Architecture.
        dropout: Dropout of the blocks' branches while training; 0 in pre-training.

    Raises:
        EncoderError: If the architecture is not of this package.
    """
    if config.is_own:
        raise EncoderError(
            f"architecture {config.architecture} is not of this package, and no file says how it "
            "is built"
        )
    return _ENCODERS[config.architecture](config, dropout=dropout)
