"""A class that comes later: declared, labelled, taught, judged, served, and forgotten again by a rollback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, toy_shop
from trimtab.bundle import Remedy
from trimtab.datafiles import Row
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.labels import FEWEST_PER_CLASS, labels_missing, usable_counts
from trimtab.ledger import examples, jobs, models, versions
from trimtab.splits import key_of, part_of
from workers.classifier import continue_from
from workers.evaluate import Answers
from workers.material import Material, gather
from workers.new_classes import with_classes
from workers.workshop import LoadedVersion, load_version

SPAM = "spam"
CLASSES = ("negative", "positive", SPAM)


def spam(n: int, seed: int = 0) -> list[Row]:
    """Texts that are neither: in words of their own."""
    rows = toy_rows("shop", n, seed=100 + seed)
    return [replace(row, text=f"prize click {row.text} now prize", label=SPAM, domain="film") for row in rows]


def mixed(seed: int, n: int = 600) -> list[Row]:
    """Films with two pieces of spam in five."""
    films, others = toy_rows("film", 3 * n // 5, seed=seed), spam(2 * n // 5, seed)
    kept = [row for pair in zip(films, others, strict=False) for row in pair]
    return [*kept, *films[len(others) :]]


@pytest.fixture(scope="module")
def taught(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path
) -> Iterator[tuple[ToyShop, AdaptationJob]]:
    with toy_shop(tmp_path_factory.mktemp("classes"), tiny_base_dir) as toy:
        toy.create_first(toy_rows("film", 900))
        with toy.ledger.begin() as tx:
            models.declare_label(tx, MODEL, SPAM)
        yield toy, toy.adapt(toy.stream(mixed(seed=3)))


def loaded(toy: ToyShop, n: int) -> LoadedVersion:
    return load_version(toy.shop, None, MODEL, n)


def accuracy(version: LoadedVersion, rows: list[Row]) -> float:
    said = version.answers.predicted([row.text for row in rows])
    return float(np.mean([version.bundle.labels[i] == row.label for i, row in zip(said, rows, strict=True)]))


def test_it_is_situation_eight_and_only_what_learns_from_labels_is_tried(
    taught: tuple[ToyShop, AdaptationJob],
) -> None:
    _, job = taught
    assert job.plan is not None
    assert (job.plan["situation"], job.plan["method"], job.plan["default"]) == ("S8", "head | lora", "lora")
    reasons = {each["name"]: each["reason"] for each in job.plan["left_out"]}
    assert reasons["self_training"] == "cannot teach a new class (spam)"


def test_the_class_is_learnt_and_nothing_is_forgotten(taught: tuple[ToyShop, AdaptationJob]) -> None:
    toy, job = taught
    assert (job.status, job.reason) == (JobStatus.PROMOTED, "every check passed")
    assert job.verdict is not None
    checks = {check["name"]: check for check in job.verdict["checks"]}
    assert checks["gain:film-2"]["value"] > 0.25  # the champion was wrong on two texts in five
    assert checks["forgetting:film"]["result"] == "pass"
    assert checks["data:labels"]["result"] == "pass"
    after = loaded(toy, 2)
    assert after.bundle.labels == CLASSES
    assert accuracy(after, spam(200, seed=9)) > 0.9
    assert (
        accuracy(after, toy_rows("film", 200, seed=9))
        > accuracy(loaded(toy, 1), toy_rows("film", 200, seed=9)) - 0.05
    )


def test_the_next_one_knows_three_classes_and_replays_exemplars_of_both_kinds(
    taught: tuple[ToyShop, AdaptationJob],
) -> None:
    """Those of the first version have logits of two classes: the third is not a number there, and fits nothing."""
    toy, _ = taught
    found = material(toy, toy.stream(mixed(seed=4), name="again", version=2))
    assert (found.model.labels, found.new_labels) == (CLASSES, ())
    logits = found.replay_set().logits
    missing = np.isnan(logits)
    assert not missing[:, :2].any()
    assert 0 < missing[:, 2].sum() < len(logits)


def test_without_the_version_that_knows_it_the_class_is_there_to_be_taught_again(
    taught: tuple[ToyShop, AdaptationJob],
) -> None:
    toy, _ = taught
    first = toy.stream(mixed(seed=5), name="after", version=1)
    with toy.ledger.begin() as tx:
        examples.confirm_probation(tx, MODEL, 2)  # its watch is over: what it learnt stays
        versions.rollback(tx, MODEL, actor="tests", reason="to see")
        assert versions.served_model(tx, MODEL).labels == CLASSES[:2]
    try:
        found = material(toy, first)
        assert (found.model.labels, found.new_labels) == (CLASSES, (SPAM,))
        assert {example.label for kept in found.gate_sets.values() for example in kept} <= set(CLASSES)
        narrow = material(toy, toy.stream(toy_rows("shop", 100, seed=6), name="narrow"))
        assert (narrow.model.labels, narrow.new_labels) == (CLASSES[:2], ())
        replayed = narrow.replay_set()
        assert set(replayed.domains) == {"film", "film-2"}  # what was learnt with three classes, too
        assert replayed.logits.shape == (len(replayed.texts), 2)
        assert np.isfinite(replayed.logits).all()
        assert {e.label for kept in narrow.gate_sets.values() for e in kept} == set(CLASSES[:2])
    finally:
        with toy.ledger.begin() as tx:
            versions.promote(tx, MODEL, 2, actor="tests", reason="back")


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path) -> Iterator[ToyShop]:
    """Declared, and hardly a label of it."""
    with toy_shop(tmp_path_factory.mktemp("waiting"), tiny_base_dir) as toy:
        toy.create_first(toy_rows("film", 500), epochs=2)
        with toy.ledger.begin() as tx:
            models.declare_label(tx, MODEL, SPAM)
        yield toy


def spam_of(part: str, n: int) -> list[Row]:
    """What the split gives to this part."""
    return [row for row in spam(200, seed=7) if part_of(key_of(row.text)) == part][:n]


def test_a_class_with_too_few_labels_is_left_for_later(waiting: ToyShop) -> None:
    rows = [*toy_rows("film", 60, seed=7), *spam_of("train", FEWEST_PER_CLASS - 1), *spam_of("gate", 5)]
    found = material(waiting, waiting.stream(rows, name="few"))
    assert (found.model.labels, found.new_labels) == (CLASSES[:2], ())
    assert {row.label for part in found.rows.values() for row in part} == set(CLASSES[:2])
    kept = {each.text for each in found.reference} | set(found.unlabelled)
    assert kept
    assert not kept & {row.text for row in rows if row.label == SPAM}  # they stay for a later job


def test_labels_are_asked_for_once_one_has_come(waiting: ToyShop) -> None:
    none, needs = waiting.stream(toy_rows("film", 60, seed=8), name="none"), waiting.shop.training
    with waiting.ledger.begin() as tx:
        assert f"train:{SPAM}" not in labels_missing(tx, MODEL, none, needs, {})
    one = waiting.stream(spam_of("train", 1), name="one")
    with waiting.ledger.begin() as tx:
        assert usable_counts(tx, MODEL, one)["train"] == {SPAM: 1}
        assert labels_missing(tx, MODEL, one, needs, {})[f"train:{SPAM}"] == needs.min_labels_per_class - 1


def test_with_another_row_the_champion_answers_as_before(waiting: ToyShop) -> None:
    """The new logit is the mean of the others' less something: never the largest, whatever the remedy adds."""
    version, texts = loaded(waiting, 1), [row.text for row in (*toy_rows("film", 100, seed=1), *spam(100))]
    remedy = Remedy(temperature=1.5, log_prior=(0.4, -1.3), shifts={"film": (0.2, -0.3)})
    bundle = replace(version.bundle, remedy=remedy)
    version = replace(version, answers=Answers(bundle))
    wider = with_classes(version, CLASSES, (50, 40, 9))
    kept = wider.answers.outputs(texts).logits[:, :2]
    assert np.allclose(kept, version.answers.outputs(texts).logits, atol=1e-6)
    for domain in ("film", None):
        before, after = (each.answers.probabilities(texts, domain) for each in (version, wider))
        assert np.array_equal(after.argmax(axis=1), before.argmax(axis=1))
        assert (after[:, 2] > 0).all()
        assert np.allclose(after[:, :2] / after[:, :2].sum(axis=1, keepdims=True), before, atol=1e-6)


def test_its_files_are_those_of_the_wider_head(waiting: ToyShop) -> None:
    version = loaded(waiting, 1)
    wider = with_classes(version, CLASSES, (50, 40, 9))
    network = continue_from(wider.bundle.base, wider.files, 3, seed=1)
    assert np.allclose(
        network.predict_logits(["good film"], 32), wider.answers.outputs(["good film"]).logits, atol=1e-5
    )
    assert with_classes(version, CLASSES[:2], (50, 40)) is version


def material(toy: ToyShop, from_seq: int) -> Material:
    """What a job of this window reads; the job is cancelled."""
    job = toy.open_job(from_seq)
    with toy.ledger.begin() as tx:
        found = gather(tx, job, 1000)
        jobs.cancel(tx, job.id, actor="tests", reason="only read")
    return found
