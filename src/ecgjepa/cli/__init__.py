"""The command ``ecgjepa``: thin verbs over functions of the same name.

Exit codes: 0 done; 1 it ran, but something fell short; 2 wrong use or unusable input.
"""

# The verbs register themselves with the application when their modules are imported, and are listed
# in that order: as they follow each other in use.
# isort: off
from ecgjepa.cli import sources as sources
from ecgjepa.cli import data as data
from ecgjepa.cli import training as training
from ecgjepa.cli import evaluation as evaluation
from ecgjepa.cli import judging as judging
from ecgjepa.cli import prediction as prediction
from ecgjepa.cli import offering as offering
from ecgjepa.cli import use as use

# isort: on

from ecgjepa.cli.application import app as app
from ecgjepa.cli.application import main as main
