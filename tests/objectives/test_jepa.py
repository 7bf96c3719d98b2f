import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ecgjepa.config import EncoderConfig, JepaConfig, MaskConfig, PredictorConfig, load_preset
from ecgjepa.errors import ConfigError
from ecgjepa.model.layers import gather_tokens
from ecgjepa.model.positions import token_index
from ecgjepa.objectives.build import objective_of
from ecgjepa.objectives.networks.jepa import Jepa, variance_and_covariance
from ecgjepa.sampling.masking import sample_masks

ENCODER = EncoderConfig(patch_size=5, dim=16, depth=2, num_heads=4)
PREDICTOR = PredictorConfig(dim=8, depth=1, num_heads=2)


def batch(size=4, patches=20):
    masks = sample_masks(
        MaskConfig(min_block_size=2), np.random.default_rng(0), batch_size=size, num_patches=patches
    )
    torch.manual_seed(1)
    return torch.randn(size, 12, 5 * patches), *map(torch.from_numpy, masks)


def test_the_loss_is_written_out_by_hand():
    torch.manual_seed(0)
    jepa = Jepa(ENCODER, PREDICTOR)
    signal, context_index, target_index = batch()
    output = jepa(signal, context_index, target_index)
    target = jepa.target_encoder(signal)[:, 1:]
    context = jepa.context_encoder(signal, context_index)[:, 1:]
    predicted = jepa.predictor(context, context_index, target_index)
    wanted = torch.stack([target[i, target_index[i]] for i in range(4)])
    torch.testing.assert_close(output.loss, (predicted - wanted).abs().mean())
    torch.testing.assert_close(output.target, target)


def test_targets_can_be_normalised():
    torch.manual_seed(0)
    jepa = Jepa(ENCODER, PREDICTOR, normalise_targets=True)
    with torch.no_grad():
        jepa.target_encoder.norm.weight.normal_()
    signal, context_index, target_index = batch()
    wanted = F.layer_norm(gather_tokens(jepa.target_encoder(signal)[:, 1:], target_index), (16,))
    context = jepa.context_encoder(signal, context_index)[:, 1:]
    predicted = jepa.predictor(context, context_index, target_index)
    loss = jepa(signal, context_index, target_index).loss
    torch.testing.assert_close(loss, (predicted - wanted).abs().mean())


def test_no_gradient_reaches_the_target_encoder():
    jepa = Jepa(ENCODER, PREDICTOR)
    jepa(*batch()).loss.backward()
    assert all(parameter.grad is None for parameter in jepa.target_encoder.parameters())
    assert not any(parameter.requires_grad for parameter in jepa.target_encoder.parameters())
    for part in (jepa.context_encoder, jepa.predictor):
        assert all(parameter.grad is not None for parameter in part.parameters())


def test_the_context_encoder_never_sees_masked_samples():
    jepa = Jepa(ENCODER, PREDICTOR).eval()
    signal, context_index, target_index = batch(size=1)
    context = jepa.context_encoder(signal, context_index)
    changed = signal.clone()
    for patch in target_index[0].tolist():
        changed[0, :, 5 * patch : 5 * patch + 5] += 10
    assert torch.equal(jepa.context_encoder(changed, context_index), context)


def test_the_target_moves_by_the_momentum_and_only_when_told():
    torch.manual_seed(0)
    jepa = Jepa(ENCODER, PREDICTOR)
    with torch.no_grad():
        for parameter in jepa.context_encoder.parameters():
            parameter.add_(torch.randn_like(parameter))
    before = copy.deepcopy(jepa.target_encoder.state_dict())
    jepa(*batch())
    jepa.eval()(*batch())
    assert all(torch.equal(before[k], v) for k, v in jepa.target_encoder.state_dict().items())
    jepa.update_target(0.9)
    context = jepa.context_encoder.state_dict()
    for name, value in jepa.target_encoder.state_dict().items():
        torch.testing.assert_close(value, 0.9 * before[name] + 0.1 * context[name])
    jepa.update_target(1.0)
    again = jepa.target_encoder.state_dict()
    jepa.update_target(0.0)
    for name, value in jepa.target_encoder.state_dict().items():
        torch.testing.assert_close(value, context[name])
        assert again[name].shape == value.shape


