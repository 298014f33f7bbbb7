"""Adaptations by situation, each real on a tiny base: what is tried, who meets the gate, and what is kept of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, small_training, toy_shop
from trimtab.adapter import REMEDY
from trimtab.bundle import Remedy
from trimtab.datafiles import Row
from trimtab.drift import DriftKind
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.ledger import gate_history, versions
from trimtab.ledger.examples import list_examples
from trimtab.ledger.versions import PINNED, VersionState
from trimtab.splits import key_of, part_of


def ambiguous(rows: Sequence[Row], seed: int) -> list[Row]:
    """One in five means the opposite of what it says: nobody can tell without the classes' shares."""
    rng = random.Random(seed)
    opposite = dict(zip(LABELS, reversed(LABELS), strict=True))
    return [replace(row, label=opposite[row.label]) if rng.random() < 0.2 else row for row in rows]


def films(n_negative: int, n_positive: int, seed: int) -> list[Row]:
    """Ambiguous film texts with these classes, in random order."""
    rows = ambiguous(toy_rows("film", 4 * (n_negative + n_positive), seed=seed), seed)
    of = {label: [row for row in rows if row.label == label] for label in LABELS}
    mixed = of["negative"][:n_negative] + of["positive"][:n_positive]
    random.Random(seed).shuffle(mixed)
    return mixed


def stream_judged(toy: ToyShop, rows: Sequence[Row], name: str, version: int = 1) -> int:
    """Traffic with labels to judge by only."""
    judged = [row for row in rows if part_of(key_of(row.text)) != "train"]
    rest = [row for row in rows if part_of(key_of(row.text)) == "train"]
    first = toy.stream(judged, name=name, version=version)
    toy.stream(rest, name=f"{name}-rest", labelled=False, version=version)
    return first


def entries(job: AdaptationJob) -> dict[str, dict[str, Any]]:
    """The contest's table by name."""
    assert job.verdict is not None
    return {entry["name"].partition("@")[0]: entry for entry in job.verdict["selection"]["rivals"]}


def checks(job: AdaptationJob) -> dict[str, dict[str, Any]]:
    assert job.verdict is not None
    return {check["name"]: check for check in job.verdict["checks"]}


def remedy_of(toy: ToyShop, n: int) -> Remedy:
    with toy.ledger.read() as tx:
        digest = versions.get_version(tx, MODEL, n).digest
    assert digest is not None
    return Remedy.from_bytes(toy.shop.store.get(digest)[REMEDY])


@pytest.fixture(scope="module")
def shifted(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path
) -> Iterator[tuple[ToyShop, AdaptationJob, AdaptationJob]]:
    """Films come 97 % positive for a while, then as before; labels are there to judge by only."""
    with toy_shop(tmp_path_factory.mktemp("shifted"), tiny_base_dir) as toy:
        toy.create_first(ambiguous(toy_rows("film", 900), seed=1), epochs=3)
        there = toy.adapt(stream_judged(toy, films(60, 1940, seed=5), "there"), DriftKind.LABEL_SHIFT)
        again = toy.stream(films(450, 550, seed=8), name="again", version=2, labelled=False)
        yield toy, there, toy.adapt(again, DriftKind.LABEL_SHIFT)


Shifted = tuple[ToyShop, AdaptationJob, AdaptationJob]


def test_a_label_shift_is_corrected_without_training(shifted: Shifted) -> None:
    toy, job, _ = shifted
    assert job.status is JobStatus.PROMOTED
    assert job.plan is not None
    assert (job.plan["situation"], job.plan["method"]) == ("S1", "prior")
    assert entries(job)["prior"]["state"] == "chosen"
    assert checks(job)["gain:film-2"]["value"] > 0.1
    log_prior = remedy_of(toy, 2).log_prior
    assert log_prior is not None
    assert log_prior[1] > log_prior[0]


def test_it_is_judged_on_the_old_domain_weighted_to_the_shares_of_today(shifted: Shifted) -> None:
    _, job, _ = shifted
    check = checks(job)["forgetting:film"]
    assert check["result"] == "pass"
    assert "weighted to today's classes" in check["detail"]


def test_when_the_shares_are_back_the_correction_is_to_be_dropped(shifted: Shifted) -> None:
    toy, _, job = shifted
    found = entries(job)["prior"]
    assert (found["state"], found["reason"]) == (
        "chosen",
        "the classes' shares are back: the correction is dropped",
    )
    assert remedy_of(toy, 3).log_prior is None


def test_dropping_it_needs_no_labels_of_the_window(shifted: Shifted) -> None:
    """The old domain's gate set tells, weighted to its own shares; nothing of the window is kept: nothing is new."""
    toy, _, job = shifted
    assert (job.status, job.reason) == (JobStatus.PROMOTED, "every check passed")
    found = checks(job)
    assert {name for name in found if name.startswith(("gain", "forgetting"))} == {
        "gain:film",
        "forgetting:film",
    }
    assert found["gain:film"]["bound"] > 0
    with toy.ledger.read() as tx:
        assert not [
            each
            for role in ("gate", "reference")
            for each in list_examples(tx, MODEL, role)
            if each.version > 2
        ]
        training = [versions.get_version(tx, MODEL, n).manifest["training"] for n in (2, 3)]
    assert [each["corrected"] for each in training] == [True, False]
    assert [each["learnt"] for each in training] == [True, False]


