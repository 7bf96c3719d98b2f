"""Optimisation, and what happens beside it."""

from typing import Literal

from pydantic import Field, model_validator

from ecgjepa.config.section import Section

Loss = Literal["l1", "smooth-l1", "l2"]


class TrainConfig(Section):
    """Optimisation.

    Attributes:
        steps (steps): Optimizer steps of the run.
        batch_size (records): Records per optimizer step.
        gradient_accumulation_steps: Equal parts a batch is computed in.
        learning_rate: Peak of the learning rate, reached after ``warmup_steps``.
        warmup_learning_rate: Learning rate at which the linear warm-up starts.
        final_learning_rate: Learning rate at which the cosine decay ends.
        warmup_steps (steps): Linear warm-up; it must be shorter than the run.
        weight_decay: Start of the cosine schedule of the weight decay, which is for the weights of
            linear and convolution layers.
        final_weight_decay: End of the cosine schedule of the weight decay.
        momentum: Start of the linear schedule of the target encoder's EMA coefficient.
        final_momentum: End of the linear schedule of the target encoder's EMA coefficient.
        target_memory (share of the run): If above 0, the steps that the target encoder averages
            over, 1 / (1 - momentum), grow linearly to this share of ``steps``, and
            ``final_momentum`` is not used (docs/decisions/0041).
        betas: AdamW's decay rates of the two moments.
        eps: AdamW's term that keeps the denominator above 0.
        gradient_clip: Greatest gradient norm; 0 for none.
        normalise_targets: Layer norm without parameters on the targets, as in I-JEPA; the paper
            does without.
        loss: Loss of the predicted features: ``l1`` (mean absolute error, the paper), ``smooth-l1``
            (squared below an error of 1) or ``l2`` (mean squared error).
        lead_dropout (probability): Probability with which each lead is hidden from the context
            encoder; needs ``encoder.lead_patches``. At least one lead always stays.
        precision: ``auto`` is bfloat16 autocast where the hardware computes in it, else float32.
        compile: Compile the networks with `torch.compile` before the first step.
        seed: Seed of weights, data order and masks.
        stop_on_collapse: End the run with an error when the collapse monitor's alarm persists.
        log_every (steps): Steps between lines of ``metrics.jsonl``.
        checkpoint_every (steps): Steps between checkpoints.
        keep_checkpoints: Number of the latest checkpoints that stay on disk; 0 keeps all.
        milestone_every (steps): Checkpoints at multiples of this stay for ever; 0 for none.
        trackers: Writers of the metrics beside ``metrics.jsonl``: ``tensorboard``, ``wandb``.
    """

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    gradient_accumulation_steps: int = Field(1, ge=1)
    learning_rate: float = Field(gt=0)
    warmup_learning_rate: float = Field(1e-6, ge=0)
    final_learning_rate: float = Field(1e-6, ge=0)
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(0.01, ge=0)
    final_weight_decay: float = Field(0.1, ge=0)
    momentum: float = Field(ge=0, le=1)
    final_momentum: float = Field(ge=0, le=1)
    target_memory: float = Field(0.0, ge=0, le=1)
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = Field(1e-6, gt=0)
    gradient_clip: float = Field(0.0, ge=0)
    normalise_targets: bool = False
    loss: Loss = "l1"
    lead_dropout: float = Field(0.0, ge=0, lt=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    seed: int = Field(0, ge=0)
    stop_on_collapse: bool = False
    log_every: int = Field(100, ge=1)
    checkpoint_every: int = Field(10_000, ge=1)
    keep_checkpoints: int = Field(0, ge=0)
    milestone_every: int = Field(0, ge=0)
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if self.batch_size % self.gradient_accumulation_steps:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of "
                f"gradient_accumulation_steps {self.gradient_accumulation_steps}"
            )
        if self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} must be below steps {self.steps}; add --set "
                f"train.warmup_steps={self.steps // 10}"
            )
        if self.target_memory and self.momentum > 1 - 1 / (self.target_memory * self.steps):
            raise ValueError(
                f"target_memory {self.target_memory:g} of {self.steps:,} steps are "
                f"{self.target_memory * self.steps:,.0f}, but momentum {self.momentum:g} begins "
                "with more; take a larger target_memory, more steps or a smaller momentum"
            )
        if self.milestone_every % self.checkpoint_every:
            raise ValueError(
                f"milestone_every {self.milestone_every} is not a multiple of checkpoint_every "
                f"{self.checkpoint_every}: there would be no checkpoint to keep"
            )
        return self


class OnlineProbeConfig(Section):
    """The frozen probe that follows a run, if labelled records are given to it.

    Attributes:
        every (steps): Steps between probes; the last step is always probed.
    """

    every: int = Field(1000, ge=1)
