"""Positions beyond the paper's: rotary and learned, and tokens of single leads."""

import pytest
import torch
from torch import nn

from ecgjepa.config import EncoderConfig, PredictorConfig
from ecgjepa.errors import ConfigError
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.model.layers import (
    Attention,
    Block,
    Rotation,
    position_embedding,
    rotate,
    rotation_at,
    rotation_table,
)
from ecgjepa.model.positions import Positions, token_index
from ecgjepa.model.predictor import Predictor

SIZE = {"num_leads": 3, "patch_size": 5, "dim": 16, "depth": 2, "num_heads": 2}
ROTARY = EncoderConfig(**SIZE, positions="rotary")
LEARNED = EncoderConfig(**SIZE, positions="learned", num_positions=8)
LEADS = EncoderConfig(**SIZE, lead_patches=True)
ALL = {
    "rotary": ROTARY,
    "learned": LEARNED,
    "leads": LEADS,
    "rotary leads": ROTARY.model_copy(update={"lead_patches": True}),
    "learned leads": LEARNED.model_copy(update={"lead_patches": True}),
}


def build(config: EncoderConfig) -> VisionTransformer:
    """Return an encoder with weights so large that what should matter does."""
    torch.manual_seed(0)
    encoder = VisionTransformer(config).eval()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.4)
    return encoder.double()


# ---------------------------------------------------------------- rotary


