"""Samples reach the ledger once, whatever is away or dies."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import redis

from monitoring.intake import CONSUMER
from monitoring.monitor import tick
from monitoring.station import Station, open_station
from service.valkey import start_valkey
from tests.fixtures.references import traffic
from tests.monitoring.conftest import MODEL, Place, feed, open_place, settings_in
from trimtab.errors import LedgerUnavailable
from trimtab.ledger import Ledger, jobs, samples
from trimtab.samples import STREAM
from trimtab.settings import SamplesSettings


def test_a_crash_between_keeping_and_acknowledging_counts_nothing_twice(
    place: Place, station: Station
) -> None:
    place.send(traffic(20, 0.0, seed=5))
    ((stream_id, block),) = place.stream.read(CONSUMER, block_ms=1)
    with place.ledger.begin() as tx:
        samples.ingest(tx, [(stream_id, block)])
    # Here the monitor died; its successor finds the block still pending.
    tick(station)
    assert place.n_samples() == 20
    assert place.stream.read(CONSUMER, block_ms=1) == []


def test_a_block_that_was_published_twice_counts_once(place: Place, station: Station) -> None:
    block = place.block(traffic(20, 0.0, seed=5))
    place.stream.publish(block)
    place.stream.publish(block)
    tick(station)
    assert place.n_samples() == 20


def test_rubbish_in_the_stream_is_skipped(place: Place, station: Station, redis_client: redis.Redis) -> None:
    redis_client.xadd(STREAM, {"block": "{"})
    place.send(traffic(5, 0.0, seed=5))
    tick(station)
    assert place.n_samples() == 5


def test_without_retention_no_text_is_kept_and_the_window_is_still_checked(
    tmp_path: Path, redis_client: redis.Redis, valkey: Any
) -> None:
    settings = settings_in(tmp_path, valkey.url, samples=SamplesSettings(retention="0"))
    place = open_place(settings)
    place.add_version(1, {"movie": traffic(300, 0.0, seed=1)})
    with open_station(settings, place.nudged.append) as station:
        feed(place, station, 120, 0.0)
    assert place.reports()
    with place.ledger.read() as tx:
        assert {row.text for row in samples.window_rows(tx, MODEL, 0, 1000)} == {None}


def test_goes_on_without_redis_and_after_it_is_back(tmp_path: Path) -> None:
    with TemporaryDirectory(prefix="tt-") as short:
        start = partial(start_valkey, Path(short) / "v.sock", data=tmp_path / "data", log=tmp_path / "log")
        server = start()
        place = open_place(settings_in(tmp_path, server.url))
        place.add_version(1, {"movie": traffic(300, 0.0, seed=1)})
        with open_station(place.settings, place.nudged.append) as station:
            feed(place, station, 100, 0.0)
            server.stop()
            with place.ledger.begin() as tx:
                job = jobs.open_job(tx, MODEL, cause={}, domain="", window_from_seq=1)
                jobs.claim(tx, job.id, "worker", -1.0)
            assert tick(station)  # the ledger is looked after all the same
            assert place.nudged == [job.id]
            server = start()
            feed(place, station, 20, 0.0)
            assert place.n_samples() == 120
        server.stop()


def test_without_the_ledger_nothing_is_acknowledged(place: Place, station: Station) -> None:
    place.send(traffic(20, 0.0, seed=5))
    unreachable = Ledger("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(LedgerUnavailable):
        replace(station.intake, ledger=unreachable).take_in()
    assert tick(station)
    assert place.n_samples() == 20
