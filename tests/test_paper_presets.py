"""Every published hyper-parameter stands in every paper preset.

The numbers are typed in again here, from the paper and the official configurations, so that a slip
in a preset shows.
"""

import pytest

from ecgjepa.config import load_preset, preset_names
from ecgjepa.databases import database_names
from ecgjepa.databases.catalogue import CATALOGUE
from ecgjepa.databases.paper_statistics import PAPER_STATISTICS
from ecgjepa.official.config import from_official_config
from ecgjepa.signals.leads import LEADS

SIZES = {
    # width, depth, heads; predictor's; records per optimizer step, and in how many parts
    "xs": {
        "encoder.dim": 192,
        "encoder.depth": 8,
        "encoder.num_heads": 4,
        "predictor.dim": 96,
        "predictor.depth": 8,
        "predictor.num_heads": 4,
        "train.batch_size": 2048,
        "train.gradient_accumulation_steps": 1,
    },
    "s": {
        "encoder.dim": 384,
        "encoder.depth": 8,
        "encoder.num_heads": 6,
        "predictor.dim": 192,
        "predictor.depth": 8,
        "predictor.num_heads": 6,
        "train.batch_size": 2048,
        "train.gradient_accumulation_steps": 1,
    },
    "b": {
        "encoder.dim": 768,
        "encoder.depth": 12,
        "encoder.num_heads": 12,
        "predictor.dim": 384,
        "predictor.depth": 12,
        "predictor.num_heads": 12,
        "train.batch_size": 2 * 512,
        "train.gradient_accumulation_steps": 2,
    },
}
WEIGHTS = {
    "ptbxl": {"ptb-xl": 1.0},
    "mimic": {"mimic-iv-ecg": 1.0},
    "all": {
        "mimic-iv-ecg": 0.70,
        "code-15": 0.10,
        "ptb-xl": 0.05,
        "chapman-shaoxing": 0.009375,
        "cpsc": 0.025,
        "cpsc-extra": 0.0125,
        "georgia": 0.0375,
        "ningbo": 0.028125,
        "ptb": 0.01875,
        "st-petersburg": 0.01875,
    },
}
COMMON = {
    "data.sampling_rate": 500,
    "data.leads": ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"),
    "data.window_seconds": 10,
    "data.clip": 5,
    "data.normalisation": "paper",
    "data.sampling": "with-replacement",
    "data.resident": "auto",
    "mask.min_keep_ratio": 0.15,
    "mask.max_keep_ratio": 0.25,
    "mask.min_block_size": 10,
    "mask.sampler": "paper",
    "encoder.architecture": "vit",
    "encoder.stem": "linear",
    "encoder.state_dim": 32,  # not used by it
    "encoder.causal": False,
    "jepa.masking": "time",
    "jepa.mask_ratio": 0.75,  # not used by it
    "jepa.target_layers": 1,
    "jepa.visible_loss": 0,
    "jepa.variance": 0,
    "jepa.covariance": 0,
    "encoder.num_leads": 12,
    "encoder.patch_size": 25,
    "encoder.mlp_ratio": 4,
    "encoder.num_registers": 1,
    "encoder.norm_eps": 1e-6,
    "encoder.positions": "sinusoidal",
    "encoder.num_positions": 0,
    "encoder.lead_patches": False,
    "probe.every": 5000,
    "train.stop_on_collapse": False,
    "train.trackers": (),
    "train.steps": 100_000,
    "train.warmup_steps": 10_000,
    "train.warmup_learning_rate": 1e-6,
    "train.learning_rate": 1e-3,
    "train.final_learning_rate": 1e-6,
    "train.weight_decay": 0.01,
    "train.final_weight_decay": 0.1,
    "train.momentum": 0.998,
    "train.final_momentum": 0.9995,
    "train.target_memory": 0,  # a schedule of ours
    "train.betas": (0.9, 0.99),
    "train.eps": 1e-6,
    "train.gradient_clip": 0,
    "train.normalise_targets": False,
    "train.loss": "l1",
    "train.lead_dropout": 0,
    "train.checkpoint_every": 10_000,
    # Not published: bfloat16 is, where the hardware has it; seed, logging, no checkpoint removed.
    "train.precision": "auto",
    "train.compile": False,
    "train.seed": 0,
    "train.log_every": 100,
    "train.keep_checkpoints": 0,
    "train.milestone_every": 0,
}
PRESETS = [(size, data) for size in SIZES for data in WEIGHTS]
SHIPPED = ["xs-all", "s-all", "b-all", "xs-mimic", "s-mimic", "xs-ptbxl", "s-ptbxl"]


