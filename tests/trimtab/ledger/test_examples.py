from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, text

from tests.fixtures.ledgers import digest_of, filled_model
from trimtab.ledger import clock, examples, versions
from trimtab.ledger.examples import Example
from trimtab.ledger.versions import VersionState

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
        prediction_id="r1:0",
        client="ada",
        label_source="human",
        core=3,
        retired_by=4,
        created_at=12.5,
    )
    assert examples.add_examples(tx, [kept]) == 1
    (found,) = examples.list_examples(tx, MODEL, "memory")
    assert found.id > 0
    assert found == replace(kept, id=found.id)


def test_the_time_at_which_an_example_entered_survives_a_new_choice(tx: Connection):
    examples.add_examples(tx, [example("k")])
    (kept,) = examples.list_examples(tx, MODEL, "memory")
    assert clock.now(tx) - 60 < kept.created_at <= clock.now(tx)
    examples.replace_memory(tx, MODEL, [replace(kept, created_at=5.0)])
    (again,) = examples.list_examples(tx, MODEL, "memory")
    assert again.created_at == 5.0


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
    on_probation = [example(key, version=int(key), probation=True) for key in ("2", "3", "4")]
    examples.add_examples(tx, [*on_probation, example("old", version=4)])
    assert examples.remove_probation(tx, MODEL, 4) == 1
    assert (
        examples.confirm_probation(tx, MODEL, 3) == 2
    )  # version 3 was made from version 2, which nobody watches now
    assert examples.remove_probation(tx, MODEL, 2) == 0
    assert examples.keys(tx, MODEL, ["memory"]) == {"2", "3", "old"}
    assert not any(each.probation for each in examples.list_examples(tx, MODEL, "memory"))


def test_a_version_vouches_for_none_that_it_was_not_made_from(tx: Connection, model: str):
    """An operator went back from 4 to 1 without a rollback; 5 was made from 1, and its watch is over."""
    for n, parent in ((4, 3), (5, 1)):
        versions.record_version(tx, model, n, digest_of(n), parent, VersionState.ACCEPTED, manifest={})
    examples.add_examples(tx, [example("old"), example("older")])
    examples.add_examples(tx, [example(str(n), version=n, probation=True) for n in (1, 4, 5)])
    examples.retire(tx, model, ["old"], version=4)
    assert examples.confirm_probation(tx, model, 5) == 2
    found = {each.key: each for each in examples.list_examples(tx, model, "memory")}
    assert {key for key, each in found.items() if each.probation} == {"4"}
    assert found["old"].retired_by == 4
    examples.remove_probation(tx, model, 4)
    assert examples.keys(tx, model, ["memory"]) == {"old", "older", "1", "5"}


def active(tx: Connection) -> list[str]:
    return keys([each for each in examples.list_examples(tx, MODEL, "memory") if each.retired_by is None])


def test_what_a_version_retired_comes_back_when_it_is_rolled_back(tx: Connection):
    examples.add_examples(tx, [example("a"), example("b"), example("g", role="gate")])
    assert examples.retire(tx, MODEL, ["a", "a", "g", "unknown"], version=2) == 1
    assert examples.retire(tx, MODEL, ["a"], version=3) == 0
    assert active(tx) == ["b"]
    examples.remove_probation(tx, MODEL, 3)
    assert active(tx) == ["b"]
    examples.remove_probation(tx, MODEL, 2)
    assert active(tx) == ["a", "b"]


def test_what_a_version_retired_is_deleted_when_its_watch_is_over(tx: Connection):
    examples.add_examples(tx, [example("a"), example("b"), example("c")])
    examples.retire(tx, MODEL, ["a"], version=2)
    examples.retire(tx, MODEL, ["b"], version=3)
    examples.confirm_probation(tx, MODEL, 2)
    assert examples.keys(tx, MODEL, ["memory"]) == {"b", "c"}


