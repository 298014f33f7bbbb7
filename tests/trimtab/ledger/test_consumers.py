from __future__ import annotations

from trimtab.ledger import Ledger
from trimtab.ledger.consumers import forget_worker, live_workers, report_worker
from trimtab.ledger.locks import hold


def test_a_worker_is_there_until_it_leaves(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        for name in ("two@b", "one@a", "one@a"):
            report_worker(tx, "adapt", name, 60.0)
        assert live_workers(tx, "adapt") == ["one@a", "two@b"]
        forget_worker(tx, "adapt", "one@a")
        assert live_workers(tx, "adapt") == ["two@b"]


def test_one_that_says_nothing_any_more_is_gone_and_forgotten(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        report_worker(tx, "adapt", "dead", -1.0)
        assert live_workers(tx, "adapt") == []
        report_worker(tx, "adapt", "alive", 60.0)
        assert live_workers(tx, "adapt") == ["alive"]


def test_queues_and_other_leases_are_kept_apart(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        hold(tx, "monitor", "somebody", -1.0)
        report_worker(tx, "adapt_gpu", "gpu", -1.0)
        report_worker(tx, "adapt", "cpu", 60.0)
        assert live_workers(tx, "adapt_gpu") == []
        assert live_workers(tx, "adapt") == ["cpu"]
        # A worker forgets only those of its own queue, and `_` is no wildcard.
        report_worker(tx, "adapt_gpu", "gpu", 60.0)
        report_worker(tx, "adaptXgpu", "other", 60.0)
        assert live_workers(tx, "adapt_gpu") == ["gpu"]
