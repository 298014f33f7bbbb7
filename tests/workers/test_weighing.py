"""The evidence: what the gate is shown of a real adaptation, made again from its ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, small_training, toy_shop
from trimtab.base import load_base
from trimtab.bundle import Remedy
from trimtab.features import Outputs
from trimtab.ledger.gate_history import Bit
from workers.gate import Evidence
from workers.material import Material, gather
from workers.plan import make_plan
from workers.preparing import make_task
from workers.progress import silent
from workers.remedies.head import propose_head
from workers.remedies.variants import with_remedy
from workers.task import Proposal, Task
from workers.weighing import LENGTHS, data_report, learns_from_labels, new_set, past_set, weigh
from workers.workshop import load_version

Case = tuple[ToyShop, Task, Material, Proposal]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path) -> Iterator[Case]:
    """A champion of films, labels of shops, and a head refit: all that stands before the gate."""
    with toy_shop(tmp_path_factory.mktemp("weighing"), tiny_base_dir) as toy:
        toy.create_first(toy_rows("film", 500))
        job = toy.open_job(toy.stream(toy_rows("shop", 400)))
        with toy.ledger.read() as tx:
            material = gather(tx, job, budget=300)
        champion = load_version(toy.shop, load_base(str(toy.base_dir), "cpu"), MODEL, 1)
        plan = make_plan(material.situation(Remedy()), small_training())
        task = make_task(toy.shop, champion, material, plan, 2, silent)
        proposal = propose_head(task)
        assert isinstance(proposal, Proposal)
        yield toy, task, material, proposal


@pytest.fixture(scope="module")
def evidence(case: Case) -> Evidence:
    toy, task, material, proposal = case
    return weigh(toy.shop, task, proposal, material)


def corrected(task: Task) -> Proposal:
    """A prior correction to three quarters positive."""
    candidate = with_remedy(task, Remedy(log_prior=(-0.5, 0.5)))
    return Proposal(
        name="prior", candidate=candidate, cost=0, reason="", details={"prior_after": [0.25, 0.75]}
    )


def test_the_champion_is_held_against_on_every_domain(case: Case, evidence: Evidence) -> None:
    _, task, material, proposal = case
    assert [(pair.domain, pair.against) for pair in evidence.past] == [("film", "champion 1")]
    assert (evidence.gain.domain, evidence.gain.against) == ("shop", "champion 1")
    rows = material.rows["gate"]
    truth = np.array([LABELS.index(row.label) for row in rows])
    found = proposal.answers.predicted([row.text for row in rows], "shop")
    assert (evidence.gain.candidate.right == (found == truth)).all()
    assert evidence.past[0].weights is None
    assert task.champion.n == 1


def test_all_gate_examples_stand_together_in_their_groups(case: Case, evidence: Evidence) -> None:
    _, task, material, _ = case
    rows = evidence.rows
    assert rows is not None
    assert rows.n == len(material.gate_sets["film"]) + len(material.rows["gate"])
    assert rows.incumbent.shape == rows.candidate.shape == (rows.n, 2)
    assert np.exp(rows.candidate).sum(axis=1) == pytest.approx(np.ones(rows.n), abs=1e-5)
    assert set(rows.groups) == {"class", "length", "client"}
    assert [LABELS[i] for i in rows.truth] == rows.groups["class"].tolist()
    assert set(rows.groups["client"]) == {"", "tests"}
    assert all(len(group) == rows.n for group in rows.groups.values())
    assert rows.weights is None
    outputs: Outputs = task.champion.answers.outputs([row.text for row in material.rows["gate"]])
    assert outputs.n_tokens.max() < LENGTHS[0]
    assert set(rows.groups["length"]) == {"short"}


def test_files_weights_and_labels_are_looked_at(case: Case, evidence: Evidence) -> None:
    _, _, material, _ = case
    assert evidence.problems == ()
    assert evidence.parity < 1e-4
    assert evidence.n_parity == 64
    assert evidence.update is not None
    assert evidence.update.norm == 0.0  # the encoder is the champion's
    assert evidence.data is not None
    assert evidence.data.n == len(material.rows["train"])
    assert evidence.data.clients == {"tests": evidence.data.n}
    assert evidence.uses == {"film": 0}


def test_under_a_prior_correction_old_examples_count_by_their_class_today(case: Case) -> None:
    toy, task, material, _ = case
    found = weigh(toy.shop, task, corrected(task), material)
    weights, truth = found.past[0].weights, material.indices(e.label for e in material.gate_sets["film"])
    assert weights is not None
    assert weights[truth == 1].sum() / weights.sum() == pytest.approx(0.75)
    assert found.rows is not None
    assert found.rows.weights is not None
    assert (found.rows.weights[-len(material.rows["gate"]) :] == 1.0).all()


def test_labels_that_had_no_part_in_it_are_looked_at(case: Case) -> None:
    """They would enter the memory."""
    toy, task, material, proposal = case
    found = weigh(toy.shop, task, corrected(task), material)
    assert found.data is not None
    assert (found.learns, found.data.n) == (False, len(material.rows["train"]))
    assert weigh(toy.shop, task, proposal, material).learns
    assert learns_from_labels(proposal)
    assert not learns_from_labels(replace(proposal, name="known:3"))
    assert data_report(task, replace(material, rows={**material.rows, "train": ()})) is None


def test_retired_domains_are_not_judged_on(case: Case) -> None:
    toy, task, material, proposal = case
    found = weigh(toy.shop, replace(task, retired=frozenset({"film"})), proposal, material)
    assert found.past == ()
    assert found.rows is not None
    assert found.rows.n == len(material.rows["gate"])


def test_recorded_first_answers_stand_for_the_version_itself(case: Case) -> None:
    """The champion is another version than the one first accepted: its bits are read, or it is asked again."""
    toy, task, material, proposal = case
    later = replace(task, champion=replace(task.champion, n=7))
    film = past_set(proposal, material, "film", material.gate_sets["film"])
    right = film.answered(task.champion.answers).right
    bits = {e.key: Bit(1, bool(bit)) for e, bit in zip(material.gate_sets["film"], right, strict=True)}
    recorded = weigh(toy.shop, later, proposal, replace(material, bits={"film": bits}))
    asked = weigh(toy.shop, later, proposal, replace(material, bits={}))
    for found in (recorded, asked):
        assert [pair.against for pair in found.past] == ["champion 7", "first accepted 1"]
        assert (found.past[1].incumbent.right == right).all()


def test_answers_of_a_later_version_are_no_first_answers(case: Case) -> None:
    """Bits that a later version left: the version first accepted is asked, so that what was lost before it counts."""
    toy, task, material, proposal = case
    later = replace(task, champion=replace(task.champion, n=7))
    film = past_set(proposal, material, "film", material.gate_sets["film"])
    right = film.answered(task.champion.answers).right
    bits = {e.key: Bit(1, bool(bit)) for e, bit in zip(material.gate_sets["film"], right, strict=True)}
    renewed = material.gate_sets["film"][int(right.argmax())].key
    bits[renewed] = Bit(5, False)
    found = weigh(toy.shop, later, proposal, replace(material, bits={"film": bits}))
    assert found.past[1].against == "first accepted 1"
    assert (found.past[1].incumbent.right == right).all()


def test_without_gate_labels_there_is_still_evidence(case: Case) -> None:
    toy, task, material, proposal = case
    bare = replace(material, rows={**material.rows, "gate": ()}, gate_sets={})
    found = weigh(toy.shop, task, proposal, bare)
    assert found.rows is None
    assert found.gain.candidate.n == 0
    assert new_set(task, bare).lengths(task.champion.answers) == []
