"""A stack of diagonal state-space layers over time patches of all leads together.

S4D (https://arxiv.org/abs/2206.11893).
"""

from ecgjepa.config import EncoderConfig
from ecgjepa.model.encoders.masked import MaskedEncoder
from ecgjepa.model.encoders.state_space import StateSpaceBlock


class StateSpaceEncoder(MaskedEncoder):
    """State-space layers, in both directions of time or forward alone."""

    @staticmethod
    def make_block(config: EncoderConfig, dropout: float) -> StateSpaceBlock:
        """Return one state-space layer with its mix of channels."""
        return StateSpaceBlock(
            config.dim,
            config.state_dim,
            is_causal=config.causal,
            norm_eps=config.norm_eps,
            dropout=dropout,
        )
