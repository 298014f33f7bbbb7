from __future__ import annotations

import numpy as np

from tests.fixtures.toy_texts import toy_rows
from tests.workers.remedies.conftest import MakeTask
from trimtab.adapter import BOUND_FILES, HEAD, REMEDY
from trimtab.bundle import Remedy, read_tensors
from workers.remedies.variants import head_of, with_head, with_remedy

TEXTS = [row.text for row in toy_rows("shop", 40, seed=2)]


def test_another_remedy_changes_its_file_only(make_task: MakeTask) -> None:
    task = make_task(version=7)
    made = with_remedy(task, Remedy(log_prior=(0.5, -0.5)))
    assert set(made.files) == set(BOUND_FILES)
    changed = {name for name in BOUND_FILES if made.files[name] != task.champion.files[name]}
    assert changed == {REMEDY}
    assert made.bundle.version == 7


def test_another_remedy_is_applied_to_the_champions_logits(make_task: MakeTask) -> None:
    task = make_task()
    remedy = Remedy(temperature=2.0, log_prior=(0.5, -0.5))
    made = with_remedy(task, remedy)
    logits = task.champion.answers.outputs(TEXTS).logits
    assert np.allclose(np.log(made.answers.probabilities(TEXTS)), remedy.apply(logits), atol=1e-5)


def test_another_head_reads_the_champions_states(make_task: MakeTask) -> None:
    task = make_task()
    weight, bias = head_of(task)
    made = with_head(task, -weight, bias + 1)
    states = task.champion.answers.outputs(TEXTS).pooled
    assert np.allclose(made.answers.outputs(TEXTS).logits, states @ -weight.T + bias + 1, atol=1e-5)
    # As a replica computes it.
    assert np.allclose(made.bundle.predict(TEXTS).logits, made.answers.outputs(TEXTS).logits, atol=1e-5)
    saved = read_tensors(made.files[HEAD], HEAD)
    assert np.array_equal(saved["weight"].numpy(), -weight)


def test_the_champion_stays_as_it_is(make_task: MakeTask) -> None:
    task = make_task()
    before = task.champion.answers.outputs(TEXTS).logits.copy()
    weight, bias = head_of(task)
    with_head(task, weight * 0, bias * 0)
    with_remedy(task, Remedy(temperature=9.0))
    assert np.array_equal(
        task.champion.bundle.predict(TEXTS).logits, task.champion.bundle.predict(TEXTS).logits
    )
    assert np.array_equal(task.champion.answers.outputs(TEXTS).logits, before)
    assert task.champion.bundle.remedy == Remedy()
