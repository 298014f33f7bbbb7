"""A fine-tuned classifier as version 1: as it is, with data and without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.classifiers import build_classifier, own_logits
from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.fixtures.workshops import MODEL, ToyShop
from trimtab.adapter import REFERENCES
from trimtab.base import load_base
from trimtab.errors import AlreadyExists, BaseModelMissing, DataError
from trimtab.features import References
from trimtab.ledger.examples import ROLES, list_examples
from trimtab.ledger.versions import get_aliases, get_version
from workers.classifier import continue_from
from workers.first import adopt_checkpoint
from workers.fit import Recipe, TrainingSet, fit
from workers.workshop import LoadedVersion, load_version

TEXTS = [row.text for row in toy_rows("film", 40, seed=3)]


def load(toy: ToyShop, directory: Path) -> LoadedVersion:
    return load_version(toy.shop, load_base(str(directory), "cpu"), MODEL, 1)


def kept(toy: ToyShop, role: str) -> int:
    with toy.ledger.read() as tx:
        return len(list_examples(tx, MODEL, role))


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_it_answers_as_in_transformers(family: str, empty_shop: ToyShop, tmp_path: Path) -> None:
    directory = build_classifier(family, tmp_path / family)
    adopt_checkpoint(empty_shop.shop, model=MODEL, directory=str(directory))
    version = load(empty_shop, directory)
    expected = own_logits(directory, version.bundle.encode(TEXTS).ids)
    assert np.allclose(version.answers.outputs(TEXTS).logits, expected, atol=1e-4)
    assert version.bundle.labels == ("bad", "fine", "good")


def test_without_data_there_is_no_reference_and_nothing_to_judge_by(
    empty_shop: ToyShop, tmp_path: Path
) -> None:
    directory = build_classifier("bert", tmp_path / "bert")
    made = adopt_checkpoint(empty_shop.shop, model=MODEL, directory=str(directory))
    assert made.fitted is None
    assert sum(made.n_rows.values()) == 0
    assert [kept(empty_shop, role) for role in ROLES] == [0, 0, 0, 0]
    references = References.from_bytes(load(empty_shop, directory).files[REFERENCES])
    assert not references.rows
    # Rows of the traffic can be made all the same: a reference may be accepted from them later.
    assert len(references.feature_map.components) > 0
    with empty_shop.ledger.read() as tx:
        assert get_aliases(tx, MODEL) == {"champion": 1, "baseline": 1}
        assert get_version(tx, MODEL, 1).manifest["plan"]["method"] == "from_checkpoint"


def test_with_data_it_has_gate_sets_memory_and_reference(empty_shop: ToyShop, tmp_path: Path) -> None:
    directory = build_classifier("bert", tmp_path / "bert", id2label=dict(enumerate(LABELS)))
    rows = toy_rows("film", 300)
    made = adopt_checkpoint(empty_shop.shop, model=MODEL, directory=str(directory), rows=rows)
    assert min(kept(empty_shop, role) for role in ROLES) > 10
    assert kept(empty_shop, "gate") == made.gate.n == made.n_rows["gate"]
    assert "film" in References.from_bytes(load(empty_shop, directory).files[REFERENCES]).rows


def test_its_lora_adds_nothing_and_can_be_trained_on(empty_shop: ToyShop, tmp_path: Path) -> None:
    directory = build_classifier("bert", tmp_path / "bert", id2label=dict(enumerate(LABELS)))
    adopt_checkpoint(empty_shop.shop, model=MODEL, directory=str(directory))
    version, base = load(empty_shop, directory), load_base(str(directory), "cpu")
    network = continue_from(base, version.files, 2, seed=1)
    assert np.allclose(network.predict_logits(TEXTS, 64), version.answers.outputs(TEXTS).logits, atol=1e-4)
    rows = toy_rows("film", 200)
    new = TrainingSet(tuple(row.text for row in rows), np.array([LABELS.index(row.label) for row in rows]))
    before = (network.predict_logits(new.texts, 64).argmax(axis=1) == new.labels).mean()
    fit(network, new, None, Recipe(epochs=4, seed=1), lambda step, of: None)
    assert (network.predict_logits(new.texts, 64).argmax(axis=1) == new.labels).mean() > before + 0.1
    # The checkpoint's own dense layer is no part of the adapter.
    assert not any("pooler" in name for name in network.lora_layers())


def test_labels_may_be_named_in_the_checkpoints_order(empty_shop: ToyShop, tmp_path: Path) -> None:
    directory = build_classifier("bert", tmp_path / "bert")
    with pytest.raises(DataError, match="3 labels, 2 were named"):
        adopt_checkpoint(empty_shop.shop, model=MODEL, directory=str(directory), labels=LABELS)
    adopt_checkpoint(empty_shop.shop, model=MODEL, directory=str(directory), labels=("x", "y", "z"))
    assert load(empty_shop, directory).bundle.labels == ("x", "y", "z")


def test_what_cannot_be_adopted_changes_nothing(empty_shop: ToyShop, tmp_path: Path) -> None:
    with pytest.raises(BaseModelMissing, match="encoder"):  # transformers would make up a random last layer
        adopt_checkpoint(empty_shop.shop, model=MODEL, directory=str(empty_shop.base_dir))
    directory = build_classifier("bert", tmp_path / "bert")
    with pytest.raises(DataError, match="not among"):
        adopt_checkpoint(empty_shop.shop, model=MODEL, directory=str(directory), rows=toy_rows("film", 200))
    adopt_checkpoint(empty_shop.shop, model=MODEL, directory=str(directory))
    with pytest.raises(AlreadyExists):
        adopt_checkpoint(empty_shop.shop, model=MODEL, directory=str(directory))
