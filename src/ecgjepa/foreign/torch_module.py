"""An encoder as a PyTorch module, from a factory of the user's own.

The factory takes ``trained``: with True it returns the encoder with its weights, with False the
same with fresh ones, which is the rival that every score stands beside. The module has

- ``forward(signal)``: (batch, leads, samples) to tokens (batch, tokens, dim), registers first;
- ``dim``: width of a token;
- ``samples_per_token``: samples between the beginnings of two tokens, registers aside;
- ``num_registers``: tokens before the others that stand for no place in time; 0 if left out.
"""

import inspect
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecgjepa.errors import EncoderError
from ecgjepa.foreign.description import EncoderDescription
from ecgjepa.foreign.importing import digest_of_code
from ecgjepa.foreign.network import ForeignEncoder

# Seed of the weights of the untrained rival.
_SEED = 0


class TorchEncoder(ForeignEncoder):
    """A PyTorch module that was made elsewhere.

    Args:
        name: What it is called in results.
        description: What it takes.
        module: See the module's docstring.
    """

    def __init__(self, name: str, description: EncoderDescription, module: nn.Module) -> None:
        super().__init__(
            name,
            description,
            dim=_number(name, module, "dim", least=1),
            patch_size=_number(name, module, "samples_per_token", least=1),
            num_registers=_number(name, module, "num_registers", least=0, default=0),
        )
        self.module = module

    def tokens(self, signal: Float[Tensor, "batch leads samples"]) -> object:
        """Return the module's tokens.

        Raises:
            EncoderError: If the module fails.
        """
        try:
            return self.module(signal)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise EncoderError(
                f"{self.name}: fails on windows of shape {tuple(signal.shape)}: "
                f"{type(error).__name__}: {str(error)[:500]}"
            ) from error


def make_torch_encoder(
    name: str, description: EncoderDescription, factory: object, *, trained: bool
) -> TorchEncoder:
    """Return the encoder of a factory, in evaluation mode.

    Args:
        name: What it is called in results.
        description: What it takes.
        factory: See the module's docstring.
        trained: Whether with its weights, or with fresh ones.

    Raises:
        EncoderError: If the factory or the module is not as documented.
    """
    if description.onnx is not None:
        raise EncoderError(f"{name}: is a PyTorch module, but its description has a part 'onnx'")
    call = _factory(name, factory)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        module = call(trained=trained)
    if not isinstance(module, nn.Module):
        raise EncoderError(f"{name}: returned {type(module).__name__}; expected a torch.nn.Module")
    encoder = TorchEncoder(name, description, module).eval()
    encoder.identify(digest_of_code(factory, *_kinds(module)))
    _check_tokens(encoder, description)
    encoder.check_windows_stand_alone()
    return encoder


def _kinds(module: nn.Module) -> list[type[nn.Module]]:
    """Return the classes of a module and of all modules in it, each once, in their order."""
    return list(dict.fromkeys(type(each) for each in module.modules()))


def _factory(name: str, factory: object) -> Callable[..., object]:
    if isinstance(factory, nn.Module) or not callable(factory):
        raise EncoderError(
            f"{name}: is of type {type(factory).__name__}; expected a function of trained that "
            "returns a torch.nn.Module"
        )
    try:
        inspect.signature(factory).bind(trained=True)
    except (TypeError, ValueError):
        raise EncoderError(
            f"{name}: cannot be called with trained=True; expected a function of trained, which "
            "returns the encoder with its weights or, with trained=False, the same with fresh ones"
        ) from None
    return factory


def _number(
    name: str, module: nn.Module, key: str, *, least: int, default: int | None = None
) -> int:
    found = getattr(module, key, default)
    if not isinstance(found, int) or isinstance(found, bool) or found < least:
        raise EncoderError(
            f"{name}: {key} of the module is {'missing' if found is None else repr(found)[:80]}; "
            f"expected a whole number, {least} or more"
        )
    return found


def _check_tokens(encoder: TorchEncoder, description: EncoderDescription) -> None:
    """Refuse a module whose tokens are not as many as it says."""
    config = encoder.config
    count = max(1, round(description.window_samples / config.patch_size))
    size = count * config.patch_size
    expected, found = config.num_registers + count, encoder.num_tokens(size)
    if found != expected:
        raise EncoderError(
            f"{encoder.name}: gives {found} tokens for {size} samples; expected {expected}: "
            f"{config.num_registers} registers and one for each {config.patch_size} samples "
            "(num_registers, samples_per_token)"
        )
