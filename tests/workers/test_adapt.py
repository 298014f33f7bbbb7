"""One real adaptation on a tiny base, looked at from all sides; and the ways in which it must not end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.tiny_base import build_tiny_base
from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, small_training, toy_shop
from trimtab.adapter import GATE, REFERENCES, verify
from trimtab.base import load_base
from trimtab.errors import BaseMismatch, DigestMismatch, LeaseLost
from trimtab.features import References
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.ledger import events, jobs, samples, versions
from trimtab.ledger.examples import Example, domains, list_examples
from trimtab.ledger.versions import VersionState
from trimtab.settings import GateSettings, MemorySettings
from trimtab.splits import key_of
from workers.adapt import run_adaptation
from workers.workshop import load_version

Adapted = tuple[ToyShop, AdaptationJob]


def kept(toy: ToyShop, role: str, domain: str) -> list[Example]:
    with toy.ledger.read() as tx:
        return list_examples(tx, MODEL, role, domain)


def test_the_candidate_is_promoted_with_its_numbers(adapted: Adapted) -> None:
    toy, job = adapted
    assert job.status is JobStatus.PROMOTED
    assert job.version == 2
    assert job.verdict is not None
    assert job.verdict["verdict"] == "promote"
    names = [check["name"] for check in job.verdict["checks"]]
    assert names[:4] == ["integrity", "parity", "forgetting:film", "gain:shop"]
    with toy.ledger.read() as tx:
        assert versions.get_aliases(tx, MODEL) == {"champion": 2, "previous": 1, "baseline": 1}
        assert versions.get_version(tx, MODEL, 2).state is VersionState.ACCEPTED


def test_it_is_better_on_the_new_domain_and_as_good_on_the_old(adapted: Adapted) -> None:
    toy, _ = adapted
    base = load_base(str(toy.base_dir), "cpu")
    before, after = (load_version(toy.shop, base, MODEL, n).answers for n in (1, 2))
    for domain, least in (("shop", 0.2), ("film", -0.05)):
        rows = toy_rows(domain, 150, seed=77)
        texts, truth = [row.text for row in rows], np.array([LABELS.index(row.label) for row in rows])
        one, two = (answers.scorecard(texts, truth) for answers in (before, after))
        assert two.balanced_accuracy - one.balanced_accuracy > least


def test_its_manifest_says_where_it_comes_from(adapted: Adapted) -> None:
    toy, job = adapted
    with toy.ledger.read() as tx:
        first, second = (versions.get_version(tx, MODEL, n) for n in (1, 2))
    assert second.digest is not None
    manifest = verify(toy.shop.store.get(second.digest), toy.shop.public_key, second.digest)
    assert (manifest.parent, manifest.parent_digest) == (1, first.digest)
    assert manifest.trigger["job"] == job.id
    assert manifest.data["domain"] == "shop"
    assert manifest.data["labelled"]["train"].keys() == {"negative", "positive"}
    assert manifest.plan["situation"] == "S6"
    assert manifest.plan["method"] == manifest.metrics["selection"]["chosen"] == manifest.training["remedy"]
    assert manifest.training["libraries"]["torch"]


def test_the_verdict_is_in_the_files_too(adapted: Adapted) -> None:
    toy, job = adapted
    with toy.ledger.read() as tx:
        second = versions.get_version(tx, MODEL, 2)
    assert second.digest is not None
    assert json.loads(toy.shop.store.get(second.digest)[GATE]) == job.verdict == second.gate


def test_it_carries_a_reference_of_every_domain(adapted: Adapted) -> None:
    toy, _ = adapted
    loaded = load_version(toy.shop, load_base(str(toy.base_dir), "cpu"), MODEL, 2)
    references = References.from_bytes(loaded.files[REFERENCES])
    assert set(references.rows) == {"film", "shop"}
    assert len(references.rows["film"]) == len(kept(toy, "reference", "film"))
    assert len(references.rows["shop"]) == len(kept(toy, "reference", "shop"))


def test_its_references_know_what_the_ledger_knows_of_their_texts(adapted: Adapted) -> None:
    toy, _ = adapted
    loaded = load_version(toy.shop, load_base(str(toy.base_dir), "cpu"), MODEL, 2)
    references = References.from_bytes(loaded.files[REFERENCES])
    for domain in ("film", "shop"):
        examples = kept(toy, "reference", domain)
        assert references.keys[domain] == tuple(example.key for example in examples)
        labels = [LABELS.index(example.label) if example.label else -1 for example in examples]
        assert references.truth[domain].tolist() == labels
        assert set(references.predicted[domain].tolist()) <= {0, 1}
    held_out = {e.key for role in ("gate", "selection") for e in kept(toy, role, "shop")}
    assert {e.key for e in kept(toy, "reference", "shop") if e.label} == held_out
    assert references.anchors == ("film",)


def test_the_new_domain_is_in_order_of_arrival_and_the_old_one_keeps_its_flag(adapted: Adapted) -> None:
    toy, job = adapted
    loaded = load_version(toy.shop, load_base(str(toy.base_dir), "cpu"), MODEL, 2)
    assert References.from_bytes(loaded.files[REFERENCES]).ordered == {"shop"}
    with toy.ledger.read() as tx:
        arrived = [
            key_of(row.text) for row in samples.window_rows(tx, MODEL, job.window_from_seq, 9999) if row.text
        ]
    place = {key: i for i, key in reversed(list(enumerate(arrived)))}
    places = [place[example.key] for example in kept(toy, "reference", "shop")]
    assert places == sorted(places)


def test_the_window_enters_on_probation_and_parts_never_cross(adapted: Adapted) -> None:
    toy, _ = adapted
    roles = {role: kept(toy, role, "shop") for role in ("memory", "gate", "selection", "reference")}
    assert all(example.probation and example.version == 2 for found in roles.values() for example in found)
    keys = {role: {example.key for example in found} for role, found in roles.items()}
    assert keys["memory"]
    assert keys["gate"]
    assert not keys["memory"] & (keys["gate"] | keys["selection"] | keys["reference"])
    assert not keys["gate"] & keys["selection"]
    assert keys["gate"] | keys["selection"] <= keys["reference"]


def test_a_rollback_takes_the_domain_back(tmp_path: Path, tiny_base_dir: Path) -> None:
    with toy_shop(tmp_path, tiny_base_dir, gate=GateSettings(mode="off")) as toy:
        toy.create_first(toy_rows("film", 200), epochs=1)
        first_seq = toy.stream(toy_rows("shop", 300))
        job = toy.open_job(first_seq)
        run_adaptation(toy.shop, toy.claim(job))
        with toy.ledger.begin() as tx:
            assert domains(tx, MODEL, "gate") == ["film", "shop"]
            versions.rollback(tx, MODEL, actor="test", reason="test")
            assert domains(tx, MODEL, "gate") == ["film"]
            assert domains(tx, MODEL, "memory") == ["film"]


def test_without_labels_it_holds_and_says_what_is_missing(empty_shop: ToyShop) -> None:
    toy = empty_shop
    toy.create_first(toy_rows("film", 200), epochs=1)
    job = toy.open_job(toy.stream(toy_rows("shop", 60), labelled=False))
    assert run_adaptation(toy.shop, toy.claim(job)) is JobStatus.HELD
    ended = toy.job(job.id)
    assert ended.verdict is not None
    assert ended.verdict["missing"]["train"] == 50
    assert "50 for train" in ended.reason
    with toy.ledger.read() as tx:
        assert [version.n for version in versions.list_versions(tx, MODEL)] == [1]


def test_a_candidate_without_a_gain_is_rejected_and_recorded(tmp_path: Path, tiny_base_dir: Path) -> None:
    """The alarm was false: there is nothing to learn on texts that the champion knows already."""
    training = small_training(epochs=1)
    with toy_shop(tmp_path, tiny_base_dir, training=training, memory=MemorySettings(budget=50)) as toy:
        toy.create_first()
        job = toy.open_job(toy.stream(toy_rows("film", 420, seed=4)))
        assert run_adaptation(toy.shop, toy.claim(job)) is JobStatus.REJECTED
        with toy.ledger.read() as tx:
            rejected = versions.get_version(tx, MODEL, 2)
            assert versions.get_aliases(tx, MODEL)["champion"] == 1
            assert domains(tx, MODEL, "memory") == ["film"]
        assert rejected.state is VersionState.REJECTED
        assert rejected.digest is not None
        assert toy.shop.store.has(rejected.digest)


def test_a_worker_that_was_taken_over_publishes_nothing(empty_shop: ToyShop) -> None:
    toy = empty_shop
    toy.create_first(toy_rows("film", 200), epochs=1)
    job = toy.open_job(toy.stream(toy_rows("shop", 300)))
    old = toy.claim(job, ttl_s=-1.0)  # expired at once
    toy.claim(job, owner="another")
    with pytest.raises(LeaseLost):
        run_adaptation(toy.shop, old)
    with toy.ledger.read() as tx:
        assert len(versions.list_versions(tx, MODEL)) == 1


def test_a_cancelled_job_ends_the_training(empty_shop: ToyShop) -> None:
    toy = empty_shop
    toy.create_first(toy_rows("film", 200), epochs=1)
    job = toy.open_job(toy.stream(toy_rows("shop", 300)))
    lease = toy.claim(job)
    with toy.ledger.begin() as tx:
        jobs.cancel(tx, job.id)
    with pytest.raises(LeaseLost):
        run_adaptation(toy.shop, lease)
    assert toy.job(job.id).status is JobStatus.CANCELLED


def test_a_tampered_champion_is_not_built_upon(empty_shop: ToyShop) -> None:
    toy = empty_shop
    digest = toy.create_first(toy_rows("film", 200), epochs=1).digest
    head = toy.settings.home / "store" / "adapters" / digest / "head.safetensors"
    content = bytearray(head.read_bytes())
    content[-1] ^= 1
    head.write_bytes(content)
    job = toy.open_job(toy.stream(toy_rows("shop", 300)))
    with pytest.raises(DigestMismatch, match=r"head\.safetensors"):
        run_adaptation(toy.shop, toy.claim(job))


def test_another_base_at_the_same_place_is_refused(tmp_path: Path, empty_shop: ToyShop) -> None:
    toy, moving = empty_shop, build_tiny_base(tmp_path / "moving")
    toy.create_first(toy_rows("film", 200), epochs=1, base_name=str(moving))
    build_tiny_base(moving, seed=5)
    job = toy.open_job(toy.stream(toy_rows("shop", 300)))
    with pytest.raises(BaseMismatch):
        run_adaptation(toy.shop, toy.claim(job))


def test_a_champion_that_changed_meanwhile_holds_the_candidate(
    empty_shop: ToyShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator promotes another version while the candidate is judged."""
    toy = empty_shop
    toy.create_first()
    job = toy.open_job(toy.stream(toy_rows("shop", 400)))
    lease = toy.claim(job)
    put = toy.shop.store.put

    def put_while_an_operator_acts(files: dict[str, bytes]) -> str:
        with toy.ledger.begin() as tx:
            first = versions.get_version(tx, MODEL, 1)
            assert first.digest is not None
            versions.record_version(tx, MODEL, 9, "f" * 64, 1, VersionState.ACCEPTED, manifest={})
            versions.promote(tx, MODEL, 9, actor="operator", reason="by hand")
        return put(files)

    monkeypatch.setattr(toy.shop.store, "put", put_while_an_operator_acts)
    assert run_adaptation(toy.shop, lease) is JobStatus.HELD
    assert "no longer version 1" in toy.job(job.id).reason
    with toy.ledger.read() as tx:
        assert versions.get_aliases(tx, MODEL)["champion"] == 9


def test_everything_is_in_the_event_log(adapted: Adapted) -> None:
    toy, _ = adapted
    with toy.ledger.read() as tx:
        kinds = [event.kind for event in events.list_events(tx)]
    assert {"model_created", "version_recorded", "promoted", "job_opened", "job_finished"} <= set(kinds)
