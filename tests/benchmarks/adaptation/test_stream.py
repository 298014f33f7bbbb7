"""Chains of versions: every method at a tiny scale, resumed without training, and what a method may see."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.adaptation.__main__ import BY_NAME, make, works
from benchmarks.adaptation.cells import Cells
from benchmarks.adaptation.data import Study
from benchmarks.adaptation.methods import METHODS, NO_LABELS, OURS, Method, Situation, naive
from benchmarks.adaptation.stream import MEMORY, Runner, Seed, packed, unpacked

ORDER = ("shop", "club")
OWN = [method for method in METHODS if method.learn is not None]
REPLAYING = [method for method in METHODS if method.replays]


@pytest.mark.parametrize("n", [1, 7, 8, 9, 64, 1151])
def test_bits_come_back(n: int) -> None:
    right = np.random.default_rng(n).random(n) < 0.5
    assert np.array_equal(unpacked(packed(right), n), right)


def test_every_cell_of_every_method_is_made(runner: Runner, study: Study) -> None:
    seed = Seed(study, 0)
    assert runner.cells.result(seed.joint_cell()) is not None
    for method in OWN:
        for order in study.orders[:1] if method.unlabelled_only else study.orders:
            for step in range(len(method.domains_of(order)) + 1):
                found = runner.cells.result(seed.step_cell(method, order, step))
                assert found is not None
                assert found["right"].keys() == {"film", "shop", "club"}


def test_the_source_learns_its_domain(runner: Runner, study: Study) -> None:
    """80 test texts: an accuracy of 0.7 by guessing has a chance below 3e-4."""
    seed = Seed(study, 0)
    found = runner.cells.result(seed.source_cell())
    assert found is not None
    assert unpacked(found["right"]["film"], len(seed.domains["film"].test)).mean() > 0.7


def test_a_second_run_makes_nothing(runner: Runner, study: Study) -> None:
    places = runner.cells.directory / "cells"
    before = {path: path.stat().st_mtime_ns for path in places.rglob("*.json")}
    for work in works(study, 1, ["joint", *(method.name for method in OWN)]):
        make(Runner(Cells(runner.cells.directory), study), work)
    assert {path: path.stat().st_mtime_ns for path in places.rglob("*.json")} == before
    assert len(before) >= 2 + 4 * sum(not method.unlabelled_only for method in OWN)


def test_other_code_of_a_method_is_another_cell_from_there_on(study: Study) -> None:
    seed, newer = Seed(study, 0), replace(OURS, code=OURS.code + 1)
    for step, same in ((0, True), (1, False), (2, False)):
        digests = {seed.step_cell(method, ORDER, step).digest for method in (OURS, newer)}
        assert (len(digests) == 1) is same


def test_a_step_depends_on_the_domains_before_it_alone(study: Study) -> None:
    seed = Seed(study, 0)
    assert seed.step_cell(OURS, ("shop", "club"), 1) == seed.step_cell(OURS, ("shop", "tweets"), 1)
    assert (
        seed.step_cell(OURS, ("shop", "club"), 1).digest != seed.step_cell(OURS, ("club", "shop"), 1).digest
    )


@pytest.mark.parametrize("method", REPLAYING, ids=lambda each: each.name)
def test_exemplars_are_training_texts_with_the_logits_of_their_own_version(
    runner: Runner, study: Study, method: Method
) -> None:
    seed = Seed(study, 0)
    memory = json.loads(runner.cells.files(seed.step_cell(method, ORDER, 2))[MEMORY])
    assert len(memory) == study.memory
    for name in ("film", *ORDER):
        own = [each for each in memory if each["domain"] == name]
        learnt = seed.learnt(method, name).train
        assert own
        assert {each["text"] for each in own} <= set(learnt.texts)
        truth = dict(zip(learnt.texts, learnt.labels.tolist(), strict=True))
        assert all(truth[each["text"]] == each["label"] for each in own)
        assert all(len(each["logits"]) == 2 for each in own)


def test_a_method_sees_the_labels_that_it_may_see(study: Study) -> None:
    seed = Seed(study, 0)
    seen = {name: seed.learnt(method, "shop") for name, method in BY_NAME.items()}
    seen[NO_LABELS.name] = seed.learnt(NO_LABELS, "shop")
    assert {len(each.train) for name, each in seen.items() if name not in {"plan-few", "self-training"}} == {
        60
    }
    assert (len(seen["plan-few"].train), len(seen["plan-few"].selection)) == (24, 20)
    assert (len(seen["self-training"].train), len(seen["self-training"].selection)) == (0, 0)
    assert len(seen["self-training"].unlabelled) == 40
    assert seed.learnt(BY_NAME["plan-few"], "film") is seed.domains["film"]


def test_a_task_holds_no_text_twice_and_none_of_the_tests(runner: Runner, study: Study) -> None:
    seed, tasks = Seed(study, 0), []

    def look(situation: Situation):
        tasks.append(situation.task)
        return naive(situation)

    looking = Method("looking", "looking", 1, look, replays=True)
    runner.chain(seed, looking, ORDER)
    tests = {text for domain in seed.domains.values() for text in domain.test.texts}
    for task, past, known in zip(tasks, (["film"], ["film", "shop"]), (0, 1), strict=True):
        parts = [task.train.texts, task.selection.texts, task.unlabelled, task.replay.texts]
        parts += [each.texts for each in task.past.values()]
        every = [text for part in parts for text in part]
        assert len(every) == len(set(every))
        assert not tests & set(every)
        assert (list(task.past), len(task.known)) == (past, known)
        assert task.version == task.champion.n + 1


def test_the_plan_tells_what_it_chose_among(runner: Runner, study: Study) -> None:
    found = runner.cells.result(Seed(study, 0).step_cell(OURS, ORDER, 1))
    assert found is not None
    rivals = {each["name"].partition("@")[0]: each["state"] for each in found["told"]["rivals"]}
    assert rivals["champion"] == "champion"
    assert {"head", "lora"} <= rivals.keys()
    assert found["told"]["situation"] in {"S5", "S6"}
