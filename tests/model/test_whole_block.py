"""The block in one piece computes what its modules compute one after the other."""

import copy

import pytest
import torch

from ecgjepa.model.layers import Block, PatchEmbedding, gather_tokens
from ecgjepa.objectives.networks.base import move_average


def one_by_one(block, x):
    """The block as its modules are, with PyTorch's own backward pass."""
    x = x + block.dropout(block.attn(block.norm1(x)))
    return x + block.dropout(block.mlp(block.norm2(x)))


def make_block(dropout=0.0):
    torch.manual_seed(0)
    block = Block(24, 4, mlp_ratio=2, norm_eps=1e-6, dropout=dropout).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, mean=0.1, std=0.3)
    return block


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_outputs_and_all_gradients_are_equal(dropout):
    block = make_block(dropout)
    x = torch.randn(3, 7, 24, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(3, 7, 24, dtype=torch.float64)
    found = []
    for way in (block, lambda tokens: one_by_one(block, tokens)):
        torch.manual_seed(1)
        out = way(x)
        found.append((out, *torch.autograd.grad(out, [x, *block.parameters()], direction)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)
    torch.manual_seed(2)
    assert torch.equal(block(x), found[0][0]) == (dropout == 0)  # other draws, if there are any


def test_a_block_that_learns_nothing_gives_the_same():
    block = make_block()
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    with torch.no_grad():
        without = block(x)
    assert torch.equal(without, block(x).detach())
    assert without.grad_fn is None


def test_in_bfloat16_it_is_no_further_from_the_exact_block_than_its_modules_are():
    exact = make_block()
    block = copy.deepcopy(exact).float()
    x = torch.randn(8, 26, 24, requires_grad=True)
    x64 = x.detach().double().requires_grad_()
    wanted = (one_by_one(exact, x64), [x64, *exact.parameters()])
    wanted = torch.autograd.grad(wanted[0].square().mean(), wanted[1])
    errors = []
    for way in (block, lambda tokens: one_by_one(block, tokens)):
        with torch.autocast("cpu", torch.bfloat16):
            out = way(x)
        assert out.dtype == torch.float32
        own = torch.autograd.grad(out.square().mean(), [x, *block.parameters()])
        errors.append([float((a - b).norm() / b.norm()) for a, b in zip(own, wanted, strict=True)])
    for one, other in zip(*errors, strict=True):
        assert one < 0.02
        assert one < 1.5 * other + 0.002


def test_the_backward_pass_survives_a_numerical_check():
    block = make_block()
    x = torch.randn(1, 3, 24, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,))


def test_patches_are_the_convolution_of_their_weight():
    embedding = PatchEmbedding(3, 5, 8).double()
    x = torch.randn(2, 3, 20, dtype=torch.float64)
    torch.testing.assert_close(embedding(x), embedding.proj(x).transpose(1, 2))


def test_gathered_tokens_are_those_of_their_own_record():
    tokens = torch.randn(3, 6, 4, requires_grad=True)
    index = torch.tensor([[5, 0], [1, 2], [3, 4]])
    found = gather_tokens(tokens, index)
    assert torch.equal(found, torch.stack([tokens[row, index[row]] for row in range(3)]))
    (gradient,) = torch.autograd.grad(found.sum(), tokens)
    assert gradient.sum() == 3 * 2 * 4
    assert (gradient[1, [1, 2]] == 1).all()


def test_a_moving_average_moves_every_parameter():
    torch.manual_seed(0)
    average, online = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    pair = (average.parameters(), online.parameters())
    wanted = [0.9 * a + 0.1 * b for a, b in zip(*map(list, pair), strict=True)]
    move_average(average, online, 0.9)
    torch.testing.assert_close(list(average.parameters()), wanted)
    assert all(parameter.grad_fn is None for parameter in average.parameters())
