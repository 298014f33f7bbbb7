from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from trimtab.jobs import Extent, JobStatus
from trimtab.ledger import gate_history, jobs, versions
from trimtab.ledger.clock import now
from trimtab.ledger.examples import Example, add_examples, demote, list_examples, retire
from trimtab.ledger.gate_history import Bit, Window

LATER = -1000.0  # kept after whatever the test does


def keep(
    tx: Connection,
    model: str,
    keys: list[str],
    *,
    domain: str = "film",
    version: int = 1,
    age_s: float = 10.0,
) -> None:
    """Gate examples of these keys, so old; those of a later version are on probation."""
    created_at = now(tx) - age_s
    add_examples(
        tx,
        [
            Example(
                model=model, domain=domain, role="gate", text=f"text {key}", label="pos", key=key,
                version=version, probation=version > 1, created_at=created_at,
            )
            for key in keys
        ],
    )  # fmt: skip


def test_the_first_bit_stays(tx: Connection, model: str) -> None:
    keep(tx, model, ["a", "b"])
    gate_history.record_bits(tx, model, 1, {"film": {"a": True, "b": False}})
    gate_history.record_bits(tx, model, 2, {"film": {"a": False, "b": True}})
    assert gate_history.first_bits(tx, model) == {"film": {"a": Bit(1, True), "b": Bit(1, False)}}


def test_a_set_that_grew_has_bits_of_several_versions(tx: Connection, model: str) -> None:
    keep(tx, model, ["a"])
    gate_history.record_bits(tx, model, 1, {"film": {"a": True}})
    keep(tx, model, ["new"], version=2)
    keep(tx, model, ["c"], domain="shop", version=2)
    gate_history.record_bits(tx, model, 2, {"film": {"a": False, "new": True}, "shop": {"c": False}})
    assert gate_history.first_bits(tx, model) == {
        "film": {"a": Bit(1, True), "new": Bit(2, True)},
        "shop": {"c": Bit(2, False)},
    }


def test_bits_of_a_version_that_was_rolled_back_go_with_its_examples(tx: Connection, model: str) -> None:
    versions.promote(tx, model, 2, actor="test", reason="test")
    keep(tx, model, ["c"], domain="shop", version=2)
    gate_history.record_bits(tx, model, 2, {"shop": {"c": False}})
    versions.rollback(tx, model, actor="test", reason="test")
    keep(tx, model, ["c"], domain="shop", version=3)
    gate_history.record_bits(tx, model, 3, {"shop": {"c": True}})
    assert gate_history.first_bits(tx, model) == {"shop": {"c": Bit(3, True)}}


def test_bits_without_an_example_are_deleted(tx: Connection, model: str) -> None:
    gate_history.record_bits(tx, model, 1, {"film": {"gone": True}})
    keep(tx, model, ["a"])
    gate_history.record_bits(tx, model, 1, {"film": {"a": True}})
    assert gate_history.first_bits(tx, model) == {"film": {"a": Bit(1, True)}}


def test_a_job_uses_a_set_once(tx: Connection, model: str) -> None:
    keep(tx, model, ["a", "b"])
    keep(tx, model, ["c"], domain="shop")
    keep(tx, model, ["d"], domain="news")
    for job in ("one", "one", "two"):
        gate_history.record_uses(tx, model, job, {"film": 2, "shop": 1})
    assert gate_history.uses(tx, model) == {"film": 2, "shop": 2, "news": 0}


def test_a_set_that_doubled_starts_afresh(tx: Connection, model: str) -> None:
    keep(tx, model, ["a", "b", "c"])
    gate_history.record_uses(tx, model, "one", {"film": 3})
    keep(tx, model, ["d", "e"], age_s=LATER)
    assert gate_history.uses(tx, model) == {"film": 1}
    keep(tx, model, ["f"], age_s=LATER)
    assert gate_history.uses(tx, model) == {"film": 0}


def test_examples_are_worn_one_by_one(tx: Connection, model: str) -> None:
    keep(tx, model, ["a", "b"])
    for job in ("one", "two"):
        gate_history.record_uses(tx, model, job, {"film": 2})
    keep(tx, model, ["c"], age_s=LATER)
    found = gate_history.wear(tx, model, 2)["film"]
    assert (found.uses, found.worn, found.fresh, found.n) == (2, {"a", "b"}, {"c"}, 3)
    assert gate_history.wear(tx, model, 3)["film"].worn == set()


