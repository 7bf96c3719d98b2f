from importlib.resources import files

import numpy as np
import pytest
import torch
from torch import nn

from ecgjepa.config import EncoderConfig, PredictorConfig, load_preset
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.model.heads import Classifier, HeadConfig, build_head
from ecgjepa.model.layers import Block, attend, gather_tokens, position_embedding
from ecgjepa.model.normalisation import Normaliser
from ecgjepa.model.predictor import Predictor

SMALL = EncoderConfig(patch_size=5, dim=16, depth=2, num_heads=4)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("size", "encoder", "predictor"),
    [("xs", 3_600_000, 923_328), ("s", 14_277_888, 3_689_856), ("b", 85_185_024, 21_833_472)],
)
def test_parameter_counts_are_the_published_ones(size, encoder, predictor):
    config = load_preset(f"paper-vit-{size}-all")
    with torch.device("meta"):
        assert count(VisionTransformer(config.encoder)) == encoder
        assert count(Predictor(config.predictor, config.encoder)) == predictor


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_parameter_counts_are_those_in_the_preset_files_comment(preset):
    config = load_preset(preset)
    comment = (files("ecgjepa") / "presets" / f"{preset}.yaml").read_text().split("data:")[0]
    with torch.device("meta"):
        encoder, predictor = (
            count(VisionTransformer(config.encoder)),
            count(Predictor(config.predictor, config.encoder)),
        )
    assert f"# Encoder {encoder:,} parameters, predictor {predictor:,}." in comment


def test_attentive_head_has_the_published_parameter_count():
    with torch.device("meta"):
        encoder = VisionTransformer(load_preset("paper-vit-s-all").encoder)
        head = build_head(HeadConfig(kind="attentive", num_labels=71), encoder)
    assert count(head) == 470_016


def test_state_dict_keys_are_a_contract():
    """Renaming a part makes every saved model unreadable."""
    keys = set(VisionTransformer(EncoderConfig(dim=8, depth=1, num_heads=2)).state_dict())
    assert keys == {
        "patch_embed.proj.weight",
        "registers",
        "blocks.0.norm1.weight",
        "blocks.0.attn.qkv.weight",
        "blocks.0.attn.proj.weight",
        "blocks.0.norm2.weight",
        "blocks.0.mlp.fc1.weight",
        "blocks.0.mlp.fc2.weight",
        "norm.weight",
    }


@pytest.mark.parametrize("heads", [1, 2, 6])
def test_block_equals_torchs_layer_in_float64(heads):
    torch.manual_seed(0)
    block = Block(24, heads, mlp_ratio=4.0, norm_eps=1e-6).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    layer = nn.TransformerEncoderLayer(
        24,
        heads,
        96,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
        bias=False,
        dtype=torch.float64,
    )
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": block.attn.qkv.weight,
            "self_attn.out_proj.weight": block.attn.proj.weight,
            "linear1.weight": block.mlp.fc1.weight,
            "linear2.weight": block.mlp.fc2.weight,
            "norm1.weight": block.norm1.weight,
            "norm2.weight": block.norm2.weight,
        }
    )
    x = torch.randn(3, 7, 24, dtype=torch.float64, requires_grad=True)
    ours, theirs = block(x), layer(x)
    assert torch.equal(ours, theirs) or (ours - theirs).abs().max() < 1e-14
    ours.square().sum().backward()
    gradient = x.grad.clone()
    x.grad = None
    theirs.square().sum().backward()
    torch.testing.assert_close(gradient, x.grad, rtol=1e-12, atol=1e-12)


def test_both_routes_of_attention_agree():
    query, key, value = torch.randn(3, 2, 4, 9, 8, dtype=torch.float64).unbind(0)
    weights = (query @ key.transpose(-2, -1) / 8**0.5).softmax(-1)
    torch.testing.assert_close(attend(query, key, value), weights @ value)
    half = attend(query.bfloat16(), key.bfloat16(), value.bfloat16())
    torch.testing.assert_close(half.double(), weights @ value, atol=0.05, rtol=0.05)


