from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.fixtures.workshops import MODEL, ToyShop
from trimtab.adapter import GATE, REFERENCES, verify
from trimtab.base import load_base
from trimtab.bundle import build_bundle, self_test
from trimtab.datafiles import Row
from trimtab.errors import AlreadyExists, BaseModelMissing, DataError
from trimtab.features import References
from trimtab.jobs import AdaptationJob
from trimtab.ledger import models, versions
from trimtab.ledger.examples import domains, list_examples
from trimtab.splits import key_of
from workers.first import ordered_domains, reference_rows, split
from workers.material import MAX_REFERENCE
from workers.workshop import load_version

Adapted = tuple[ToyShop, AdaptationJob]


def test_version_one_is_champion_and_baseline(adapted: Adapted) -> None:
    toy, _ = adapted
    with toy.ledger.read() as tx:
        first = versions.get_version(tx, MODEL, 1)
        assert versions.get_aliases(tx, MODEL)["baseline"] == 1
        assert models.get_model(tx, MODEL).labels == LABELS
    assert first.state is versions.VersionState.ACCEPTED
    assert first.manifest["metrics"]["gate"]["accuracy"] > 0.85
    assert first.manifest["plan"]["recipe"]["seed"] == toy.settings.training.seed


def test_its_files_verify_build_and_pass_their_own_test(adapted: Adapted) -> None:
    toy, _ = adapted
    with toy.ledger.read() as tx:
        digest = versions.get_version(tx, MODEL, 1).digest
    assert digest is not None
    files = toy.shop.store.get(digest)
    manifest = verify(files, toy.shop.public_key, digest)
    bundle = build_bundle(load_base(str(toy.base_dir), "cpu"), files, manifest=manifest, digest=digest)
    assert self_test(bundle, manifest.golden) < 1e-5
    assert json.loads(files[GATE])["verdict"] == "init"


def test_its_references_are_its_own_scores_of_texts_it_never_saw(adapted: Adapted) -> None:
    toy, _ = adapted
    with toy.ledger.read() as tx:
        kept = [e for e in list_examples(tx, MODEL, "reference", "film") if e.version == 1]
        trained = {example.key for example in list_examples(tx, MODEL, "memory", "film")}
    loaded = load_version(toy.shop, load_base(str(toy.base_dir), "cpu"), MODEL, 1)
    references = References.from_bytes(loaded.files[REFERENCES])
    texts = [example.text for example in kept]
    rows = references.feature_map.rows(loaded.bundle.predict(texts), texts)
    assert not trained & {example.key for example in kept}
    stored = references.rows["film"]
    assert stored.shape == rows.shape == (len(kept), len(references.feature_map.names))
    assert np.abs(rows - stored).max() < 1e-3  # in the ledger's order, too


def test_its_references_know_the_truth_the_answers_and_the_texts(adapted: Adapted) -> None:
    toy, _ = adapted
    with toy.ledger.read() as tx:
        kept = [e for e in list_examples(tx, MODEL, "reference", "film") if e.version == 1]
    loaded = load_version(toy.shop, load_base(str(toy.base_dir), "cpu"), MODEL, 1)
    references = References.from_bytes(loaded.files[REFERENCES])
    texts, truth = [example.text for example in kept], [LABELS.index(str(example.label)) for example in kept]
    assert references.keys["film"] == tuple(example.key for example in kept)
    assert references.truth["film"].tolist() == truth
    score = loaded.answers.scorecard(texts, np.array(truth))
    assert (references.predicted["film"] == references.truth["film"]).tolist() == score.right.tolist()
    assert references.anchors == ("film",)
    assert references.ordered == frozenset()


def test_memory_holds_every_training_row_with_logits(adapted: Adapted) -> None:
    toy, _ = adapted
    with toy.ledger.read() as tx:
        memory = list_examples(tx, MODEL, "memory", "film")
        n_train = versions.get_version(tx, MODEL, 1).manifest["data"]["rows"]["train"]
    assert len(memory) == n_train
    assert all(example.logits is not None and len(example.logits) == 2 for example in memory)
    assert not any(example.probation for example in memory)


def test_split_uses_every_text_once_and_close_to_its_shares() -> None:
    rows = [Row(text=f"text {i}", label="a") for i in range(4000)]
    parts = split([*rows, *rows], "m", max_train=10_000)
    counts = Counter({part: len(kept) for part, kept in parts.items()})
    assert counts.total() == 4000
    for part, share in {"train": 0.40, "selection": 0.08, "gate": 0.27, "reference": 0.25}.items():
        assert counts[part] / 4000 == pytest.approx(share, abs=0.03)


