import pytest
import yaml

from ecgjepa.config import PretrainConfig, load_preset, preset_names, to_yaml
from ecgjepa.errors import ConfigError


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_survives_yaml(name, tmp_path):
    config = load_preset(name)
    path = tmp_path / "c.yaml"
    path.write_text(to_yaml(config))
    assert load_preset(path) == config


@pytest.mark.parametrize("size", ["xs", "s", "b"])
@pytest.mark.parametrize("data", ["ptbxl", "mimic", "all"])
def test_published_hyper_parameters(size, data):
    """Paper, sections 1 to 3, and the shipped configurations."""
    config = load_preset(f"paper-vit-{size}-{data}")
    assert (config.encoder.dim, config.encoder.depth, config.encoder.num_heads) == {
        "xs": (192, 8, 4),
        "s": (384, 8, 6),
        "b": (768, 12, 12),
    }[size]
    assert config.predictor.dim == config.encoder.dim // 2
    assert config.predictor.depth == config.encoder.depth
    assert config.predictor.num_heads == config.encoder.num_heads
    assert (config.data.sampling_rate, config.data.window_samples) == (500, 5000)
    assert (config.encoder.patch_size, config.num_patches) == (25, 200)
    assert config.data.clip == 5
    mask = config.mask
    assert (mask.min_keep_ratio, mask.max_keep_ratio, mask.min_block_size) == (0.15, 0.25, 10)
    train = config.train
    assert train.steps == 100_000
    assert train.warmup_steps == 10_000
    assert (train.batch_size, train.gradient_accumulation_steps) == (
        (1024, 2) if size == "b" else (2048, 1)
    )
    assert (train.learning_rate, train.final_learning_rate) == (1e-3, 1e-6)
    assert (train.weight_decay, train.final_weight_decay) == (0.01, 0.1)
    assert (train.momentum, train.final_momentum) == (0.998, 0.9995)
    assert (train.betas, train.eps) == ((0.9, 0.99), 1e-6)
    assert train.gradient_clip == 0
    assert not train.normalise_targets
    assert train.checkpoint_every == 10_000
    weights = config.data.weights
    assert sum(weights.values()) == pytest.approx(1)
    assert len(weights) == (10 if data == "all" else 1)


def test_published_mixture():
    assert load_preset("paper-vit-s-all").data.weights == {
        "mimic-iv-ecg": 0.7,
        "code-15": 0.1,
        "ptb-xl": 0.05,
        "ptb": 0.01875,
        "cpsc": 0.025,
        "cpsc-extra": 0.0125,
        "georgia": 0.0375,
        "ningbo": 0.028125,
        "chapman-shaoxing": 0.009375,
        "st-petersburg": 0.01875,
    }


def test_overrides_are_read_as_yaml():
    config = load_preset(
        "tiny", ["train.learning_rate=2e-4", "data.weights={ptb-xl: 1}", "train.betas=[0.8, 0.9]"]
    )
    assert config.train.learning_rate == 2e-4
    assert config.data.weights == {"ptb-xl": 1.0}
    assert config.train.betas == (0.8, 0.9)


def test_unknown_preset_lists_the_known():
    with pytest.raises(ConfigError, match=r"unknown preset 'huge': expected one of .*tiny"):
        load_preset("huge")


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("train.stepps=3", r"section 'train' has no key 'stepps'; expected one of steps,"),
        ("trian.steps=3", r"no section 'trian'; expected one of data, mask,"),
        ("steps=3", r"expected section.key=value"),
        ("train.steps", r"expected section.key=value"),
        ("train.steps=many", r"tiny: train.steps: .*found 'many'"),
        ("train.steps=0", r"train.steps: .*greater than or equal to 1"),
        ("train.batch_size=-1", r"train.batch_size"),
        ("encoder.num_heads=5", r"dim \d+ is not a multiple of num_heads 5"),
        ("train.warmup_steps=10000000", r"warmup_steps 10000000 must be below steps"),
        ("train.gradient_accumulation_steps=7", r"not a multiple of gradient_accumulation_steps"),
        ("mask.min_keep_ratio=0.9", r"min_keep_ratio 0.9 exceeds max_keep_ratio"),
        ("encoder.patch_size=7", r"patches of 7 samples do not fill evenly"),
        ("data.leads=[I]", r"encoder.num_leads is 12 but data.leads names 1"),
        ("train.steps={", r"value is not readable"),
        ("train.precision=float16", r"train.precision"),
    ],
)
def test_wrong_overrides_are_named(override, match):
    with pytest.raises(ConfigError, match=match):
        load_preset("tiny", [override])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("- a\n", "expected sections with keys, found list"),
        ("data: [", "not readable as YAML"),
        ("{}", "data: Field required"),
        ("surprise: 1", "surprise: no such key"),
    ],
)
def test_wrong_files_are_named(tmp_path, text, match):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=match):
        load_preset(path)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="no configuration file"):
        load_preset(tmp_path / "none.yaml")


def test_configurations_are_frozen():
    config = load_preset("tiny")
    with pytest.raises(ValueError, match="frozen"):
        config.train.steps = 3
    assert isinstance(
        PretrainConfig.model_validate(yaml.safe_load(to_yaml(config))), PretrainConfig
    )
