"""The model folder: everything needed to use a model, and nothing that can execute.

``config.json`` holds architecture, leads, rate, preprocessing, normalisation, labels and their
order, and where the model comes from; ``model.safetensors`` the weights; ``README.md`` a card. A
classifier also has ``distribution.safetensors``: what its training records' features look like.
"""

import shutil
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field, PrivateAttr, ValidationError, model_validator
from safetensors import SafetensorError

from ecgjepa.config import EncoderConfig, Section, describe_validation_error
from ecgjepa.config.networks import MOST_WINDOW_SAMPLES
from ecgjepa.errors import ModelFolderError
from ecgjepa.files import read_versioned, replacing_folder, sha256_of_file, write_json, write_text
from ecgjepa.model.answers import AnswersConfig, LeadSetConfig, with_older_decisions
from ecgjepa.model.distribution import (
    DISTRIBUTION_FILE,
    DistributionConfig,
    FeatureDistribution,
    read_distribution,
    write_distribution,
)
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.facts import FORMAT_VERSION, READABLE_VERSIONS, with_single_databases
from ecgjepa.model.facts import PretrainingFacts as PretrainingFacts
from ecgjepa.model.facts import WindowConfig as WindowConfig
from ecgjepa.model.heads import Classifier, HeadConfig, build_head, check_head, check_layers
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.model.outputs import CalibrationConfig, TaskConfig, check_count
from ecgjepa.model.weights import first_difference, halved, load_finite, read_shapes, save_tensors
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.version import __version__

# Name of the model folder within the folder of a run, probe or fine-tuning.
MODEL_FOLDER = "model"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
# What the records of pre-training hold, without their names; see `ecgjepa.checking.seen`.
SEEN_FILE = "seen.parquet"
# Of config.json: a task of 10,000 labels has 1 MB.
_MOST_CONFIG_BYTES = 16_000_000

Training = Annotated[dict[str, Any], AfterValidator(with_single_databases)]


