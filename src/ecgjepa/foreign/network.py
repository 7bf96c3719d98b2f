"""An encoder that was made elsewhere behind the interface of this package's own."""

import hashlib
import re
from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from pydantic import ValidationError
from torch import Tensor, nn

from ecgjepa.config import EncoderConfig, describe_validation_error
from ecgjepa.config.networks import OWN_PREFIX
from ecgjepa.errors import EncoderError
from ecgjepa.foreign.description import EncoderDescription
from ecgjepa.model.encoders.encoder import Encoder

# Numbers for each head of the attentive protocol, at the least.
_LEAST_WIDTH_OF_A_HEAD = 32
# Share of the largest number in tokens by which those of the same window may differ: rounding
# leaves a little, and activations of 8 bits, whose scale is that of a batch, leave more.
_LARGEST_GAP = 0.05
# Scales and means of the windows that this is found out with.
_UNLIKE = (1.4, 1.0, 0.7), (2.0, 0.0, -1.0)
# A deviation of less is that of a lead without signal, in mV or whatever the unit is.
_LEAST_DEVIATION = 1e-6


class Foreign(NamedTuple):
    """What the protocols know of an encoder that was made elsewhere.

    Attributes:
        source: File or import path, as it was given.
        description: What it takes.
        rival: Name of what stands beside it: ``untrained`` or ``raw signal``.
        make_rival: Returns that.
    """

    source: str
    description: EncoderDescription
    rival: str
    make_rival: Callable[[], "ForeignEncoder"]


