from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.fixtures.versions import make_version
from trimtab.adapter import verify
from trimtab.base import BaseModel
from trimtab.bundle import ModelBundle, build_bundle
from trimtab.features import Outputs
from workers.evaluate import Answers, scorecard


def test_accuracy_and_balanced_accuracy() -> None:
    card = scorecard(np.array([0, 0, 0, 1, 1, 0]), np.array([0, 0, 0, 0, 1, 1]))
    assert card.right.tolist() == [True, True, True, False, True, False]
    assert card.accuracy == pytest.approx(4 / 6)
    assert card.balanced_accuracy == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert json.loads(json.dumps(card.summary()))["n"] == 6


def test_only_classes_that_occur_count() -> None:
    assert scorecard(np.array([2, 2]), np.array([2, 2])).balanced_accuracy == 1.0


def test_nothing_to_score_is_not_a_number() -> None:
    card = scorecard(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    assert card.n == 0
    assert np.isnan(card.accuracy)


class Counting:
    """A bundle that counts the texts it was asked; everything else is the real one's."""

    def __init__(self, bundle: ModelBundle) -> None:
        self.real = bundle
        self.asked: list[str] = []

    def predict(self, texts: Sequence[str]) -> Outputs:
        self.asked += texts
        return self.real.predict(texts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@pytest.fixture(scope="module")
def bundle(tiny_base: BaseModel) -> ModelBundle:
    key = Ed25519PrivateKey.generate()
    files = make_version(tiny_base, key)
    return build_bundle(tiny_base, files, manifest=verify(files, key.public_key()), digest="d")


def test_every_text_is_asked_once_and_answered_in_order(bundle: ModelBundle) -> None:
    counting = Counting(bundle)
    answers = Answers(cast("ModelBundle", counting))
    first = ["good film", "bad plot", "good film"]
    answers.outputs(first)
    told: list[tuple[int, int]] = []
    found = answers.outputs(["a phone", *first], lambda done, of: told.append((done, of)))
    assert counting.asked == ["good film", "bad plot", "a phone"]
    assert told == [(1, 1)]
    expected = bundle.predict(["a phone", *first])
    assert np.abs(found.logits - expected.logits).max() < 1e-5
    assert np.abs(found.pooled - expected.pooled).max() < 1e-5
    assert found.n_tokens.tolist() == expected.n_tokens.tolist()


def test_a_scorecard_is_what_the_api_would_answer(bundle: ModelBundle) -> None:
    texts = ["good film", "bad plot", "a phone that works"]
    predicted = bundle.probabilities(bundle.predict(texts).logits).argmax(axis=1)
    card = Answers(bundle).scorecard(texts, np.array([predicted[0], 1 - predicted[1], predicted[2]]))
    assert card.right.tolist() == [True, False, True]
    assert Answers(bundle).scorecard([], np.empty(0, dtype=np.int64)).n == 0
