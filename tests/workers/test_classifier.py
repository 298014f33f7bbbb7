from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load, save
from torch import Tensor

from trimtab.adapter import CONFIG, HEAD, WEIGHTS
from trimtab.base import BaseModel, load_base
from trimtab.errors import MalformedAdapter
from trimtab.kernels import with_fast_linears
from trimtab.packing import Runner, padded_states, share_tensors
from workers.artefact import draft
from workers.classifier import LoraShape, TrainableClassifier, continue_from, default_shape

TEXTS = ("good film", "the plot was not very good", "bad", "a phone that works day and night")


def trained(base: BaseModel, seed: int = 1, shape: LoraShape | None = None) -> TrainableClassifier:
    """A classifier whose LoRA and head are moved away from their start."""
    network = TrainableClassifier(base, 2, seed, shape)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in (*network.lora_parameters(), *network.head.parameters()):
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    return network


def test_the_base_is_never_written_to(tiny_base: BaseModel) -> None:
    before = {name: tensor.clone() for name, tensor in tiny_base.encoder.state_dict().items()}
    trained(tiny_base).predict_logits(TEXTS, 32)
    after = tiny_base.encoder.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(parameter.requires_grad for parameter in tiny_base.encoder.parameters())


def test_only_lora_and_head_are_trained_and_the_pooler_is_left_out(tiny_base: BaseModel) -> None:
    network = TrainableClassifier(tiny_base, 2, 1)
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert all(name.endswith((".down", ".up")) or name.startswith("head.") for name in names)
    assert not any("pooler" in name for name in names)
    assert len(network.lora_parameters()) == 2 * 2 * 6  # A and B of six linear layers in each of two blocks


def test_an_untrained_adapter_changes_nothing(tiny_base: BaseModel) -> None:
    network = TrainableClassifier(tiny_base, 2, 1)
    ids = tiny_base.encode(TEXTS, 32)
    with torch.inference_mode():
        pristine = padded_states(tiny_base.encoder, ids, tiny_base.pad_id, tiny_base.device)
        assert network(ids).abs().max() == 0.0
        assert torch.allclose(network.states(ids), pristine, atol=1e-5)


def gradients(network: TrainableClassifier, ids: list[list[int]]) -> dict[str, Tensor]:
    """Of a loss that every state and logit has a part in, by parameter."""
    network.zero_grad()
    weights = torch.linspace(-1.0, 1.0, network.base.hidden_size)
    (network.states(ids) @ weights + network(ids).square().sum(dim=1)).sum().backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def test_gradients_are_those_of_plain_peft_on_padded_texts(
    tiny_base: BaseModel, tiny_base_dir: Path, tmp_path: Path
) -> None:
    """Autograd through Hugging Face's own forward pass and peft's own layers, with padding."""
    network = trained(tiny_base)
    ours = gradients(network, ids := tiny_base.encode(TEXTS, 32))
    plain = opened_by_peft(network, tiny_base_dir, tmp_path, trainable=True)
    states = padded_states(plain, ids, tiny_base.pad_id, tiny_base.device)
    weights = torch.linspace(-1.0, 1.0, tiny_base.hidden_size)
    logits = network.head(states)
    (states @ weights + logits.square().sum(dim=1)).sum().backward()
    theirs = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    assert len(theirs) == len(ours) - 2  # without the head
    for name in network.lora_layers():
        for mine, its in (("down", "lora_A"), ("up", "lora_B")):
            expected = theirs[f"base_model.model.{name}.{its}.default.weight"]
            found = ours[f"encoder.{name}.{mine}"]
            assert (found - expected).abs().max() <= 1e-4 * max(1.0, float(expected.abs().max()))


def test_an_encoder_that_cannot_be_packed_is_trained_padded(tiny_base: BaseModel) -> None:
    """The same network, run padded: the same logits and gradients."""
    packed = trained(tiny_base)
    runner = Runner(tiny_base.runner.encoder, None)
    tree = share_tensors(tiny_base.encoder)
    padded_base = replace(
        tiny_base, runner=replace(runner, encoder=with_fast_linears(tree, tiny_base.device))
    )
    padded = continue_from(padded_base, packed.files(), 2, seed=1)
    ids = tiny_base.encode(TEXTS, 32)
    assert torch.allclose(packed(ids), padded(ids), atol=1e-5)
    ours, theirs = gradients(packed, ids), gradients(padded, ids)
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert (ours[name] - expected).abs().max() <= 1e-4 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("targets", ["all", "some", "none of the first layers"])
def test_whatever_is_adapted_the_gradient_is_the_slope(tiny_base: BaseModel, targets: str) -> None:
    """Central differences along the gradient, in fp32: one direction that every parameter has a part in."""
    every = default_shape(tiny_base).targets
    chosen = {"all": every, "some": tuple(n for n in every if "query" in n or "value" in n)}
    shape = LoraShape(chosen.get(targets, tuple(n for n in every if "layer.1" in n)))
    network = trained(tiny_base, shape=shape)
    ids = tiny_base.encode(TEXTS, 32)
    grads = gradients(network, ids)
    norm = torch.cat([grad.flatten() for grad in grads.values()]).norm()
    trainable = {name: p for name, p in network.named_parameters() if name in grads}
    values = []
    weights = torch.linspace(-1.0, 1.0, tiny_base.hidden_size)
    with torch.no_grad():
        for step in (1e-3, -2e-3):
            for name, parameter in trainable.items():
                parameter.add_(grads[name] / norm, alpha=step)
            values.append(
                float((network.states(ids) @ weights + network(ids).square().sum(1)).double().sum())
            )
    assert (values[0] - values[1]) / 2e-3 == pytest.approx(float(norm), rel=0.03)


