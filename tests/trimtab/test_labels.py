"""Which labels are usable, and how many are missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.ledgers import block, filled_model, sample
from trimtab.labels import LabelNeeds, classes_with, missing_labels, usable, usable_counts
from trimtab.ledger import Ledger, examples, feedback, gate_history, samples
from trimtab.ledger.examples import Example
from trimtab.ledger.feedback import FeedbackItem, LabelledRow
from trimtab.ledger.gate_history import Window
from trimtab.settings import TrainingSettings
from trimtab.splits import key_of, part_of

NEEDS = LabelNeeds(train=4, selection=1, gate=2, per_class=2, labels=("neg", "pos"))


def row(seq: int, text: str | None, part: str = "train", label: str = "pos") -> LabelledRow:
    return LabelledRow(
        seq=seq,
        prediction_id=f"p{seq}",
        text=text,
        key=key_of(text or ""),
        part=part,
        label=label,
        predicted="pos",
        version=1,
        client="anonymous",
        domain=None,
        group=None,
    )


@pytest.mark.parametrize(
    ("counts", "missing"),
    [
        ({}, {"train": 4, "selection": 1, "gate": 2, "train:neg": 2, "train:pos": 2}),
        ({"train": {"neg": 2, "pos": 2}, "selection": {"pos": 1}, "gate": {"neg": 2}}, {}),
        ({"train": {"neg": 1, "pos": 9}, "selection": {"pos": 1}, "gate": {"neg": 2}}, {"train:neg": 1}),
        ({"train": {"neg": 2, "pos": 2}, "selection": {"pos": 5}, "gate": {"neg": 1}}, {"gate": 1}),
    ],
)
def test_missing_says_how_many_of_what(counts: dict[str, dict[str, int]], missing: dict[str, int]) -> None:
    assert missing_labels(counts, NEEDS) == missing


def test_needs_come_from_the_settings() -> None:
    training = TrainingSettings(
        min_train_labels=7, min_selection_labels=3, min_gate_labels=11, min_labels_per_class=2
    )
    assert LabelNeeds.of(training, ["a", "b"]) == LabelNeeds(
        train=7, selection=3, gate=11, per_class=2, labels=("a", "b")
    )


def test_a_job_of_a_label_shift_waits_for_judges_only() -> None:
    training = TrainingSettings(min_selection_labels=3, min_gate_labels=11)
    usual = LabelNeeds.of(training, ["a", "b"])
    assert LabelNeeds.of_job(training, ["a", "b"], {"kind": "drift", "drift": "covariate_harmful"}) == usual
    assert LabelNeeds.of_job(training, ["a", "b"], {"kind": "manual"}) == usual
    shifted = LabelNeeds.of_job(training, ["a", "b"], {"kind": "drift", "drift": "label_shift"})
    assert missing_labels({}, shifted) == {"selection": 3, "gate": 11}


def test_a_text_counts_once_with_its_newest_label() -> None:
    rows = [row(1, "same", label="neg"), row(2, "other"), row(3, "same", label="pos")]
    assert [(each.text, each.label) for each in usable(rows, set(), set())["train"]] == [
        ("same", "pos"),
        ("other", "pos"),
    ]


def test_a_text_without_content_is_not_usable() -> None:
    assert not any(usable([row(1, None)], set(), set()).values())


def test_a_text_in_two_parts_is_left_out() -> None:
    assert not any(usable([row(1, "both", "train"), row(2, "both", "gate")], set(), set()).values())


def test_texts_kept_for_another_purpose_are_left_out() -> None:
    rows = [
        row(1, "kept", "train"),
        row(2, "new", "train"),
        row(3, "replayed", "train"),
        row(4, "seen", "gate"),
    ]
    found = usable(rows, held_out={key_of("kept")}, remembered={key_of("replayed"), key_of("seen")})
    assert [each.text for each in found["train"]] == ["new", "replayed"]
    assert found["gate"] == ()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    opened.migrate()
    yield opened
    opened.close()


def test_counts_from_the_ledger_leave_out_what_came_before_and_what_is_held_out(ledger: Ledger) -> None:
    texts = {n: f"text number {n}" for n in range(1, 41)}
    with ledger.begin() as tx:
        model = filled_model(tx)
        samples.ingest(tx, [block("b", (sample(n) for n in texts))])
        feedback.record_feedback(tx, [FeedbackItem(prediction_id=f"p{n}", label="pos") for n in texts])
        held = next(n for n in range(11, 41) if part_of(key_of(texts[n])) == "train")
        examples.add_examples(
            tx, [Example(model=model, domain="d", role="gate", text=texts[held], key=key_of(texts[held]))]
        )
        counts = usable_counts(tx, model, from_seq=11)
        gate_history.quarantine_window(tx, Window(model=model, from_seq=1, to_seq=40, reason="test"))
        assert not any(usable_counts(tx, model, from_seq=11).values())
    expected = [part_of(key_of(texts[n])) for n in range(11, 41) if n != held]
    assert {part: counts[part].get("pos", 0) for part in counts} == {
        part: expected.count(part) for part in ("train", "selection", "gate")
    }


@pytest.mark.parametrize(
    ("counts", "least", "classes"),
    [
        ({}, 1, ("a", "b")),
        ({"c": 8}, 8, ("a", "b", "c")),
        ({"c": 7, "d": 9}, 8, ("a", "b", "d")),
        ({"c": 8, "d": 9}, 8, ("a", "b", "c", "d")),
    ],
)
def test_new_classes_stand_behind_the_taught_ones(
    counts: dict[str, int], least: int, classes: tuple[str, ...]
) -> None:
    assert classes_with(("a", "b"), ("a", "b", "c", "d"), counts, least) == classes
