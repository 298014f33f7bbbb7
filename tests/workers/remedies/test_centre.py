from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.fixtures.toy_texts import toy_rows
from tests.workers.remedies.conftest import MakeTask
from trimtab.bundle import Remedy
from trimtab.features import log_softmax
from workers.remedies.centre import MAX_DOMAINS, propose_centre, shift_of
from workers.remedies.variants import head_of, with_remedy
from workers.task import Declined, Proposal
from workers.workshop import LoadedVersion

SHOPS = tuple(row.text for row in toy_rows("shop", 150))


def test_the_shift_moves_the_domains_mean_to_that_of_the_exemplars(make_task: MakeTask) -> None:
    """What is added to the logits is what centring the states and asking the head again would change."""
    task = make_task(unlabelled=SHOPS, named=True)
    answers = task.champion.answers
    states = answers.outputs(SHOPS).pooled
    gap = answers.outputs(task.replay.texts).pooled.mean(axis=0) - states.mean(axis=0)
    moved = states + gap * 150 / (150 + 200)
    weight, bias = head_of(task)
    expected = moved @ weight.T + bias
    assert np.allclose(answers.outputs(SHOPS).logits + shift_of(task), expected, atol=1e-4)
    found = propose_centre(task)
    assert isinstance(found, Proposal)
    assert np.allclose(
        np.log(found.answers.probabilities(SHOPS, "shop")),
        log_softmax(expected.astype(np.float32)),
        atol=1e-4,
    )


def test_only_texts_of_the_domain_are_moved(make_task: MakeTask) -> None:
    task = make_task(unlabelled=SHOPS, named=True)
    found = propose_centre(task)
    assert isinstance(found, Proposal)
    before = task.champion.answers.probabilities(SHOPS)
    for domain in (None, "film"):
        assert np.allclose(found.answers.probabilities(SHOPS, domain), before, atol=1e-6)
    assert np.abs(found.answers.probabilities(SHOPS, "shop") - before).max() > 0.01


def test_what_other_domains_have_stays(make_task: MakeTask) -> None:
    task = make_task(unlabelled=SHOPS, named=True)
    before = with_remedy(task, Remedy(shifts={"film": (0.5, -0.5)}))
    champion = LoadedVersion(1, "", task.champion.files, before.answers)
    found = propose_centre(replace(task, champion=champion))
    assert isinstance(found, Proposal)
    assert found.candidate.bundle.remedy.shifts["film"] == (0.5, -0.5)
    assert set(found.candidate.bundle.remedy.shifts) == {"film", "shop"}


def test_it_is_declined_without_names_texts_or_room(make_task: MakeTask) -> None:
    assert isinstance(propose_centre(make_task(unlabelled=SHOPS)), Declined)
    assert isinstance(propose_centre(make_task(unlabelled=SHOPS[:49], named=True)), Declined)
    task = make_task(unlabelled=SHOPS, named=True)
    full = with_remedy(task, Remedy(shifts={f"d{i}": (0.0, 0.0) for i in range(MAX_DOMAINS)}))
    champion = LoadedVersion(1, "", task.champion.files, full.answers)
    assert isinstance(propose_centre(replace(task, champion=champion)), Declined)
