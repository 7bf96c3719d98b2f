"""Make the encoder that a configuration describes."""

from collections.abc import Callable

import torch

from ecgjepa.config import EncoderConfig
from ecgjepa.config.networks import OWN_PREFIX
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
# Classes of the user's own, by the same names; `ecgjepa.use` fills this, and no file does.
OWN_ENCODERS: dict[str, type[Encoder]] = {}
# Patches of the window that shows whether such a class gives the tokens that it should.
_PATCHES = 4


def build_encoder(config: EncoderConfig, *, dropout: float = 0.0) -> Encoder:
    """Return an encoder with fresh weights.

    Args:
        config: Architecture.
        dropout: Dropout of the blocks' branches while training; 0 in pre-training.

    Raises:
        EncoderError: If the architecture is not of this package, and either its class was not given
            to `ecgjepa.use` or the class is not as documented.
    """
    if config.is_own:
        return _build_own(config, dropout)
    return _ENCODERS[config.architecture](config, dropout=dropout)


def _build_own(config: EncoderConfig, dropout: float) -> Encoder:
    """Return an encoder of the user's own, whose tokens are as many and as wide as they should."""
    name = config.architecture
    if name not in OWN_ENCODERS:
        raise EncoderError(
            f"architecture {name} is a class of somebody's own, and code is never taken from a "
            f"file: give it again, as ecgjepa --use package.module:{name.removeprefix(OWN_PREFIX)} "
            "before the verb, or in Python with ecgjepa.use, if you trust it"
        )
    encoder = OWN_ENCODERS[name](config, dropout=dropout)
    for attribute in ("config", "blocks", "norm"):
        if not hasattr(encoder, attribute):
            raise EncoderError(
                f"{name}: has no attribute {attribute} after it was made; expected config, "
                "blocks (as many as encoder.depth says) and norm: docs/your-encoder.md"
            )
    if len(encoder.blocks) != config.depth:
        raise EncoderError(
            f"{name}: has {len(encoder.blocks)} blocks; expected {config.depth} (--set "
            f"encoder.depth={max(1, len(encoder.blocks))} asks for another number)"
        )
    was_training = encoder.training
    num_samples = _PATCHES * config.patch_size
    with torch.no_grad():
        found = encoder.eval()(torch.zeros(2, config.num_leads, num_samples))
    encoder.train(was_training)
    expected = (2, encoder.num_tokens(num_samples), config.dim)
    if tuple(getattr(found, "shape", ())) != expected:
        raise EncoderError(
            f"{name}: gives {tuple(getattr(found, 'shape', ()))} for 2 windows of {num_samples} "
            f"samples; expected {expected}: {config.num_registers} registers "
            f"(encoder.num_registers), a token for each {config.patch_size} samples "
            f"(encoder.patch_size), width {config.dim} (encoder.dim)"
        )
    return encoder
