"""The places that all processes share, ledger, Redis and store: do they answer, are they new enough, in time?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Connection

from service.doctor.check import Check, fail, ok, warn
from trimtab.errors import LedgerUnavailable, StoreUnavailable
from trimtab.ledger import Ledger
from trimtab.ledger.clock import now
from trimtab.ledger.migrate import current_revision, newest_revision
from trimtab.settings import Settings
from trimtab.store import AdapterStore

MAX_SKEW_S = 2.0
OLDEST_REDIS = (6, 2)  # XAUTOCLAIM, which a monitor takes over with
OLDEST_POSTGRESQL = 13
_TIMEOUT_S = 5.0


def nothing_yet(settings: Settings) -> bool:
    """Whether the ledger would be a SQLite file that nobody has made: looking must not make it."""
    return settings.ledger.url is None and not (settings.home / "ledger.db").exists()


def check_ledger(settings: Settings) -> Iterator[Check]:
    """The database answers, is new enough, stands at this release's schema, and its clock agrees with ours."""
    if nothing_yet(settings):
        yield fail("ledger", f"there is nothing in {settings.home} yet", "run `trimtab init` or `trimtab up`")
        return
    ledger = Ledger(settings.ledger_url)
    try:
        with ledger.read() as tx:
            yield _engine(tx, ledger.url.render_as_string())
            yield _revision(tx)
            yield _clock("ledger's clock", now(tx) - time.time())
    except LedgerUnavailable as error:
        yield fail("ledger", str(error), "look at TRIMTAB_LEDGER__URL and the database")
    finally:
        ledger.close()


def check_redis(settings: Settings) -> Iterator[Check]:
    """Redis answers, is new enough, loses nothing by eviction or restart, and its clock agrees with ours."""
    try:
        client = redis.Redis.from_url(
            settings.redis_url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        info = client.info()
        seconds, micros = client.time()
    except (redis.RedisError, OSError, ValueError) as error:
        embedded = "it is embedded: `trimtab up` starts it"
        advice = "look at TRIMTAB_REDIS__URL" if settings.redis.url else embedded
        verdict = fail if settings.redis.url else warn
        yield verdict("redis", f"cannot be reached: {error}", advice)
        return
    yield _redis_version(info)
    yield _redis_policy(info)
    yield _redis_file(info)
    yield _clock("redis' clock", seconds + micros / 1e6 - time.time())


def check_store(settings: Settings) -> Iterator[Check]:
    """The store can be read; what writes to it does so only once."""
    if settings.store.url is None and not (settings.home / "store").exists():
        yield warn("store", f"there is none in {settings.home} yet", "`trimtab init` makes it")
        return
    store = AdapterStore(settings.store_url)
    n = len(store.digests())
    yield ok("store", f"{settings.store_url}: {n} versions")
    try:
        store.probe()
    except StoreUnavailable as error:
        yield warn("store, writing", str(error), "right for API and monitor; a worker must write")
    else:
        yield ok("store, writing", "conditional writes hold")


def _engine(tx: Connection, url: str) -> Check:
    number = tx.dialect.server_version_info or (0,)
    said = f"{url}, {tx.dialect.name} {'.'.join(map(str, number))}"
    if tx.dialect.name == "postgresql" and number < (OLDEST_POSTGRESQL,):
        return fail("ledger", said, f"PostgreSQL {OLDEST_POSTGRESQL} or newer is needed")
    return ok("ledger", said)


def _revision(tx: Connection) -> Check:
    present, newest = current_revision(tx), newest_revision()
    if present == newest:
        return ok("schema", f"revision {present}")
    if present is None:
        return fail("schema", "there are no tables", "run `trimtab migrate`")
    if present < newest:
        return fail("schema", f"revision {present}, this release has {newest}", "run `trimtab migrate`")
    return fail(
        "schema", f"revision {present}, newer than this release's {newest}", "install the newer release"
    )


def _clock(name: str, skew_s: float) -> Check:
    said = f"{abs(skew_s):.3f} s {'ahead of' if skew_s > 0 else 'behind'} this machine's"
    if abs(skew_s) > MAX_SKEW_S:
        return warn(name, said, "run a time service: times of events and samples will not fit together")
    return ok(name, said)


def _redis_version(info: dict[str, Any]) -> Check:
    number = str(info["redis_version"])
    name = f"{info.get('server_name', 'redis')} {info.get('valkey_version', number)}"
    if tuple(int(part) for part in number.split(".")[:2]) < OLDEST_REDIS:
        return fail("redis", name, "6.2 or newer is needed")
    return ok("redis", name)


def _redis_policy(info: dict[str, Any]) -> Check:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy != "noeviction":
        return warn("redis, memory", f"maxmemory-policy is {policy}", "set noeviction: samples may vanish")
    return ok("redis, memory", f"{policy}, {int(info.get('used_memory', 0)) / 1e6:.0f} MB used")


def _redis_file(info: dict[str, Any]) -> Check:
    if int(info.get("aof_enabled", 0)):
        return ok("redis, disk", "append-only file on")
    return warn(
        "redis, disk", "append-only file off", "set appendonly yes: a restart loses samples that wait"
    )