def test_exactly_one_candidate_meets_the_gate_and_that_is_counted(shifted: Shifted) -> None:
    toy, *_ = shifted
    with toy.ledger.read() as tx:
        assert [version.n for version in versions.list_versions(tx, MODEL)] == [1, 2, 3]
        assert gate_history.uses(tx, MODEL) == {"film": 2, "film-2": 1}


def test_first_answers_are_recorded_for_the_new_gate_set(shifted: Shifted) -> None:
    toy, *_ = shifted
    with toy.ledger.read() as tx:
        bits = gate_history.first_bits(tx, MODEL)["film-2"]
        gate = list_examples(tx, MODEL, "gate", "film-2")
    assert bits.keys() == {example.key for example in gate}
    assert {bit.version for bit in bits.values()} == {2}
    assert sum(bit.right for bit in bits.values()) > 0.8 * len(bits)


def test_labels_that_contradict_retire_what_was_learnt(tmp_path: Path, tiny_base_dir: Path) -> None:
    """The same words mean the opposite from now on: old exemplars are not replayed, the old domain is not judged on."""
    opposite = dict(zip(LABELS, reversed(LABELS), strict=True))
    with toy_shop(tmp_path, tiny_base_dir) as toy:
        toy.create_first()
        rows = [replace(row, label=opposite[row.label]) for row in toy_rows("film", 500, seed=9)]
        job = toy.adapt(toy.stream(rows), DriftKind.CONCEPT)
        assert job.status is JobStatus.PROMOTED
        assert job.plan is not None
        assert job.plan["situation"] == "S7"
        assert not [name for name in checks(job) if name.startswith("forgetting")]
        with toy.ledger.read() as tx:
            for role in ("memory", "gate", "selection"):
                old = list_examples(tx, MODEL, role, "film")
                assert old
                assert {example.retired_by for example in old} == {2}
            manifest = versions.get_version(tx, MODEL, 2).manifest
        assert manifest["data"]["retired"] == ["film"]
        assert manifest["data"]["n_memory"] == 0
        with toy.ledger.begin() as tx:
            versions.rollback(tx, MODEL, actor="test", reason="test")
            kept = [each for role in ("memory", "gate") for each in list_examples(tx, MODEL, role)]
        assert {(example.domain, example.retired_by) for example in kept} == {("film", None)}


def test_few_labels_are_tried_with_the_head_and_small_steps(tmp_path: Path, tiny_base_dir: Path) -> None:
    training = small_training(min_train_labels=500)
    with toy_shop(tmp_path, tiny_base_dir, training=training) as toy:
        toy.create_first()
        job = toy.adapt(toy.stream(toy_rows("shop", 400)), DriftKind.COVARIATE_HARMFUL)
        assert job.status is JobStatus.PROMOTED
        assert job.plan is not None
        assert job.plan["situation"] == "S5"
        assert job.plan["missing"]["train"] > 200
        table = entries(job)
        assert {"champion", "head", "lora"} <= table.keys()
        assert [entry["state"] for entry in table.values()].count("chosen") == 1


def test_without_labels_nothing_is_promoted(tmp_path: Path, tiny_base_dir: Path) -> None:
    with toy_shop(tmp_path, tiny_base_dir) as toy:
        toy.create_first(toy_rows("film", 300), epochs=2)
        first = toy.stream(toy_rows("shop", 500), labelled=False)
        job = toy.adapt(first, DriftKind.COVARIATE_HARMFUL)
        assert job.status in {JobStatus.HELD, JobStatus.REJECTED}
        assert job.plan is not None
        assert job.plan["situation"] == "S4"
        with toy.ledger.read() as tx:
            assert versions.get_aliases(tx, MODEL)["champion"] == 1


def test_a_pinned_champion_is_not_replaced(tmp_path: Path, tiny_base_dir: Path) -> None:
    with toy_shop(tmp_path, tiny_base_dir) as toy:
        toy.create_first()
        with toy.ledger.begin() as tx:
            versions.set_alias(tx, MODEL, PINNED, 1, actor="operator", reason="a demonstration")
        job = toy.adapt(toy.stream(toy_rows("shop", 400)), DriftKind.COVARIATE_HARMFUL)
        assert job.status is JobStatus.HELD
        assert "pinned version 1" in job.reason
        with toy.ledger.read() as tx:
            assert versions.get_version(tx, MODEL, 2).state is VersionState.HELD
            assert versions.get_aliases(tx, MODEL)["champion"] == 1


def test_a_window_in_quarantine_is_not_learnt_from(tmp_path: Path, tiny_base_dir: Path) -> None:
    with toy_shop(tmp_path, tiny_base_dir) as toy:
        toy.create_first(toy_rows("film", 300), epochs=1)
        first = toy.stream(toy_rows("shop", 300))
        window = gate_history.Window(model=MODEL, from_seq=first, to_seq=first + 299, reason="test")
        with toy.ledger.begin() as tx:
            gate_history.quarantine_window(tx, window)
        job = toy.adapt(first, DriftKind.COVARIATE_HARMFUL)
        assert job.status is JobStatus.HELD
        assert job.verdict is not None
        assert job.verdict["missing"]["train"] == 50
