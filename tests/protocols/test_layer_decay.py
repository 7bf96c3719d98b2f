import numpy as np
import pytest
import torch

from ecgjepa.config import EncoderConfig
from ecgjepa.errors import ConfigError
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.model.heads import Classifier, HeadConfig, build_head
from ecgjepa.pretraining.optim import parameter_groups, set_hyper_parameters
from ecgjepa.protocols.fit import Examples, fit, layer_groups
from ecgjepa.protocols.settings import PROTOCOLS, load_protocol


def classifier(**changes) -> Classifier:
    torch.manual_seed(0)
    encoder = VisionTransformer(
        EncoderConfig(num_leads=2, patch_size=5, dim=8, depth=2, num_heads=2, **changes)
    )
    return Classifier(encoder, build_head(HeadConfig(kind="register", num_labels=2), encoder))


# With a decay of 0.5 and two blocks: the head, then 1/2, 1/4, and the embedding at 1/8.
SCALES = {
    "encoder.patch_embed.proj.weight": 0.125,
    "encoder.registers": 0.125,
    "encoder.positions.time": 0.125,
    "encoder.positions.lead": 0.125,
    "encoder.blocks.0": 0.25,
    "encoder.blocks.1": 0.5,
    "encoder.norm.weight": 1.0,
    "head.fc.weight": 1.0,
}
ALL_SWITCHES = {"positions": "learned", "num_positions": 4, "lead_patches": True}


@pytest.mark.parametrize("changes", [{}, ALL_SWITCHES])
def test_groups_are_those_computed_by_hand(changes):
    model = classifier(**changes)
    groups = layer_groups(model, weight_decay=0.1, layer_decay=0.5)
    optimizer = torch.optim.AdamW(groups, lr=1.0, fused=True)
    set_hyper_parameters(optimizer, learning_rate=0.2, weight_decay=0.1)
    found = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        (scale,) = [scale for start, scale in SCALES.items() if name.startswith(start)]
        decayed = name.endswith(("proj.weight", "qkv.weight", "fc1.weight", "fc2.weight"))
        decayed |= name == "head.fc.weight"
        assert found[id(parameter)] == (pytest.approx(0.2 * scale), 0.1 if decayed else 0.0), name


def test_without_decay_the_groups_are_the_papers():
    model = classifier()
    groups = layer_groups(model, weight_decay=0.1, layer_decay=1.0)
    expected = parameter_groups(model, decay=0.1)
    assert [group.keys() for group in groups] == [group.keys() for group in expected]
    for group, other in zip(groups, expected, strict=True):
        assert all(a is b for a, b in zip(group["params"], other["params"], strict=True))


def test_the_first_step_of_a_fit_moves_each_layer_by_its_own_rate():
    """AdamW's first step is the learning rate wherever there is a gradient and no decay."""
    model = classifier()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rng = np.random.default_rng(0)
    targets = rng.random((16, 2)) < 0.5
    signal = torch.randn(16, 2, 20)
    config = load_protocol(
        "finetune",
        ["layer_decay=0.5", "steps=1", "warmup_steps=0", "learning_rate=0.01", "weight_decay=0"],
    )
    fit(
        model,
        config,
        Examples(
            inputs=lambda chosen, _: signal[chosen],
            targets=targets,
            kind="multi-label",
            validate=lambda: [rng.random((16, 2))],
            validation_targets=targets,
        ),
        seed=0,
    )
    for name, value in model.state_dict().items():
        (scale,) = [scale for start, scale in SCALES.items() if name.startswith(start)]
        moved = (value - before[name]).abs().max().item()
        assert moved == pytest.approx(0.01 * scale, rel=0.02), name


def test_it_is_off_by_default_and_needs_layers():
    assert all(protocol.layer_decay == 1.0 for protocol in PROTOCOLS.values())
    with pytest.raises(ConfigError, match="the encoder is frozen"):
        load_protocol("attentive", ["layer_decay=0.9"])
    with pytest.raises(ConfigError, match="layer_decay: Input should be less than or equal to 1"):
        load_protocol("finetune", ["layer_decay=1.1"])
