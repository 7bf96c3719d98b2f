"""What is asked of a protocol, and where it works."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from ecgjepa.errors import ConfigError
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.heads import Reading, check_head, check_layers
from ecgjepa.model.outputs import BEST_F1, DecisionRule, parse_rule
from ecgjepa.model.xresnet import check_network
from ecgjepa.protocols.settings import (
    PROTOCOL_NAMES,
    Protocol,
    ProtocolConfig,
    check_protocol,
    load_protocol,
    load_rival,
    load_settings,
    split_overrides,
)

DEFAULT_NETWORK = "xresnet1d18"
# How an encoder is read, by name.
ReadingName = Literal["paper", "all-blocks"]
READINGS: tuple[ReadingName, ...] = get_args(ReadingName)


@dataclass(frozen=True)
class Workspace:
    """Where a protocol computes and what it keeps there.

    Attributes:
        device: Where networks run.
        cache: Folder for prepared records and features; None for the user's cache folder.
        progress: Called with (done, in all) while preparing and encoding.
    """

    device: torch.device
    cache: str | Path | None = None
    progress: Callable[[int, int], None] | None = None


@dataclass(frozen=True)
class ProtocolRequest:
    """One protocol, its settings, and what it is applied to; `request_protocol` makes one.

    Attributes:
        protocol: Name.
        settings: Settings of the protocol; None for ``linear`` and ``knn``, which have none.
        overrides: ``key=value`` items by which the settings differ from the protocol's own.
        seed: Seed of head weights, order, crops and dropout.
        layers: Blocks, counted from 1, whose outputs are averaged into the features; none for the
            encoder's output.
        reading: ``paper`` for the encoder's output or the ``layers``, by their mean over patches;
            ``all-blocks`` for the outputs of all blocks side by side, by mean and standard
            deviation over patches where the protocol takes one vector per record.
        untrained: Whether the encoder is replaced by the identical one without pre-training.
        network: Name of the residual network of ``supervised``.
        probe: For ``finetune-after-probe``, the probe whose head it starts from.
        decision: Rule of the thresholds that the classifier's predictions follow.
    """

    protocol: Protocol
    settings: ProtocolConfig | None
    overrides: tuple[str, ...] = ()
    seed: int = 0
    layers: tuple[int, ...] = ()
    reading: ReadingName = "paper"
    untrained: bool = False
    network: str = DEFAULT_NETWORK
    probe: "ProtocolRequest | None" = None
    decision: DecisionRule = BEST_F1

    def check_encoder(self, config: ModelConfig) -> None:
        """Refuse an encoder without the layers, or without the register token, that are needed.

        Raises:
            ConfigError: If it lacks them.
        """
        check_layers(self.layers, config.encoder.depth)
        if self.settings is not None and self.protocol != "supervised":
            check_head(self.settings.head, config.encoder.num_registers)

    @property
    def described_settings(self) -> dict[str, object]:
        """The settings as ``results.json`` has them."""
        described: dict[str, object] = {}
        if self.protocol == "supervised":
            described["network"] = self.network
        if self.settings is not None:
            has_head = self.protocol != "supervised"
            described |= self.settings.model_dump(
                mode="json", exclude=None if has_head else {"head"}
            )
        if self.layers:
            described["layers"] = list(self.layers)
        if self.reading != "paper":
            described["reading"] = self.reading
        return described

    def reading_of(self, config: ModelConfig) -> Reading:
        """Return what is read of an encoder.

        Args:
            config: Description of the encoder.
        """
        if self.reading == "all-blocks":
            return Reading(tuple(range(1, config.encoder.depth + 1)), beside=True)
        return Reading(self.layers)

    def as_request(self) -> dict[str, Any]:
        """Return all that decides how a pre-trained encoder is evaluated, as JSON content."""
        asked: dict[str, Any] = {
            "protocol": self.protocol,
            "overrides": self.overrides,
            "seed": self.seed,
            "layers": self.layers,
            **({} if self.reading == "paper" else {"reading": self.reading}),
        }
        if self.decision != BEST_F1:  # requests from before there were rules are of that one
            asked["decision"] = str(self.decision)
        if self.probe is not None and self.probe.overrides:
            asked["probe_overrides"] = self.probe.overrides
        return asked

    def rival(self, config: ModelConfig) -> "ProtocolRequest":
        """Return the request for the same encoder without pre-training, to stand beside.

        Args:
            config: Description of the encoder.
        """
        settings = load_rival(
            self.protocol, self.overrides, num_registers=config.encoder.num_registers
        )
        return ProtocolRequest("finetune", settings, seed=self.seed, untrained=True)


def request_protocol(
    protocol: Protocol,
    overrides: Sequence[str] = (),
    *,
    seed: int = 0,
    layers: tuple[int, ...] = (),
    reading: ReadingName = "paper",
    untrained: bool = False,
    network: str = DEFAULT_NETWORK,
    probe_overrides: Sequence[str] = (),
    decision: str = str(BEST_F1),
) -> ProtocolRequest:
    """Return a request for a protocol, checked as far as it can be without an encoder.

    Args:
        protocol: Name.
        overrides: ``key=value`` items of the protocol; ``linear`` and ``knn`` have none. Those of
            the probe before ``finetune-after-probe`` may be among them, as ``probe.key=value``.
        seed: See `ProtocolRequest`.
        layers: See `ProtocolRequest`.
        reading: See `ProtocolRequest`.
        untrained: See `ProtocolRequest`.
        network: For ``supervised``, one of `ecgjepa.model.xresnet.NETWORKS`.
        probe_overrides: ``key=value`` items of the probe before ``finetune-after-probe``.
        decision: Rule of the thresholds, see `ecgjepa.model.outputs.parse_rule`.

    Raises:
        ConfigError: If the protocol, a setting, the network or the rule is unknown or not usable.
    """
    check_protocol(protocol, PROTOCOL_NAMES)
    _check_reading(reading, layers)
    overrides, of_probe = split_overrides(overrides)
    if of_probe and protocol != "finetune-after-probe":
        raise ConfigError(
            f"protocol {protocol} runs no probe first; found probe.{of_probe[0]}. Such "
            "settings are for finetune-after-probe"
        )
    settings = load_settings(protocol, overrides)
    probe = None
    if protocol == "finetune-after-probe":
        probe_overrides = (*probe_overrides, *of_probe)
        probe_settings = load_protocol("attentive", probe_overrides)
        if settings is not None and settings.head != probe_settings.head:
            # A probe by itself has the paper's head; before a fine-tuning it has the same head.
            probe_settings = probe_settings.model_copy(update={"head": settings.head})
            probe_overrides = (*probe_overrides, f"head={settings.head}")
        probe = ProtocolRequest(
            "attentive",
            probe_settings,
            probe_overrides,
            seed=seed,
            layers=layers,
            reading=reading,
        )
    if protocol == "supervised":
        check_network(network)
        if layers:
            raise ConfigError(f"layers {list(layers)}: a residual network has none to choose from")
    return ProtocolRequest(
        protocol,
        settings,
        tuple(overrides),
        seed=seed,
        layers=layers,
        reading=reading,
        untrained=untrained or protocol == "scratch",
        network=network,
        probe=probe,
        decision=parse_rule(decision),
    )


def _check_reading(reading: str, layers: tuple[int, ...]) -> None:
    if reading not in READINGS:
        raise ConfigError(f"unknown reading {reading!r}: expected {' or '.join(READINGS)}")
    if layers and reading != "paper":
        raise ConfigError(f"layers {list(layers)} and reading {reading}: choose one of the two")
