"""The search over encoders: a plan that is fair, and folds that stay closed."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import encoder_search as search

from ecgjepa.comparing.plan import load_plan
from ecgjepa.errors import ConfigError

PLAN = """
teraflop: 1
recipes:
  one: [{name: quick, protocol: linear}]
  two: [{name: long, protocol: scratch, settings: [%s]}]
arms: [{name: a, kind: one}, {name: b, kind: two}]
"""


@pytest.mark.parametrize("name", ["encoder_search.yaml", "encoder_finalists.yaml"])
def test_the_plans_have_as_many_trials_for_every_arm_and_all_can_run(name):
    plan = search.read_plan(search.PLAN.parent / name)
    arms = Counter(arm.name for arm, _ in plan.trials())
    assert len(set(arms.values())) == 1
    assert not set(search.KEPT_FOLDS) & {*search.PRETRAINING_FOLDS, *search.CHOOSING_FOLDS}


def test_an_unfair_plan_a_double_name_and_a_wrong_setting_are_refused(tmp_path):
    path = tmp_path / "plan.yaml"
    more = "{name: quick, protocol: linear}, {name: more, protocol: knn}"
    path.write_text((PLAN % "steps=1").replace("{name: quick, protocol: linear}", more))
    with pytest.raises(SystemExit, match="arms have different numbers of trials"):
        search.read_plan(path)
    path.write_text((PLAN % "steps=1").replace("name: b, kind: two", "name: a, kind: one"))
    with pytest.raises(SystemExit, match="'a: quick' is the name of several trials"):
        search.read_plan(path)
    path.write_text(PLAN % "drop_path=2")
    with pytest.raises(ConfigError, match="protocol finetune: drop_path"):
        search.read_plan(path)


def test_a_plan_that_is_not_committed_does_not_run(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN % "steps=1")
    with pytest.raises(SystemExit, match="commit the plan first"):
        search.check_committed(path)


def test_the_table_has_what_the_log_has_of_the_plan_and_failures_are_shown(tmp_path):
    plan = search.read_plan(search.PLAN)
    (arm, recipe), (_, other) = list(plan.trials())[:2]
    trial = {"trial": plan.digest(arm, recipe), "seed": 0}
    lines = [{**trial, "fold": fold, "score": 0.9} for fold in (6, 7)] + [
        {**trial, "fold": 8, "failed": "DivergenceError: …"},
        {**trial, "trial": "of another plan", "fold": 6, "score": 0.1},
    ]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert search.read_log(log) == lines
    begin = f"| {arm.name} | {recipe.name} |"
    assert search.table(lines, plan).splitlines()[2:] == [
        f"{begin} 1 | 0.900 | 0.900 | failed | failed |"
    ]
    several = plan.model_copy(update={"seed": (0, 1)})
    part = [{**trial, "seed": n, "fold": 6, "score": 0.8 + n / 10} for n in (0, 1)]
    assert f"{begin} 1 | 0.800 | - | - | - |" in search.table(part, several)
    part += [{**trial, "seed": 1, "fold": fold, "score": 0.7} for fold in (7, 8)]
    assert f"{begin} 1 | 0.900 | 0.700 | 0.700 | 0.767 |" in search.table(part, several)
    part += [{**trial, "seed": 0, "fold": fold, "score": 0.8} for fold in (7, 8)]
    assert f"{begin} 2 | 0.850 | 0.750 | 0.750 | 0.783 |" in search.table(part, several)
    assert f"{begin} 1 | 0.800 | 0.800 | 0.800 | 0.800 |" in search.table(part, plan)
    assert plan.digest(arm, recipe) != plan.digest(arm, other)
    longer = plan.model_copy(update={"teraflop": 60})
    assert plan.digest(arm, recipe) == longer.digest(arm, recipe)  # from the labels alone


def test_the_last_comparison_gives_the_same_to_more_seeds():
    folder = search.PLAN.parent
    rivals, seeds = (load_plan(folder / f"best_small{end}.yaml") for end in ("", "_seeds"))
    for part in ("folds", "budget_teraflop", "protocols", "baselines", "min_positives"):
        assert getattr(seeds, part) == getattr(rivals, part), part
    assert set(seeds.tasks) < set(rivals.tasks)
    assert set(rivals.seeds) < set(seeds.seeds)
    for seed in rivals.seeds:
        assert seeds.overrides("best-small", seed) == rivals.overrides("best-small", seed)
