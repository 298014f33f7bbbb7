"""Loading one version: what proves itself is a bundle, what does not is a failure with its reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from service.swap import Failure, Loader, prepare_bundle
from tests.fixtures.deployment import Deployment
from trimtab.adapter import HEAD, load_public_key
from trimtab.bundle import ModelBundle
from trimtab.errors import DigestMismatch, MalformedAdapter, VersionNotFound
from trimtab.ledger import models, versions
from trimtab.ledger.models import ModelRow
from trimtab.ledger.versions import Version
from trimtab.store import AdapterStore


@pytest.fixture
def loader(toy: Deployment) -> Loader:
    key = load_public_key(toy.settings.public_key_path)
    return Loader(toy.store, key, device="cpu", max_tokens=64)


def rows_of(toy: Deployment, n: int) -> tuple[ModelRow, Version]:
    with toy.ledger.read() as tx:
        return models.get_model(tx, "toy"), versions.get_version(tx, "toy", n)


def test_a_version_becomes_a_bundle(toy: Deployment, loader: Loader) -> None:
    toy.create_model()
    digest = toy.add_version(1)
    bundle = loader.load(*rows_of(toy, 1))
    assert isinstance(bundle, ModelBundle)
    assert (bundle.model, bundle.version, bundle.digest, bundle.max_tokens) == ("toy", 1, digest, 64)
    assert loader.failures("toy") == {}


def test_bundles_share_one_base_and_it_stays_pristine(toy: Deployment, loader: Loader) -> None:
    toy.create_model()
    for n in (1, 2):
        toy.add_version(n)
    first, second = (loader.load(*rows_of(toy, n)) for n in (1, 2))
    assert isinstance(first, ModelBundle)
    assert isinstance(second, ModelBundle)
    assert first.base is second.base
    for name, tensor in toy.base.encoder.state_dict().items():
        assert np.array_equal(first.base.encoder.state_dict()[name].numpy(), tensor.numpy()), name


def test_a_refusal_is_final_and_remembered(toy: Deployment, loader: Loader) -> None:
    toy.create_model()
    digest = toy.add_version(1)
    head = toy.files_of(digest) / HEAD
    sound = head.read_bytes()
    head.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    failure = loader.load(*rows_of(toy, 1))
    assert isinstance(failure, Failure)
    assert failure.final
    assert failure.reason.startswith("DigestMismatch: head.safetensors")
    head.write_bytes(sound)
    assert loader.load(*rows_of(toy, 1)) is failure  # it will not be trusted again
    assert loader.failures("toy") == {1: failure.reason}
    assert loader.failures("other") == {}


def test_what_cannot_be_had_now_is_tried_later(
    toy: Deployment, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.create_model()
    hidden = toy.files_of(toy.add_version(1)).rename(toy.settings.home / "hidden")
    model, version = rows_of(toy, 1)
    failure = loader.load(model, version)
    assert isinstance(failure, Failure)
    assert not failure.final
    hidden.rename(toy.files_of(version.digest or ""))
    assert loader.load(model, version) is failure  # too soon
    monkeypatch.setattr("service.swap.time.monotonic", lambda: failure.retry_at + 0.001)
    assert isinstance(loader.load(model, version), ModelBundle)
    assert loader.failure(version) is None


def test_attempts_become_rarer(toy: Deployment, loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.create_model()
    toy.files_of(toy.add_version(1)).rename(toy.settings.home / "hidden")
    moment, pauses = 0.0, []
    monkeypatch.setattr("service.swap.time.monotonic", lambda: moment)
    for _ in range(9):
        failure = loader.load(*rows_of(toy, 1))
        assert isinstance(failure, Failure)
        pauses.append(failure.retry_at - moment)
        moment = failure.retry_at
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_base_that_cannot_be_loaded_is_tried_later(toy: Deployment, loader: Loader) -> None:
    toy.create_model()
    toy.add_version(1)
    model, version = rows_of(toy, 1)
    failure = loader.load(replace(model, base=str(toy.settings.home / "nowhere")), version)
    assert isinstance(failure, Failure)
    assert (failure.final, "BaseModelMissing" in failure.reason) == (False, True)


def test_another_versions_files_are_not_accepted_under_this_number(toy: Deployment) -> None:
    toy.create_model()
    digest = toy.add_version(1)
    key = load_public_key(toy.settings.public_key_path)
    store = AdapterStore(toy.settings.store_url)
    with pytest.raises(MalformedAdapter, match="version 1 of toy, not 2 of toy"):
        prepare_bundle(store, key, toy.base, model="toy", version=2, digest=digest, max_tokens=64)
    with pytest.raises(VersionNotFound):
        prepare_bundle(store, key, toy.base, model="toy", version=1, digest="0" * 64, max_tokens=64)
    (toy.files_of(digest) / "gate.json").write_bytes(b"{ }")
    with pytest.raises(DigestMismatch, match=r"gate\.json"):
        prepare_bundle(store, key, toy.base, model="toy", version=1, digest=digest, max_tokens=64)
