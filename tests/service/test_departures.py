"""Versions that go: in nobody's way, gone with the last request, and a warning when they are held."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import REGISTRY

from service.departures import Departures
from service.memory import release_memory
from tests.fixtures.versions import make_version
from trimtab.adapter import verify
from trimtab.base import BaseModel, load_base
from trimtab.bundle import ModelBundle, build_bundle

KEY = Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def base(tiny_base_dir: Path) -> BaseModel:
    return load_base(str(tiny_base_dir), "cpu")


def build(base: BaseModel, n: int = 1) -> ModelBundle:
    files = make_version(base, KEY, version=n, seed=n)
    return build_bundle(base, files, manifest=verify(files, KEY.public_key()), digest=str(n))


def drained() -> float:
    name = "trimtab_swap_phase_duration_seconds_count"
    return REGISTRY.get_sample_value(name, {"phase": "drain"}) or 0.0


def test_a_version_is_gone_when_the_last_request_lets_go(base: BaseModel) -> None:
    departures, held, before = Departures(60), [build(base)], drained()
    departures.add(held[0])
    departures.look()
    assert drained() == before
    held.clear()
    departures.look()
    departures.look()
    assert drained() == before + 1


def test_several_may_go_at_once(base: BaseModel) -> None:
    departures, before = Departures(60), drained()
    bundles = [build(base, n) for n in (1, 2, 3)]
    for bundle in bundles:
        departures.add(bundle)
    del bundle, bundles[1:]
    departures.look()
    assert drained() == before + 2


def test_what_is_held_for_long_is_a_warning_once_in_a_while(
    base: BaseModel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("service.departures.time.monotonic", lambda: clock[0])
    departures, held = Departures(10), build(base)
    departures.add(held)
    warned = []
    with caplog.at_level(logging.WARNING):
        for clock[0] in (105.0, 111.0, 115.0, 122.0):
            departures.look()
            warned.append(len(caplog.records))
    assert warned == [0, 1, 1, 2]
    assert caplog.records[0].getMessage() == f"version {held.version} of toy still has requests"


def test_free_memory_can_be_given_back_again_and_again() -> None:
    assert {type(release_memory()) for _ in range(2)} == {bool}
