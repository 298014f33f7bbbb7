from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, func, select, update

from tests.fixtures.ledgers import block, filled_model, sample
from trimtab.ledger import clock, events, examples, feedback, label_requests, samples, tombstones
from trimtab.ledger.examples import Example
from trimtab.ledger.feedback import FeedbackItem
from trimtab.ledger.forget import Forgotten, forget
from trimtab.ledger.gate_history import first_bits, record_bits
from trimtab.ledger.label_requests import NewRequest, Reason
from trimtab.ledger.schema import forgotten, metadata, predictions
from trimtab.splits import key_of

MODEL = "sentiment"
NOTHING = Forgotten()


@pytest.fixture(autouse=True)
def _model(tx: Connection) -> None:
    filled_model(tx)


def ingest(tx: Connection, *numbers: int, **changes: object) -> int:
    """One block of these samples, sent long ago unless it is said otherwise."""
    name = f"block {sorted(numbers)} {sorted(changes.items(), key=str)}"
    return samples.ingest(tx, [block(name, [sample(number, **changes) for number in numbers])])


def label(tx: Connection, *prediction_ids: str, **changes: Any) -> None:
    items = [FeedbackItem(prediction_id=each, label="pos", **changes) for each in prediction_ids]
    feedback.record_feedback(tx, items)


def example_of(number: int, **changes: Any) -> Example:
    text = f"text number {number}"
    values: dict[str, Any] = {
        "model": MODEL,
        "domain": "d",
        "role": "memory",
        "text": text,
        "key": key_of(text),
    }
    return Example(**(values | changes))


def ids(tx: Connection) -> list[str]:
    return [row.prediction_id for row in samples.window_rows(tx, MODEL, 0, 10_000)]


def texts(tx: Connection, role: str = "memory") -> set[str]:
    return {kept.text for kept in examples.list_examples(tx, MODEL, role)}


def everything(tx: Connection) -> str:
    """All that the ledger holds in words, but for the names that must not come back and this file's names of blocks."""
    tables = [table for table in metadata.sorted_tables if table.name not in {"forgotten", "blocks"}]
    return "\n".join(str(row) for table in tables for row in tx.execute(select(table)))


def test_a_client_is_forgotten_everywhere(tx: Connection):
    ingest(tx, 1, 2, client="ada")
    ingest(tx, 3, client="bob")
    label(tx, "p1", "p3")
    label(tx, "elsewhere", client="ada")
    roles = ("memory", "gate", "selection", "reference")
    examples.add_examples(tx, [example_of(n, role=role) for n in (1, 3) for role in roles])
    asked = [NewRequest(seq=seq, key=f"k{seq}", part="train", reason=Reason.RANDOM) for seq in (1, 2, 3)]
    label_requests.ask(tx, MODEL, "j1", asked, expires_at=4e9)
    gone = forget(tx, client="ada")
    assert gone == Forgotten(
        predictions=2, feedback=2, label_requests=2, examples=dict.fromkeys(sorted(roles), 1)
    )
    assert ids(tx) == ["p3"]
    assert [row.prediction_id for row in feedback.labelled(tx, MODEL)] == ["p3"]
    assert {role: texts(tx, role) for role in roles} == {role: {"text number 3"} for role in roles}
    for personal in ("ada", "text number 1", "text number 2", "p1"):
        assert personal not in everything(tx)


def test_a_second_time_finds_nothing(tx: Connection):
    ingest(tx, 1, client="ada")
    assert forget(tx, client="ada").predictions == 1
    assert forget(tx, client="ada") == NOTHING
    assert forget(tx, prediction_id="never was") == NOTHING


def test_one_prediction_is_forgotten(tx: Connection):
    ingest(tx, 1, 2)
    examples.add_examples(tx, [example_of(1), example_of(2)])
    assert forget(tx, prediction_id="p1") == Forgotten(predictions=1, examples={"memory": 1})
    assert ids(tx) == ["p2"]
    assert texts(tx) == {"text number 2"}


def test_a_requests_id_means_all_of_its_items_and_no_others(tx: Connection):
    for n, name in enumerate(["r1:0", "r1:1", "r10:0", "R1:0", "r1"]):
        ingest(tx, n, prediction_id=name)
    label(tx, "r1:7")
    assert forget(tx, prediction_id="r1") == Forgotten(predictions=3, feedback=1)
    assert ids(tx) == ["r10:0", "R1:0"]


def test_an_example_is_found_by_where_it_came_from_when_retention_took_its_prediction(tx: Connection):
    kept = [
        example_of(1, prediction_id="p1", client="ada"),
        example_of(2, prediction_id="p2", client="ada", role="gate"),
        example_of(3, prediction_id="p3", client="bob"),
        example_of(4),
    ]
    examples.add_examples(tx, kept)
    assert forget(tx, prediction_id="p1").examples == {"memory": 1}
    assert forget(tx, client="ada").examples == {"gate": 1}
    assert texts(tx) == {"text number 3", "text number 4"}


