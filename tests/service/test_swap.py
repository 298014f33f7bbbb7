"""Loading one version: what proves itself is a bundle, what does not is a failure with its reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import REGISTRY

from service.swap import Failure, Loader
from tests.fixtures.deployment import Deployment
from tests.fixtures.versions import make_version
from trimtab.adapter import HEAD, MANIFEST, REMEDY, AdapterManifest, file_digests, load_public_key, sign
from trimtab.bundle import ModelBundle, Remedy
from trimtab.ledger import models, versions
from trimtab.ledger.models import ModelRow
from trimtab.ledger.versions import Served
from trimtab.settings import ServerSettings


@pytest.fixture
def loader(toy: Deployment) -> Loader:
    key = load_public_key(toy.settings.public_key_path)
    return Loader(toy.store, key, device="cpu", server=ServerSettings(max_tokens=64))


def rows_of(toy: Deployment, n: int) -> tuple[ModelRow, Served]:
    with toy.ledger.read() as tx:
        served = versions.served_versions(tx)["toy"].values()
        return models.get_model(tx, "toy"), next(version for version in served if version.n == n)


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


def test_another_versions_files_are_not_accepted_under_this_number(toy: Deployment, loader: Loader) -> None:
    toy.create_model()
    digest = toy.add_version(1)
    model, version = rows_of(toy, 1)
    assert "version 1 of toy, not 2 of toy" in reason(loader.load(model, replace(version, n=2)))
    assert "VersionNotFound" in reason(loader.load(model, replace(version, digest="0" * 64)))
    (toy.files_of(digest) / "gate.json").write_bytes(b"{ }")
    assert reason(loader.load(model, version)).startswith("DigestMismatch: gate.json")


def reason(outcome: ModelBundle | Failure) -> str:
    assert isinstance(outcome, Failure)
    return outcome.reason


def loader_with(toy: Deployment, **server: Any) -> Loader:
    key = load_public_key(toy.settings.public_key_path)
    return Loader(toy.store, key, device="cpu", server=ServerSettings(**server))


def three_versions(toy: Deployment) -> list[Served]:
    toy.create_model()
    for n in (1, 2, 3):
        toy.add_version(n)
    with toy.ledger.begin() as tx:
        versions.set_alias(tx, "toy", "baseline", 1, actor="test", reason="")
    return [rows_of(toy, n)[1] for n in (1, 2, 3)]


def test_what_does_not_fit_waits_until_something_goes(toy: Deployment) -> None:
    first, second, third = three_versions(toy)
    model, _ = rows_of(toy, 1)
    one = loader_with(toy).load(model, first)
    assert isinstance(one, ModelBundle)
    loader = loader_with(toy, max_variants_bytes=2 * one.own_bytes)
    kept = [loader.load(model, first), loader.load(model, second)]
    assert loader.used_bytes == 2 * one.own_bytes
    failure = loader.load(model, third)
    assert isinstance(failure, Failure)
    assert (failure.final, failure.no_room) == (False, True)
    assert "InsufficientMemory" in failure.reason
    kept.pop()
    assert loader.used_bytes == one.own_bytes  # by the last reference, without a collection


@pytest.mark.parametrize(("most", "precision", "outcomes"), [(0.2, "int8", 0), (0.0, "fp32", 1)])
def test_a_lower_precision_serves_unless_it_answers_too_differently(
    toy: Deployment, most: float, precision: str, outcomes: int
) -> None:
    def refused() -> float:
        labels = {"model": "toy", "outcome": "precision_refused"}
        return REGISTRY.get_sample_value("trimtab_swaps_total", labels) or 0.0

    first, *_ = three_versions(toy)
    before = refused()
    bundle = loader_with(toy, precision="int8", max_precision_shift=most).load(rows_of(toy, 1)[0], first)
    assert isinstance(bundle, ModelBundle)
    assert (bundle.precision, refused() - before) == (precision, outcomes)


def test_the_remedy_of_a_version_is_part_of_it(toy: Deployment, loader: Loader) -> None:
    """A version may change nothing but its remedy; it is signed with the rest."""
    toy.create_model()
    files = make_version(toy.base, toy.key, seed=1)
    remedy = Remedy(2.0, (0.7, -0.7), {"tweets": (1.0, 0.0)})
    toy.add_version(1, files=resigned(files | {REMEDY: remedy.to_bytes()}, toy.key))
    bundle = loader.load(*rows_of(toy, 1))
    assert isinstance(bundle, ModelBundle)
    assert bundle.remedy == remedy


def resigned(files: dict[str, bytes], key: Ed25519PrivateKey) -> dict[str, bytes]:
    manifest = replace(AdapterManifest.from_bytes(files[MANIFEST]), files=file_digests(files))
    return files | sign(manifest, key)
