"""What objectives say of themselves is what they do."""

import json

import numpy as np
import pytest
import torch
from small_encoders import save_encoder

from ecgjepa.config import load_preset
from ecgjepa.errors import CheckpointError
from ecgjepa.objectives.build import OBJECTIVES, objective_of
from ecgjepa.objectives.networks.views import make_views
from ecgjepa.objectives.words import WORDS_FILE, ObjectiveWords, Sign, read_words
from ecgjepa.sampling.augmentation import sample_augmentation
from ecgjepa.sampling.masking import sample_masks, sample_random_masks


def objective(name: str, *overrides: str):
    return objective_of(load_preset("tiny", [f"objective={name}", *overrides]))


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """Each objective, with what it cannot do without."""
    teacher = save_encoder(tmp_path_factory.mktemp("teacher") / "model")
    needed = {
        "salt": [f"salt.teacher={teacher}", "encoder.patch_size=25"],
        "cpc": ["encoder.architecture=s4d", "encoder.causal=true"],
    }
    return {name: objective(name, *needed.get(name, [])) for name in OBJECTIVES}


def hidden(panel, cells: int, leads: tuple[str, ...]) -> np.ndarray:
    """Return which of ``cells`` stretches of each lead a panel shades (leads, cells)."""
    grid = np.zeros((len(leads), cells), bool)
    middles = (np.arange(cells) + 0.5) / cells
    for span in panel.spans:
        rows = [leads.index(lead) for lead in span.leads] or slice(None)
        grid[rows] |= (middles > span.start) & (middles < span.end)
    return grid


@pytest.mark.parametrize(
    ("name", "overrides", "loss"),
    [
        ("jepa", ["train.loss=l1", "train.normalise_targets=false"], "mean absolute error"),
        ("jepa", ["train.loss=smooth-l1", "train.normalise_targets=false"], "smooth L1"),
        (
            "jepa",
            ["train.loss=l2", "train.normalise_targets=true"],
            "mean squared error, normalised targets",
        ),
        ("simclr", [], "NT-Xent"),
        ("byol", [], "squared distance of unit vectors"),
        ("mae", ["mae.normalise_targets=false"], "mean squared error"),
        ("mae", ["mae.normalise_targets=true"], "mean squared error, each patch scaled"),
        ("lejepa", [], "distance between views, SIGReg of weight 0.05"),
        (
            "cpc",
            ["encoder.architecture=s4d", "encoder.causal=true", "cpc.horizons=7"],
            "InfoNCE, 7 patches ahead",
        ),
    ],
)
def test_the_loss_is_called_by_its_name(name, overrides, loss):
    assert objective(name, *overrides).loss_name == loss


def test_the_picture_of_jepa_shows_its_masks():
    jepa = objective("jepa")
    config, leads = jepa.config, jepa.config.data.leads
    picture = jepa.picture()
    masks = sample_masks(
        config.mask, np.random.default_rng(0), batch_size=13, num_patches=config.num_patches
    )
    drawn = {tuple(row) for row in masks.target_index.tolist()}
    panels = [hidden(panel, config.num_patches, leads) for panel in picture.panels + picture.strips]
    assert all((panel == panel[0]).all() for panel in panels)  # the same in all leads
    assert {tuple(np.flatnonzero(panel[0]).tolist()) for panel in panels} == drawn


@pytest.mark.parametrize(
    ("name", "masking"), [("mae", "time"), ("mae", "lead-time"), ("jepa", "lead-time")]
)
def test_the_picture_shows_random_masks(name, masking):
    hiding = objective(name, f"{name}.masking={masking}")
    config, leads, per_lead = hiding.config, hiding.config.data.leads, masking == "lead-time"
    masks = sample_random_masks(
        getattr(config, name).mask_ratio,
        np.random.default_rng(0),
        batch_size=1 if per_lead else 13,
        num_patches=hiding.num_maskable,
    )
    expected = np.zeros(hiding.num_maskable, bool)
    expected[masks.target_index[0]] = True
    picture = hiding.picture()
    found = hidden(picture.panels[0], config.num_patches, leads)
    if not per_lead:
        assert (found == expected).all()
        assert len(picture.strips) == 12
        return
    # Numbered patch by patch, and within each lead by lead.
    np.testing.assert_array_equal(found, expected.reshape(-1, len(leads)).T)
    strips = [hidden(strip, config.num_patches, leads) for strip in picture.strips]
    np.testing.assert_array_equal(np.stack([s.any(axis=0) for s in strips]), found)
    assert [strip.title for strip in picture.strips] == list(leads)


@pytest.mark.parametrize("name", ["simclr", "byol"])
def test_the_picture_of_views_shows_what_is_left_of_the_window(name):
    """A signal that tells the time: what a view still shows of it lies outside of all spans."""
    views = objective(name, "augment.noise=0", "augment.max_scale=1", "augment.lead_mask=0.4")
    leads = views.config.data.leads
    augmentation = sample_augmentation(
        views.config.augment, np.random.default_rng(0), batch_size=1, num_leads=len(leads)
    )
    samples = 10_000
    time = torch.linspace(1.0, 2.0, samples).expand(1, len(leads), samples)  # never 0
    cells = 200
    for view, panel in zip(make_views(time, augmentation), views.picture().panels, strict=True):
        seen = np.zeros((len(leads), cells), bool)
        for lead, values in enumerate(view[0].double().numpy()):
            place = (values[values != 0] - 1) * cells
            inside = np.abs(place % 1 - 0.5) < 0.4  # not at the edge of a cell
            seen[lead, np.unique(place[inside].astype(int))] = True
        shaded = hidden(panel, cells, leads)
        differing = np.flatnonzero((seen == shaded).any(axis=0))
        # Only cells that an edge cuts may be both or neither: at most four edges a view.
        assert len(differing) <= 4
        assert shaded.any()
        assert seen.any()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_words_come_back_from_the_file(every, name, tmp_path):
    words = every[name].words()
    text = json.dumps(words.model_dump(mode="json"))
    (tmp_path / WORDS_FILE).write_text(text)
    assert read_words(tmp_path) == words
    assert words.signs[0].name == "spread"
    assert words.picture.caption


def test_a_run_of_an_older_version_has_no_words(tmp_path):
    assert read_words(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "damaged: expected JSON with a format_version"),
        ("{", "damaged: expected JSON with a format_version"),
        ('{"format_version": 7}', "format version 7; this ecgjepa reads version 1"),
        ('{"format_version": 1, "nam": "x"}', "name: Field required"),
    ],
)
def test_damaged_words_are_refused(content, message, tmp_path):
    (tmp_path / WORDS_FILE).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        read_words(tmp_path)


def test_every_level_has_words_for_its_alarm(every):
    for objective in every.values():
        words: ObjectiveWords = objective.words()
        levels = [s for s in words.signs if s.below is not None or s.above is not None]
        assert levels
        assert all(sign.alarm for sign in levels)
        assert not any(sign.alarm for sign in words.signs if sign not in levels)


def test_a_level_is_crossed_beyond_it_and_not_at_it():
    sign = Sign(name="a", label="a", meaning="", below=0.2, above=0.8, alarm="{value:.1f} is bad")
    assert [sign.alarm_of(value) for value in (0.2, 0.5, 0.8)] == [None] * 3
    assert sign.alarm_of(0.1) == "0.1 is bad"
    assert sign.alarm_of(0.9) == "0.9 is bad"
