"""What the signal itself tells: features that need no encoder, to stand beside an encoder's."""

import torch
from jaxtyping import Float
from torch import Tensor

from ecgjepa.foreign.description import EncoderDescription
from ecgjepa.foreign.importing import digest_of_code
from ecgjepa.foreign.network import ForeignEncoder

# Length of the stretches of signal that are described one by one.
STRETCH_SECONDS = 0.25
_NUMBERS = 5


class RawSignal(ForeignEncoder):
    """Five numbers for each lead and quarter of a second: nothing is learned.

    They are mean, standard deviation, least, greatest and mean absolute step. Of encoders that
    cannot be had untrained, it takes the place of the untrained rival.

    Args:
        description: What the encoder takes: the windows are the same.
    """

    def __init__(self, description: EncoderDescription) -> None:
        size = description.window_samples
        count = max(1, round(description.window_seconds / STRETCH_SECONDS))
        super().__init__(
            "raw-signal",
            description.model_copy(update={"normalisation": "records", "mean": (), "std": ()}),
            dim=_NUMBERS * len(description.leads),
            patch_size=size,
            num_registers=0,
        )
        self.identify(digest_of_code(RawSignal))
        self._stretch = max(2, size // count)

    def tokens(self, signal: Float[Tensor, "batch leads samples"]) -> Tensor:
        """Return a token for each stretch; what the last one leaves over is not used."""
        parts = signal.unfold(2, min(self._stretch, signal.shape[2]), self._stretch)
        numbers = (
            parts.mean(dim=3),
            parts.std(dim=3, unbiased=False),
            parts.amin(dim=3),
            parts.amax(dim=3),
            parts.diff(dim=3).abs().mean(dim=3),
        )
        return torch.cat(numbers, dim=1).transpose(1, 2)