def test_the_bits_of_a_gate_example_go_with_it(tx: Connection):
    ingest(tx, 1, 2, client="ada")
    examples.add_examples(tx, [example_of(1, role="gate"), example_of(3, role="gate")])
    record_bits(tx, MODEL, 1, {"d": {key_of(f"text number {n}"): True for n in (1, 3)}})
    forget(tx, client="ada")
    assert first_bits(tx, MODEL)["d"].keys() == {key_of("text number 3")}


def test_a_group_keeps_its_other_texts(tx: Connection):
    ingest(tx, 1, 2, group="one article")
    key = key_of("", "one article")
    examples.add_examples(tx, [example_of(2, key=key)])
    forget(tx, prediction_id="p1")
    assert examples.keys(tx, MODEL, ["memory"]) == {key}


def test_a_text_of_a_group_is_forgotten_by_its_text(tx: Connection):
    ingest(tx, 1, 2, group="one article")
    examples.add_examples(tx, [example_of(1), example_of(2)])
    forget(tx, prediction_id="p1")
    assert texts(tx) == {"text number 2"}


def test_examples_of_a_prediction_without_text_are_found_by_its_key(tx: Connection):
    samples.ingest(tx, [block("b", [sample(1)])], keep_text=False)
    examples.add_examples(tx, [example_of(1), example_of(2)])
    forget(tx, prediction_id="p1")
    assert texts(tx) == {"text number 2"}


def test_other_models_and_clients_keep_the_same_text(tx: Connection):
    """What somebody else sent, too, is theirs; the examples of the text go."""
    filled_model(tx, "another")
    ingest(tx, 1, client="ada")
    ingest(tx, 2, client="bob", text="text number 1")
    examples.add_examples(tx, [example_of(1), example_of(1, model="another")])
    forget(tx, client="ada")
    assert ids(tx) == ["p2"]
    assert texts(tx) == set()
    assert examples.keys(tx, "another", ["memory"]) == {key_of("text number 1")}


@pytest.mark.parametrize("named", [{}, {"prediction_id": "p1", "client": "ada"}])
def test_exactly_one_thing_is_named(tx: Connection, named: dict[str, str]):
    ingest(tx, 1)
    with pytest.raises(ValueError, match="either a prediction id or a client"):
        forget(tx, **named)
    assert tx.execute(select(func.count()).select_from(predictions)).scalar_one() == 1


def test_the_event_counts_and_names_nobody(tx: Connection):
    ingest(tx, 1, client="ada")
    forget(tx, client="ada", actor="keeper")
    event = next(each for each in events.list_events(tx) if each.kind == "samples_forgotten")
    assert (event.actor, event.detail["by"], event.detail["predictions"]) == ("keeper", "client", 1)
    assert "ada" not in str(event)


class TestUnderWay:
    """Samples in Redis and texts in a running job, when the deletion comes."""

    @pytest.mark.parametrize("name", ["p1", "r7"])
    def test_a_late_sample_is_not_taken_in(self, tx: Connection, name: str):
        forget(tx, prediction_id=name)
        late = [sample(1), sample(2), sample(3, prediction_id="r7:0")]
        samples.ingest(tx, [block("late", late)])
        assert set(ids(tx)) == {"p1", "p2", "r7:0"} - {name, f"{name}:0"}

    def test_a_client_may_come_back_with_new_samples(self, tx: Connection):
        forget(tx, client="ada")
        moment = clock.now(tx)
        before, after = moment - 1.0, moment + 2 * tombstones.SKEW_S
        late = [sample(1, client="ada", observed_at=before), sample(2, client="ada", observed_at=after)]
        samples.ingest(tx, [block("late", [*late, sample(3, client="bob", observed_at=before)])])
        assert ids(tx) == ["p2", "p3"]

    def test_what_a_job_had_read_before_does_not_enter(self, tx: Connection):
        ingest(tx, 1, 2, 3, client="ada")
        ingest(tx, 4, client="bob")
        forget(tx, prediction_id="p1")
        forget(tx, client="ada")
        ingest(tx, 5, client="ada", observed_at=4e9)
        read = [example_of(n, prediction_id=f"p{n}", client="bob" if n == 4 else "ada") for n in range(1, 6)]
        assert examples.add_examples(tx, [*read, example_of(6)]) == 3
        assert texts(tx) == {f"text number {n}" for n in (4, 5, 6)}

    def test_names_are_kept_for_a_while_only(self, tx: Connection):
        forget(tx, prediction_id="p1")
        assert tombstones.last_burial(tx) > 0
        assert tombstones.expire_tombstones(tx) == 0
        tx.execute(update(forgotten).values(expires_at=clock.now(tx) - 1.0))
        assert tombstones.expire_tombstones(tx) == 1
        assert ingest(tx, 1) == 1
        assert tombstones.last_burial(tx) == 0

    def test_forgetting_again_renews_the_name(self, tx: Connection):
        forget(tx, client="ada")
        tx.execute(update(forgotten).values(at=0.0, expires_at=0.0))
        forget(tx, client="ada")
        (row,) = tx.execute(select(forgotten)).all()
        assert row.expires_at - row.at == pytest.approx(tombstones.KEPT_S)
        assert row.at > 0
