"""A whole pre-training run."""

from pydantic import Field, model_validator

from ecgjepa.config.networks import (
    DataConfig,
    EncoderConfig,
    MaskConfig,
    PredictorConfig,
    check_rotary,
)
from ecgjepa.config.objectives import (
    AugmentConfig,
    ByolConfig,
    CpcConfig,
    JepaConfig,
    LejepaConfig,
    MaeConfig,
    SaltConfig,
    SimclrConfig,
)
from ecgjepa.config.section import Section
from ecgjepa.config.training import OnlineProbeConfig, TrainConfig


class PretrainConfig(Section):
    """A whole pre-training run.

    ``mask``, ``predictor`` and ``jepa`` are JEPA's and SALT's, ``augment`` is SimCLR's and BYOL's,
    the sections of other objectives have their names; the objective decides which of them are used.
    Which objectives there are, and which settings suit them, `ecgjepa.objectives.build` knows.
    """

    objective: str = Field("jepa", max_length=64)
    data: DataConfig
    mask: MaskConfig = MaskConfig()
    encoder: EncoderConfig
    predictor: PredictorConfig
    train: TrainConfig
    probe: OnlineProbeConfig = OnlineProbeConfig()
    augment: AugmentConfig = AugmentConfig()
    jepa: JepaConfig = JepaConfig()
    salt: SaltConfig = SaltConfig()
    simclr: SimclrConfig = SimclrConfig()
    byol: ByolConfig = ByolConfig()
    mae: MaeConfig = MaeConfig()
    cpc: CpcConfig = CpcConfig()
    lejepa: LejepaConfig = LejepaConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "PretrainConfig":
        if len(self.data.leads) != self.encoder.num_leads:
            raise ValueError(
                f"encoder.num_leads is {self.encoder.num_leads} but data.leads names "
                f"{len(self.data.leads)}"
            )
        if self.data.window_samples % self.encoder.patch_size:
            raise ValueError(
                f"a window of {self.data.window_seconds} s at {self.data.sampling_rate} Hz has "
                f"{self.data.window_samples} samples, which patches of "
                f"{self.encoder.patch_size} samples do not fill evenly"
            )
        if self.encoder.positions == "rotary":
            check_rotary(self.predictor.dim, self.predictor.num_heads)
        if self.encoder.num_positions not in (0, self.num_patches):
            raise ValueError(
                f"encoder.num_positions is {self.encoder.num_positions}, but a window has "
                f"{self.num_patches} patches; leave it out, and it is filled in"
            )
        if self.train.lead_dropout and not self.encoder.lead_patches:
            raise ValueError(
                f"train.lead_dropout is {self.train.lead_dropout}, but a patch spans all leads; "
                "it needs encoder.lead_patches=true"
            )
        return self

    @property
    def num_patches(self) -> int:
        """Patches per training window."""
        return self.data.window_samples // self.encoder.patch_size

    @property
    def num_tokens(self) -> int:
        """Tokens per training window, registers aside."""
        return self.num_patches * self.encoder.tokens_per_patch
