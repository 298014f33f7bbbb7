"""Fine-tuned classifiers of three families answer through the base as they do in transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.fixtures.classifiers import build_classifier, own_logits
from tests.fixtures.tiny_base import build_tiny_base
from trimtab.base import load_base
from trimtab.errors import BaseModelMissing
from trimtab.packing import packed_states, padded_states
from trimtab.pooling import Checkpoint, is_classifier, load_checkpoint

TEXTS = [
    "the film was great",
    "a boring plot",
    "no",
    "this is a very long text about price and music and law",
]
CPU = torch.device("cpu")


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_the_base_gives_what_the_last_layer_reads(family: str, tmp_path: Path) -> None:
    directory = build_classifier(family, tmp_path)
    checkpoint, base = load_checkpoint(str(directory)), load_base(str(directory), "cpu")
    ids = base.encode(TEXTS, 64)
    expected = own_logits(directory, ids)
    with torch.inference_mode():
        padded = padded_states(base.encoder, ids, base.pad_id, CPU).numpy()
        first = base.runner.first_position
        assert first is not None  # it runs without padding
        packed = packed_states(base.runner.encoder, ids, first, CPU).numpy()
    for states in (padded, packed):
        assert np.allclose(states @ checkpoint.weight.T + checkpoint.bias, expected, atol=1e-4)
    assert checkpoint.labels == ("bad", "fine", "good")


@pytest.mark.parametrize(
    ("family", "activation"), [("bert", "tanh"), ("roberta", "tanh"), ("distilbert", "relu")]
)
def test_the_activation_is_found_out(family: str, activation: str, tmp_path: Path) -> None:
    assert load_checkpoint(str(build_classifier(family, tmp_path))).activation == activation


def test_the_digest_knows_the_pooling(tmp_path: Path) -> None:
    """Loaded twice it is the same; as a bare encoder it is another base."""
    directory = build_classifier("bert", tmp_path / "one")
    one, again = load_base(str(directory), "cpu"), load_base(str(directory), "cpu")
    assert one.digest == again.digest
    bare = build_tiny_base(tmp_path / "two")
    AutoModelForSequenceClassification.from_pretrained(directory).base_model.save_pretrained(bare)
    assert load_base(str(bare), "cpu").digest != one.digest


def test_an_encoder_is_no_classifier(tiny_base_dir: Path, tmp_path: Path) -> None:
    assert not is_classifier(str(tiny_base_dir))
    assert not is_classifier("some/hub-id")
    assert is_classifier(str(build_classifier("bert", tmp_path)))


def test_another_pooling_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelMissing, match="ModernBertForSequenceClassification"):
        load_checkpoint(str(build_classifier("modernbert", tmp_path)))


@pytest.mark.parametrize(
    "changes",
    [{"problem_type": "multi_label_classification"}, {"id2label": {0: "score"}, "problem_type": None}],
)
def test_what_does_not_choose_one_label_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BaseModelMissing, match="one of at least two labels"):
        load_checkpoint(str(build_classifier("bert", tmp_path, **changes)))


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    directory = build_classifier("bert", tmp_path)
    (directory / "model.safetensors").unlink()
    with pytest.raises(BaseModelMissing, match="checkpoint"):
        load_checkpoint(str(directory))


def test_the_last_layer_is_copied(tmp_path: Path) -> None:
    found: Checkpoint = load_checkpoint(str(build_classifier("bert", tmp_path)))
    assert found.weight.shape == (3, 32)
    assert found.bias.shape == (3,)
