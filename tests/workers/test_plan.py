from __future__ import annotations

import json
from dataclasses import replace

from trimtab.settings import TrainingSettings
from workers.plan import Method, Situation, make_plan

NEEDS = TrainingSettings(
    min_train_labels=100,
    min_selection_labels=10,
    min_gate_labels=50,
    min_labels_per_class=16,
    epochs=2,
    seed=5,
)
ENOUGH = Situation(
    n_window=1000,
    n_with_text=1000,
    counts={"train": {"a": 80, "b": 40}, "selection": {"a": 12}, "gate": {"a": 30, "b": 30}},
    labels=("a", "b"),
    n_memory=700,
    past_domains=("movie",),
)


def test_enough_labels_continue_the_adapter_with_replay() -> None:
    plan = make_plan(ENOUGH, NEEDS, 64)
    assert plan.method is Method.LORA_REPLAY
    assert plan.recipe is not None
    assert (plan.recipe.epochs, plan.recipe.seed) == (2, 5)
    assert "120 labelled rows" in plan.reasons[0]
    assert "movie" in plan.reasons[1]
    assert "700 exemplars" in plan.reasons[2]


def test_missing_labels_hold_and_are_counted() -> None:
    counts = {"train": {"a": 80, "b": 4}, "selection": {}, "gate": {"a": 60}}
    plan = make_plan(replace(ENOUGH, counts=counts), NEEDS, 64)
    assert plan.method is Method.HOLD
    assert plan.missing == {"train": 16, "train:b": 12, "selection": 10}
    assert "12 for train:b" in plan.reasons[0]


def test_without_labels_it_holds() -> None:
    assert make_plan(replace(ENOUGH, counts={}), NEEDS, 64).method is Method.HOLD


def test_without_texts_it_says_why() -> None:
    plan = make_plan(replace(ENOUGH, n_with_text=0), NEEDS, 64)
    assert plan.method is Method.HOLD
    assert "TRIMTAB_SAMPLES__RETENTION" in plan.reasons[0]


def test_a_plan_is_plain_json() -> None:
    for counts in ({}, ENOUGH.counts):
        content = make_plan(replace(ENOUGH, counts=counts), NEEDS, 64).as_json()
        assert json.loads(json.dumps(content))["method"] in {"hold", "lora_replay"}