def test_position_embedding_is_vaswanis():
    table = position_embedding(50, 8)
    for position in (0, 1, 49):
        for pair in range(4):
            angle = position / 10_000 ** (2 * pair / 8)
            assert table[position, 2 * pair] == pytest.approx(np.sin(angle), abs=1e-5)
            assert table[position, 2 * pair + 1] == pytest.approx(np.cos(angle), abs=1e-5)


def test_kept_patches_are_encoded_with_their_own_positions():
    """Only the chosen tokens go through the blocks, exactly as if gathered by hand."""
    torch.manual_seed(0)
    encoder = VisionTransformer(SMALL).double().eval()
    signal = torch.randn(2, 12, 40, dtype=torch.float64)
    index = torch.tensor([[0, 3, 7], [1, 2, 6]])
    tokens = encoder.patch_embed(signal) + position_embedding(8, 16).double()
    chosen = torch.stack([tokens[0, [0, 3, 7]], tokens[1, [1, 2, 6]]])
    expected = torch.cat([encoder.registers.expand(2, -1, -1), chosen], dim=1)
    for block in encoder.blocks:
        expected = block(expected)
    torch.testing.assert_close(encoder(signal, index), encoder.norm(expected), rtol=0, atol=1e-12)
    assert torch.equal(gather_tokens(tokens, index), chosen)


def test_a_patch_mixes_its_own_samples_of_all_leads_only():
    encoder = VisionTransformer(SMALL)
    signal = torch.zeros(1, 12, 40)
    base = encoder.patch_embed(signal)
    signal[0, 11, 12] = 1.0
    changed = (encoder.patch_embed(signal) != base).any(dim=2)[0]
    assert changed.tolist() == [False, False, True, False, False, False, False, False]


def test_any_number_of_whole_patches_is_encoded():
    encoder = VisionTransformer(SMALL).eval()
    for patches in (1, 8, 700):
        assert encoder(torch.randn(1, 12, 5 * patches)).shape == (1, 1 + patches, 16)


@pytest.mark.parametrize("shape", [(1, 11, 40), (1, 12, 41)])
def test_other_inputs_are_refused(shape):
    with pytest.raises(ValueError, match="expected \\(batch, 12 leads, a multiple of 5 samples\\)"):
        VisionTransformer(SMALL)(torch.zeros(shape))


def test_predictor_sees_the_context_and_positions_only():
    torch.manual_seed(0)
    predictor = Predictor(PredictorConfig(dim=8, depth=2, num_heads=2), SMALL)
    for parameter in predictor.parameters():
        nn.init.normal_(parameter, std=0.5)
    context = torch.randn(2, 3, 16)
    visible = torch.tensor([[0, 3, 7], [1, 2, 6]])
    masked = torch.tensor([[1, 2, 4, 5, 6], [0, 3, 4, 5, 7]])
    predicted = predictor(context, visible, masked)
    assert predicted.shape == (2, 5, 16)
    # The order in which masked positions are asked for changes only the order of the answers.
    turned = predictor(context, visible, masked.flip(1)).flip(1)
    torch.testing.assert_close(predicted, turned, atol=1e-5, rtol=1e-4)
    # Other positions get other answers.
    assert (predicted[:, 0] - predicted[:, 1]).abs().max() > 1e-3


def test_initialisation_is_the_published_one():
    torch.manual_seed(0)
    encoder = VisionTransformer(EncoderConfig(dim=192, depth=8, num_heads=4))
    weights = dict(encoder.named_parameters())
    for name, weight in weights.items():
        if "norm" in name:
            assert (weight == 1).all()
        else:
            ends_branch = name.endswith(("attn.proj.weight", "mlp.fc2.weight"))
            expected = 0.02 / 4 if ends_branch else 0.02
            assert weight.std().item() == pytest.approx(expected, rel=0.08), name


