"""Training on an accelerator: `python -m pytest -m gpu tests/workers/test_gpu.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fixtures.toy_texts import LABELS, toy_rows
from trimtab.base import load_base
from workers.artefact import draft
from workers.classifier import TrainableClassifier
from workers.fit import Recipe, TrainingSet, fit

pytestmark = pytest.mark.gpu


def training_set(n: int, seed: int) -> TrainingSet:
    rows = toy_rows("film", n, seed)
    return TrainingSet(tuple(row.text for row in rows), np.array([LABELS.index(row.label) for row in rows]))


def untold(_step: int, _of: int) -> None:
    """Nobody waits for it."""


def fitted(base_dir: Path, device: str) -> TrainableClassifier:
    network = TrainableClassifier(load_base(str(base_dir), device), 2, 1)
    fit(network, training_set(160, 0), None, Recipe(epochs=5, seed=1), untold)
    return network


def test_auto_takes_the_accelerator(tiny_base_dir: Path) -> None:
    assert load_base(str(tiny_base_dir), "auto").device.type == "cuda"


def test_half_precision_learns_what_single_precision_learns(tiny_base_dir: Path) -> None:
    """bf16 keeps 8 bits: 50 steps leave two networks that answer alike, within the rounding that a fit adds up."""
    held_out = training_set(400, 5)
    logits = [fitted(tiny_base_dir, device).predict_logits(held_out.texts, 64) for device in ("cpu", "cuda")]
    answers = [each.argmax(axis=1) for each in logits]
    assert (answers[0] == answers[1]).mean() > 0.95
    right = [(each == held_out.labels).mean() for each in answers]
    assert right[1] > right[0] - 0.03
    probabilities = [torch.from_numpy(each).softmax(dim=1) for each in logits]
    assert float((probabilities[0] - probabilities[1]).abs().mean()) < 0.05


def test_what_is_served_is_what_was_trained(tiny_base_dir: Path) -> None:
    network = fitted(tiny_base_dir, "cuda")
    texts = training_set(40, 5).texts
    bundle = draft(network, model="m", version=2, labels=LABELS, max_tokens=64).bundle
    assert np.abs(bundle.predict(texts).logits - network.predict_logits(texts, 64)).max() < 1e-4
