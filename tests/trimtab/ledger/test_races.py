"""Threads and processes that want the same thing at the same moment: one gets it, the others are told."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.fixtures.ledgers import block, filled_model, sample
from trimtab.errors import GenerationMismatch, JobInFlight, LeaseLost
from trimtab.jobs import JobStatus
from trimtab.ledger import Ledger, events, feedback, jobs, locks, models, samples, versions
from trimtab.ledger.feedback import FeedbackItem

N = 6


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    with ledger.begin() as tx:
        filled_model(tx)
    return ledger


def at_once(action: Callable[[int], object], n: int = N) -> list[Any]:
    """What `action(0)` ... `action(n - 1)` return or raise, in as many threads that start together."""
    barrier = threading.Barrier(n)
    outcomes: dict[int, Any] = {}

    def run(number: int) -> None:
        barrier.wait()
        try:
            outcomes[number] = action(number)
        except Exception as error:  # noqa: BLE001 - an outcome like any other
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [outcomes[number] for number in range(n)]


def open_one(ledger: Ledger) -> str:
    with ledger.begin() as tx:
        return jobs.open_job(tx, "sentiment", cause={}, domain="d", window_from_seq=1).id


def test_one_of_many_opens_the_job(filled: Ledger):
    outcomes = at_once(lambda _: open_one(filled))
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, JobInFlight) for outcome in outcomes) == N - 1


def test_one_of_many_claims_it(filled: Ledger):
    job_id = open_one(filled)

    def claim(number: int):
        with filled.begin() as tx:
            return jobs.claim(tx, job_id, f"worker-{number}", 30.0)

    (won,) = [lease for lease in at_once(claim) if lease is not None]
    assert won.token == 1
    with filled.read() as tx:
        assert jobs.check(tx, won).attempts == 1


def test_one_of_many_takes_an_expired_lease_over(filled: Ledger):
    job_id = open_one(filled)
    with filled.begin() as tx:
        old = jobs.claim(tx, job_id, "worker-old", -1.0)
    assert old is not None

    def claim(number: int):
        with filled.begin() as tx:
            return jobs.claim(tx, job_id, f"worker-{number}", 30.0)

    (won,) = [lease for lease in at_once(claim) if lease is not None]
    assert won.token == old.token + 1
    with filled.read() as tx, pytest.raises(LeaseLost):
        jobs.check(tx, old)


def test_the_worker_that_lost_its_lease_publishes_nothing(filled: Ledger):
    job_id = open_one(filled)
    with filled.begin() as tx:
        old = jobs.claim(tx, job_id, "old", -1.0)
    with filled.begin() as tx:
        new = jobs.claim(tx, job_id, "new", 30.0)
    assert old is not None
    assert new is not None
    leases, n_of = (old, new), (2, 3)

    def publish(number: int) -> int:
        with filled.begin() as tx:
            versions.promote(tx, "sentiment", n_of[number], actor="worker", reason="passed")
            return jobs.finish(tx, leases[number], JobStatus.PROMOTED, version=n_of[number]).lease_token

    refused, done = at_once(publish, 2)
    assert isinstance(refused, LeaseLost)
    assert done == 2
    with filled.read() as tx:
        assert versions.get_aliases(tx, "sentiment") == {"champion": 3, "previous": 1}
        assert models.get_model(tx, "sentiment").generation == 2
        assert jobs.get_job(tx, job_id).version == 3


def test_one_of_two_operators_changes_what_is_served(filled: Ledger):
    def promote(number: int) -> int:
        with filled.begin() as tx:
            return versions.promote(
                tx, "sentiment", number + 2, actor="ada", reason="", expected_generation=1
            )

    outcomes = at_once(promote, 2)
    assert sorted(map(str, (type(outcome) for outcome in outcomes))) == sorted(
        [str(int), str(GenerationMismatch)]
    )
    with filled.read() as tx:
        assert models.get_model(tx, "sentiment").generation == 2
        promoted = [event for event in events.list_events(tx) if event.kind == "promoted"]
    assert len(promoted) == 2  # version 1 at first, then one of the two


def test_jobs_reserve_different_numbers(filled: Ledger):
    def reserve(number: int) -> int:
        with filled.begin() as tx:
            return versions.reserve_version(tx, "sentiment", f"job-{number % 3}")

    outcomes = at_once(reserve)
    assert sorted(outcomes) == [4, 4, 5, 5, 6, 6]
    assert outcomes[:3] == outcomes[3:]


def test_one_of_many_is_the_monitor(filled: Ledger):
    def hold(number: int) -> bool:
        with filled.begin() as tx:
            return locks.hold(tx, "monitor", f"process-{number}", 30.0)

    assert sorted(at_once(hold)) == [False] * (N - 1) + [True]


def test_the_same_block_read_by_two_counts_once(filled: Ledger):
    delivery = block("b", [sample(number) for number in range(50)])

    def ingest(_: int) -> int:
        with filled.begin() as tx:
            return samples.ingest(tx, [delivery])

    assert sorted(at_once(ingest)) == [0] * (N - 1) + [50]


def test_labels_and_predictions_that_meet_are_always_joined(filled: Ledger):
    """Without one writer at a time a label may see no prediction while the prediction sees no label."""

    def arrive(number: int) -> None:
        for step in range(8):
            with filled.begin() as tx:
                if number % 2:
                    samples.ingest(tx, [block(f"b{number}.{step}", [sample(10 * step + number // 2)])])
                else:
                    item = FeedbackItem(prediction_id=f"p{10 * step + number // 2}", label="neg")
                    feedback.record_feedback(tx, [item])

    assert at_once(arrive) == [None] * N
    with filled.read() as tx:
        assert len(feedback.labelled(tx, "sentiment")) == 8 * N // 2


CLAIM = """
import sys
from trimtab.ledger import Ledger, jobs

ledger = Ledger(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
with ledger.begin() as tx:
    lease = jobs.claim(tx, sys.argv[2], sys.argv[3], 30.0)
print("won" if lease else "lost")
ledger.close()
"""


def test_one_of_several_processes_claims_it(filled: Ledger, url: str):
    job_id = open_one(filled)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM, url, job_id, f"process-{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    said = [process.communicate("go\n")[0].strip() for process in processes]
    assert sorted(said) == ["lost", "lost", "won"]