class ForeignEncoder(Encoder):
    """Tokens of another network: one block, whose output nothing is done to.

    Args:
        name: What it is called in results.
        description: What it takes.
        dim: Width of a token.
        patch_size: Samples that the windows are multiples of.
        num_registers: Tokens before those of the patches.

    Attributes:
        foreign: What the protocols know of it; set by `known_as`.

    Raises:
        EncoderError: If no encoder of this package has such a size.
    """

    foreign: Foreign

    def __init__(
        self,
        name: str,
        description: EncoderDescription,
        *,
        dim: int,
        patch_size: int,
        num_registers: int,
    ) -> None:
        super().__init__()
        self.name = name
        self._description = description
        self.normalisation = description.normalisation
        self.clip = description.clip
        try:
            self.config = EncoderConfig(
                architecture=architecture_of(name),
                num_leads=len(description.leads),
                patch_size=patch_size,
                dim=dim,
                depth=1,
                num_heads=heads_for(dim),
                num_registers=num_registers,
            )
        except ValidationError as error:
            raise EncoderError(describe_validation_error(error, name)) from None
        self.blocks = nn.ModuleList([nn.Identity()])
        self.norm = nn.Identity()
        self._counts: dict[int, int] = {}

    def identify(self, computed_by: str) -> None:
        """Note the hash of what decides the features besides weights and constants.

        How the description scales a window and reads an output is part of it: two descriptions
        with the same constants may give other features.

        Args:
            computed_by: Hash of the code or file that computes.
        """
        told = self._description.model_dump_json(exclude={"trained_on", "comment"})
        self.identity = hashlib.sha256(f"{computed_by} {told}".encode()).hexdigest()

    def check_windows_stand_alone(self) -> None:
        """Refuse a network whose tokens of a window depend on the windows beside it, or on chance.

        Which windows come together is an accident of how records are read.

        Raises:
            EncoderError: If the tokens of noise differ between two ways to come.
        """
        patch = self.config.patch_size
        size = patch * max(1, round(self._description.window_samples / patch))
        device = next(self.parameters(), torch.empty(0)).device
        noise = torch.randn(
            (3, self.config.num_leads, size), generator=torch.Generator().manual_seed(0)
        ).to(device)
        # Windows of one scale and mean would hide what is scaled by those of the batch.
        scale, shift = (torch.tensor(each, device=device).view(3, 1, 1) for each in _UNLIKE)
        noise = noise * scale + shift
        with torch.inference_mode():
            together, turned = self._plain(noise), self._plain(noise.flip(0)).flip(0)
            alone = torch.cat([self._plain(noise[:1]), self._plain(noise[1:])])
        largest = together.nan_to_num().abs().amax().clamp_min(1e-6)
        for found, how in ((turned, "in another order"), (alone, "in other company")):
            gap = (found - together).nan_to_num().abs().amax() / largest
            if gap > _LARGEST_GAP:
                raise EncoderError(
                    f"{self.name}: gives other tokens for the same windows {how} (by {gap:.1%} of "
                    "the largest); expected tokens that depend on their window alone. Look for "
                    "statistics over the batch, and for dropout that is never switched off"
                )

    def _plain(self, scaled: Float[Tensor, "batch leads samples"]) -> Tensor:
        return self._checked(self.tokens(scaled), len(scaled))

    def known_as(self, foreign: Foreign) -> "ForeignEncoder":
        """Return the encoder, which knows now what it is."""
        self.foreign = foreign
        return self

    def rival(self) -> "ForeignEncoder":
        """Return what stands beside it: the same untrained, or features of the raw signal."""
        return self.foreign.make_rival().known_as(self.foreign)

    @abstractmethod
    def tokens(self, signal: Float[Tensor, "batch leads samples"]) -> object:
        """Return what the network gives of scaled windows, which should be (batch, tokens, dim)."""

    def forward(
        self,
        signal: Float[Tensor, "batch leads samples"],
        keep_index: Int64[Tensor, "batch kept"] | None = None,
        *,
        leads: Int64[Tensor, "#batch chosen"] | None = None,
    ) -> Float[Tensor, "batch tokens dim"]:
        """Return the tokens of windows: see `Encoder.forward`; nothing can be hidden.

        Raises:
            EncoderError: If the network gives something else than tokens.
        """
        if keep_index is not None or leads is not None:
            raise EncoderError(f"{self.name}: encodes whole windows of all leads only")
        self.check_signal(signal)
        return self._checked(self.tokens(self._scaled(signal)), len(signal))

    def num_tokens(self, num_samples: int) -> int:
        """Return how many tokens a window gives, as was seen of one without signal."""
        if num_samples not in self._counts:
            device = next(self.parameters(), torch.empty(0)).device
            silent = torch.zeros(2, self.config.num_leads, num_samples, device=device)
            with torch.inference_mode():
                self._counts[num_samples] = self(silent).shape[1]
        return self._counts[num_samples]

    def _scaled(
        self, signal: Float[Tensor, "batch leads samples"]
    ) -> Float[Tensor, "batch leads samples"]:
        if not self.normalisation.startswith("window"):
            return signal
        axes = (2,) if self.normalisation == "window" else (1, 2)
        mean = signal.mean(dim=axes, keepdim=True)
        deviation = signal.std(dim=axes, keepdim=True, unbiased=False)
        scaled = (signal - mean) / deviation.clamp_min(_LEAST_DEVIATION)
        return scaled if self.clip is None else scaled.clamp(-self.clip, self.clip)

    def _checked(self, found: object, batch: int) -> Float[Tensor, "batch tokens dim"]:
        if not isinstance(found, Tensor):
            raise EncoderError(
                f"{self.name}: gives {type(found).__name__}; expected a tensor (batch, tokens, dim)"
            )
        dim, least = self.config.dim, self.config.num_registers + 1
        if found.ndim != 3 or found.shape[0] != batch or found.shape[2] != dim:
            raise EncoderError(
                f"{self.name}: gives {tuple(found.shape)} for {batch} windows; expected (batch "
                f"{batch}, tokens, dim {dim})"
            )
        if found.shape[1] < least:
            raise EncoderError(
                f"{self.name}: gives {found.shape[1]} tokens, registers among them; expected "
                f"{least} or more"
            )
        return found.float()


def heads_for(dim: int) -> int:
    """Return the heads of an attentive probe: as many as leave each enough numbers."""
    most = max(1, dim // _LEAST_WIDTH_OF_A_HEAD)
    return next(heads for heads in range(most, 0, -1) if dim % heads == 0)


def architecture_of(name: str) -> str:
    """Return what the architecture of such an encoder is called in a configuration."""
    return OWN_PREFIX + re.sub(r"[^\w.:-]", "-", name)[-96:]
