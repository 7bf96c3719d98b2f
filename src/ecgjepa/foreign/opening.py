"""Open an encoder that was made elsewhere, with the rival that stands beside it."""

from functools import partial
from pathlib import Path

from ecgjepa.errors import EncoderError
from ecgjepa.foreign.description import EncoderDescription, read_description
from ecgjepa.foreign.importing import import_named, is_import_path
from ecgjepa.foreign.network import Foreign, ForeignEncoder
from ecgjepa.foreign.onnx_file import OnnxEncoder
from ecgjepa.foreign.raw_signal import RawSignal
from ecgjepa.foreign.torch_module import make_torch_encoder
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.results.layout import RAW_SIGNAL, UNTRAINED

# Begins the name of a model on the Hub, see `ecgjepa.sharing.references`.
_HUB_PREFIX = "hf:"


def is_foreign(model: str) -> bool:
    """Return whether a name can only be that of an encoder that was made elsewhere."""
    if model.startswith(_HUB_PREFIX) or Path(model).is_dir():
        return False
    return model.lower().endswith(".onnx") or (is_import_path(model) and not Path(model).exists())


def open_foreign(
    source: str | Path, description: EncoderDescription | str | Path
) -> ForeignEncoder:
    """Open an encoder that was made elsewhere.

    Args:
        source: An ONNX file, or the factory of a PyTorch module as ``package.module:factory``.
        description: What it takes, or the YAML file that says so.

    Raises:
        EncoderError: If the encoder, the factory or the description is not as documented.
    """
    if not isinstance(description, EncoderDescription):
        description = read_description(description)
    name = str(source)
    if is_import_path(name) and not Path(source).exists():
        make = partial(make_torch_encoder, name, description, import_named(name))
        facts = Foreign(name, description, UNTRAINED, partial(make, trained=False))
        return make(trained=True).known_as(facts)
    if not name.lower().endswith(".onnx"):
        raise EncoderError(
            f"{name}: an encoder with a description is an ONNX file (.onnx) or the factory of a "
            "PyTorch module (package.module:factory)"
        )
    facts = Foreign(name, description, RAW_SIGNAL, partial(RawSignal, description))
    return OnnxEncoder(Path(source), description).known_as(facts)


def constants_of(encoder: ForeignEncoder) -> NormalisationConfig | None:
    """Return the constants that scale the leads; None for those of the task's training records.

    Args:
        encoder: The encoder, or its rival: raw-signal features are scaled by the task's records.
    """
    return None if isinstance(encoder, RawSignal) else encoder.foreign.description.constants()


def config_of(encoder: ForeignEncoder) -> ModelConfig:
    """Return what a model folder would say of an encoder that was made elsewhere, or its rival."""
    described = encoder.foreign.description
    count = len(described.leads)
    clip = 5.0 if described.clip is None else described.clip
    unscaled = NormalisationConfig(mean=(0.0,) * count, std=(1.0,) * count, clip=clip)
    return ModelConfig(
        encoder=encoder.config,
        preprocessing=described.preprocessing(),
        normalisation=constants_of(encoder) or unscaled,
        window=described.window(),
        pretraining=described.facts(encoder.foreign.source),
    )
