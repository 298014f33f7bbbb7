"""A rebase goes the way of every adaptation: what it learns from, what it is held against, and the trial."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.tiny_base import build_tiny_base
from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, small_training, toy_shop
from trimtab.base import load_base
from trimtab.bundle import Remedy
from trimtab.jobs import JobStatus
from trimtab.ledger import gate_history, jobs, trials, versions
from trimtab.ledger.examples import list_examples, retire
from trimtab.settings import GateSettings, MemorySettings, TrialSettings
from trimtab.trial import CHALLENGER, Stage, TrialMode
from workers.adapt import run_adaptation
from workers.gate import Result
from workers.progress import silent
from workers.rebase import open_claimed, read, reasons, rebase, task_of
from workers.workshop import load_version

BUDGET = 60


@pytest.fixture(scope="module")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_tiny_base(tmp_path_factory.mktemp("other"), seed=5))


@pytest.fixture
def two_domains(tmp_path: Path, tiny_base_dir: Path) -> Iterator[ToyShop]:
    """Version 2, of shops, is champion whatever the gate says; films were accepted with version 1."""
    gate, training = GateSettings(mode="off"), small_training(epochs=1)
    memory = MemorySettings(budget=BUDGET)
    with toy_shop(tmp_path, tiny_base_dir, gate=gate, training=training, memory=memory) as toy:
        toy.create_first(toy_rows("film", 300), epochs=4)
        run_adaptation(toy.shop, toy.claim(toy.open_job(toy.stream(toy_rows("shop", 300)))))
        yield toy


def test_it_learns_what_an_adaptation_would_replay(two_domains: ToyShop, other_base: str) -> None:
    """Nothing that newer labels contradict, no more than the budget, and evenly over the domains."""
    toy, base = two_domains, load_base(other_base, "cpu")
    with toy.ledger.begin() as tx:
        memory = list_examples(tx, MODEL, "memory")
        assert len(memory) > BUDGET
        untrue = [each for each in memory if each.domain == "film"][::2]
        retire(tx, MODEL, [each.key for each in untrue], version=2)
    lease = open_claimed(toy.shop, MODEL, base, epochs=1)
    with toy.ledger.begin() as tx:
        material = read(tx, jobs.check(tx, lease), base, BUDGET)
    task = task_of(toy.shop, material, load_version(toy.shop, None, MODEL, 2), base, 3, silent)
    assert len(task.replay.texts) == len(task.train.texts) == BUDGET
    assert not {each.text for each in untrue} & set(task.train.texts)
    where = {each.text: each.domain for each in memory}
    assert task.replay.domains == tuple(where[text] for text in task.replay.texts)
    assert set(task.replay.domains) == {"film", "shop"}


def test_it_is_held_against_the_version_first_accepted_and_leaves_no_first_answers(
    two_domains: ToyShop, other_base: str
) -> None:
    toy = two_domains
    with toy.ledger.begin() as tx:
        for n in range(toy.settings.gate.max_uses):
            gate_history.record_uses(tx, MODEL, f"earlier {n}", {"film": 10_000})
        before = gate_history.first_bits(tx, MODEL)
    found = rebase(toy.shop, model=MODEL, base_name=other_base, epochs=1)
    with toy.ledger.read() as tx:
        checks = (jobs.list_jobs(tx, MODEL)[0].verdict or {})["checks"]
        assert gate_history.first_bits(tx, MODEL) == before
        assert len(list_examples(tx, MODEL, "memory")) <= BUDGET
    forgetting = {(check["name"], check["against"]) for check in checks if check["against"]}
    assert forgetting == {
        ("forgetting:film", "champion 2"),
        ("forgetting:film", "first accepted 1"),
        ("forgetting:shop", "champion 2"),
    }
    others = {check["name"]: check["result"] for check in checks if not check["against"]}
    assert others["use:film"] == Result.INSUFFICIENT
    assert others["use:shop"] == Result.PASS
    assert {"calibration", "likelihood", "flips", "slices"} <= others.keys()
    assert not {"update", "gain"} & {name.partition(":")[0] for name in others}
    assert set(found.scores) == {"film", "shop"}


def test_where_trials_are_on_it_is_tried_first(tmp_path: Path, tiny_base_dir: Path, other_base: str) -> None:
    always = TrialSettings(mode=TrialMode.SHADOW, min_rate=0.0)
    with toy_shop(tmp_path, tiny_base_dir, trial=always, gate=GateSettings(mode="off")) as toy:
        toy.create_first(toy_rows("film", 200), epochs=1)
        found = rebase(toy.shop, model=MODEL, base_name=other_base, epochs=1)
        assert found.status is JobStatus.ON_TRIAL
        with toy.ledger.begin() as tx:
            trial = trials.open_trials(tx)[MODEL]
            assert (trial.version, trial.champion) == (2, 1)
            assert versions.get_aliases(tx, MODEL) == {"champion": 1, "baseline": 1, CHALLENGER: 2}
            jobs.end_trial(tx, trial, Stage.PROMOTED, reason="it held", actor="trial")
            assert versions.served_model(tx, MODEL).base == other_base


def test_without_gate_sets_a_person_decides(empty_shop: ToyShop, other_base: str) -> None:
    empty_shop.create_first(toy_rows("film", 200), epochs=1)
    with empty_shop.ledger.begin() as tx:
        retire(tx, MODEL, [each.key for each in list_examples(tx, MODEL, "gate")], 1, roles=("gate",))
    found = rebase(empty_shop.shop, model=MODEL, base_name=other_base, epochs=0)
    assert (found.status, found.scores) == (JobStatus.HELD, {})
    assert "a person promotes" in found.reason


def test_what_the_champion_answers_with_besides_is_said_to_be_lost(
    empty_shop: ToyShop, other_base: str
) -> None:
    empty_shop.create_first(toy_rows("film", 200), epochs=1)
    base = load_base(other_base, "cpu")
    with empty_shop.ledger.begin() as tx:
        job = jobs.open_job(tx, MODEL, cause={}, domain="", window_from_seq=1)
        material = read(tx, job, base, BUDGET)
    learnt = f"{len(material.memory)} exemplars are learnt anew on {other_base}"
    assert reasons(material, base, Remedy()) == [learnt]
    remedy = Remedy(log_prior=(-0.5, 0.5), shifts={"film": (0.1, 0.0)})
    assert reasons(material, base, remedy) == [
        learnt, "the champion's prior correction and shifts of domains went with its weights",
    ]  # fmt: skip
