from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import approx_fprime, minimize
from scipy.special import log_softmax

from tests.fixtures.toy_texts import toy_rows
from tests.workers.remedies.conftest import MakeTask, labelled
from workers.artefact import draft_of
from workers.remedies.head import TARGET_WEIGHT, Weighted, propose_head, refit, rows_of
from workers.remedies.variants import head_of
from workers.task import Declined, Proposal, Task


def normal_rows(n: int, seed: int = 0) -> Weighted:
    random = np.random.default_rng(seed)
    labels = random.integers(3, size=n)
    states = random.normal(size=(n, 4)) + 2.0 * np.eye(3, 4)[labels] + 5.0
    return Weighted(states.astype(np.float32), labels, random.uniform(0.5, 2.0, size=n))


def objective(rows: Weighted, start: tuple[np.ndarray, np.ndarray], flat: np.ndarray, l2: float) -> float:
    """The formula, written once more, in the coordinates of the uncentred states."""
    weight, bias = flat[:12].reshape(3, 4), flat[12:]
    scores = log_softmax(rows.states @ weight.T + bias, axis=1)
    centre = np.average(rows.states.astype(np.float64), axis=0, weights=rows.weights)
    penalty = l2 * np.square(rows.states - centre).sum(axis=1).mean() / 2 * np.square(weight - start[0]).sum()
    return float(-(rows.weights * scores[np.arange(len(scores)), rows.labels]).sum() + penalty)


@pytest.mark.parametrize("l2", [0.1, 1.0, 10.0])
def test_no_other_head_is_better(l2: float) -> None:
    """Against a general solver on the formula."""
    rows = normal_rows(60)
    random = np.random.default_rng(1)
    start = (random.normal(size=(3, 4)).astype(np.float32), random.normal(size=3).astype(np.float32))
    weight, bias = refit(rows, *start, l2)
    found = np.append(weight.ravel(), bias).astype(np.float64)

    def value(flat: NDArray[np.float64]) -> float:
        return objective(rows, start, flat, l2)

    brute = minimize(value, np.zeros(15), method="BFGS")
    assert objective(rows, start, found, l2) <= brute.fun + 1e-3
    slope = approx_fprime(found, value, 1e-6)
    assert np.abs(slope).max() < 0.5  # of a sum over 60 rows, in fp32


def test_few_labels_leave_the_head_nearer_to_the_old_one() -> None:
    start = (np.zeros((3, 4), dtype=np.float32), np.zeros(3, dtype=np.float32))
    away = [float(np.linalg.norm(refit(normal_rows(n), *start)[0])) for n in (6, 60, 600)]
    assert away[0] < away[1] < away[2]


def test_without_rows_of_information_the_old_head_comes_back() -> None:
    rows = normal_rows(60)
    start = (np.ones((3, 4), dtype=np.float32), np.zeros(3, dtype=np.float32))
    weight, _ = refit(replace(rows, weights=rows.weights * 1e-9), *start)
    assert np.allclose(weight, start[0], atol=1e-6)


def test_a_new_text_counts_five_times(make_task: MakeTask) -> None:
    task = make_task(train=labelled(toy_rows("shop", 100)))
    rows = rows_of(task)
    n = len(task.replay.texts)
    assert len(rows.labels) == 100 + n
    assert rows.weights[:100].mean() == pytest.approx(TARGET_WEIGHT, rel=1e-5)
    assert rows.weights[100:].mean() == pytest.approx(1.0, rel=1e-5)


def gain_of(task: Task, found: Proposal, domain: str) -> float:
    rows = labelled(toy_rows(domain, 300, seed=5))
    before, after = (
        each.scorecard(rows.texts, rows.labels) for each in (task.champion.answers, found.answers)
    )
    return after.accuracy - before.accuracy


def test_it_learns_the_new_domain_and_replay_keeps_the_old(make_task: MakeTask) -> None:
    task = make_task(train=labelled(toy_rows("shop", 200)))
    alone = replace(task, replay=replace(task.replay, texts=(), labels=task.replay.labels[:0]))
    found, forgetful = propose_head(task), propose_head(alone)
    assert isinstance(found, Proposal)
    assert isinstance(forgetful, Proposal)
    assert gain_of(task, found, "shop") > 0.1
    assert gain_of(task, found, "film") > gain_of(task, forgetful, "film") + 0.1


def test_the_candidates_files_give_the_same_answers(make_task: MakeTask) -> None:
    """Built anew from the bytes, encoder included."""
    task = make_task(train=labelled(toy_rows("shop", 100)))
    found = propose_head(task)
    assert isinstance(found, Proposal)
    names = ("adapter_model.safetensors", "adapter_config.json", "head.safetensors")
    files = {name: found.candidate.files[name] for name in names}
    built = draft_of(task.base, files, model="toy", version=2, labels=task.labels, max_tokens=128)
    texts = [row.text for row in toy_rows("shop", 50, seed=8)]
    assert np.allclose(built.answers.outputs(texts).logits, found.answers.outputs(texts).logits, atol=1e-5)


def test_too_few_labels_of_a_class_are_declined(make_task: MakeTask) -> None:
    rows = [row for row in toy_rows("shop", 100) if row.label == "positive"][:20]
    found = propose_head(make_task(train=labelled(rows)))
    assert isinstance(found, Declined)
    assert "'negative'" in found.reason


def test_the_start_is_the_champions_head(make_task: MakeTask) -> None:
    task = make_task()
    weight, bias = head_of(task)
    texts = task.replay.texts[:20]
    outputs = task.champion.answers.outputs(texts)
    assert np.allclose(outputs.pooled @ weight.T + bias, outputs.logits, atol=1e-5)
