import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgjepa.config import load_preset
from ecgjepa.sampling.inputs import draw_block_masks
from ecgjepa.sampling.lead_dropout import mean_leads, sample_leads
from ecgjepa.sampling.masking import sample_masks
from ecgjepa.sampling.mixture import leads_rng, masks_rng

SMALL = ["data.leads=[I, II, V1]", "encoder.num_leads=3", "encoder.lead_patches=true"]


@given(st.floats(0, 0.99), st.integers(1, 12), st.integers(1, 6), st.integers(0, 1000))
def test_rows_keep_as_many_different_leads(probability, num_leads, batch_size, seed):
    kept = sample_leads(
        probability, np.random.default_rng(seed), batch_size=batch_size, num_leads=num_leads
    )
    assert kept.shape[0] == batch_size
    assert 1 <= kept.shape[1] <= num_leads
    assert (np.diff(kept, axis=1) > 0).all()
    assert (kept >= 0).all()
    assert (kept < num_leads).all()
    if probability == 0:
        assert kept.shape[1] == num_leads


@pytest.mark.parametrize("probability", [0.3, 0.9])
def test_every_lead_is_dropped_as_often_as_it_should_be(probability):
    """Their number varies between batches, so batches, not records, are what counts."""
    batches, num_leads = 4000, 12
    shares = np.zeros((batches, num_leads))
    for seed in range(batches):
        rng = np.random.default_rng(seed)
        kept = sample_leads(probability, rng, batch_size=4, num_leads=num_leads)
        shares[seed] = np.bincount(kept.ravel(), minlength=num_leads) / 4
    expected = mean_leads(probability, num_leads) / num_leads
    error = shares.std(axis=0) / np.sqrt(batches)
    assert (np.abs(shares.mean(axis=0) - expected) < 4.5 * error).all()


def test_the_same_stretches_are_masked_in_all_leads():
    config = load_preset("tiny", [*SMALL, "train.lead_dropout=0.5"])
    numbers = set()
    for step in range(8):
        context, target = draw_block_masks(config, config.train.seed, step, 0, size=5)
        patches = sample_masks(config.mask, masks_rng(0, step), batch_size=5, num_patches=25)
        kept = sample_leads(0.5, leads_rng(0, step), batch_size=5, num_leads=3)
        numbers.add(kept.shape[1])
        for row in range(5):
            assert target[row].tolist() == [
                3 * patch + lead for patch in patches.target_index[row] for lead in range(3)
            ]
            assert context[row].tolist() == [
                3 * patch + lead for patch in patches.context_index[row] for lead in kept[row]
            ]
    assert len(numbers) > 1


def test_masks_are_a_function_of_seed_step_and_part():
    config = load_preset("tiny", [*SMALL, "train.lead_dropout=0.5"])
    draws = {
        (step, part): draw_block_masks(config, 0, step, part, size=4)
        for step in range(3)
        for part in range(2)
    }
    again = draw_block_masks(config, 0, 2, 1, size=4)
    assert all((a == b).all() for a, b in zip(again, draws[2, 1], strict=True))
    contents = {tuple(context.flatten().tolist()) for context, _ in draws.values()}
    assert len(contents) == len(draws)

    # The leads that stay differ by step and by part, not only the patches.
    def leads(step: int, part: int) -> list[set[int]]:
        return [set(row.tolist()) for row in draws[step, part][0] % 3]

    assert any(leads(step, 0) != leads(step, 1) for step in range(3))
    assert any(leads(0, part) != leads(1, part) for part in range(2))
    # Dropping leads leaves the stretches of time as they are.
    whole = draw_block_masks(load_preset("tiny", SMALL), 0, 1, 1, size=4)
    assert (whole[1] == draws[1, 1][1]).all()
