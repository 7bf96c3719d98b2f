"""From stored integers to what the encoder sees."""

import numpy as np
import torch
from jaxtyping import Float, Float32, Int16, Int64
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn

from ecgjepa.config import Section
from ecgjepa.config.networks import MOST_LEADS
from ecgjepa.signals.units import INVALID_MICROVOLT


class Normaliser(nn.Module):
    """Scale each lead to zero mean and unit deviation, cut outliers, blank invalid samples.

    Args:
        mean: Per database and lead, in mV, over training records.
        std: Standard deviation per database and lead, in mV; 0 for a constant lead, which is then
            only centred.
        clip: Largest magnitude, in standard deviations.
    """

    def __init__(
        self,
        mean: Float32[np.ndarray, "databases leads"],
        std: Float32[np.ndarray, "databases leads"],
        *,
        clip: float,
    ) -> None:
        super().__init__()
        self.clip = clip
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.from_numpy(mean * np.float32(1000.0)))
        scale = np.where(std > 0, std, np.float32(1.0)) * np.float32(1000.0)
        self.register_buffer("scale", torch.from_numpy(scale.astype(np.float32)))

    def forward(
        self,
        signal: Int16[Tensor, "batch samples leads"],
        database: Int64[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch leads samples"]:
        """Normalise integers of 1 µV; -32768 means invalid and becomes 0.

        Args:
            signal: Stored samples.
            database: Which row of the constants applies to each record; the first by default.
        """
        if database is None:
            mean, scale = self.mean[:1], self.scale[:1]
        else:
            mean, scale = self.mean[database], self.scale[database]
        # In place: a batch of the paper is half a gigabyte.
        normalised = signal.float().sub_(mean.unsqueeze(1)).div_(scale.unsqueeze(1))
        normalised = normalised.clamp_(-self.clip, self.clip)
        normalised = normalised.masked_fill_(signal == INVALID_MICROVOLT, 0.0)
        return normalised.transpose(1, 2).contiguous()


class NormalisationConfig(Section):
    """Per-lead constants in mV, and the cut in standard deviations.

    A standard deviation of 0 stands for a lead that was constant; such a lead is only centred.
    """

    mean: tuple[float, ...] = Field(max_length=MOST_LEADS)
    std: tuple[NonNegativeFloat, ...] = Field(max_length=MOST_LEADS)
    clip: float = Field(5.0, gt=0)

    @classmethod
    def of(
        cls, mean: Float[np.ndarray, " leads"], std: Float[np.ndarray, " leads"], clip: float
    ) -> "NormalisationConfig":
        """Return the constants of some records; a lead without deviation is only centred."""
        means, deviations = np.nan_to_num(mean), np.nan_to_num(std)
        scales = np.where(deviations > 0, deviations, 1.0)
        return cls(mean=tuple(means.tolist()), std=tuple(scales.tolist()), clip=clip)

    def build(self) -> Normaliser:
        """Return the module that applies them."""
        return Normaliser(
            np.array([self.mean], np.float32), np.array([self.std], np.float32), clip=self.clip
        )