def test_what_was_retired_or_demoted_counts_no_more(tx: Connection, model: str) -> None:
    keep(tx, model, ["a", "b", "c"])
    gate_history.record_uses(tx, model, "one", {"film": 3})
    keep(tx, model, ["d"], age_s=LATER)
    assert demote(tx, model, ["a", "b"]) == 2
    assert retire(tx, model, ["c"], version=2, roles=("gate",)) == 1
    assert gate_history.uses(tx, model) == {"film": 0}
    assert {each.key for each in list_examples(tx, model, "selection")} == {"a", "b"}


def test_quarantined_windows_by_model(tx: Connection, model: str) -> None:
    gate_history.quarantine_window(tx, Window(model=model, from_seq=5, to_seq=9, reason="labels flipped"))
    gate_history.quarantine_window(
        tx, Window(model=model, from_seq=20, to_seq=20, reason="rolled back", version=2, job_id="j")
    )
    first, second = gate_history.quarantined(tx, model)
    assert (first.from_seq, first.to_seq, first.reason, first.version) == (5, 9, "labels flipped", None)
    assert (second.version, second.job_id) == (2, "j")
    assert first.at > 0
    assert gate_history.quarantined(tx, "another") == []


@dataclass(frozen=True)
class Row:
    seq: int


@given(
    st.lists(st.integers(0, 60)),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=4),
)
def test_rows_outside_are_those_in_no_window(seqs: list[int], spans: list[tuple[int, int]]) -> None:
    windows = [Window(model="m", from_seq=a, to_seq=b, reason="r") for a, b in spans]
    forbidden = {seq for a, b in spans for seq in range(a, b + 1)}
    kept = gate_history.outside([Row(seq) for seq in seqs], windows)
    assert [row.seq for row in kept] == [seq for seq in seqs if seq not in forbidden]


def test_an_unknown_model_has_no_history(tx: Connection) -> None:
    assert gate_history.first_bits(tx, "nobody") == {}
    assert gate_history.wear(tx, "nobody") == {}


def test_a_set_without_uses_is_not_worn(tx: Connection, model: str) -> None:
    keep(tx, model, ["a"])
    found = gate_history.wear(tx, model, 1)["film"]
    assert (found.uses, found.worn, found.fresh) == (0, frozenset(), {"a"})


def judged_job(tx: Connection, model: str, from_seq: int, until_seq: int, *checks: dict[str, object]) -> None:
    """A job that read these samples, and was held by these checks."""
    job = jobs.open_job(tx, model, cause={"kind": "test"}, domain="", window_from_seq=from_seq)
    lease = jobs.claim(tx, job.id, "worker", 60.0)
    assert lease is not None
    jobs.fix_extent(tx, lease, Extent(until_seq=until_seq, labels_until=1.0))
    jobs.finish(tx, lease, JobStatus.HELD, verdict={"checks": list(checks)})


def looks_of(tx: Connection, model: str, from_seq: int, until_seq: int) -> int:
    """Of a job that reads these samples."""
    job = jobs.open_job(tx, model, cause={"kind": "test"}, domain="", window_from_seq=from_seq)
    lease = jobs.claim(tx, job.id, "worker", 60.0)
    assert lease is not None
    job = jobs.fix_extent(tx, lease, Extent(until_seq=until_seq, labels_until=1.0))
    found = gate_history.looks(tx, job)
    jobs.finish(tx, lease, JobStatus.HELD)
    return found


def test_jobs_that_tested_labels_of_the_same_window_are_counted(tx: Connection, model: str) -> None:
    gain = {"name": "gain:shop", "value": 0.02, "looks": 0}
    judged_job(tx, model, 100, 200, gain)
    judged_job(tx, model, 150, 260, gain, {"name": "use:film", "value": 1.0, "looks": None})
    spans = {(100, 300): 2, (200, 300): 2, (201, 300): 1, (261, 300): 0, (1, 99): 0, (1, 120): 1}
    assert {span: looks_of(tx, model, *span) for span in spans} == spans


def test_what_was_no_test_of_these_labels_is_not_counted(tx: Connection, model: str) -> None:
    """Too few labels, a gain that a past domain's set tells, and a job that proposed nothing."""
    judged_job(tx, model, 100, 200, {"name": "gain:shop", "value": None, "looks": 0})
    judged_job(tx, model, 100, 200, {"name": "gain:film", "value": 0.02, "looks": None})
    judged_job(tx, model, 100, 200)
    assert looks_of(tx, model, 100, 300) == 0
    unread = jobs.open_job(tx, model, cause={"kind": "test"}, domain="", window_from_seq=100)
    assert gate_history.looks(tx, unread) == 0