def labels(tx: Connection) -> dict[str, tuple[str | None, int | None]]:
    """Label and who retired it, by key."""
    return {each.key: (each.label, each.retired_by) for each in examples.list_examples(tx, MODEL, "memory")}


def relabelled(tx: Connection, key: str, label: str, version: int) -> None:
    examples.supersede(tx, MODEL, [key], version)
    new = example(key, label=label, version=version, probation=True)
    assert examples.add_examples(tx, [new]) == 1


def test_a_newer_label_takes_the_place_of_an_older_one_until_it_is_rolled_back(tx: Connection):
    examples.add_examples(tx, [example("a", label="pos"), example("b", label="pos")])
    relabelled(tx, "a", "neg", version=2)
    assert labels(tx) == {"a": ("neg", None), "b": ("pos", None)}
    relabelled(tx, "a", "pos", version=3)
    assert labels(tx) == {"a": ("pos", None), "b": ("pos", None)}
    assert examples.remove_probation(tx, MODEL, 3) == 1
    assert labels(tx)["a"] == ("neg", None)
    assert examples.remove_probation(tx, MODEL, 2) == 1
    assert [(each.label, each.version) for each in examples.list_examples(tx, MODEL, "memory")] == [
        ("pos", 0),
        ("pos", 0),
    ]


def test_a_newer_label_is_kept_for_good_when_its_watch_is_over(tx: Connection):
    examples.add_examples(tx, [example("a", label="pos")])
    relabelled(tx, "a", "neg", version=2)
    examples.confirm_probation(tx, MODEL, 2)
    examples.remove_probation(tx, MODEL, 2)
    assert labels(tx) == {"a": ("neg", None)}
    assert rows_of(tx) == 1


def test_a_label_that_came_back_is_not_there_twice(tx: Connection):
    """Its place was taken meanwhile by a version that stays."""
    examples.add_examples(tx, [example("a", label="pos")])
    examples.supersede(tx, MODEL, ["a"], 2)
    examples.add_examples(tx, [example("a", label="neg", version=3)])
    examples.remove_probation(tx, MODEL, 2)
    assert labels(tx) == {"a": ("neg", None)}
    assert rows_of(tx) == 1


def rows_of(tx: Connection) -> int:
    """Rows of whatever role."""
    return int(tx.execute(text("SELECT count(*) FROM examples")).scalar_one())


def test_a_new_choice_leaves_what_is_retired(tx: Connection):
    examples.add_examples(tx, [example("a"), example("b")])
    examples.retire(tx, MODEL, ["a"], version=2)
    found = examples.list_examples(tx, MODEL, "memory")
    assert examples.replace_memory(tx, MODEL, found) == 1
    assert examples.keys(tx, MODEL, ["memory"]) == {"a", "b"}
    assert active(tx) == ["b"]


def test_exemplars_leave_after_their_time_and_held_out_examples_stay(tx: Connection):
    moment = clock.now(tx)
    old = [example(f"o{n}", created_at=moment - 100) for n in range(3)]
    examples.add_examples(
        tx, [*old, example("new", created_at=moment), example("g", role="gate", created_at=1.0)]
    )
    assert examples.expire_memory(tx, older_than_s=50, limit=2) == 2
    assert examples.expire_memory(tx, older_than_s=50, limit=2) == 1
    assert examples.expire_memory(tx, older_than_s=50) == 0
    assert examples.keys(tx, MODEL, ["memory", "gate"]) == {"new", "g"}


def test_sizes_of_what_is_replayed(tx: Connection):
    labelled = [example(key, label="pos") for key in ("a", "b", "c")]
    examples.add_examples(tx, [*labelled, example("d"), example("g", role="gate", label="pos")])
    examples.retire(tx, MODEL, ["c"], version=2)
    assert examples.memory_sizes(tx) == {(MODEL, "movie", "pos"): 2, (MODEL, "movie", ""): 1}
