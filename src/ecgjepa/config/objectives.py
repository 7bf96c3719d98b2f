"""Settings of single objectives: what JEPA can do beyond the paper, and its rivals."""

from typing import Literal

from pydantic import Field, model_validator

from ecgjepa.config.networks import PredictorConfig, check_width
from ecgjepa.config.section import Section


class AugmentConfig(Section):
    """How the two views of a record differ, for the invariance-based objectives.

    Attributes:
        min_crop (share): Least share of the window that a view shows, stretched to the whole
            window; 1 for none. The share is uniform up to 1, as in Mehari & Strodthoff
            (https://arxiv.org/abs/2103.12676).
        max_time_mask (share): Greatest share of the window that is set to 0, uniform from 0.
        noise (standard deviations): Greatest standard deviation of white noise, relative to the
            signal's.
        max_scale: A view's amplitudes are multiplied by a factor between this and its inverse.
        lead_mask (probability): Probability that a lead is set to 0; one lead always stays.
    """

    min_crop: float = Field(0.5, gt=0, le=1)
    max_time_mask: float = Field(0.5, ge=0, lt=1)
    noise: float = Field(0.1, ge=0)
    max_scale: float = Field(1.5, ge=1)
    lead_mask: float = Field(0.2, ge=0, lt=1)


class JepaConfig(Section):
    """What JEPA can do beyond the paper; by default nothing of it (docs/decisions/0035).

    Attributes:
        masking: ``time`` hides patches of all leads, which are predicted, as in the paper.
            ``lead-time`` hides patches of single leads, which the context encoder sees as 0, and
            the features of all patches are predicted.
        mask_ratio (share): Share of the single leads' patches that ``lead-time`` hides.
        target_layers: Last blocks of the target encoder whose outputs, each normalised without
            parameters, are averaged into the targets, as in data2vec
            (https://arxiv.org/abs/2202.03555); 1 for the encoder's output, as in the paper.
        visible_loss: Weight of the loss of the features at visible patches, relative to that at
            hidden ones, as in V-JEPA 2.1 (https://arxiv.org/abs/2603.14482); the paper has 0.
        variance: Weight of the variance term of VICReg (https://arxiv.org/abs/2105.04906) on the
            context encoder's mean features of the records, as in C-JEPA
            (https://arxiv.org/abs/2410.19560); the paper has 0.
        covariance: Weight of the covariance term of VICReg, likewise; the paper has 0.
    """

    masking: Literal["time", "lead-time"] = "time"
    mask_ratio: float = Field(0.75, gt=0, lt=1)
    target_layers: int = Field(1, ge=1)
    visible_loss: float = Field(0.0, ge=0)
    variance: float = Field(0.0, ge=0)
    covariance: float = Field(0.0, ge=0)


class SaltConfig(Section):
    """The frozen teacher of SALT (https://arxiv.org/abs/2509.24317); the rest is JEPA's.

    Attributes:
        teacher: Folder of the model, or of the finished run, whose features are predicted.
        teacher_sha256: Hash of the teacher's weights; filled in. A run resumes with the same
            teacher only, wherever its folder lies.
    """

    teacher: str = Field("", max_length=4096)
    teacher_sha256: str = Field("", max_length=64)


class SimclrConfig(Section):
    """SimCLR's projection head and loss (https://arxiv.org/abs/2002.05709).

    Attributes:
        temperature: Divisor of the similarities in the loss; a lower one sharpens them.
        hidden_dim: Width of the projection head's hidden layer.
        projection_dim: Width of the projection that the loss compares.
    """

    temperature: float = Field(0.1, gt=0)
    hidden_dim: int = Field(256, ge=1)
    projection_dim: int = Field(128, ge=1)


class ByolConfig(Section):
    """BYOL's projector and predictor (https://arxiv.org/abs/2006.07733); momentum is in train.

    Attributes:
        hidden_dim: Width of the hidden layer of projector and predictor.
        projection_dim: Width of the projection that is predicted.
    """

    hidden_dim: int = Field(256, ge=1)
    projection_dim: int = Field(128, ge=1)


class LejepaConfig(Section):
    """LeJEPA's projector and SIGReg (https://arxiv.org/abs/2511.08544, docs/decisions/0040).

    Attributes:
        weight (share): Share of SIGReg in the loss; the rest is the distance between views.
        within (share): Share of SIGReg that is taken within records, over their patches; the rest
            is taken across records.
        directions: Random directions that the statistic is averaged over, new ones at each step.
        hidden_dim: Width of the projector's hidden layer.
        projection_dim: Width of the projections that are compared and are to be Gaussian.
    """

    weight: float = Field(0.05, ge=0, lt=1)
    within: float = Field(0.5, ge=0, le=1)
    directions: int = Field(64, ge=1, le=65_536)
    hidden_dim: int = Field(256, ge=1)
    projection_dim: int = Field(64, ge=1)


class CpcConfig(Section):
    """Contrastive predictive coding (https://arxiv.org/abs/1807.03748).

    Attributes:
        horizons (patches): Greatest distance ahead that is predicted; each distance from 1 to this
            has a linear map of its own.
    """

    horizons: int = Field(12, ge=1, le=1024)


class MaeConfig(Section):
    """The masked autoencoder (https://arxiv.org/abs/2111.06377).

    Attributes:
        masking: ``time`` hides patches of all leads, which the encoder skips; ``lead-time`` hides
            patches of single leads, which the encoder sees as 0 (docs/decisions/0027).
        mask_ratio (share): Share of the patches that is hidden.
        normalise_targets: Reconstruct each patch scaled to its own mean and deviation.
        decoder_dim: Width of the decoder.
        decoder_depth: Number of blocks of the decoder.
        decoder_heads: Attention heads of the decoder.
    """

    masking: Literal["time", "lead-time"] = "time"
    mask_ratio: float = Field(0.75, gt=0, lt=1)
    normalise_targets: bool = True
    decoder_dim: int = Field(48, ge=2)
    decoder_depth: int = Field(2, ge=1)
    decoder_heads: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _divisible(self) -> "MaeConfig":
        check_width(self.decoder_dim, self.decoder_heads)
        return self

    @property
    def decoder(self) -> PredictorConfig:
        """The decoder has the predictor's architecture."""
        return PredictorConfig(
            dim=self.decoder_dim, depth=self.decoder_depth, num_heads=self.decoder_heads
        )
