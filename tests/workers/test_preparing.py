"""From material to task: what remedies may see, and what the gate keeps for itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, small_training, toy_shop
from trimtab.adapter import REFERENCES
from trimtab.base import load_base
from trimtab.bundle import Remedy
from trimtab.drift import DriftKind
from trimtab.features import References
from trimtab.jobs import PRIOR_BACK
from trimtab.ledger import jobs, samples
from trimtab.samples import Sample, SampleBlock
from trimtab.splits import key_of
from workers.material import Material, gather
from workers.plan import make_plan
from workers.preparing import make_task, window_features
from workers.progress import silent
from workers.task import Task
from workers.workshop import LoadedVersion, load_version

Case = tuple[ToyShop, LoadedVersion, Material]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path) -> Iterator[Case]:
    """A champion of films, and a window of shops of which half is labelled; clients name the domain."""
    with toy_shop(tmp_path_factory.mktemp("preparing"), tiny_base_dir) as toy:
        toy.create_first(toy_rows("film", 400), epochs=2)
        rows = toy_rows("shop", 600)
        first = toy.stream(rows[:300])
        toy.stream(rows[300:], name="more", labelled=False)
        job = toy.open_job(first)
        with toy.ledger.read() as tx:
            material = gather(tx, job, budget=300)
        yield toy, load_version(toy.shop, load_base(str(toy.base_dir), "cpu"), MODEL, 1), material


def task_of(case: Case, drift: DriftKind | None = None, **changes: object) -> Task:
    toy, champion, material = case
    changed = replace(material, drift=drift, **changes)  # type: ignore[arg-type]
    return make_task(
        toy.shop, champion, changed, make_plan(changed.situation(Remedy()), small_training()), 2, silent
    )


def keys(texts: tuple[str, ...]) -> set[str]:
    return {key_of(text) for text in texts}


def test_no_text_has_two_uses_and_none_is_the_gates(case: Case) -> None:
    _, _, material = case
    task = task_of(case)
    sets = [
        task.train.texts,
        task.selection.texts,
        task.replay.texts,
        task.unlabelled,
        task.past["film"].texts,
    ]
    assert all(sets)
    uses = [keys(texts) for texts in sets]
    assert sum(map(len, uses)) == len(set.union(*uses))
    assert not set.union(*uses) & task.held_out
    assert {row.key for row in material.rows["gate"]} < task.held_out


def test_calibration_holds_labelled_texts_that_were_never_trained_on(case: Case) -> None:
    task = task_of(case)
    found = keys(task.calibration["film"].texts)
    assert keys(task.past["film"].texts) < found
    assert not found & (keys(task.replay.texts) | task.held_out)


def test_nothing_that_may_be_trained_on_is_in_the_new_reference(case: Case) -> None:
    _, _, material = case
    assert len(material.unlabelled) > 100
    assert not keys(material.unlabelled) & {example.key for example in material.reference}


def test_a_domain_is_named_when_most_clients_say_its_name(case: Case) -> None:
    assert task_of(case).named  # "shop" in every request
    assert task_of(case).domain == "shop"


def test_a_task_has_the_time_that_the_settings_give(case: Case) -> None:
    assert task_of(case).max_seconds == 1800.0


def test_features_are_read_where_the_champion_made_them(case: Case) -> None:
    toy, champion, material = case
    names = References.from_bytes(champion.files[REFERENCES]).feature_map.names
    assert window_features(toy.shop, champion, material) is None  # the toy traffic has none that fit
    sent = tuple(
        Sample(
            prediction_id=f"f{i}", model=MODEL, version=1, generation=1, text=f"text {i}", label=LABELS[0], score=0.5,
            domain=None, group=None, client="tests", observed_at=1e9, features=(float(i),) * len(names),
        )
        for i in range(20)
    )  # fmt: skip
    with toy.ledger.begin() as tx:
        before = samples.last_seq(tx)
        samples.ingest(tx, [("f-0", SampleBlock("f", "replica", sent))])
    seqs = tuple(range(before + 1, before + 21))
    found = window_features(toy.shop, champion, replace(material, window_seqs=seqs[5:]))
    assert found is not None
    assert found.shape == (15, len(names))
    assert found[:, 0].tolist() == [float(i) for i in range(5, 20)]


def test_only_under_concept_drift_exemplars_are_left_out(case: Case) -> None:
    """Labels of the window are those of the exemplars' words, turned round."""
    _, _, material = case
    turned = tuple(
        replace(row, label=LABELS[1 - LABELS.index(str(example.label))], text=example.text)
        for row, example in zip(material.rows["train"], material.exemplars, strict=False)
    )
    rows = {**material.rows, "train": turned}
    usual = task_of(case, DriftKind.COVARIATE_HARMFUL, rows=rows)
    assert usual.contradicted == ()
    assert set(usual.past) == {"film"}
    concept = task_of(case, DriftKind.CONCEPT, rows=rows)
    assert len(concept.contradicted) + len(concept.replay.texts) == len(material.exemplars)
    assert concept.retired == {"film"}
    assert concept.past == {}
    assert concept.replay.texts == ()


def test_what_was_opened_to_drop_a_correction_may_do_nothing_else(case: Case) -> None:
    toy, *_ = case
    with toy.ledger.read() as tx:
        (job,) = jobs.list_jobs(tx, model=MODEL)
        found = [
            gather(tx, replace(job, cause={"kind": kind}), budget=300).only_drop
            for kind in ("drift", PRIOR_BACK)
        ]
    assert found == [False, True]
    assert [task_of(case, only_drop=each).only_drop for each in found] == found
