from __future__ import annotations

from sqlalchemy import Connection

from trimtab.ledger import replicas


def report(tx: Connection, replica: str, generation: int) -> None:
    replicas.report_replica(
        tx,
        replica,
        pid=123,
        url="http://127.0.0.1:8000",
        serving={"sentiment": {"champion": generation}},
        generations={"sentiment": generation},
        refused={"sentiment": {"3": "digest differs"}},
    )


def test_the_newest_report_of_each_replica_counts(tx: Connection):
    report(tx, "b", 1)
    report(tx, "a", 1)
    report(tx, "a", 2)
    first, second = replicas.list_replicas(tx)
    assert (first.replica, first.pid, first.url) == ("a", 123, "http://127.0.0.1:8000")
    assert (first.serving, first.generations) == ({"sentiment": {"champion": 2}}, {"sentiment": 2})
    assert first.refused == {"sentiment": {"3": "digest differs"}}
    assert 0 <= first.age_s < 5
    assert second.replica == "b"


def test_a_replica_that_left_is_gone(tx: Connection):
    report(tx, "a", 1)
    replicas.forget_replica(tx, "a")
    replicas.forget_replica(tx, "a")
    assert replicas.list_replicas(tx) == []
