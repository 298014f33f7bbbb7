"""The plan table: what is tried in which situation, and why the rest is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.drift import DriftKind
from trimtab.labels import LabelNeeds, missing_labels
from trimtab.settings import TrainingSettings
from workers.health import Health
from workers.plan import JUDGES, STEP_S, WORDS, Plan, Situation, make_plan

NEEDS = TrainingSettings(
    min_train_labels=100,
    min_selection_labels=10,
    min_gate_labels=50,
    min_labels_per_class=16,
    epochs=2,
    seed=5,
    max_seconds=1800,
)
ENOUGH = Situation(
    n_window=1000,
    n_with_text=1000,
    counts={"train": {"a": 80, "b": 40}, "selection": {"a": 12, "b": 12}, "gate": {"a": 30, "b": 30}},
    labels=("a", "b"),
    n_memory=700,
    past_domains=("movie",),
    n_unlabelled=900,
    n_calibration=300,
)
FEW: Mapping[str, Mapping[str, int]] = {**ENOUGH.counts, "train": {"a": 30, "b": 9}}
CHOOSING: Mapping[str, Mapping[str, int]] = {**ENOUGH.counts, "selection": {"a": 20, "b": 10}}


def tried(plan: Plan) -> list[str]:
    return [rival.name for rival in plan.rivals]


def why_not(plan: Plan, name: str) -> str:
    return next(rival.reason for rival in plan.left_out if rival.name == name)


@pytest.mark.parametrize(
    ("changes", "situation", "rivals", "default"),
    [
        ({}, "S6", ["prior", "head", "lora"], "lora"),
        ({"drift": DriftKind.COVARIATE_HARMFUL}, "S6", ["head", "lora"], "lora"),
        ({"drift": DriftKind.COVARIATE_BENIGN, "named": True}, "S6", ["centre", "head", "lora"], "lora"),
        ({"drift": DriftKind.VOCABULARY, "known": (3, 1)}, "S6", ["head", "lora"], "lora"),
        (
            {"drift": DriftKind.VOCABULARY, "known": (3, 1), "counts": CHOOSING},
            "S6",
            ["known", "head", "lora"],
            "lora",
        ),
        ({"drift": DriftKind.LABEL_SHIFT, "named": True}, "S1", ["prior", "head"], "prior"),
        ({"drift": DriftKind.LABEL_SHIFT, "counts": {}}, "S1", ["prior"], "prior"),
        ({"drift": DriftKind.CONCEPT, "named": True}, "S7", ["head", "lora"], "lora"),
        ({"drift": DriftKind.CONCEPT, "counts": {}}, "S4", [], ""),
        ({"counts": FEW}, "S5", ["prior", "head", "lora", "self_training"], "self_training"),
        ({"counts": FEW, "n_unlabelled": 199}, "S5", ["prior", "head", "lora"], "lora"),
        ({"counts": FEW, "step_s": 120.0}, "S5", ["prior", "head", "lora"], "lora"),
        ({"counts": {}, "drift": DriftKind.COVARIATE_HARMFUL}, "S4", ["self_training"], "self_training"),
        (
            {"counts": {}, "drift": DriftKind.COVARIATE_HARMFUL, "named": True},
            "S4",
            ["centre", "self_training"],
            "centre",
        ),
        ({"new_labels": ("b",), "drift": DriftKind.LABEL_SHIFT}, "S8", ["head", "lora"], "lora"),
        ({"new_labels": ("b",), "known": (1,), "named": True}, "S8", ["head", "lora"], "lora"),
        ({"new_labels": ("b",), "counts": {}}, "S8", [], ""),
        ({"counts": {}, "n_unlabelled": 150, "n_calibration": 0}, "S4", [], ""),
        ({"drift": DriftKind.COVARIATE_HARMFUL, "corrected": True}, "S6", ["prior", "head", "lora"], "lora"),
    ],
)
def test_the_plan_table(changes: dict[str, Any], situation: str, rivals: list[str], default: str) -> None:
    plan = make_plan(replace(ENOUGH, **changes), NEEDS)
    assert (plan.situation, tried(plan), plan.default) == (situation, rivals, default)


SOUND = Health(
    like="movie", shares_moved=0.02, confidence_moved=0.01, n=400, accuracy=0.9, n_reference=800,
    reference_accuracy=0.9, tolerance=0.05, bound=0.03, power=0.8, surplus=0.0, surplus_error=0.01, alpha=0.05,
)  # fmt: skip


@pytest.mark.parametrize(
    ("drift", "health", "situation", "rivals"),
    [
        (DriftKind.COVARIATE_BENIGN, SOUND, "S0", ["reference"]),
        (DriftKind.COVARIATE_HARMFUL, SOUND, "S0", ["reference"]),
        (DriftKind.VOCABULARY, SOUND, "S0", ["reference"]),
        (DriftKind.COVARIATE_BENIGN, replace(SOUND, surplus=0.1), "S3", ["temperature", "reference"]),
        (DriftKind.COVARIATE_BENIGN, replace(SOUND, surplus=0.1, shares_moved=0.2), "S3", ["temperature"]),
        (DriftKind.COVARIATE_BENIGN, replace(SOUND, bound=0.06), "S6", ["head", "lora"]),
        (DriftKind.COVARIATE_BENIGN, replace(SOUND, shares_moved=0.2), "S6", ["head", "lora"]),
        (DriftKind.COVARIATE_BENIGN, replace(SOUND, surplus=0.1, bound=0.06), "S6", ["head", "lora"]),
        (DriftKind.LABEL_SHIFT, SOUND, "S1", ["prior", "head"]),
        (DriftKind.CONCEPT, SOUND, "S7", ["head", "lora"]),
        (None, SOUND, "S6", ["prior", "head", "lora"]),
    ],
)
def test_what_labels_show_to_cost_nothing_is_not_trained_on(
    drift: DriftKind | None, health: Health, situation: str, rivals: list[str]
) -> None:
    plan = make_plan(replace(ENOUGH, drift=drift, health=health), NEEDS)
    assert (plan.situation, tried(plan), plan.default) == (
        situation,
        rivals,
        rivals[-1] if situation not in {"S1", "S3"} else rivals[0],
    )
    assert health.words in plan.reasons


def test_every_remedy_is_tried_or_left_out_with_a_reason() -> None:
    changed: list[dict[str, Any]] = [{}, {"counts": FEW}, {"counts": {}}, {"drift": DriftKind.CONCEPT}]
    changed.append({"drift": DriftKind.COVARIATE_BENIGN, "health": SOUND})
    for changes in changed:
        plan = make_plan(replace(ENOUGH, **changes), NEEDS)
        assert sorted([*tried(plan), *(each.name for each in plan.left_out)]) == sorted(JUDGES)
        assert all(each.reason for each in (*plan.rivals, *plan.left_out))


def test_rivals_stand_in_order_of_cost() -> None:
    counts = {**CHOOSING, "train": FEW["train"]}
    plan = make_plan(replace(ENOUGH, counts=counts, named=True, known=(1,)), NEEDS)
    assert tried(plan) == ["prior", "centre", "known", "head", "lora", "self_training"]


def test_reasons_say_what_is_known_and_what_is_missing() -> None:
    counts = {"train": {"a": 80, "b": 12}, "selection": {}, "gate": {"a": 60}}
    plan = make_plan(replace(ENOUGH, counts=counts, drift=DriftKind.COVARIATE_HARMFUL), NEEDS)
    assert plan.missing == {"train": 8, "train:b": 4, "selection": 10}
    words = " ".join(plan.reasons)
    assert "4 for train:b" in words
    assert DriftKind.COVARIATE_HARMFUL.meaning in words
    assert "the plan's default is taken" in words


def test_seven_labels_of_a_class_teach_nothing() -> None:
    counts = {**ENOUGH.counts, "train": {"a": 300, "b": 7}}
    plan = make_plan(replace(ENOUGH, counts=counts), NEEDS)
    assert plan.situation == "S4"
    assert "7 labels of the rarest class" in why_not(plan, "head")
    assert "head" in tried(make_plan(replace(ENOUGH, counts=counts | {"train": {"a": 300, "b": 8}}), NEEDS))


def test_what_waits_for_labels_agrees_with_what_is_tried_then() -> None:
    """A job is queued when nothing is missing: then the plan is the whole one."""
    needs = LabelNeeds.of_job(NEEDS, ENOUGH.labels, {})
    assert missing_labels(ENOUGH.counts, needs) == {}
    plan = make_plan(ENOUGH, NEEDS)
    assert plan.situation == "S6"
    assert not plan.missing


def test_lora_is_left_out_where_the_time_does_not_allow_an_epoch() -> None:
    slow = replace(ENOUGH, step_s=200.0)  # 8 steps an epoch, 1,440 s for steps
    plan = make_plan(slow, NEEDS)
    assert tried(plan) == ["prior", "head"]
    assert "about 1600 s" in why_not(plan, "lora")
    assert "lora" in tried(make_plan(replace(slow, step_s=150.0), NEEDS))


def test_without_a_measured_step_the_device_tells() -> None:
    assert ENOUGH.seconds_an_epoch == pytest.approx(8 * STEP_S["cpu"])
    assert replace(ENOUGH, device="cuda").seconds_an_epoch < ENOUGH.seconds_an_epoch
    assert replace(ENOUGH, step_s=0.5).seconds_an_epoch == 4.0


def test_without_texts_nothing_is_tried() -> None:
    plan = make_plan(replace(ENOUGH, n_with_text=0), NEEDS)
    assert not plan.rivals
    assert "TRIMTAB_SAMPLES__RETENTION" in plan.reasons[0]


@given(
    train=st.dictionaries(st.sampled_from("ab"), st.integers(0, 300)),
    selection=st.integers(0, 60),
    n_unlabelled=st.integers(0, 500),
    drift=st.sampled_from([None, *DriftKind]),
    named=st.booleans(),
    n_calibration=st.integers(0, 300),
)
def test_a_plan_is_plain_json_and_its_default_is_one_of_its_rivals(
    train: dict[str, int], selection: int, **changes: Any
) -> None:
    counts = {"train": train, "selection": {"a": selection}}
    plan = make_plan(replace(ENOUGH, counts=counts, **changes), NEEDS)
    content = json.loads(json.dumps(plan.as_json()))
    assert content["situation"] in WORDS
    assert content["default"] in (tried(plan) or [""])
    assert content["method"] == (" | ".join(tried(plan)) or "hold")
