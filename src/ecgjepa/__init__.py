"""Self-supervised pre-training of ECG models with a joint-embedding predictive architecture.

Every verb of the command line is a function here. They are imported when first used, so that
``import ecgjepa`` is quick and does not load PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ecgjepa.version import __version__

_HOMES = {
    "compare": "ecgjepa.comparing.compare",
    "compare_predictions": "ecgjepa.results.compared",
    "convert": "ecgjepa.official.convert",
    "demo": "ecgjepa.demonstration",
    "describe": "ecgjepa.databases.catalogue",
    "doctor": "ecgjepa.environment",
    "embed": "ecgjepa.inference.embed",
    "embed_table": "ecgjepa.inference.outputs.embedding",
    "evaluate": "ecgjepa.judging.evaluate",
    "explain": "ecgjepa.inference.explain",
    "export_onnx": "ecgjepa.exporting.export",
    "fetch": "ecgjepa.fetching.fetch",
    "finetune": "ecgjepa.evaluation.finetune",
    "formats": "ecgjepa.io.catalogue",
    "load_model": "ecgjepa.inference.predict",
    "macro_auroc_scorer": "ecgjepa.estimators.scoring",
    "merge": "ecgjepa.store.merge",
    "models": "ecgjepa.sharing.listing",
    "online_probe": "ecgjepa.evaluation.online",
    "own_encoder": "ecgjepa.protocols.encoders",
    "plan": "ecgjepa.planning.plan",
    "plot": "ecgjepa.reporting.plotting",
    "predict": "ecgjepa.inference.predict",
    "predict_table": "ecgjepa.inference.outputs.predicting",
    "prepare": "ecgjepa.store.prepare",
    "prepare_share": "ecgjepa.store.prepare",
    "preset_settings": "ecgjepa.config",
    "pretrain": "ecgjepa.pretraining.loop",
    "probe": "ecgjepa.evaluation.probe",
    "push": "ecgjepa.sharing.hub",
    "read_record": "ecgjepa.io",
    "repeat": "ecgjepa.evaluation.repeats",
    "report": "ecgjepa.reporting.page",
    "run_protocol": "ecgjepa.protocols.run",
    "serve": "ecgjepa.serving.serve",
    "simulate": "ecgjepa.simulation.database",
    "use": "ecgjepa.objectives.own.using",
    "verify": "ecgjepa.checking.verify",
    "ECGClassifier": "ecgjepa.estimators.classifier",
    "ECGEncoder": "ecgjepa.estimators.encoder",
    "ECGModelClassifier": "ecgjepa.estimators.ready",
    "EcgjepaError": "ecgjepa.errors",
    "Encoder": "ecgjepa.model.encoders.encoder",
    "OwnObjective": "ecgjepa.objectives.own.objective",
    "PreprocessingConfig": "ecgjepa.signals.preprocessing",
    "Record": "ecgjepa.signals.record",
    "Split": "ecgjepa.tasks.split",
    "Store": "ecgjepa.store.reading",
}

__all__ = [
    "ECGClassifier",
    "ECGEncoder",
    "ECGModelClassifier",
    "EcgjepaError",
    "Encoder",
    "OwnObjective",
    "PreprocessingConfig",
    "Record",
    "Split",
    "Store",
    "__version__",
    "compare",
    "compare_predictions",
    "convert",
    "demo",
    "describe",
    "doctor",
    "embed",
    "embed_table",
    "evaluate",
    "explain",
    "export_onnx",
    "fetch",
    "finetune",
    "formats",
    "load_model",
    "macro_auroc_scorer",
    "merge",
    "models",
    "online_probe",
    "own_encoder",
    "plan",
    "plot",
    "predict",
    "predict_table",
    "prepare",
    "prepare_share",
    "preset_settings",
    "pretrain",
    "probe",
    "push",
    "read_record",
    "repeat",
    "report",
    "run_protocol",
    "serve",
    "simulate",
    "use",
    "verify",
]

if TYPE_CHECKING:
    from ecgjepa.checking.verify import verify as verify
    from ecgjepa.comparing.compare import compare as compare
    from ecgjepa.config import preset_settings as preset_settings
    from ecgjepa.databases.catalogue import describe as describe
    from ecgjepa.demonstration import demo as demo
    from ecgjepa.environment import doctor as doctor
    from ecgjepa.errors import EcgjepaError as EcgjepaError
    from ecgjepa.estimators.classifier import ECGClassifier as ECGClassifier
    from ecgjepa.estimators.encoder import ECGEncoder as ECGEncoder
    from ecgjepa.estimators.ready import ECGModelClassifier as ECGModelClassifier
    from ecgjepa.estimators.scoring import macro_auroc_scorer as macro_auroc_scorer
    from ecgjepa.evaluation.finetune import finetune as finetune
    from ecgjepa.evaluation.online import online_probe as online_probe
    from ecgjepa.evaluation.probe import probe as probe
    from ecgjepa.evaluation.repeats import repeat as repeat
    from ecgjepa.exporting.export import export_onnx as export_onnx
    from ecgjepa.fetching.fetch import fetch as fetch
    from ecgjepa.inference.embed import embed as embed
    from ecgjepa.inference.explain import explain as explain
    from ecgjepa.inference.outputs.embedding import embed_table as embed_table
    from ecgjepa.inference.outputs.predicting import predict_table as predict_table
    from ecgjepa.inference.predict import load_model as load_model
    from ecgjepa.inference.predict import predict as predict
    from ecgjepa.io import read_record as read_record
    from ecgjepa.io.catalogue import formats as formats
    from ecgjepa.judging.evaluate import evaluate as evaluate
    from ecgjepa.model.encoders.encoder import Encoder as Encoder
    from ecgjepa.objectives.own.objective import OwnObjective as OwnObjective
    from ecgjepa.objectives.own.using import use as use
    from ecgjepa.official.convert import convert as convert
    from ecgjepa.planning.plan import plan as plan
    from ecgjepa.pretraining.loop import pretrain as pretrain
    from ecgjepa.protocols.encoders import own_encoder as own_encoder
    from ecgjepa.protocols.run import run_protocol as run_protocol
    from ecgjepa.reporting.page import report as report
    from ecgjepa.reporting.plotting import plot as plot
    from ecgjepa.results.compared import compare_predictions as compare_predictions
    from ecgjepa.serving.serve import serve as serve
    from ecgjepa.sharing.hub import push as push
    from ecgjepa.sharing.listing import models as models
    from ecgjepa.signals.preprocessing import PreprocessingConfig as PreprocessingConfig
    from ecgjepa.signals.record import Record as Record
    from ecgjepa.simulation.database import simulate as simulate
    from ecgjepa.store.merge import merge as merge
    from ecgjepa.store.prepare import prepare as prepare
    from ecgjepa.store.prepare import prepare_share as prepare_share
    from ecgjepa.store.reading import Store as Store
    from ecgjepa.tasks.split import Split as Split


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'ecgjepa' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
