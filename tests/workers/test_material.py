"""Parts never cross: the invariant that every gate rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import MODEL, ToyShop
from trimtab.bundle import Remedy
from trimtab.jobs import AdaptationJob
from trimtab.labels import Labelled, usable
from trimtab.ledger import examples
from trimtab.ledger.feedback import LabelledRow
from trimtab.ledger.samples import PredictionRow
from trimtab.splits import choose_part, key_of, part_of
from workers.first import INIT_PARTS, SALT
from workers.material import MAX_PROJECTED, gather, name_domain, new_reference


def labelled(number: int, text: str, label: str = "a", group: str | None = None) -> LabelledRow:
    key = key_of(text, group)
    return LabelledRow(
        seq=number, prediction_id=f"p{number}", text=text, key=key, part=part_of(key), label=label,
        predicted="a", version=1, client="c", domain=None, group=group,
    )  # fmt: skip


texts = st.sampled_from([f"text {i}" for i in range(30)])
rows = st.lists(
    st.tuples(texts, st.sampled_from("ab"), st.sampled_from([None, "g1", "g2"])).map(
        lambda drawn: labelled(0, drawn[0], drawn[1], drawn[2])
    ),
    max_size=60,
)
keys = st.sets(texts.map(key_of), max_size=10)


@given(rows, keys, keys)
def test_no_text_is_in_two_parts_or_kept_for_another_purpose(
    found: list[LabelledRow], held_out: set[str], remembered: set[str]
) -> None:
    parts = usable(found, held_out, remembered)
    by_part = {part: {row.key for row in chosen} for part, chosen in parts.items()}
    assert not by_part["train"] & (by_part["gate"] | by_part["selection"] | held_out)
    assert not by_part["gate"] & by_part["selection"]
    assert not (by_part["gate"] | by_part["selection"]) & (held_out | remembered)
    assert all(len(chosen) == len(by_part[part]) for part, chosen in parts.items())


def test_of_several_labels_for_one_text_the_newest_counts() -> None:
    found = usable([labelled(1, "x", "a"), labelled(2, " X ", "b")], set(), set())
    assert [row.label for chosen in found.values() for row in chosen] == ["b"]


def test_a_text_whose_groups_fall_into_different_parts_is_left_out() -> None:
    by_part = {part_of(key_of("x", f"g{i}")): f"g{i}" for i in range(50)}
    twice = [labelled(1, "x", group=by_part["train"]), labelled(2, "x", group=by_part["gate"])]
    assert not any(usable(twice, set(), set()).values())


def test_rows_without_text_are_of_no_use() -> None:
    found = [replace(labelled(1, "x"), text=None)]
    assert not any(usable(found, set(), set()).values())


@given(st.text(min_size=1))
def test_a_text_of_init_keeps_its_purpose_when_it_comes_back_as_traffic(text: str) -> None:
    """What init trained on may be trained on again, what it held out for judging is never trained on."""
    key = key_of(text)
    allowed = {
        "train": {"train"}, "selection": {"selection"}, "gate": {"gate"}, "reference": {"train", "selection", "gate"},
    }  # fmt: skip
    assert part_of(key) in allowed[choose_part(key, INIT_PARTS, SALT).strip()]


def prediction(domain: str | None) -> PredictionRow:
    return PredictionRow(
        seq=1, prediction_id="p", model="m", version=1, generation=1, text="t", key="k", part="train", label="a",
        score=1.0, domain=domain, group=None, client="c", observed_at=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "window, proposed, taken, name",
    [
        (["tweets", "tweets", None], "", ["movie"], "tweets"),
        (["tweets", None, None], "", ["movie"], "domain-2"),
        (["tweets", None, None], "news", ["movie"], "news"),
        ([], "", [], "domain-1"),
        (["movie", "movie"], "", ["movie"], "movie-2"),
        (["movie", "movie"], "", ["movie", "movie-3"], "movie-4"),
        (["b", "a"], "", [], "a"),
    ],
)
def test_domain_names(window: Sequence[str | None], proposed: str, taken: list[str], name: str) -> None:
    assert name_domain([prediction(domain) for domain in window], proposed, taken) == name


def test_gathering_from_an_adapted_model(adapted: tuple[ToyShop, AdaptationJob]) -> None:
    toy, job = adapted
    rows = toy_rows("shop", 60, seed=3)
    first_seq = toy.stream(rows, version=2, labelled=False, name="later")
    asked = replace(job, window_from_seq=first_seq, window_until_seq=None)
    with toy.ledger.read() as tx:
        material = gather(tx, asked, budget=50)
    assert material.champion == 2
    assert set(material.gate_sets) == set(material.references) == {"film", "shop"}
    assert len(material.memory) == 50
    assert material.domain == "shop-3"
    assert material.n_window == material.n_with_text == 60
    assert not any(material.rows.values())
    situation = material.situation(Remedy())
    assert (situation.n("train"), situation.known, situation.named) == (0, (1,), False)
    assert situation.n_unlabelled == len(material.unlabelled) > 20
    assert material.model.name == MODEL


def test_what_came_after_a_job_was_begun_is_not_read(adapted: tuple[ToyShop, AdaptationJob]) -> None:
    toy, job = adapted
    assert job.extent is not None
    with toy.ledger.begin() as tx:
        before = gather(tx, job, budget=50)
    last = toy.stream(toy_rows("shop", 30, seed=4), version=2, name="too late") + 29
    with toy.ledger.begin() as tx:
        after = gather(tx, job, budget=50)
        everything = gather(tx, replace(job, labels_until=None), budget=50)
    assert (after.rows, after.window_seqs, after.unlabelled) == (
        before.rows,
        before.window_seqs,
        before.unlabelled,
    )
    assert job.extent.until_seq == max(before.window_seqs) < max(everything.window_seqs) == last


def test_reference_texts_are_never_trained_on(adapted: tuple[ToyShop, AdaptationJob]) -> None:
    toy, job = adapted
    with toy.ledger.read() as tx:
        material = gather(tx, job, budget=50)
    trained = {row.text for row in material.rows["train"]} | {example.text for example in material.memory}
    assert not trained & {example.text for example in material.reference}
    assert all(isinstance(row, Labelled) for row in material.rows["train"])


def test_a_reference_is_the_labelled_and_the_newest_texts_in_order_of_arrival() -> None:
    window = [replace(prediction(None), seq=i, text=f"text {i % 2500}") for i in range(2600)]
    said = {"long ago": "b", "text 7": "a", "text 300": "b", "text 2400": "a"}
    gate = [Labelled(text, label, key_of(text)) for text, label in said.items()]
    trained = {key_of(f"text {i}") for i in range(2450, 2500)}
    found = new_reference("m", "d", window, gate, trained)
    newest = [f"text {i}" for i in range(453, 2450)]
    assert [example.text for example in found] == ["long ago", "text 7", "text 300", *newest]
    assert [example.priority for example in found] == list(range(2000))
    assert {example.text: example.label for example in found if example.label} == said
    assert {(example.role, example.domain) for example in found} == {("reference", "d")}


def test_of_more_labelled_texts_than_a_reference_holds_the_newest_are_kept() -> None:
    window = [replace(prediction(None), seq=i, text=f"text {i}") for i in range(2600)]
    gate = [Labelled(f"text {i}", "a", key_of(f"text {i}")) for i in range(2500)]
    found = new_reference("m", "d", window, gate, set())
    assert [example.text for example in found] == [f"text {i}" for i in range(500, 2500)]
    assert {example.label for example in found} == {"a"}


def test_labelled_texts_that_have_left_the_window_stand_before_it() -> None:
    gate = [Labelled("long ago", "b", key_of("long ago"))]
    found = new_reference("m", "d", [replace(prediction(None), text="now")], gate, set())
    assert [(example.text, example.label) for example in found] == [("long ago", "b"), ("now", None)]


def test_the_projection_is_fitted_on_texts_of_every_domain_and_on_no_reference(
    adapted: tuple[ToyShop, AdaptationJob],
) -> None:
    toy, job = adapted
    with toy.ledger.read() as tx:
        material = gather(tx, job, budget=2000)
        references = {e.text for e in examples.list_examples(tx, MODEL, "reference")}
    projected = set(material.projected_texts)
    assert projected >= {row.text for row in material.rows["train"][:MAX_PROJECTED]}
    assert {e.domain for e in material.memory if e.text in projected} == {"film", "shop"}
    assert not projected & (references | {e.text for e in material.reference})
    assert len(material.projected_texts) <= 2 * MAX_PROJECTED


def test_the_memory_digest_depends_on_the_exemplars_only(adapted: tuple[ToyShop, AdaptationJob]) -> None:
    toy, job = adapted
    with toy.ledger.read() as tx:
        material = gather(tx, job, budget=50)
    shuffled = replace(material, memory=tuple(reversed(material.memory)))
    fewer = replace(material, memory=material.memory[1:])
    assert material.memory_digest() == shuffled.memory_digest() != fewer.memory_digest()