@pytest.mark.parametrize(("size", "data"), PRESETS)
def test_every_field_of_every_paper_preset(size, data):
    """Also that the table leaves no field out."""
    expected = {**COMMON, **SIZES[size], "data.weights": WEIGHTS[data]}
    preset = load_preset(f"paper-vit-{size}-{data}").model_dump()
    assert preset.pop("objective") == "jepa"
    others = ("augment", "salt", "simclr", "byol", "mae", "cpc", "lejepa")
    for section in others:
        del preset[section]
    found = {f"{section}.{key}": v for section, part in preset.items() for key, v in part.items()}
    assert found == expected


def test_there_are_no_other_paper_presets():
    paper = {name for name in preset_names() if name.startswith("paper-")}
    assert paper == {f"paper-vit-{size}-{data}" for size, data in PRESETS}


@pytest.mark.parametrize("data", WEIGHTS)
def test_weights_sum_to_one_over_databases_that_can_be_read(data):
    weights = load_preset(f"paper-vit-s-{data}").data.weights
    assert sum(weights.values()) == pytest.approx(1, abs=1e-12)
    assert set(weights) <= set(database_names())
    assert set(weights) <= set(PAPER_STATISTICS)
    assert all(CATALOGUE[name].paper_records for name in weights)


def test_constants_are_one_number_per_lead():
    assert set(PAPER_STATISTICS) == set(WEIGHTS["all"])
    for name, (mean, std) in PAPER_STATISTICS.items():
        assert len(mean) == len(std) == len(LEADS), name
        assert min(std) > 0.1, name


@pytest.mark.parametrize("name", SHIPPED)
def test_presets_equal_the_official_configuration_files(official, name):
    size, data = name.split("-")
    path = official.root / f"configs/pretrain/ViT{size.upper()}_{data}.yaml"
    shipped = official.configs.load_config_file(path)
    found, ours = from_official_config(shipped, source=name), load_preset(f"paper-vit-{name}")
    assert found.model_copy(update={"probe": ours.probe}) == ours  # they have no probe


def test_constants_equal_the_official_ones(official):
    """Those of MIMIC-IV-ECG in another order there; three are set when pre-training starts."""
    found = {}
    namespace = {"__name__": "datasets"}
    text = (official.root / "data/datasets/challenge_2021.py").read_text()
    exec(compile(text, "challenge_2021.py", "exec"), namespace)
    for name, owner in {
        "chapman-shaoxing": "ChapmanShaoxing",
        "cpsc": "CPSC2018",
        "cpsc-extra": "CPSC2018Extra",
        "georgia": "Georgia",
        "ningbo": "Ningbo",
        "ptb": "PTB",
    }.items():
        found[name] = (namespace[owner].mean, namespace[owner].std)
    mimic: dict = {}
    exec((official.root / "data/datasets/mimic_iv_ecg.py").read_text(), mimic)
    order = [mimic["MIMIC_IV_ECG"].channels.index(lead) for lead in LEADS]
    found["mimic-iv-ecg"] = tuple(
        tuple(values[i] for i in order)
        for values in (mimic["MIMIC_IV_ECG"].mean, mimic["MIMIC_IV_ECG"].std)
    )
    found |= constants_of_pretrain((official.root / "pretrain.py").read_text())
    assert {name: tuple(map(tuple, pair)) for name, pair in found.items()} == PAPER_STATISTICS


def constants_of_pretrain(text: str) -> dict[str, tuple]:
    """Run the lines of `pretrain.py` that overwrite constants."""

    class Constants:
        channels = LEADS
        mean = std = ()

    names = {"CODE15": "code-15", "StPetersburg": "st-petersburg", "PTB_XL": "ptb-xl"}
    classes = {name: type(name, (Constants,), {}) for name in names}
    start, end = text.index("CODE15.mean ="), text.index("def main():")
    exec(text[start:end], dict(classes))
    return {ours: (classes[name].mean, classes[name].std) for name, ours in names.items()}