def test_one_batch_can_be_learned():
    torch.manual_seed(0)
    jepa = Jepa(ENCODER, PREDICTOR, normalise_targets=True)
    optimizer = torch.optim.AdamW(jepa.parameters(), lr=3e-3)
    inputs = batch()
    losses = []
    for _ in range(60):
        loss = jepa(*inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("loss", "by_hand"),
    [
        ("l1", lambda e: e.abs()),
        ("smooth-l1", lambda e: torch.where(e.abs() < 1, e.square() / 2, e.abs() - 0.5)),
        ("l2", lambda e: e.square()),
    ],
)
def test_every_loss_is_the_mean_of_its_formula(loss, by_hand):
    torch.manual_seed(0)
    jepa = Jepa(ENCODER, PREDICTOR, loss=loss)
    with torch.no_grad():  # errors on both sides of smooth L1's bend
        jepa.target_encoder.norm.weight.normal_(std=2.0)
    signal, context_index, target_index = batch()
    wanted = gather_tokens(jepa.target_encoder(signal)[:, 1:], target_index)
    context = jepa.context_encoder(signal, context_index)[:, 1:]
    error = jepa.predictor(context, context_index, target_index) - wanted
    assert 0.1 < (error.abs() < 1).float().mean() < 0.9
    torch.testing.assert_close(
        jepa(signal, context_index, target_index).loss, by_hand(error).mean()
    )


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
def test_masked_stretches_are_predicted_in_all_leads_from_the_leads_that_stay(positions):
    """The context is what it is without the masked samples and without the dropped lead."""
    torch.manual_seed(0)
    encoder = ENCODER.model_copy(update={"lead_patches": True, "positions": positions})
    jepa = Jepa(encoder, PREDICTOR).eval()
    signal, context_index, target_index = batch()
    seen = torch.tensor([[0, 5], [1, 2], [3, 11], [0, 11]])
    context_tokens = token_index(context_index, seen, 12)
    target_tokens = token_index(target_index, torch.arange(12)[None], 12)
    output = jepa(signal, context_tokens, target_tokens)
    assert output.target.shape == (4, 20 * 12, 16)
    assert output.context.shape == (4, 2 * context_index.shape[1], 16)
    hidden = torch.full_like(signal, 7.0)
    for row in range(4):
        for patch in context_index[row].tolist():
            stretch = slice(5 * patch, 5 * patch + 5)
            hidden[row, seen[row], stretch] = signal[row, seen[row], stretch]
    assert torch.equal(jepa.context_encoder(hidden, context_tokens)[:, 1:], output.context)
    # By hand: the target of a token is the feature of this lead and time.
    wanted = output.target.unflatten(1, (20, 12))
    wanted = torch.stack([wanted[row, target_index[row]].flatten(0, 1) for row in range(4)])
    predicted = jepa.predictor(output.context, context_tokens, target_tokens, num_tokens=240)
    torch.testing.assert_close(output.loss, (predicted - wanted).abs().mean())


def by_hand(jepa, signal, context_index, target_index):
    """Return predictions at both kinds of positions, and the last blocks' averaged outputs."""
    outputs = []
    hooks = [
        block.register_forward_hook(lambda _module, _inputs, found: outputs.append(found))
        for block in jepa.target_encoder.blocks
    ]
    jepa.target_encoder(signal)
    for hook in hooks:
        hook.remove()
    target = sum(F.layer_norm(found, (16,)) for found in outputs)[:, 1:] / len(outputs)
    context = jepa.context_encoder(signal, context_index)[:, 1:]
    predicted = jepa.predictor(context, context_index, target_index, with_context=True)
    return target, context, predicted.split([context.shape[1], target_index.shape[1]], dim=1)


def test_targets_can_be_averaged_over_blocks():
    torch.manual_seed(0)
    jepa = Jepa(ENCODER, PREDICTOR, JepaConfig(target_layers=2))
    inputs = batch()
    target, _, (_, hidden) = by_hand(jepa, *inputs)
    output = jepa(*inputs)
    torch.testing.assert_close(output.target, target)
    wanted = gather_tokens(target, inputs[2])
    torch.testing.assert_close(output.loss, (hidden - wanted).abs().mean())