def test_the_surplus_of_training_rows_joins_the_reference() -> None:
    rows = [Row(text=f"text {i}", label="a") for i in range(1000)]
    free, capped = split(rows, "m", 1000), split(rows, "m", 100)
    assert len(capped["train"]) == 100
    assert len(capped["reference"]) == len(free["reference"]) + len(free["train"]) - 100
    assert {k.key for k in capped["train"]} <= {k.key for k in free["train"]}


def test_a_group_is_never_torn_apart() -> None:
    rows = [Row(text=f"text {i}", label="a", group=f"review {i % 40}") for i in range(800)]
    parts = split(rows, "m", 10_000)
    where = {part: {kept.row.group for kept in found} for part, found in parts.items()}
    assert sum(map(len, where.values())) == 40
    assert sum(map(len, parts.values())) == 800  # and all its texts are kept


def timed_rows(n: int, domain: str) -> list[Row]:
    """In the file the newest row comes first."""
    return [Row(text=f"{domain} {i}", label="a", domain=domain, timestamp=float(n - i)) for i in range(n)]


def test_a_reference_with_timestamps_is_the_newest_stretch_in_order_of_time() -> None:
    parts = split([*timed_rows(6000, "log"), *(Row(text=f"x {i}", label="a") for i in range(300))], "m", 1000)
    chosen = reference_rows(parts, "m")
    logged = [each for each in chosen if each.domain == "log"]
    free = [e for part in ("gate", "selection", "reference") for e in parts[part] if e.domain == "log"]
    expected = sorted(e.row.timestamp or 0.0 for e in free)[-MAX_REFERENCE:]
    assert [each.row.timestamp for each in logged] == expected
    assert ordered_domains(chosen) == {"log"}


def test_a_single_row_without_a_timestamp_leaves_its_domain_unordered() -> None:
    rows = [*timed_rows(400, "log"), *(Row(text=f"y {i}", label="a", domain="log") for i in range(40))]
    chosen = reference_rows(split(rows, "m", 100), "m")
    assert ordered_domains(chosen) == frozenset()
    assert len(chosen) == 340


def test_of_one_text_twice_the_last_row_counts() -> None:
    found = split([Row(text="x", label="a"), Row(text="X ", label="b")], "m", 10)
    assert [kept.row.label for part in found.values() for kept in part] == ["b"]


def test_a_name_that_is_taken_is_refused_before_any_work(adapted: Adapted) -> None:
    toy, _ = adapted
    with pytest.raises(AlreadyExists, match="toy"):
        toy.create_first([])


def test_data_that_cannot_be_learnt_are_refused(empty_shop: ToyShop) -> None:
    one_label = [replace(row, label="only") for row in toy_rows("film", 40)]
    with pytest.raises(DataError, match="at least two labels"):
        empty_shop.create_first(one_label)
    with pytest.raises(DataError, match=r"too few rows to train on: negative \(\d\)"):
        empty_shop.create_first(toy_rows("film", 15))
    with pytest.raises(DataError, match="not among --labels: positive"):
        empty_shop.create_first(toy_rows("film", 100), labels=["negative", "other"])


def test_a_missing_base_is_refused(empty_shop: ToyShop) -> None:
    with pytest.raises(BaseModelMissing):
        empty_shop.create_first(base_name="./no-such-directory")
    with empty_shop.ledger.read() as tx:
        assert models.list_models(tx) == []


def test_three_classes_several_domains_and_progress(empty_shop: ToyShop) -> None:
    neutral = [
        Row(text=f"{word} {other} market", label="neutral", domain=None)
        for word in ["law", "tax", "day", "night", "team", "game", "music", "song"]
        for other in ["a", "an", "is", "it", "this", "that", "was", "the"]
    ]
    told: list[str] = []
    rows = [*toy_rows("film", 120), *neutral]
    made = empty_shop.create_first(rows, epochs=2, report=lambda stage, step, of: told.append(stage))
    assert list(dict.fromkeys(told)) == ["loading", "training", "references", "evaluating"]
    with empty_shop.ledger.read() as tx:
        assert models.get_model(tx, MODEL).labels == ("negative", "neutral", "positive")
        assert sorted(domains(tx, MODEL, "gate")) == ["domain-1", "film"]
        gate = list_examples(tx, MODEL, "gate")
    assert made.version == 1
    assert made.gate.n == len(gate)
    assert {example.key for example in gate} == {key_of(example.text) for example in gate}
