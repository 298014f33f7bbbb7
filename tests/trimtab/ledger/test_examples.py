from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection

from tests.fixtures.ledgers import filled_model
from trimtab.ledger import examples
from trimtab.ledger.examples import Example

MODEL = "sentiment"


def example(key: str, **changes: Any) -> Example:
    values: dict[str, Any] = {
        "model": MODEL,
        "domain": "movie",
        "role": "memory",
        "text": f"text of {key}",
        "key": key,
    }
    return Example(**(values | changes))


def keys(found: list[Example]) -> list[str]:
    return [each.key for each in found]


@pytest.fixture(autouse=True)
def _model(model: str) -> None:
    assert model == MODEL


def test_an_example_comes_back_as_it_was(tx: Connection):
    logits = tuple(np.array([0.1, -2.5], np.float32).tolist())
    kept = example(
        "k",
        label="pos",
        logits=logits,
        version=2,
        job_id="j",
        probation=True,
        priority=2**63 - 1,
        source="traffic",
    )
    assert examples.add_examples(tx, [kept]) == 1
    (found,) = examples.list_examples(tx, MODEL, "memory")
    assert found.id > 0
    assert found == Example(**{**kept.__dict__, "id": found.id})


def test_a_key_is_kept_once_for_each_role(tx: Connection):
    assert examples.add_examples(tx, [example("k", text="first"), example("k", text="second")]) == 1
    assert examples.add_examples(tx, [example("k", text="third"), example("k", role="gate")]) == 1
    assert [each.text for each in examples.list_examples(tx, MODEL, "memory")] == ["first"]
    assert examples.add_examples(tx, []) == 0


def test_more_examples_than_a_statement_takes(tx: Connection):
    assert examples.add_examples(tx, (example(f"k{n}") for n in range(1_500))) == 1_500


def test_an_unknown_role_is_refused(tx: Connection):
    with pytest.raises(ValueError, match="'test' is none of memory, gate"):
        examples.add_examples(tx, [example("k", role="test")])


def test_lists_do_not_depend_on_the_order_of_arrival(tx: Connection):
    examples.add_examples(
        tx,
        [
            example("c", priority=1),
            example("b", priority=2),
            example("a", priority=2, probation=True),
            example("d", domain="tweets"),
            example("e", role="gate", domain="tweets"),
        ],
    )
    assert keys(examples.list_examples(tx, MODEL, "memory")) == ["c", "a", "b", "d"]
    assert keys(examples.list_examples(tx, MODEL, "memory", "movie")) == ["c", "a", "b"]
    assert keys(examples.list_examples(tx, MODEL, "memory", include_probation=False)) == ["c", "b", "d"]
    assert examples.list_examples(tx, "another-model", "memory") == []


def test_domains_in_the_order_in_which_they_entered(tx: Connection):
    examples.add_examples(tx, [example("a", domain="tweets"), example("b"), example("c", domain="tweets")])
    assert examples.domains(tx, MODEL, "memory") == ["tweets", "movie"]
    assert examples.domains(tx, MODEL, "gate") == []


def test_keys_of_several_roles(tx: Connection):
    examples.add_examples(tx, [example("a"), example("b", role="gate"), example("c", role="reference")])
    assert examples.keys(tx, MODEL, ["gate", "reference"]) == {"b", "c"}
    assert examples.keys(tx, MODEL, []) == set()


def test_the_memory_is_replaced_and_nothing_else(tx: Connection):
    other = filled_model(tx, "another-model")
    examples.add_examples(tx, [example("a"), example("g", role="gate"), example("o", model=other)])
    assert examples.replace_memory(tx, MODEL, [example("b"), example("c", probation=True, version=2)]) == 2
    assert keys(examples.list_examples(tx, MODEL, "memory")) == ["b", "c"]
    assert examples.keys(tx, MODEL, ["gate"]) == {"g"}
    assert examples.keys(tx, other, ["memory"]) == {"o"}


def test_probation_ends_for_better_or_worse(tx: Connection):
    on_probation = [example(key, version=int(key), probation=True) for key in ("2", "3")]
    examples.add_examples(tx, [*on_probation, example("old", version=2)])
    assert examples.confirm_probation(tx, MODEL, 3) == 1
    assert examples.remove_probation(tx, MODEL, 3) == 0
    assert examples.remove_probation(tx, MODEL, 2) == 1
    assert examples.keys(tx, MODEL, ["memory"]) == {"3", "old"}
    assert not any(each.probation for each in examples.list_examples(tx, MODEL, "memory"))