def test_normaliser_scales_clips_and_blanks():
    mean = np.array([[0.1] * 12, [0.0] * 12], np.float32)
    std = np.array([[0.2] * 12, [0.5] * 11 + [0.0]], np.float32)
    normaliser = Normaliser(mean, std, clip=5.0)
    signal = torch.zeros(2, 4, 12, dtype=torch.int16)
    signal[:, 0] = 500
    signal[:, 1] = -32768
    signal[:, 2] = 32767
    result = normaliser(signal, torch.tensor([0, 1]))
    assert result.shape == (2, 12, 4)
    np.testing.assert_allclose(result[0, 0], [2.0, 0.0, 5.0, -0.5], rtol=1e-6)
    np.testing.assert_allclose(result[1, 0], [1.0, 0.0, 5.0, 0.0], rtol=1e-6)
    # A lead that was constant in training is centred, never divided by zero.
    assert torch.isfinite(result).all()
    assert torch.equal(normaliser(signal)[0], result[0])


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    encoder = VisionTransformer(SMALL, dropout=0.5)
    signal = torch.randn(1, 12, 40)
    assert not torch.equal(encoder(signal), encoder(signal))
    encoder.eval()
    assert torch.equal(encoder(signal), encoder(signal))


@pytest.mark.parametrize("kind", ["attentive", "register", "mean"])
def test_heads(kind):
    torch.manual_seed(0)
    encoder = VisionTransformer(SMALL).eval()
    head = build_head(HeadConfig(kind=kind, num_labels=3), encoder)
    signal = torch.randn(2, 12, 40)
    tokens = encoder(signal)
    logits = Classifier(encoder, head)(signal)
    assert logits.shape == (2, 3)
    if kind == "register":
        torch.testing.assert_close(logits, tokens[:, 0] @ head.fc.weight.T)
    elif kind == "mean":
        torch.testing.assert_close(logits, tokens[:, 1:].mean(1) @ head.fc.weight.T)
    else:  # one query over all tokens, register included; the order of tokens does not matter
        torch.testing.assert_close(head(tokens.flip(1)), logits, atol=1e-6, rtol=1e-5)
        assert not torch.allclose(head(tokens[:, 1:]), logits, atol=1e-9)


def test_attentive_head_is_torchs_multihead_attention():
    torch.manual_seed(0)
    encoder = VisionTransformer(SMALL)
    head = build_head(HeadConfig(kind="attentive", num_labels=16), encoder)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.4)
    reference = nn.MultiheadAttention(16, 4, bias=False, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([head.q.weight, head.kv.weight]))
        reference.out_proj.weight.copy_(head.proj.weight)
    tokens = torch.randn(3, 9, 16)
    expected, _ = reference(head.query_token.expand(3, -1, -1), tokens, tokens)
    torch.testing.assert_close(head(tokens), expected[:, 0], atol=1e-5, rtol=1e-4)


def test_a_register_head_needs_a_register():
    encoder = VisionTransformer(SMALL.model_copy(update={"num_registers": 0}))
    with pytest.raises(ValueError, match="num_registers of at least 1"):
        build_head(HeadConfig(kind="register", num_labels=3), encoder)


def test_weights_are_seeded_by_name_order():
    """The untrained baseline relies on it: same seed and architecture, same encoder."""
    torch.manual_seed(3)
    first = VisionTransformer(SMALL)
    torch.manual_seed(3)
    second = VisionTransformer(SMALL)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


@pytest.mark.parametrize("kind", ["mean", "pooled", "statistics"])
def test_pooling_heads_are_numpy_and_a_matrix(kind):
    torch.manual_seed(0)
    config = EncoderConfig(patch_size=5, dim=8, depth=1, num_heads=2)
    head = build_head(HeadConfig(kind=kind, num_labels=3, bias=True), build_encoder(config))
    tokens = torch.randn(4, 11, 8)
    patches = tokens[:, 1:].numpy()
    pools = {
        "mean": [patches.mean(1)],
        "pooled": [patches.mean(1), patches.max(1)],
        "statistics": [patches.mean(1), patches.std(1)],
    }
    weight, bias = (parameter.detach().numpy() for parameter in head.fc.parameters())
    expected = np.concatenate(pools[kind], axis=1) @ weight.T + bias
    np.testing.assert_allclose(head(tokens).detach(), expected, atol=1e-5)
    head(torch.zeros(1, 11, 8, requires_grad=True)).sum().backward()  # where nothing varies
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())
