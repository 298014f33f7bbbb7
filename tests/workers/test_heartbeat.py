"""A lease is renewed for as long as its holder works, and no longer."""

from __future__ import annotations

import threading

import pytest

from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import ToyShop, wait_until
from trimtab.jobs import Lease
from trimtab.ledger import jobs
from workers.heartbeat import kept


@pytest.fixture
def held(empty_shop: ToyShop) -> tuple[ToyShop, Lease]:
    empty_shop.create_first(toy_rows("film", 60), epochs=1)
    return empty_shop, empty_shop.claim(empty_shop.open_job(0))


def beating() -> bool:
    return any(thread.name == "heartbeat" for thread in threading.enumerate())


def test_it_is_renewed_while_it_is_needed(held: tuple[ToyShop, Lease]) -> None:
    toy, lease = held
    seen: set[float | None] = set()

    def renewed_twice() -> bool:
        seen.add(toy.job(lease.job_id).lease_expires_at)
        return len(seen) > 2

    with kept(toy.ledger, lease, 0.1):
        wait_until(renewed_twice, "two renewals")
    assert not beating()


def test_one_that_is_void_is_left_alone(held: tuple[ToyShop, Lease]) -> None:
    toy, lease = held
    with kept(toy.ledger, lease, 0.1):
        with toy.ledger.begin() as tx:
            jobs.release(tx, lease)
        wait_until(lambda: not beating(), "the end of the thread")
        assert toy.job(lease.job_id).lease_expires_at is None
