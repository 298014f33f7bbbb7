"""Texts that are in memory come again with another label: the newer one counts, until its version is rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, small_training, toy_shop
from trimtab.base import load_base
from trimtab.bundle import Remedy
from trimtab.datafiles import Row
from trimtab.drift import DriftKind
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.ledger import versions
from trimtab.ledger.examples import Example, list_examples
from trimtab.settings import GateSettings
from workers.adapt import run_adaptation
from workers.material import Material, gather
from workers.plan import make_plan
from workers.preparing import make_task
from workers.progress import silent
from workers.workshop import load_version

OPPOSITE = dict(zip(LABELS, reversed(LABELS), strict=True))
N_TURNED, N_SAME = 30, 20


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path) -> Iterator[ToyShop]:
    gate, training = GateSettings(mode="off"), small_training(epochs=1)
    home = tmp_path_factory.mktemp("anew")
    with toy_shop(home, tiny_base_dir, gate=gate, training=training) as opened:
        opened.create_first(toy_rows("film", 300), epochs=2)
        yield opened


def memory(toy: ToyShop) -> dict[str, Example]:
    with toy.ledger.read() as tx:
        return {each.key: each for each in list_examples(tx, MODEL, "memory")}


def again(toy: ToyShop) -> list[Row]:
    """Texts of the memory, the first of them with another label."""
    kept = list(memory(toy).values())[: N_TURNED + N_SAME]
    rows = [Row(text=each.text, label=str(each.label), domain="shop") for each in kept]
    return [replace(row, label=OPPOSITE[row.label]) for row in rows[:N_TURNED]] + rows[N_TURNED:]


@pytest.fixture(scope="module")
def job(toy: ToyShop) -> AdaptationJob:
    return toy.open_job(toy.stream([*again(toy), *toy_rows("shop", 250)]))


@pytest.fixture(scope="module")
def material(toy: ToyShop, job: AdaptationJob) -> Material:
    with toy.ledger.read() as tx:
        return gather(tx, job, toy.shop.memory.budget)


def test_a_text_is_not_replayed_while_it_is_learnt_anew(toy: ToyShop, material: Material) -> None:
    learnt = {row.key: row.label for row in material.rows["train"]}
    anew = [each for each in material.exemplars if each.key in learnt]
    assert sum(learnt[each.key] != each.label for each in anew) == N_TURNED
    assert len(anew) == N_TURNED + N_SAME
    replay = material.replay_set()
    assert not set(replay.texts) & set(material.training_set().texts)
    assert len(replay.texts) == len(material.exemplars) - len(anew)


def test_its_newer_label_speaks_against_the_older_one_still(toy: ToyShop, material: Material) -> None:
    """Under concept drift they are the best evidence that what was learnt is no longer true."""
    champion = load_version(toy.shop, load_base(str(toy.base_dir), "cpu"), MODEL, 1)
    turned = tuple(
        replace(row, text=each.text, key=each.key, label=OPPOSITE[str(each.label)])
        for row, each in zip(material.rows["train"], material.exemplars, strict=False)
    )
    concept = replace(material, drift=DriftKind.CONCEPT, rows={**material.rows, "train": turned})
    plan = make_plan(concept.situation(Remedy()), toy.settings.training)
    task = make_task(toy.shop, champion, concept, plan, 2, silent)
    assert task.retired == {"film"}
    assert not set(task.contradicted) & {row.key for row in turned}


def test_the_newer_label_takes_its_place_in_memory_until_it_is_rolled_back(
    toy: ToyShop, job: AdaptationJob
) -> None:
    before, turned = memory(toy), {row.text for row in again(toy)[:N_TURNED]}
    assert run_adaptation(toy.shop, toy.claim(job)) is JobStatus.PROMOTED
    after = memory(toy)
    changed = [key for key, each in before.items() if after[key].label != each.label]
    assert {before[key].text for key in changed} == turned
    assert {(after[key].version, after[key].domain, after[key].probation) for key in changed} == {
        (2, "shop", True)
    }
    assert {each.version for key, each in after.items() if key in before and key not in changed} == {1}
    with toy.ledger.begin() as tx:
        assert (
            versions.get_version(tx, MODEL, 2).manifest["data"]["n_memory"] == len(before) - N_TURNED - N_SAME
        )
        versions.rollback(tx, MODEL, actor="test", reason="test")
    stepped_back = memory(toy)
    assert {key: (each.label, each.version, each.retired_by) for key, each in stepped_back.items()} == {
        key: (each.label, each.version, None) for key, each in before.items()
    }
