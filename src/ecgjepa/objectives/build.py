"""The build table: which objectives there are, and which one a configuration asks for.

To add an objective, write a subclass of `ecgjepa.objectives.objective.Objective` in a file of its
own, give it a section of settings in `ecgjepa.config`, if it has any, and add the class to
`OBJECTIVES`. A program that uses this package may add a class of its own to that table before it
trains; it then trains, is monitored, planned and reported as the others are.
"""

from ecgjepa.config import PretrainConfig
from ecgjepa.errors import ConfigError
from ecgjepa.objectives.byol import ByolObjective
from ecgjepa.objectives.cpc import CpcObjective
from ecgjepa.objectives.jepa import JepaObjective
from ecgjepa.objectives.lejepa import LejepaObjective
from ecgjepa.objectives.mae import MaeObjective
from ecgjepa.objectives.objective import Objective
from ecgjepa.objectives.salt import SaltObjective
from ecgjepa.objectives.simclr import SimclrObjective

# Classes by their names in the configuration.
OBJECTIVES: dict[str, type[Objective]] = {
    kind.name: kind
    for kind in (
        JepaObjective,
        SaltObjective,
        SimclrObjective,
        ByolObjective,
        MaeObjective,
        CpcObjective,
        LejepaObjective,
    )
}


def objective_of(config: PretrainConfig) -> Objective:
    """Return the objective of a run.

    Raises:
        ConfigError: If there is none of that name, or the settings do not suit it.
    """
    return objective_class(config.objective)(config)


def objective_class(name: str) -> type[Objective]:
    """Return the objective of a name, without the settings of a run.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name not in OBJECTIVES:
        raise ConfigError(
            f"objective: unknown name, found {name!r}; expected one of {', '.join(OBJECTIVES)}; "
            "one of your own is given as ecgjepa --use package.module:Class before the verb"
        )
    return OBJECTIVES[name]
