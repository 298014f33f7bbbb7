"""Rows of a file that are handed to one adaptation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from trimtab.jobs import JobStatus
from trimtab.labels import usable_counts
from trimtab.ledger import jobs, samples
from trimtab.ledger.examples import GIVEN_ROLES, ROLES, list_examples
from trimtab.ledger.given import ROLE_OF, Given, given_rows, keep_given
from trimtab.splits import LABEL_PARTS, key_of, part_of

MODEL = "sentiment"
ROWS = [Given(f"text {i}", "pos" if i % 2 else "neg") for i in range(200)]


@pytest.fixture(autouse=True)
def _model(model: str) -> None:
    assert model == MODEL


def open_job(tx: Connection) -> str:
    return jobs.open_job(tx, MODEL, cause={"kind": "manual"}, domain="", window_from_seq=1).id


def test_they_come_back_in_their_order_with_their_parts(tx: Connection) -> None:
    assert keep_given(tx, MODEL, open_job(tx), ROWS) == 200
    found = given_rows(tx, MODEL)
    assert [(row.text, row.label) for row in found] == [(row.text, row.label) for row in ROWS]
    assert all(row.part == part_of(key_of(str(row.text))) for row in found)
    assert set(Counter(row.part for row in found)) == set(LABEL_PARTS)


def test_a_group_decides_the_part(tx: Connection) -> None:
    keep_given(tx, MODEL, open_job(tx), [Given(f"sentence {i}", "pos", "one review") for i in range(20)])
    assert {row.part for row in given_rows(tx, MODEL)} == {part_of(key_of("", "one review"))}


def test_a_text_counts_once(tx: Connection) -> None:
    assert keep_given(tx, MODEL, open_job(tx), [Given("same", "pos"), Given("Same ", "neg")]) == 1


def test_they_are_labels_of_the_job_in_flight_only(tx: Connection) -> None:
    job = open_job(tx)
    keep_given(tx, MODEL, job, ROWS)
    counts = usable_counts(tx, MODEL, 1)
    assert sum(sum(part.values()) for part in counts.values()) == 200
    jobs.cancel(tx, job, actor="test")
    assert given_rows(tx, MODEL) == []
    open_job(tx)
    assert given_rows(tx, MODEL) == []
    assert not any(usable_counts(tx, MODEL, 1).values())


def finish(tx: Connection, job: str, status: JobStatus) -> None:
    lease = jobs.claim(tx, job, "worker", 60.0)
    assert lease is not None
    jobs.finish(tx, lease, status)


ENDINGS: dict[str, Callable[[Connection, str], object]] = {
    "promoted": lambda tx, job: finish(tx, job, JobStatus.PROMOTED),
    "held": lambda tx, job: finish(tx, job, JobStatus.HELD),
    "failed": lambda tx, job: finish(tx, job, JobStatus.FAILED),
    "cancelled": lambda tx, job: jobs.cancel(tx, job, actor="test"),
}


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_their_texts_go_when_the_job_ends(tx: Connection, ending: str) -> None:
    job = open_job(tx)
    keep_given(tx, MODEL, job, ROWS)
    kept = [each for role in GIVEN_ROLES for each in list_examples(tx, MODEL, role)]
    assert len(kept) == 200
    ENDINGS[ending](tx, job)
    assert not any(list_examples(tx, MODEL, role) for role in GIVEN_ROLES)


def test_a_job_that_is_given_back_keeps_them(tx: Connection) -> None:
    job = open_job(tx)
    keep_given(tx, MODEL, job, ROWS)
    lease = jobs.claim(tx, job, "worker", 60.0)
    assert lease is not None
    jobs.release(tx, lease)
    assert len(given_rows(tx, MODEL)) == 200


def test_a_worker_that_took_the_job_finds_them(tx: Connection) -> None:
    job = open_job(tx)
    keep_given(tx, MODEL, job, ROWS)
    assert jobs.claim(tx, job, "worker", 60.0) is not None
    assert jobs.get_job(tx, job).status is JobStatus.RUNNING
    assert len(given_rows(tx, MODEL)) == 200


def test_another_file_replaces_them(tx: Connection) -> None:
    job = open_job(tx)
    keep_given(tx, MODEL, job, ROWS)
    keep_given(tx, MODEL, job, ROWS[:3])
    assert [row.text for row in given_rows(tx, MODEL)] == ["text 0", "text 1", "text 2"]
    kept = [example for role in ROLE_OF.values() for example in list_examples(tx, MODEL, role)]
    assert len(kept) == 3


def test_they_are_no_traffic_and_no_example_of_another_purpose(tx: Connection) -> None:
    keep_given(tx, MODEL, open_job(tx), ROWS)
    assert samples.last_seq(tx) == 0
    assert not any(list_examples(tx, MODEL, role) for role in ROLES)
    assert set(GIVEN_ROLES) == set(ROLE_OF.values())
