"""`use`: make a class of the user's own known to this process, and to no file."""

import inspect

from ecgjepa.config import EncoderConfig
from ecgjepa.config.networks import OWN_PREFIX
from ecgjepa.errors import EncoderError
from ecgjepa.foreign.importing import digest_of_code, import_named
from ecgjepa.model.encoders.build import OWN_ENCODERS
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.objectives.build import OBJECTIVES
from ecgjepa.objectives.objective import Objective


def use(code: str | type) -> None:
    """Make an encoder or an objective of one's own known, as ``--use`` of the command does.

    An encoder of class ``Cnn`` is then ``encoder.architecture=own:Cnn``, an objective is
    ``objective=`` its ``name``. Runs and model folders hold these names and no code: whoever opens
    one gives the class again.

    Args:
        code: Subclass of `ecgjepa.Encoder` or `ecgjepa.OwnObjective`; or where it is, as
            ``package.module:Class``, which is imported: whatever the module holds is run.

    Raises:
        EncoderError: If it is not such a class, or another class has its name.

    Example:
        >>> import ecgjepa
        >>> class Nothing(ecgjepa.OwnObjective):
        ...     name, title = "nothing", "nothing at all"
        ...
        ...     def loss(self, encoder, heads, signal):
        ...         tokens = encoder(signal)
        ...         return 0 * tokens.sum(), tokens
        >>> ecgjepa.use(Nothing)
    """
    found = import_named(code) if isinstance(code, str) else code
    shown = code if isinstance(code, str) else getattr(code, "__name__", repr(code)[:80])
    if isinstance(found, type) and issubclass(found, Encoder):
        _use_encoder(shown, found)
    elif isinstance(found, type) and issubclass(found, Objective):
        _use_objective(shown, found)
    else:
        raise EncoderError(
            f"{shown}: expected a class, a subclass of ecgjepa.Encoder or ecgjepa.OwnObjective"
        )


def _use_encoder(shown: str, kind: type[Encoder]) -> None:
    _refuse_abstract(shown, kind)
    try:
        inspect.signature(kind).bind(EncoderConfig(dim=2, depth=1, num_heads=1), dropout=0.0)
    except TypeError as error:
        raise EncoderError(
            f"{shown}: cannot be made as {kind.__name__}(config, dropout=0.0): {error}"
        ) from None
    name = OWN_PREFIX + kind.__name__
    _refuse_taken(shown, kind, OWN_ENCODERS.get(name))
    kind.identity = digest_of_code(kind)
    OWN_ENCODERS[name] = kind


def _use_objective(shown: str, kind: type[Objective]) -> None:
    _refuse_abstract(shown, kind)
    for key in ("name", "title"):
        if not isinstance(getattr(kind, key, None), str):
            raise EncoderError(f"{shown}: its {key} is missing; expected text")
    _refuse_taken(shown, kind, OBJECTIVES.get(kind.name))
    OBJECTIVES[kind.name] = kind


def _refuse_abstract(shown: str, kind: type) -> None:
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    if missing:
        raise EncoderError(f"{shown}: does not define {', '.join(missing)}")


def _refuse_taken(shown: str, kind: type, known: type | None) -> None:
    """Refuse the name of another class; the same one may be given again, as in a notebook."""
    names = [f"{each.__module__}.{each.__qualname__}" for each in (known, kind) if each is not None]
    if len(set(names)) > 1:
        raise EncoderError(f"{shown}: {names[0]} has this name already; choose another")
