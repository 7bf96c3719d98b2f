"""What SimCLR and BYOL share: two augmented views of each record, and their failure signs."""

from typing import TYPE_CHECKING

import numpy as np

from ecgjepa.objectives.costs import FLOAT_BYTES, INDEX_BYTES, Numbers
from ecgjepa.objectives.encoder_costs import (
    block_bytes,
    embedding_flops,
    encoder_flops,
    stem_bytes,
)
from ecgjepa.objectives.objective import Objective, rank_sign, spread_sign
from ecgjepa.objectives.words import Panel, Picture, Sign, Span

if TYPE_CHECKING:
    from torch import Tensor

# Of embeddings of different records: trials had 0 to 0.56, a collapse has 1.
MAX_SIMILARITY = 0.9
_CUT, _BLANKED, _LEAD = "outside of the crop", "set to 0", "lead set to 0"


class ViewsObjective(Objective):
    """An objective that compares two augmented views of each record.

    What a probe reads of these objectives is a mean over patches: healthy runs spread it over
    fewer directions than JEPA its patches, so its rank and spread raise no alarm
    (docs/decisions/0027).
    """

    least_records = 2
    features = "features"

    def draw(self, seed: int, step: int, part: int, *, size: int) -> "tuple[Tensor, ...]":
        """Return the fields of the augmentation of two views."""
        from ecgjepa.sampling.inputs import draw_views

        config = self.config
        leads = len(config.data.leads)
        return draw_views(config.augment, leads, seed, step, part, size=size)

    @property
    def signs(self) -> tuple[Sign, ...]:
        """Signs of the encoder, and how alike the embeddings of views are."""
        return (
            spread_sign(self.features, alarms=False),
            rank_sign(self.features, self.config.encoder.dim, alarms=False),
            Sign(
                name="positive_similarity",
                label="cosine, views of the same record",
                meaning="mean cosine of a record's two views; low if nothing is learned",
                most=1,
            ),
            Sign(
                name="negative_similarity",
                label="cosine, views of different records",
                meaning="mean cosine of views of different records; near 1 in a collapse",
                above=MAX_SIMILARITY,
                alarm="views of different records have a mean cosine of {value:.2f}",
                most=1,
            ),
            Sign(
                name="uniformity",
                label="uniformity",
                meaning="log of the mean of exp(-2 distance²) over different records; 0 in a "
                "collapse, the lower the better spread",
                most=0,
            ),
        )

    def picture(self) -> Picture:
        """Return what the two views of a record show of it."""
        from ecgjepa.sampling.augmentation import sample_augmentation

        augment, leads = self.config.augment, self.config.data.leads
        drawn = sample_augmentation(
            augment, np.random.default_rng(0), batch_size=1, num_leads=len(leads)
        )
        panels = []
        for view in range(2):
            start, width = float(drawn.crop_start[0, view]), float(drawn.crop_width[0, view])
            # The blanked stretch is a share of the view, which the crop is stretched to.
            blank = start + width * float(drawn.mask_start[0, view])
            length = width * float(drawn.mask_width[0, view])
            keep = drawn.keep_lead[0, view].tolist()
            absent = tuple(lead for lead, stays in zip(leads, keep, strict=True) if not stays)
            spans = [
                Span(start=0.0, end=start, kind=_CUT),
                Span(start=start + width, end=1.0, kind=_CUT),
                Span(start=blank, end=blank + length, kind=_BLANKED),
                *(
                    Span(start=start, end=start + width, leads=(lead,), kind=_LEAD)
                    for lead in absent
                ),
            ]
            factor = float(drawn.scale[0, view])
            noise = float(drawn.noise[0, view])
            title = f"view {view + 1}: amplitudes times {factor:.2f}, noise of {noise:.2f} std"
            if absent:
                title += f"; without {', '.join(absent)}"
            shown = tuple(span for span in spans if span.end > span.start)
            panels.append(Panel(title=title, spans=shown))
        return Picture(
            caption="Two views of one record, as they are drawn: each shows a part of the window, "
            "stretched over the whole, with a stretch and some leads set to 0, other amplitudes "
            "and added noise. The views of a record are to be recognised as the same.",
            panels=tuple(panels),
        )

    def encoder_flops(self) -> float:
        """Return the operations of the encoder on one view, forward, without its embedding."""
        return encoder_flops(self.config, self.config.num_patches)

    def online_flops(self) -> float:
        """Return the operations of the trained encoder on two views, forward and backward."""
        return 2 * (embedding_flops(self.config, trained=True) + 3 * self.encoder_flops())

    def input_bytes(self) -> int:
        """Return the bytes of the augmentation of a record's two views."""
        return 2 * (6 * FLOAT_BYTES + INDEX_BYTES + self.config.encoder.num_leads)

    def activation_bytes(self, numbers: Numbers) -> float:
        """Return an estimate of the bytes per record that leaves out heads and augmentation."""
        config, encoder = self.config, self.config.encoder
        whole = config.num_tokens + encoder.num_registers
        view = (FLOAT_BYTES + numbers.copy) * config.data.window_samples * encoder.num_leads
        blocks = encoder.depth * block_bytes(config, encoder, whole, numbers)
        stem = stem_bytes(config, config.num_patches, numbers)
        return 2 * (view + 2 * FLOAT_BYTES * whole * encoder.dim + blocks + stem)
