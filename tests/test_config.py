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
    with pytest.raises(ConfigError, match=r"unknown preset 'tinny'; did you mean 'tiny'\?"):
        load_preset("tinny")


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("train.stepps=3", r"section 'train' has no key 'stepps'; did you mean 'steps'\?"),
        ("train.xyz=3", r"section 'train' has no key 'xyz'; expected one of steps, batch_size"),
        ("trian.steps=3", r"no section 'trian'; did you mean train.steps\?"),
        ("xyz.abc=3", r"no section 'xyz'; expected one of data, mask,"),
        ("encoder.steps=3", r"has no key 'steps'; did you mean train.steps\?"),
        ("mask.ratio=0.5", r"here it is mask.min_keep_ratio and mask.max_keep_ratio \(a mask rat"),
        ("train.lr=0.1", r"here it is train.learning_rate"),
        ("steps=3", r"expected section.key=value, .*; did you mean train.steps\?"),
        ("dim=3", r"did you mean encoder.dim or predictor.dim\?"),
        ("train.steps=200", r"warmup_steps 300 must be below steps 200; add --set .*_steps=20$"),
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
        ("train.steps={", r"--set train.steps: not readable as YAML"),
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
