"""Every examination, one after the other: one that breaks off is a finding, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from service.doctor.check import Check, fail
from service.doctor.machine import (
    check_device,
    check_disk,
    check_exposure,
    check_keys,
    check_libraries,
)
from service.doctor.places import check_ledger, check_redis, check_store
from service.doctor.served import check_monitor, check_replicas, check_served
from trimtab.errors import TrimtabError
from trimtab.settings import Settings

EXAMINATIONS: tuple[Callable[[Settings], Iterator[Check]], ...] = (
    check_libraries, check_exposure, check_keys, check_disk, check_device, check_ledger, check_redis, check_store,
    check_served, check_replicas, check_monitor,
)  # fmt: skip


def examine(settings: Settings) -> list[Check]:
    """All findings, in a fixed order. Raises nothing that a deployment could cause."""
    return [check for examination in EXAMINATIONS for check in _guarded(examination, settings)]


def _guarded(examination: Callable[[Settings], Iterator[Check]], settings: Settings) -> Iterator[Check]:
    try:
        yield from examination(settings)
    except TrimtabError as error:
        yield fail(examination.__name__.removeprefix("check_"), str(error), "")
