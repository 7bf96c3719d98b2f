"""What every encoder is to those that train it, read it and keep it."""

from abc import ABC, abstractmethod

from jaxtyping import Float, Int64
from torch import Tensor, nn

from ecgjepa.config import EncoderConfig


class Encoder(nn.Module, ABC):
    """Signals in, tokens out: registers first, then one token per patch in order.

    A class of one's own is made as ``Class(config, dropout=0.0)``, and `ecgjepa.use` makes it
    known; docs/your-encoder.md has one.

    Attributes:
        config: Architecture; ``num_registers``, ``patch_size`` and ``dim`` say what the tokens are.
        blocks: The layers, whose outputs (batch, tokens, dim) can be read before ``norm``.
        norm: The layer norm that the output of the last block passes through.
        identity: Hash of what else decides the features of an encoder that is not of this package:
            its code, or its file. Empty for others.

    Example:
        >>> import ecgjepa
        >>> import torch
        >>> class Means(ecgjepa.Encoder):
        ...     def __init__(self, config, *, dropout=0.0):
        ...         super().__init__()
        ...         self.config, self.norm = config, torch.nn.LayerNorm(config.dim)
        ...         self.embed = torch.nn.Linear(config.num_leads, config.dim)
        ...         blocks = [torch.nn.Linear(config.dim, config.dim) for _ in range(config.depth)]
        ...         self.blocks = torch.nn.ModuleList(blocks)
        ...
        ...     def forward(self, signal, keep_index=None, *, leads=None):
        ...         size = self.config.patch_size
        ...         means = signal.unfold(2, size, size).mean(3)
        ...         tokens = self.embed(means.transpose(1, 2))
        ...         for block in self.blocks:
        ...             tokens = tokens + block(tokens).relu()
        ...         return self.norm(tokens)
        >>> ecgjepa.use(Means)  # then encoder.architecture=own:Means
    """

    config: EncoderConfig
    blocks: nn.ModuleList
    norm: nn.Module
    identity: str = ""

    @abstractmethod
    def forward(
        self,
        signal: Float[Tensor, "batch leads samples"],
        keep_index: Int64[Tensor, "batch kept"] | None = None,
        *,
        leads: Int64[Tensor, "#batch chosen"] | None = None,
    ) -> Float[Tensor, "batch tokens dim"]:
        """Encode normalised signals of any whole number of patches.

        Args:
            signal: Normalised amplitudes.
            keep_index: Patches that the encoder may see, and whose features are returned; all by
                default. No feature depends on the samples of the other patches.
            leads: In its place, with ``lead_patches``: numbers of the leads to encode.

        Raises:
            ValueError: If the signal does not consist of whole patches of the right leads, or
                ``leads`` cannot be had.
        """

    def num_tokens(self, num_samples: int) -> int:
        """Return how many tokens a window gives, registers among them.

        Args:
            num_samples: Length of the window, a multiple of the patch size.
        """
        config = self.config
        num_patches = num_samples // config.patch_size
        return config.num_registers + num_patches * config.tokens_per_patch

    def check_signal(self, signal: Tensor) -> None:
        """Refuse a signal of other leads, or one that is cut within a patch."""
        config = self.config
        if signal.shape[1] != config.num_leads or signal.shape[2] % config.patch_size:
            raise ValueError(
                f"signal of shape {tuple(signal.shape)}: expected (batch, {config.num_leads} "
                f"leads, a multiple of {config.patch_size} samples)"
            )