def test_visible_patches_can_be_predicted_too():
    torch.manual_seed(0)
    jepa = Jepa(ENCODER, PREDICTOR, JepaConfig(target_layers=2, visible_loss=0.25))
    inputs = batch()
    target, _, (visible, hidden) = by_hand(jepa, *inputs)
    at_hidden = (hidden - gather_tokens(target, inputs[2])).abs().mean()
    at_visible = (visible - gather_tokens(target, inputs[1])).abs().mean()
    output = jepa(*inputs)
    torch.testing.assert_close(output.loss, at_hidden + 0.25 * at_visible)
    torch.testing.assert_close(output.prediction_loss, at_hidden)


def test_records_can_be_kept_apart():
    torch.manual_seed(0)
    jepa = Jepa(ENCODER, PREDICTOR, JepaConfig(variance=2.0, covariance=3.0))
    inputs = batch(size=6)
    output = jepa(*inputs)
    records = output.context.mean(dim=1).double().numpy()
    covariance = np.cov(records.T)
    shortfall = np.maximum(0, 1 - np.sqrt(np.diag(covariance) + 1e-4)).mean()
    others = (covariance**2).sum() - (np.diag(covariance) ** 2).sum()
    expected = float(output.prediction_loss) + 2 * shortfall + 3 * others / 16
    assert float(output.loss.detach()) == pytest.approx(expected, rel=1e-4)


def test_terms_of_records_are_0_where_they_are_as_wished():
    basis = torch.cat((torch.eye(4), -torch.eye(4))) * 2
    variance, covariance = variance_and_covariance(basis)
    assert (float(variance), float(covariance)) == (0, 0)
    collapsed, _ = variance_and_covariance(torch.ones(8, 4))
    assert float(collapsed) == pytest.approx(0.99)


def test_more_target_layers_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="target_layers 5: the encoder has 4 blocks"):
        objective_of(load_preset("tiny", ["jepa.target_layers=5"])).check()


def lead_time(*overrides):
    return load_preset("tiny", ["jepa.masking=lead-time", *overrides])


def test_patches_of_single_leads_can_be_hidden():
    torch.manual_seed(0)
    objective = objective_of(lead_time("encoder.dim=16", "predictor.dim=8", "jepa.variance=0.5"))
    jepa = objective.networks()
    signal = torch.randn(4, 12, 250)
    context_index, target_index = objective.draw(0, 0, 0, size=4)
    assert context_index.shape == (4, 75)  # a quarter of 25 patches of 12 leads
    output = jepa(signal, context_index, target_index)
    # By hand: 0 in place of what is hidden, and the features of all patches predicted.
    seen = signal.clone()
    for row, numbers in enumerate(target_index.tolist()):
        for patch, lead in (divmod(number, 12) for number in numbers):
            seen[row, lead, 10 * patch : 10 * patch + 10] = 0
    context = jepa.context_encoder(seen)[:, 1:]
    every = torch.arange(25).expand(4, -1)
    predicted = jepa.predictor(context, every, every[:, :0], with_context=True)
    wanted = F.layer_norm(jepa.target_encoder(signal)[:, 1:], (16,))  # normalise_targets of tiny
    torch.testing.assert_close(output.context, context)
    torch.testing.assert_close(output.prediction_loss, (predicted - wanted).abs().mean())
    variance, _ = variance_and_covariance(context.mean(dim=1))
    torch.testing.assert_close(output.loss, output.prediction_loss + 0.5 * variance)
    output.loss.backward()
    assert all(weight.grad is not None for weight in jepa.context_encoder.parameters())
    assert all(weight.grad is not None for weight in jepa.predictor.parameters())
    assert set(output.signs()) == {sign.name for sign in objective.signs}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["encoder.lead_patches=true"], "makes a token of each"),
        (["jepa.visible_loss=1"], "predicts all patches in any case"),
        (
            ["data.leads=[I]", "encoder.num_leads=1", "data.window_seconds=0.1"],
            "at least 2 patches, found 1",
        ),
    ],
)
def test_hidden_patches_of_single_leads_refuse_what_does_not_suit_them(overrides, words):
    with pytest.raises(ConfigError, match=words):
        objective_of(lead_time(*overrides)).check()
