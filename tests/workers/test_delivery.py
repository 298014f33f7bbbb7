"""What the store gives back is tried before it is promoted: a store that damages or loses it ends the job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import MODEL, ToyShop
from trimtab.adapter import ALL_FILES, MANIFEST, WEIGHTS, AdapterManifest, digest_of, sign
from trimtab.base import BaseModel
from trimtab.errors import AdapterRefused, DigestMismatch, SelfTestFailed, VersionNotFound
from trimtab.jobs import JobStatus
from trimtab.ledger import jobs, versions
from trimtab.ledger.versions import VersionState
from trimtab.store import AdapterStore
from workers.delivery import deliver
from workers.trainer import end_job


@pytest.fixture
def first(empty_shop: ToyShop) -> tuple[ToyShop, dict[str, bytes]]:
    """The files of version 1; a changed manifest makes another version of them."""
    digest = empty_shop.create_first(toy_rows("film", 200), epochs=1).digest
    return empty_shop, empty_shop.shop.store.get(digest)


def folder_of(toy: ToyShop, digest: str) -> Path:
    return toy.settings.home / "store" / "adapters" / digest


def other_version(toy: ToyShop, files: Mapping[str, bytes], **changes: Any) -> dict[str, bytes]:
    manifest = AdapterManifest.from_bytes(files[MANIFEST])
    return {**files, **sign(replace(manifest, version=2, **changes), toy.shop.private_key)}


def wrong_version(toy: ToyShop, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """One that answers otherwise than it says."""
    golden = AdapterManifest.from_bytes(files[MANIFEST]).golden
    logits = tuple(tuple(value + 0.01 for value in row) for row in golden.logits)
    return other_version(toy, files, golden=replace(golden, logits=logits))


def test_what_comes_back_whole_is_delivered(
    first: tuple[ToyShop, dict[str, bytes]], tiny_base: BaseModel
) -> None:
    toy, files = first
    other = other_version(toy, files)
    digest = deliver(toy.shop, tiny_base, other)
    assert digest == digest_of(other)
    assert toy.shop.store.get(digest) == other


@pytest.mark.parametrize("name", sorted(ALL_FILES))
def test_a_damaged_file_of_an_earlier_try_is_noticed(
    first: tuple[ToyShop, dict[str, bytes]], tiny_base: BaseModel, name: str
) -> None:
    """The store writes nothing twice: what lies there torn stays torn."""
    toy, files = first
    other = other_version(toy, files)
    torn = folder_of(toy, digest_of(other)) / name
    torn.parent.mkdir(parents=True)
    torn.write_bytes(other[name][: len(other[name]) // 2])
    with pytest.raises(AdapterRefused):
        deliver(toy.shop, tiny_base, other)


def test_one_that_does_not_answer_as_it_says_is_refused(
    first: tuple[ToyShop, dict[str, bytes]], tiny_base: BaseModel
) -> None:
    toy, files = first
    with pytest.raises(SelfTestFailed):
        deliver(toy.shop, tiny_base, wrong_version(toy, files))


def test_a_rejected_one_is_kept_as_it_is(
    first: tuple[ToyShop, dict[str, bytes]], tiny_base: BaseModel
) -> None:
    """It may be anything: that it cannot answer is why it was rejected, and not that the job failed."""
    toy, files = first
    wrong = wrong_version(toy, files)
    with pytest.raises(SelfTestFailed):
        deliver(toy.shop, tiny_base, wrong)
    assert toy.shop.store.get(deliver(toy.shop, tiny_base, wrong, rejected=True)) == wrong


class LossyStore(AdapterStore):
    """A directory whose disk loses or flips what was written: the fault is done to the files themselves."""

    def __init__(self, home: Path, name: str, damage: str) -> None:
        super().__init__((home / "store").as_uri())
        self._folder, self._name, self._damage = home / "store" / "adapters", name, damage

    def put(self, files: Mapping[str, bytes]) -> str:
        digest = super().put(files)
        broken = self._folder / digest / self._name
        content = broken.read_bytes()
        broken.unlink()
        if self._damage == "flipped":
            broken.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        return digest


@pytest.mark.parametrize(
    "name, damage, reason",
    [(WEIGHTS, "flipped", DigestMismatch.__name__), (MANIFEST, "lost", VersionNotFound.__name__)],
)
def test_the_job_fails_with_the_reason_and_the_champion_stays(
    empty_shop: ToyShop, name: str, damage: str, reason: str
) -> None:
    toy = empty_shop
    toy.create_first(toy_rows("film", 200), epochs=1)
    first_seq = toy.stream(toy_rows("shop", 300))
    with toy.ledger.begin() as tx:
        cause = {"kind": "test", "method": "head"}
        job = jobs.open_job(tx, MODEL, cause=cause, domain="", window_from_seq=first_seq)
    broken = replace(toy.shop, store=LossyStore(toy.settings.home, name, damage))
    assert end_job(broken, toy.claim(job)) is JobStatus.FAILED
    assert toy.job(job.id).reason.startswith(f"{reason}: ")
    with toy.ledger.read() as tx:
        assert versions.get_aliases(tx, MODEL)["champion"] == 1
        assert versions.get_version(tx, MODEL, 2).state is VersionState.RESERVED
    assert json.loads(toy.shop.store.get(champion_digest(toy))[MANIFEST])["version"] == 1


def champion_digest(toy: ToyShop) -> str:
    with toy.ledger.read() as tx:
        return str(versions.get_version(tx, MODEL, 1).digest)
