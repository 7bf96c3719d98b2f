"""Which objective a configuration asks for.

Each is a module with

- ``forward(signal, *inputs)``, where `ecgjepa.sampling.batches.Batch.inputs` gives the inputs: its
  output has the loss and what `ecgjepa.pretraining.monitor` looks at;
- ``update_target(momentum)``, after each optimizer step;
- ``encoder_to_keep``, what probing and fine-tuning start from.

Its encoder is made first, so that the same seed gives all objectives the same initial encoder.
"""

from ecgjepa.config import ObjectiveName, PretrainConfig
from ecgjepa.objectives.byol import Byol
from ecgjepa.objectives.jepa import Jepa, JepaOutput
from ecgjepa.objectives.mae import Mae, MaeOutput
from ecgjepa.objectives.simclr import SimClr
from ecgjepa.objectives.views import ViewsOutput

Objective = Jepa | SimClr | Byol | Mae
ObjectiveOutput = JepaOutput | ViewsOutput | MaeOutput


def build_objective(config: PretrainConfig) -> Objective:
    """Return the networks of a run, with fresh weights."""
    match config.objective:
        case "jepa":
            return Jepa(
                config.encoder,
                config.predictor,
                normalise_targets=config.train.normalise_targets,
                loss=config.train.loss,
            )
        case "simclr":
            return SimClr(config.encoder, config.simclr)
        case "byol":
            return Byol(config.encoder, config.byol)
        case "mae":
            return Mae(config.encoder, config.mae)


def kept_encoder_name(objective: ObjectiveName) -> str:
    """Return under which name a checkpoint holds ``encoder_to_keep``."""
    return "target_encoder" if objective == "jepa" else "encoder"
