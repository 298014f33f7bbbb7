"""What is toured: the demo's home with keys on, and what the ledger says of it."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from service.demo.budget import MAX_TRAIN, SOURCE, DomainRows, deal
from service.demo.data import cache_dir, fetch_archive, load_domains, write_rows
from service.demo.machine import free_port, init_model
from service.demo.model import packaged_model
from service.demo.shortened import demo_settings
from service.demo.story import MODEL
from trimtab.errors import TrimtabError
from trimtab.ledger import Ledger
from trimtab.ledger.keys import add_key
from trimtab.ledger.schema import feedback
from trimtab.settings import AuthSettings, Settings, read_settings

OPERATOR = "ada"
_CLONE_NEWUTS = 0x04000000  # linux/sched.h


class NameNotTaken(TrimtabError):
    """This process may not give itself another host name."""


@dataclass(frozen=True)
class Stage:
    """A home with a first version, the demo's rows, the key of an operator and that of an application."""

    settings: Settings
    rows: dict[str, DomainRows]
    operator: str
    application: str


def set_up(folder: Path, *, seed: int) -> Stage:
    """`trimtab init` on the demo's movie reviews, with the demo's settings but keys on. Raises DemoFailed."""
    rows = deal(load_domains(fetch_archive(cache_dir())), seed=seed)
    data = write_rows(folder / "init.jsonl", rows[SOURCE].init)
    short = demo_settings(read_settings(), home=folder / "home", port=free_port(), seed=seed, full=False)
    settings = short.model_copy(update={"auth": AuthSettings(mode="keys")})
    init_model(settings, MODEL, base=packaged_model(), data=data, max_train=MAX_TRAIN)
    return Stage(settings, rows, *_keys(settings))


def _keys(settings: Settings) -> tuple[str, str]:
    with opened(settings) as ledger, ledger.begin() as tx:
        operator = add_key(tx, OPERATOR, ["read", "feedback", "operate"], "")
        return operator, add_key(tx, "app", ["predict", "feedback"], "")


@contextmanager
def opened(settings: Settings) -> Iterator[Ledger]:
    """The stage's ledger, beside the parts that use it."""
    ledger = Ledger(settings.ledger_url)
    try:
        yield ledger
    finally:
        ledger.close()


def labels_by(settings: Settings, key: str) -> int:
    """How many labels came under this key's name."""
    with opened(settings) as ledger, ledger.read() as tx:
        given = select(func.count()).where(feedback.c.client == key)
        return int(tx.execute(given).scalar_one())


def take_name(name: str) -> None:
    """Another host name for this process and what it starts: replicas and workers are named after their host.

    Raises:
        NameNotTaken: the kernel does not allow it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUTS) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise NameNotTaken(f"cannot take the host name {name} ({reason}): run it as root or by `unshare -r`")
    socket.sethostname(name)