def test_the_order_of_texts_is_kept(tiny_base: BaseModel) -> None:
    network = trained(tiny_base)
    ids = tiny_base.encode(TEXTS, 32)
    with torch.inference_mode():
        alone = torch.cat([network([row]) for row in ids])
        assert torch.allclose(network(ids), alone, atol=1e-5)
        assert torch.allclose(network(ids[::-1]), alone.flip(0), atol=1e-5)
    assert np.allclose(network.predict_logits(TEXTS, 32, batch=2), alone.numpy(), atol=1e-5)


def test_the_merged_bundle_answers_as_the_network(tiny_base: BaseModel) -> None:
    network = trained(tiny_base)
    bundle = draft(network, model="m", version=2, labels=("a", "b"), max_tokens=32).bundle
    assert np.abs(bundle.predict(TEXTS).logits - network.predict_logits(TEXTS, 32)).max() < 1e-5


def test_continuing_starts_at_the_same_answers(tiny_base: BaseModel) -> None:
    network = trained(tiny_base)
    again = continue_from(tiny_base, network.files(), 2, seed=99)
    assert np.abs(again.predict_logits(TEXTS, 32) - network.predict_logits(TEXTS, 32)).max() < 1e-6


def opened_by_peft(
    network: TrainableClassifier, base_dir: Path, folder: Path, trainable: bool = False
) -> torch.nn.Module:
    files = network.files()
    (folder / WEIGHTS).write_bytes(files[WEIGHTS])
    (folder / CONFIG).write_bytes(files[CONFIG])
    encoder = load_base(str(base_dir), "cpu").encoder
    opened: torch.nn.Module = PeftModel.from_pretrained(encoder, str(folder), is_trainable=trainable)
    return opened.eval()


def test_anybody_can_load_the_files_with_peft(
    tiny_base: BaseModel, tiny_base_dir: Path, tmp_path: Path
) -> None:
    network = trained(tiny_base)
    plain = opened_by_peft(network, tiny_base_dir, tmp_path)
    head = load(network.files()[HEAD])
    with torch.inference_mode():
        ids = tiny_base.encode(TEXTS, 32)
        states = padded_states(plain, ids, tiny_base.pad_id, tiny_base.device)
        logits = states @ head["weight"].T + head["bias"]
    assert np.abs(logits.numpy() - network.predict_logits(TEXTS, 32)).max() < 1e-5


def test_another_rank_and_other_layers_are_continued_as_they_are(tiny_base: BaseModel) -> None:
    targets = tuple(name for name in default_shape(tiny_base).targets if "query" in name)
    first = trained(tiny_base, shape=LoraShape(targets, rank=3, scaling=0.7))
    again = continue_from(tiny_base, first.files(), 2, seed=99)
    assert (again.shape.targets, again.shape.rank) == (targets, 3)
    assert again.shape.scaling == pytest.approx(0.7)
    assert again.files()[WEIGHTS] == first.files()[WEIGHTS]
    assert np.abs(again.predict_logits(TEXTS, 32) - first.predict_logits(TEXTS, 32)).max() < 1e-6


@pytest.mark.parametrize(
    ("name", "tensor", "rows"),
    [(HEAD, "weight", 3), (WEIGHTS, "base_model.model.encoder.layer.0.output.dense.lora_B.weight", 5)],
)
def test_what_does_not_fit_is_not_continued(tiny_base: BaseModel, name: str, tensor: str, rows: int) -> None:
    files = trained(tiny_base).files()
    tensors = load(files[name])
    tensors[tensor] = torch.zeros(rows, tensors[tensor].shape[1])
    with pytest.raises(MalformedAdapter, match="does not fit"):
        continue_from(tiny_base, {**files, name: save(tensors)}, 2, seed=1)


def test_a_layer_that_the_base_does_not_have_is_not_continued(tiny_base: BaseModel) -> None:
    files = trained(tiny_base).files()
    tensors = {key.replace("layer.1", "layer.9"): value for key, value in load(files[WEIGHTS]).items()}
    with pytest.raises(MalformedAdapter, match="does not fit"):
        continue_from(tiny_base, {**files, WEIGHTS: save(tensors)}, 2, seed=1)


def test_the_configuration_is_plain_lora(tiny_base: BaseModel) -> None:
    config = json.loads(TrainableClassifier(tiny_base, 2, 1).files()[CONFIG])
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 8, 16)
    assert config["inference_mode"] is True
    assert config["target_modules"] == sorted(config["target_modules"])


def test_a_weight_that_is_not_finite_makes_no_version(tiny_base: BaseModel) -> None:
    network = trained(tiny_base)
    with torch.no_grad():
        network.head.bias[0] = float("nan")
    with pytest.raises(MalformedAdapter, match="not finite"):
        draft(network, model="m", version=2, labels=("a", "b"), max_tokens=32)
