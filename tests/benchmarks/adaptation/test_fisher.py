"""The Fisher information against its definition, and the penalty against its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.adaptation.fisher import added, fisher, hold, restored, stored, trainable
from tests.fixtures.toy_texts import toy_rows
from trimtab.base import BaseModel, load_base
from workers.classifier import TrainableClassifier


@pytest.fixture(scope="module")
def base(tiny_base_dir: object) -> BaseModel:
    return load_base(str(tiny_base_dir), "cpu")


@pytest.fixture
def network(base: BaseModel) -> TrainableClassifier:
    """With a head that is not zero: else nothing would depend on the encoder."""
    network = TrainableClassifier(base, 3, seed=1)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        network.head.weight.copy_(0.5 * torch.randn(network.head.weight.shape, generator=random))
    return network


TEXTS = [row.text for row in toy_rows("film", 6)]


def test_the_head_has_the_fisher_of_a_softmax_regression(network: TrainableClassifier) -> None:
    """E_y (1{y = k} - p_k)^2 x_j^2 = p_k (1 - p_k) x_j^2, averaged over the texts."""
    found = fisher(network, TEXTS, 128)
    with torch.no_grad():
        ids = network.base.encode(TEXTS, 128)
        x, p = network.states(ids).double(), network(ids).double().softmax(dim=1)
    spread = p * (1 - p)
    expected = (spread[:, :, None] * x[:, None, :].square()).mean(dim=0)
    assert torch.allclose(found["head.weight"].double(), expected, rtol=1e-4, atol=1e-9)
    assert torch.allclose(found["head.bias"].double(), spread.mean(dim=0), rtol=1e-4, atol=1e-9)


def test_it_is_no_square_of_a_mean(network: TrainableClassifier) -> None:
    """The square of the mean gradient is never more than the mean square, and here it is less."""
    ids = network.base.encode(TEXTS, 128)
    labels = network(ids).argmax(dim=1)
    loss = torch.nn.functional.cross_entropy(network(ids), labels)
    (gradient,) = torch.autograd.grad(loss, [network.head.weight])
    assert float(gradient.square().sum()) < 0.9 * float(fisher(network, TEXTS, 128)["head.weight"].sum())


def test_every_trainable_weight_has_one(network: TrainableClassifier) -> None:
    found = fisher(network, TEXTS[:2], 128)
    assert found.keys() == trainable(network).keys()
    assert all(float(each.min()) >= 0 for each in found.values())


def test_domains_are_scaled_to_mean_one_and_add_up(network: TrainableClassifier) -> None:
    one = added(fisher(network, TEXTS, 128), None)
    values = np.concatenate([each.flatten().numpy() for each in one.values()])
    assert values.mean() == pytest.approx(1.0, rel=1e-4)
    twice = added(fisher(network, TEXTS, 128), one)
    assert all(torch.allclose(twice[name], 2 * one[name], rtol=1e-4) for name in one)


def test_the_pull_is_the_gradient_of_the_penalty(network: TrainableClassifier) -> None:
    """What a backward pass leaves is the loss's gradient and that of 3 / 2 sum F (theta - theta*)^2."""
    importance = added(fisher(network, TEXTS, 128), None)
    hold(network, importance, strength=3.0)
    weights = trainable(network)
    anchors = {name: weight.detach().clone() for name, weight in weights.items()}
    with torch.no_grad():
        for i, weight in enumerate(weights.values()):
            weight.add_(0.01 * (i + 1))
    free = TrainableClassifier(network.base, 3, seed=1)
    free.load_state_dict(network.state_dict())
    ids = network.base.encode(TEXTS, 128)
    network(ids).square().mean().backward()
    penalty = sum((importance[n] * (w - anchors[n]).square()).sum() for n, w in trainable(free).items())
    (free(ids).square().mean() + 1.5 * penalty).backward()
    for name, weight in trainable(free).items():
        pulled = weights[name].grad
        assert pulled is not None
        assert weight.grad is not None
        assert torch.allclose(pulled, weight.grad, rtol=1e-3, atol=1e-6)


def test_it_can_be_stored(network: TrainableClassifier) -> None:
    found = fisher(network, TEXTS[:2], 128)
    again = restored({"fisher.safetensors": stored(found)})
    assert again is not None
    assert all(torch.equal(again[name], each) for name, each in found.items())
    assert restored({}) is None