def test_rotation_is_a_complex_product():
    """Numbers i and i + half of a head, as a complex number, times e^(i angle)."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 7, 8, dtype=torch.float64)
    time = torch.tensor([[0, 1, 2, 5, 9, 20, 699]])
    turned = rotate(x, rotation_at(rotation_table(700, 8), time))
    angle = time[0, :, None] / 10_000 ** (torch.arange(4, dtype=torch.float64) / 4)
    expected = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones_like(angle), angle)
    torch.testing.assert_close(turned[..., :4], expected.real, atol=1e-6, rtol=0)
    torch.testing.assert_close(turned[..., 4:], expected.imag, atol=1e-6, rtol=0)
    assert torch.equal(turned[:, :, 0], x[:, :, 0])


def test_rotary_attention_depends_on_differences_of_positions_only():
    torch.manual_seed(0)
    attention = Attention(16, 2).double()
    nn.init.normal_(attention.qkv.weight)
    x = torch.randn(2, 6, 16, dtype=torch.float64)
    table = rotation_table(700, 8)
    time = torch.tensor([[0, 3, 4, 10, 11, 30]])
    base = attention(x, rotation_at(table, time))
    torch.testing.assert_close(
        attention(x, rotation_at(table, time + 600)), base, atol=1e-5, rtol=0
    )
    stretched = attention(x, rotation_at(table, 2 * time))
    assert (stretched - base).abs().max() > 1e-2
    assert (attention(x) - base).abs().max() > 1e-2


def test_a_rotary_encoder_without_registers_does_not_notice_a_shift():
    encoder = build(ROTARY.model_copy(update={"num_registers": 0}))
    signal = torch.randn(1, 3, 60, dtype=torch.float64)
    index = torch.tensor([[0, 2, 3, 5]])
    shifted = torch.roll(signal, 5 * 6, dims=2)
    torch.testing.assert_close(
        encoder(signal, index), encoder(shifted, index + 6), atol=1e-5, rtol=1e-5
    )


def test_rotary_tokens_change_with_their_order():
    """Without a working rotation, attention would not know the order of patches."""
    encoder = build(ROTARY)
    signal = torch.randn(1, 3, 40, dtype=torch.float64)
    flipped = signal.unflatten(2, (8, 5)).flip(2).flatten(2)
    difference = encoder(flipped)[:, 1:].flip(1) - encoder(signal)[:, 1:]
    assert difference.abs().max() > 1e-2


def test_registers_are_not_turned():
    positions = Positions(ROTARY, 16, 2)
    rotation = positions.rotation(8, torch.tensor([[3, 7]]), num_registers=2)
    assert rotation.cos.shape == (1, 1, 4, 4)
    assert torch.equal(rotation.cos[0, 0, :2], torch.ones(2, 4))
    assert torch.equal(rotation.sin[0, 0, :2], torch.zeros(2, 4))
    assert rotation.sin[0, 0, 2, 0] == pytest.approx(torch.tensor(3.0).sin())
    assert Positions(LEARNED, 16, 2).rotation(8) is None


def test_bfloat16_keeps_its_type():
    x = torch.randn(1, 2, 3, 8).bfloat16()
    turned = rotate(x, rotation_at(rotation_table(3, 8), torch.arange(3)[None]))
    assert turned.dtype == torch.bfloat16


def test_a_table_made_in_inference_mode_serves_in_training():
    encoder = VisionTransformer(ROTARY)
    with torch.inference_mode():
        encoder(torch.zeros(1, 3, 40))
    encoder(torch.randn(1, 3, 40)).square().mean().backward()
    assert encoder.blocks[0].attn.qkv.weight.grad is not None


# ---------------------------------------------------------------- learned


def test_a_learned_table_is_used_as_it_is_and_begins_again_beyond_its_end():
    positions = Positions(LEARNED, 16, 2)
    assert torch.equal(positions(8), positions.time)
    assert torch.equal(positions(5), positions.time[:5])
    longer = positions(19)
    assert torch.equal(longer[:8], positions.time)
    assert torch.equal(longer[8:16], positions.time)
    assert torch.equal(longer[16:], positions.time[:3])


def test_a_learned_table_is_learned_by_encoder_and_predictor():
    encoder, predictor = (
        VisionTransformer(LEARNED),
        Predictor(PredictorConfig(dim=8, depth=1, num_heads=2), LEARNED),
    )
    assert dict(encoder.named_parameters())["positions.time"].shape == (8, 16)
    assert dict(predictor.named_parameters())["positions.time"].shape == (8, 8)
    kept, masked = torch.tensor([[0, 1, 5]]), torch.tensor([[2, 3, 4, 6, 7]])
    predictor(encoder(torch.randn(1, 3, 40), kept)[:, 1:], kept, masked).square().mean().backward()
    used = encoder.positions.time.grad.abs().sum(1) > 0
    assert used.nonzero().flatten().tolist() == [0, 1, 5]
    assert (predictor.positions.time.grad.abs().sum(1) > 0).all()


def test_a_table_without_a_length_is_refused():
    with pytest.raises(ConfigError, match="needs encoder"):
        VisionTransformer(EncoderConfig(**SIZE, positions="learned"))


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", ALL)
def test_kept_tokens_are_encoded_with_their_true_positions(name):
    """All tokens in another order give all features in that order."""
    encoder = build(ALL[name])
    signal = torch.randn(2, 3, 40, dtype=torch.float64)
    whole = encoder(signal)
    num_tokens = whole.shape[1] - 1
    order = torch.stack([torch.randperm(num_tokens), torch.randperm(num_tokens)])
    shuffled = encoder(signal, order)
    expected = whole[:, 1:].gather(1, order[:, :, None].expand(-1, -1, 16))
    torch.testing.assert_close(shuffled[:, 1:], expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(shuffled[:, 0], whole[:, 0], atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_longer_windows_are_encoded(name):
    config = ALL[name]
    encoder = build(config)
    for patches in (1, 8, 700):
        tokens = encoder(torch.randn(1, 3, 5 * patches, dtype=torch.float64))
        assert tokens.shape == (1, 1 + patches * config.tokens_per_patch, 16)
        assert torch.isfinite(tokens).all()


@pytest.mark.parametrize("name", ALL)
def test_the_predictor_knows_the_positions(name):
    torch.manual_seed(0)
    config = ALL[name]
    predictor = Predictor(PredictorConfig(dim=8, depth=2, num_heads=2), config).double()
    for parameter in predictor.parameters():
        nn.init.normal_(parameter, std=0.5)
    order = torch.randperm(8 * config.tokens_per_patch)[None]
    kept, masked = order[:, :3], order[:, 3:]
    context = torch.randn(1, 3, 16, dtype=torch.float64)
    predicted = predictor(context, kept, masked)
    turned = predictor(context, kept, masked.flip(1)).flip(1)
    torch.testing.assert_close(predicted, turned, atol=1e-9, rtol=0)
    # No two of the masked tokens get the same answer: each differs in lead or time.
    distances = torch.cdist(predicted[0], predicted[0]) + torch.eye(predicted.shape[1])
    assert distances.min() > 1e-4


def test_without_switches_there_are_no_new_parameters():
    names = {name for name, _ in VisionTransformer(EncoderConfig(**SIZE)).named_parameters()}
    assert not any("positions" in name for name in names)
    assert torch.equal(Positions(EncoderConfig(**SIZE), 16, 2)(9), position_embedding(9, 16))


def test_a_block_without_rotation_is_the_papers():
    block, x = Block(16, 2, mlp_ratio=4.0, norm_eps=1e-6), torch.randn(1, 5, 16)
    identity = Rotation(torch.ones(1, 1, 5, 4), torch.zeros(1, 1, 5, 4))
    torch.testing.assert_close(block(x), block(x, identity))


# ---------------------------------------------------------------- leads


def test_tokens_are_numbered_time_first():
    index = token_index(torch.tensor([[0, 4]]), torch.tensor([[0, 2], [1, 2]]), 3)
    assert index.tolist() == [[0, 2, 12, 14], [1, 2, 13, 14]]


def test_a_token_is_one_leads_stretch():
    encoder = VisionTransformer(LEADS)
    signal = torch.zeros(1, 3, 40)
    base = encoder.patch_embed(signal)
    signal[0, 1, 12] = 1.0  # patch 2 of lead 1
    changed = (encoder.patch_embed(signal) != base).any(dim=2)[0]
    assert changed.nonzero().flatten().tolist() == [2 * 3 + 1]


def test_the_embedding_is_a_convolution_shared_by_all_leads():
    encoder = VisionTransformer(LEADS)
    signal = torch.randn(2, 3, 40)
    weight = encoder.patch_embed.proj.weight.unsqueeze(1)
    by_lead = [
        nn.functional.conv1d(signal[:, lead : lead + 1], weight, stride=5).transpose(1, 2)
        for lead in range(3)
    ]
    torch.testing.assert_close(encoder.patch_embed(signal), torch.stack(by_lead, 2).flatten(1, 2))


def test_tokens_know_lead_and_time():
    positions = Positions(LEADS, 16, 2)
    table = positions(12)
    expected = position_embedding(4, 16)[2] + positions.lead[1]
    assert torch.equal(table[2 * 3 + 1], expected)


@pytest.mark.parametrize("name", ["leads", "rotary leads", "learned leads"])
def test_a_subset_of_leads_is_encoded_from_these_leads_alone(name):
    encoder = build(ALL[name])
    signal = torch.randn(2, 3, 40, dtype=torch.float64)
    leads = torch.tensor([[2, 0]])
    some = encoder(signal, leads=leads)
    assert some.shape == (2, 1 + 2 * 8, 16)
    # What the other lead holds is not looked at, nor is anything put in its place.
    other = signal.clone()
    other[:, 1] = torch.nan
    assert torch.equal(encoder(other, leads=leads), some)
    by_hand = token_index(torch.arange(8)[None].expand(2, -1), leads.expand(2, -1), 3)
    assert torch.equal(encoder(signal, by_hand), some)
    # The order in which leads are named changes the order of tokens only.
    turned = encoder(signal, leads=leads.flip(1))[:, 1:].unflatten(1, (8, 2)).flip(2).flatten(1, 2)
    torch.testing.assert_close(turned, some[:, 1:], atol=1e-9, rtol=0)
    all_leads = encoder(signal, leads=torch.arange(3)[None])
    torch.testing.assert_close(all_leads, encoder(signal), atol=1e-12, rtol=0)
    assert (encoder(signal)[:, 0] - some[:, 0]).abs().max() > 1e-3


def test_leads_of_an_encoder_that_mixes_them_are_refused():
    signal = torch.zeros(1, 3, 40)
    with pytest.raises(ValueError, match="that takes one with encoder"):
        VisionTransformer(ROTARY)(signal, leads=torch.tensor([[0]]))
    with pytest.raises(ValueError, match="give no leads"):
        VisionTransformer(LEADS)(signal, torch.tensor([[0]]), leads=torch.tensor([[0]]))
