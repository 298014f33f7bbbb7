"""Labelled rows that somebody hands to one adaptation (`trimtab adapt --data`): kept beside the traffic, not in it.

They are examples of roles of their own, so that the drift monitor never takes them for traffic and a worker that takes
the job over finds them. They go when the job ends (trimtab.ledger.jobs); the next file of the model replaces them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete

from trimtab.ledger.examples import GIVEN_ROLES, Example, add_examples, list_examples
from trimtab.ledger.feedback import LabelledRow
from trimtab.ledger.jobs import in_flight
from trimtab.ledger.schema import examples
from trimtab.splits import LABEL_PARTS, key_of, part_of

CLIENT = "given"
ROLE_OF = dict(zip(LABEL_PARTS, GIVEN_ROLES, strict=True))


@dataclass(frozen=True)
class Given:
    """One labelled text of a file."""

    text: str
    label: str
    group: str | None = None


def keep_given(tx: Connection, model: str, job_id: str, rows: Iterable[Given]) -> int:
    """Keep the rows for this job, instead of those of an earlier file; returns how many are distinct."""
    tx.execute(delete(examples).where(examples.c.model == model, examples.c.role.in_(ROLE_OF.values())))
    kept = [
        Example(
            model=model, domain="", role=ROLE_OF[part_of(key_of(row.text, row.group))], text=row.text,
            key=key_of(row.text), label=row.label, job_id=job_id, priority=place, source="file",
        )
        for place, row in enumerate(rows)
    ]  # fmt: skip
    return add_examples(tx, kept)


def given_rows(tx: Connection, model: str) -> list[LabelledRow]:
    """The rows that were given to the model's job in flight, in their order; none when it has no such job."""
    job = in_flight(tx, model)
    if job is None:
        return []
    found = [
        (example.priority, _labelled(example, part))
        for part, role in ROLE_OF.items()
        for example in list_examples(tx, model, role)
        if example.job_id == job.id
    ]
    return [row for _, row in sorted(found, key=lambda each: each[0])]


def _labelled(example: Example, part: str) -> LabelledRow:
    return LabelledRow(
        seq=0, prediction_id=f"{CLIENT}:{example.key}", text=example.text, key=example.key, part=part,
        label=example.label or "", predicted="", version=0, client=CLIENT, domain=None, group=None,
    )  # fmt: skip
