from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.fixtures.versions import make_version
from tests.fixtures.workshops import MODEL, ToyShop
from trimtab.adapter import MANIFEST, AdapterManifest
from trimtab.base import BaseModel
from trimtab.ledger import models, versions
from trimtab.ledger.versions import VersionState
from workers.gate.updates import LAST, accepted_changes, update_of
from workers.lora import delta

Files = dict[str, bytes]


def versions_of(base: BaseModel, n: int) -> list[Files]:
    key = Ed25519PrivateKey.generate()
    return [make_version(base, key, seed=seed) for seed in range(n)]


def flat(parent: Files, child: Files) -> torch.Tensor:
    """The change of every layer as one vector, by full matrices."""
    before, after = delta(parent), delta(child)
    return torch.cat([(after[name] - before[name]).reshape(-1) for name in sorted(after)])


def test_norms_and_cosines_by_full_matrices(tiny_base: BaseModel) -> None:
    one, two, three, four = versions_of(tiny_base, 4)
    found = update_of(three, four, [(one, two), (two, three)])
    mine, first, second = flat(three, four), flat(one, two), flat(two, three)
    assert found.norm == pytest.approx(float(mine.norm()))
    assert found.accepted_norms == pytest.approx((float(first.norm()), float(second.norm())))
    cosines = [float(torch.cosine_similarity(mine, each, dim=0)) for each in (first, second)]
    assert found.cosine == pytest.approx(np.mean(cosines), abs=1e-9)
    among = float(torch.cosine_similarity(first, second, dim=0))
    assert found.accepted_cosines == pytest.approx((among, among))


def test_what_leaves_the_encoder_alone_is_no_change(tiny_base: BaseModel) -> None:
    one, two = versions_of(tiny_base, 2)
    assert update_of(one, one, []).norm == 0.0
    assert update_of(one, two, [(one, one)]).accepted_norms == ()


def test_a_return_to_accepted_weights_is_no_change(tiny_base: BaseModel) -> None:
    one, two, three = versions_of(tiny_base, 3)
    assert update_of(three, one, [(one, two), (two, three)]).norm == 0.0


@pytest.fixture
def lineage(empty_shop: ToyShop, tiny_base: BaseModel) -> ToyShop:
    """Fourteen versions, each made from the one before; 5 rejected, 8 tampered with, 1 without a parent."""
    toy = empty_shop
    with toy.ledger.begin() as tx:
        models.create_model(tx, MODEL, ("negative", "positive"), "tiny", tiny_base.digest)
        for n in range(1, 15):
            parent = n - 1 if n > 1 else None
            files = make_version(tiny_base, toy.shop.private_key, version=n, parent=parent, seed=n)
            digest = toy.shop.store.put(files)
            manifest = asdict(AdapterManifest.from_bytes(files[MANIFEST]))
            state = VersionState.REJECTED if n == 5 else VersionState.ACCEPTED
            versions.record_version(tx, MODEL, n, digest, parent, state, manifest=manifest)
            if n == 8:
                place = toy.settings.home / "store" / "adapters" / digest / "head.safetensors"
                place.write_bytes(place.read_bytes()[:-1] + b"x")
    return toy


def pairs_of(toy: ToyShop, base_digest: str) -> list[tuple[int, int]]:
    found = accepted_changes(toy.shop, MODEL, base_digest)
    return [(json.loads(a[MANIFEST])["version"], json.loads(b[MANIFEST])["version"]) for a, b in found]


def test_the_last_ten_accepted_that_can_be_trusted(lineage: ToyShop, tiny_base: BaseModel) -> None:
    """14 down to 4 without 5 are ten; 9 was made from 8, and 8 cannot be believed."""
    assert LAST == 10
    assert pairs_of(lineage, tiny_base.digest) == [
        (13, 14), (12, 13), (11, 12), (10, 11), (9, 10), (6, 7), (5, 6), (3, 4),
    ]  # fmt: skip


def test_versions_on_another_base_are_passed_over(lineage: ToyShop) -> None:
    assert pairs_of(lineage, "f" * 64) == []
