"""A request for labelled records is checked when it is made."""

import dataclasses

import pytest

import ecgjepa
from ecgjepa.errors import TaskError
from ecgjepa.tasks.cohort import Cohort, database_names


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"split": ecgjepa.Split((1, 9), (9,), (10,))}, "folds overlap"),
        ({"split": ecgjepa.Split((1,), (9,), ())}, "no test folds are given"),
        ({"label_fraction": 0.0}, "share of labels is 0; expected more than 0, up to 1"),
        ({"label_fraction": 10.0}, "share of labels is 10"),
    ],
)
def test_what_is_wrong_is_refused_at_once(change, match):
    with pytest.raises(TaskError, match=match):
        Cohort(**change)
    with pytest.raises(TaskError, match=match):
        dataclasses.replace(Cohort(), **change)


def test_the_verbs_refuse_a_wrong_share_before_data_are_opened(tmp_path):
    for verb in (ecgjepa.probe, ecgjepa.finetune):
        with pytest.raises(TaskError, match="share of labels is 2"):
            verb(tmp_path / "none", {"ptb-xl": tmp_path}, label_fraction=2.0)


def test_folds_on_which_a_database_is_judged():
    whole = Cohort()
    assert whole.judged_folds("ptb-xl") == ecgjepa.Split()
    # A transfer's test folds are another database's, so they may bear the same numbers.
    transfer = Cohort(split=ecgjepa.Split((1, 2), (3,), (1,)), test_on=("ningbo",))
    assert transfer.judged_folds("ningbo") == ecgjepa.Split((1, 2), (), (1,))
    assert transfer.judged_folds("georgia") == ecgjepa.Split((1, 2), (3,), ())


def test_a_probe_that_selects_has_no_test_folds():
    assert not Cohort(split=ecgjepa.Split((1,), (9,), ()), is_tested=False).split.test


def test_one_name_is_no_list_of_names(tmp_path):
    assert database_names(["ningbo"]) == ("ningbo",)
    with pytest.raises(TaskError, match=r"test_on is 'ningbo'; expected a list of names"):
        ecgjepa.probe(tmp_path, {"ningbo": tmp_path}, test_on="ningbo")


def test_a_table_gives_its_name_to_the_task():
    assert Cohort(task="tables/Own labels.csv").task_name == "Own labels"
    assert Cohort(task="form").task_name == "form"