class ModelConfig(Section):
    """What ``config.json`` says.

    Attributes:
        format_version: Version of the folder's layout.
        software_version: Version of ecgjepa that wrote the folder.
        encoder: Architecture.
        head: Head, or None for an encoder alone.
        preprocessing: What is done to a record before the model sees it.
        normalisation: Constants that scale its leads.
        window: How a record is cut.
        task: Meaning of the outputs, or None for an encoder alone.
        calibration: Correction of the probabilities, or None.
        answers: Thresholds, label sets and test scores; None for an encoder alone, and in folders
            of version 1 that have no thresholds.
        lead_sets: Sets of leads that the classifier was trained for beside all leads.
        distribution: Distribution of the training records' features, or None.
        pretraining: Origin of the encoder.
        training: Origin of the head: protocol, folds, selection.
        weights_sha256: Of ``model.safetensors``.
    """

    format_version: int = FORMAT_VERSION
    software_version: str = __version__
    encoder: EncoderConfig
    head: HeadConfig | None = None
    preprocessing: PreprocessingConfig
    normalisation: NormalisationConfig
    window: WindowConfig = WindowConfig()
    task: TaskConfig | None = None
    calibration: CalibrationConfig | None = None
    answers: AnswersConfig | None = None
    lead_sets: tuple[LeadSetConfig, ...] = ()
    distribution: DistributionConfig | None = None
    pretraining: PretrainingFacts
    training: Training = Field(default_factory=dict)
    weights_sha256: str = ""
    _seen_file: Path | None = PrivateAttr(None)

    @property
    def sets_of_leads(self) -> tuple[tuple[str, ...], ...]:
        """Sets of leads that records are answered by: all leads, then the other sets by size."""
        others = sorted((each.leads for each in self.lead_sets), key=len, reverse=True)
        return (self.preprocessing.leads, *others)

    def for_leads(self, leads: tuple[str, ...]) -> "ModelConfig":
        """Return the same with calibration and answers of a set of leads, if it is one."""
        found = next((each for each in self.lead_sets if each.leads == leads), None)
        if found is None:
            return self
        given = {"calibration": found.calibration, "answers": found.answers, "distribution": None}
        return self.model_copy(update=given)

    @property
    def seen_file(self) -> Path | None:
        """Place of the file that says what the records of pre-training hold, where it is known."""
        return self._seen_file

    def with_seen_file(self, folder: Path) -> "ModelConfig":
        """Return the same, knowing of the file in a folder, if it is there."""
        place, found = folder / SEEN_FILE, self.model_copy()
        found._seen_file = place if self.pretraining.seen and place.is_file() else None
        return found

    @model_validator(mode="before")
    @classmethod
    def _from_older(cls, content: Any) -> Any:  # noqa: ANN401
        return with_older_decisions(content)

    @model_validator(mode="after")
    def _fits_together(self) -> "ModelConfig":
        leads = len(self.preprocessing.leads)
        for name, number in (
            ("encoder.num_leads", self.encoder.num_leads),
            ("values of normalisation.mean", len(self.normalisation.mean)),
            ("values of normalisation.std", len(self.normalisation.std)),
        ):
            if number != leads:
                raise ValueError(f"{name}: found {number}, for {leads} leads of preprocessing")
        samples = self.window.seconds * self.preprocessing.sampling_rate
        if samples > MOST_WINDOW_SAMPLES:
            raise ValueError(
                f"a window of {self.window.seconds:g} s at {self.preprocessing.sampling_rate:g} Hz "
                f"has {samples:,.0f} samples; expected {MOST_WINDOW_SAMPLES:,} at most"
            )
        if self.head is not None:
            check_layers(self.head.layers, self.encoder.depth)
            check_head(self.head.kind, self.encoder.num_registers)
        self._check_outputs()
        return self

    def _check_outputs(self) -> None:
        """Refuse a head, task, calibration and answers that speak of different labels."""
        if self.task is None:
            if self.calibration is not None or self.answers is not None or self.lead_sets:
                raise ValueError("calibration and answers: there is no task that they belong to")
            return
        for each in self.lead_sets:
            each.check(self.task, self.preprocessing.leads)
        if self.head is not None:
            check_count("head.num_labels", self.head.num_labels, len(self.task.labels))
        if self.calibration is not None:
            self.calibration.check(self.task)
        if self.answers is not None:
            self.answers.check(self.task)


def save_model(
    folder: Path,
    model: Encoder | Classifier,
    config: ModelConfig,
    card: str,
    *,
    distribution: FeatureDistribution | None = None,
    half: bool = False,
) -> None:
    """Write a model folder in one step; an older one of that name is replaced.

    Args:
        folder: Where.
        model: Encoder, or classifier if ``config`` has a head and a task.
        config: Description of the model; the SHA-256 of the files is filled in.
        card: Text of the model card.
        distribution: Distribution of the training records' features, if ``config`` describes one.
        half: Write the weights in half precision, see `ecgjepa.model.weights.halved`. They are
            loaded into a network that computes in single precision as any other.
    """
    assert (config.distribution is None) == (distribution is None)
    assert (config.head is None) == isinstance(model, Encoder)
    with replacing_folder(folder) as partial:
        weights = model.state_dict()
        save_tensors(partial / WEIGHTS_FILE, halved(weights) if half else weights)
        digest = sha256_of_file(partial / WEIGHTS_FILE)
        described = config.model_copy(update={"weights_sha256": digest})
        if config.distribution is not None and distribution is not None:
            write_distribution(partial / DISTRIBUTION_FILE, distribution)
            digest = sha256_of_file(partial / DISTRIBUTION_FILE)
            facts = config.distribution.model_copy(update={"sha256": digest})
            described = described.model_copy(update={"distribution": facts})
        if config.seen_file is not None:
            shutil.copyfile(config.seen_file, partial / SEEN_FILE)
        write_json(partial / CONFIG_FILE, described.model_dump(mode="json"))
        write_text(partial / CARD_FILE, card)


