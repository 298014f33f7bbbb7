"""The ledger: the one record of models, versions, jobs, samples, labels and decisions, shared by every process.

`Ledger` opens transactions; the modules beside it hold plain functions on a transaction's connection, so that callers
compose several of them into one all-or-nothing change:

    with ledger.begin() as tx:
        jobs.check(tx, lease)
        versions.promote(tx, model, n, actor="worker", reason="passed the gate")
        jobs.finish(tx, lease, JobStatus.PROMOTED, version=n)
"""

from trimtab.ledger.database import Ledger

__all__ = ["Ledger"]
