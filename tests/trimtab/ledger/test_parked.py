"""What a held version would bring: read by nothing until it is promoted, and gone with it or on demand."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from tests.fixtures.ledgers import add_version
from trimtab.ledger import clock, examples, forget, jobs, parked, retention, trials, versions
from trimtab.ledger.examples import Example
from trimtab.ledger.schema import examples as table
from trimtab.ledger.schema import versions as version_table
from trimtab.ledger.versions import VersionState
from trimtab.trial import Stage

ROLES = examples.ROLES


@pytest.fixture
def held(tx: Connection, model: str) -> str:
    """Version 2 found one film untrue, brought four texts of shops, and was held."""
    old = [example(model, "old", role="memory"), example(model, "judge", role="gate")]
    examples.add_examples(tx, [*old, example(model, "true", role="memory")])
    examples.retire(tx, model, ["old", "judge"], 2, roles=("memory", "gate"))
    examples.add_examples(tx, [brought(model, role) for role in ROLES])
    parked.park(tx, model, 2)
    versions.set_state(tx, model, 2, VersionState.HELD, "no labels")
    return model


def example(model: str, key: str, **changes: Any) -> Example:
    values: dict[str, Any] = {"domain": "film", "text": f"text of {key}", "version": 1, "label": "pos"}
    return Example(model=model, key=key, **(values | changes))


def brought(model: str, role: str, version: int = 2) -> Example:
    return example(
        model, f"new {role}", role=role, domain="shop", version=version, probation=True, client="partner"
    )


def in_use(tx: Connection, model: str) -> dict[str, set[str]]:
    return {
        role: {each.key for each in examples.list_examples(tx, model, role) if each.retired_by is None}
        for role in ROLES
    }


def n_rows(tx: Connection) -> int:
    return len(tx.execute(select(table.c.id)).all())


BEFORE = {"memory": {"old", "true"}, "gate": {"judge"}, "selection": set(), "reference": set()}
AFTER = {
    "memory": {"true", "new memory"}, "gate": {"new gate"}, "selection": {"new selection"},
    "reference": {"new reference"},
}  # fmt: skip


def test_nothing_reads_what_is_parked(tx: Connection, held: str) -> None:
    assert in_use(tx, held) == BEFORE
    assert examples.domains(tx, held, "gate") == ["film"]
    assert examples.keys(tx, held, ROLES) == {"old", "true", "judge"}
    assert sum(examples.memory_sizes(tx).values()) == 2


def test_a_promotion_puts_it_to_use_on_probation_and_a_rollback_takes_it_out(
    tx: Connection, held: str
) -> None:
    versions.promote(tx, held, 2, actor="operator", reason="by hand")
    assert in_use(tx, held) == AFTER
    found = [each for role in ROLES for each in examples.list_examples(tx, held, role, "shop")]
    assert all(each.probation for each in found)
    assert n_rows(tx) == 3 + 4  # no copies are left
    versions.rollback(tx, held, actor="operator", reason="worse")
    assert in_use(tx, held) == BEFORE
    assert n_rows(tx) == 3


def test_two_versions_may_park_the_same_texts(tx: Connection, held: str) -> None:
    add_version(tx, held, 12)
    examples.add_examples(tx, [brought(held, role, version=12) for role in ROLES])
    parked.park(tx, held, 12)
    versions.promote(tx, held, 12, actor="operator", reason="by hand")
    assert in_use(tx, held)["memory"] == {"old", "true", "new memory"}
    versions.promote(tx, held, 2, actor="operator", reason="by hand")
    assert in_use(tx, held) == AFTER
    assert {each.version for each in examples.list_examples(tx, held, "gate", "shop")} == {12}


def test_a_text_that_serves_another_purpose_by_then_stays_with_it(tx: Connection, held: str) -> None:
    examples.add_examples(
        tx, [example(held, "new gate", role="memory"), example(held, "new memory", role="gate")]
    )
    versions.promote(tx, held, 2, actor="operator", reason="by hand")
    assert in_use(tx, held)["memory"] == {"true", "new gate"}
    assert in_use(tx, held)["gate"] == {"new memory"}


@pytest.mark.parametrize(("since", "says"), [(1, "neg"), (3, "pos")])
def test_of_two_labels_of_a_text_that_of_the_newer_version_is_learnt(
    tx: Connection, held: str, since: int, says: str
) -> None:
    other = example(held, "new memory", role="memory", label="pos", version=since)
    tx.execute(update(table).where(table.c.role == "memory@2").values(label="neg"))
    examples.add_examples(tx, [other])
    versions.promote(tx, held, 2, actor="operator", reason="by hand")
    assert {each.label for each in examples.list_examples(tx, held, "memory") if each.key == other.key} == {
        says
    }
    versions.rollback(tx, held, actor="operator", reason="worse")
    (back,) = [each for each in examples.list_examples(tx, held, "memory") if each.key == other.key]
    assert (back.label, back.version, back.retired_by) == ("pos", since, None)


def test_a_newer_label_takes_the_place_of_an_older_one_until_a_rollback(tx: Connection, held: str) -> None:
    anew = example(held, "true", role="memory", label="neg", version=3, probation=True)
    add_version(tx, held, 3)
    examples.supersede(tx, held, ["true"], 3)
    examples.add_examples(tx, [anew])
    parked.park(tx, held, 3)
    assert label_of(tx, held, "true") == "pos"
    versions.promote(tx, held, 3, actor="operator", reason="by hand")
    assert label_of(tx, held, "true") == "neg"
    versions.rollback(tx, held, actor="operator", reason="worse")
    assert label_of(tx, held, "true") == "pos"
    assert in_use(tx, held) == BEFORE


def label_of(tx: Connection, model: str, key: str) -> str | None:
    (found,) = [each for each in examples.list_examples(tx, model, "memory") if each.key == key]
    return found.label


def test_the_watch_of_another_version_leaves_it_alone(tx: Connection, held: str) -> None:
    examples.confirm_probation(tx, held, 3)
    examples.remove_probation(tx, held, 2)
    versions.promote(tx, held, 2, actor="operator", reason="by hand")
    assert in_use(tx, held) == AFTER
    assert all(each.probation for each in examples.list_examples(tx, held, "gate", "shop"))


def test_an_abandoned_trial_parks_what_the_version_brought(tx: Connection, model: str) -> None:
    job = jobs.open_job(tx, model, cause={}, domain="d", window_from_seq=1)
    lease = jobs.claim(tx, job.id, "worker", 60.0)
    assert lease is not None
    examples.add_examples(tx, [brought(model, role) for role in ROLES])
    trial = trials.start_trial(tx, model, 2, champion=1, job_id=job.id, reason="passed", actor="worker")
    jobs.await_trial(tx, lease, verdict={}, version=2, reason="passed")
    jobs.end_trial(tx, trial, Stage.ABANDONED, reason="no conclusion", actor="trial")
    assert examples.domains(tx, model, "gate") == []
    versions.promote(tx, model, 2, actor="operator", reason="by hand")
    assert examples.domains(tx, model, "gate") == examples.domains(tx, model, "reference") == ["shop"]


def test_it_is_forgotten_with_its_client(tx: Connection, held: str) -> None:
    gone = forget.forget(tx, client="partner")
    assert gone.examples == dict.fromkeys(ROLES, 1)
    versions.promote(tx, held, 2, actor="operator", reason="by hand")
    assert in_use(tx, held) == BEFORE | {"memory": {"true"}, "gate": set()}


def test_it_leaves_after_the_time_of_exemplars(tx: Connection, held: str) -> None:
    tx.execute(update(table).values(created_at=clock.now(tx) - 100.0))
    assert examples.expire_memory(tx, older_than_s=50.0) == 2 + 4 + 2  # exemplars, what was brought, copies
    assert in_use(tx, held) == BEFORE | {"memory": set()}


def test_it_goes_with_the_files_of_the_version(tx: Connection, held: str) -> None:
    tx.execute(update(version_table).values(created_at=1.0))
    (gone,) = [
        each for each in retention.collect_versions(tx, older_than_s=1.0, keep_newest=0) if each.n == 2
    ]
    assert gone.state is VersionState.HELD
    assert n_rows(tx) == 3
