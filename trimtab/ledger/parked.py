"""What a version that was held would bring: examples that nothing reads, until a person promotes it.

A parked row has a role of its own, "gate@7" for version 7: no read by role finds it, and two versions may park the same
text. What the version found untrue is parked as copies of the role "untrue@7". Forgetting and the retention of
exemplars reach parked rows, and they go with the version's files.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, literal, select, update

from trimtab.ledger.examples import ROLES, keys, list_examples, remove_probation, retire, supersede
from trimtab.ledger.schema import examples as table

UNTRUE = "untrue"
HELD_OUT = ("gate", "selection", "reference")
_COPIED = [column for column in table.c if column.name not in {"id", "role", "retired_by"}]


def park(tx: Connection, model: str, version: int) -> None:
    """Set what entered with a version on probation aside, and put what gave way to it to use again."""
    retired = (table.c.model == model, table.c.retired_by == version, table.c.role.in_(ROLES))
    copies = select(*_COPIED, literal(f"{UNTRUE}@{version}")).where(*retired)
    tx.execute(insert(table).from_select([*(column.name for column in _COPIED), "role"], copies))
    theirs = (table.c.model == model, table.c.version == version, table.c.probation.is_(True))
    for role in ROLES:
        tx.execute(update(table).where(*theirs, table.c.role == role).values(role=f"{role}@{version}"))
    remove_probation(tx, model, version)


def unpark(tx: Connection, model: str, version: int) -> None:
    """Put what is parked for a version that serves from now on to use, on probation.

    A text that came to serve another purpose meanwhile stays with that; an exemplar of an older version makes way for
    another label.
    """
    untrue = keys(tx, model, [f"{UNTRUE}@{version}"])
    retire(tx, model, sorted(untrue), version, roles=("memory", "gate", "selection"))
    _make_way(tx, model, version)
    for role in ROLES:
        others = [role, *(HELD_OUT if role == "memory" else ["memory"])]
        taken = select(table.c.key).where(table.c.model == model, table.c.role.in_(others))
        mine = (table.c.model == model, table.c.role == f"{role}@{version}")
        free = update(table).where(*mine, table.c.key.not_in(taken))
        tx.execute(free.values(role=role))
    discard(tx, model, version)


def _make_way(tx: Connection, model: str, version: int) -> None:
    labels = {each.key: each.label for each in list_examples(tx, model, f"memory@{version}")}
    older = [each for each in list_examples(tx, model, "memory") if each.version < version]
    supersede(
        tx, model, [each.key for each in older if labels.get(each.key, each.label) != each.label], version
    )


def discard(tx: Connection, model: str, version: int) -> None:
    """Delete what is parked for a version."""
    roles = [f"{role}@{version}" for role in (*ROLES, UNTRUE)]
    tx.execute(delete(table).where(table.c.model == model, table.c.role.in_(roles)))