def find_model(path: str | Path) -> Path:
    """Return the model folder that a path leads to: itself, or the one of a run or evaluation.

    Where there is none, the path is returned as it is.
    """
    folder = Path(path)
    inside = folder / MODEL_FOLDER
    is_inside = not (folder / CONFIG_FILE).is_file() and (inside / CONFIG_FILE).is_file()
    return inside if is_inside else folder


def read_model_config(folder: Path) -> ModelConfig:
    """Return what a model folder says of itself.

    Raises:
        ModelFolderError: If it is none, damaged, or of another format version.
    """
    path = folder / CONFIG_FILE
    if not folder.is_dir():
        raise ModelFolderError(f"no model folder at {folder}")
    if not path.is_file():
        raise ModelFolderError(f"{folder}: is no model folder: it has no {CONFIG_FILE}")
    if (size := path.stat().st_size) > _MOST_CONFIG_BYTES:
        raise ModelFolderError(
            f"{path}: has {size:,} bytes; a model's has {_MOST_CONFIG_BYTES:,} at most"
        )
    content, _ = read_versioned(path, READABLE_VERSIONS, ModelFolderError)
    try:
        return ModelConfig.model_validate(content).with_seen_file(folder)
    except ValidationError as error:
        raise ModelFolderError(describe_validation_error(error, str(path))) from None


def load_model_folder(folder: Path) -> tuple[Encoder | Classifier, ModelConfig]:
    """Rebuild a model from its folder, in evaluation mode, on the CPU.

    Nothing is built before the names and shapes in the weights' file were found to fit.

    Raises:
        ModelFolderError: If anything is missing, has changed since it was written, does not fit the
            architecture, or is not finite.
    """
    config = read_model_config(folder)
    weights_path = _verified(folder / WEIGHTS_FILE, config.weights_sha256)
    load_distribution(folder, config)
    try:
        _check_shapes(weights_path, config)
        weights = load_finite(weights_path, ModelFolderError)
    except SafetensorError as error:
        raise ModelFolderError(f"{weights_path}: is damaged: {str(error)[:200]}") from None
    model = _build(config)
    model.load_state_dict(weights, strict=True)
    return model.eval(), config


def _build(config: ModelConfig) -> Encoder | Classifier:
    encoder = build_encoder(config.encoder)
    if config.head is None:
        return encoder
    return Classifier(encoder, build_head(config.head, encoder), config.head.reading)


def _check_shapes(path: Path, config: ModelConfig) -> None:
    """Refuse weights of another architecture; the networks take no memory here."""
    found = read_shapes(path)
    if config.encoder.depth > len(found):  # Even without memory, so many blocks would take time.
        raise ModelFolderError(
            f"{path}: does not fit {CONFIG_FILE}: {len(found)} tensors are too few for "
            f"{config.encoder.depth} blocks"
        )
    with torch.device("meta"):
        expected = {name: tuple(t.shape) for name, t in _build(config).state_dict().items()}
    if different := first_difference(found, expected):
        raise ModelFolderError(f"{path}: does not fit {CONFIG_FILE}: {different}")


def load_distribution(folder: Path, config: ModelConfig) -> FeatureDistribution | None:
    """Return the distribution of the training records' features; older folders have none.

    Args:
        folder: Model folder.
        config: What it says of itself.

    Raises:
        ModelFolderError: If the file is missing, damaged or of another encoder.
    """
    if config.distribution is None:
        return None
    path = _verified(folder / DISTRIBUTION_FILE, config.distribution.sha256)
    return read_distribution(path, config.distribution, config.encoder.dim)


def _verified(path: Path, sha256: str) -> Path:
    if not path.is_file():
        raise ModelFolderError(f"{path.parent}: {path.name} is missing")
    if sha256_of_file(path) != sha256:
        raise ModelFolderError(
            f"{path}: is damaged or was replaced: its SHA-256 is not the one in {CONFIG_FILE}"
        )
    return path
