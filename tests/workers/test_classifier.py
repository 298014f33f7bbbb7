from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load

from trimtab.adapter import CONFIG, HEAD, WEIGHTS
from trimtab.base import BaseModel, load_base
from trimtab.errors import MalformedAdapter
from trimtab.packing import mean_pool
from workers.artefact import draft
from workers.classifier import TrainableClassifier, continue_from

TEXTS = ("good film", "the plot was not very good", "bad", "a phone that works day and night")


def trained(base: BaseModel, seed: int = 1) -> TrainableClassifier:
    """A classifier whose LoRA and head are moved away from their start."""
    network = TrainableClassifier(base, 2, seed)
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
    assert all("lora_" in name or name.startswith("head.") for name in names)
    assert not any("pooler" in name for name in names)
    assert len(network.lora_parameters()) == 2 * 2 * 6  # A and B of six linear layers in each of two blocks


def test_an_untrained_adapter_changes_nothing(tiny_base: BaseModel) -> None:
    network = TrainableClassifier(tiny_base, 2, 1).eval()
    tokens = tiny_base.pad(tiny_base.encode(TEXTS, 32))
    with torch.inference_mode():
        ours = network.encoder(input_ids=tokens.ids, attention_mask=tokens.mask).last_hidden_state
        pristine = tiny_base.encoder(input_ids=tokens.ids, attention_mask=tokens.mask).last_hidden_state
        assert network(tokens).abs().max() == 0.0
    assert torch.equal(ours, pristine)


def test_the_merged_bundle_answers_as_the_network(tiny_base: BaseModel) -> None:
    network = trained(tiny_base)
    bundle = draft(network, model="m", version=2, labels=("a", "b"), max_tokens=32).bundle
    assert np.abs(bundle.predict(TEXTS).logits - network.predict_logits(TEXTS, 32)).max() < 1e-5


def test_continuing_starts_at_the_same_answers(tiny_base: BaseModel) -> None:
    network = trained(tiny_base)
    again = continue_from(tiny_base, network.files(), 2, seed=99)
    assert np.abs(again.predict_logits(TEXTS, 32) - network.predict_logits(TEXTS, 32)).max() < 1e-6


def test_anybody_can_load_the_files_with_peft(
    tiny_base: BaseModel, tiny_base_dir: Path, tmp_path: Path
) -> None:
    network = trained(tiny_base)
    files = network.files()
    (tmp_path / WEIGHTS).write_bytes(files[WEIGHTS])
    (tmp_path / CONFIG).write_bytes(files[CONFIG])
    plain = PeftModel.from_pretrained(load_base(str(tiny_base_dir), "cpu").encoder, str(tmp_path)).eval()
    head = load(files[HEAD])
    tokens = tiny_base.pad(tiny_base.encode(TEXTS, 32))
    with torch.inference_mode():
        hidden = plain(input_ids=tokens.ids, attention_mask=tokens.mask).last_hidden_state
        logits = mean_pool(hidden, tokens.mask) @ head["weight"].T + head["bias"]
    assert np.abs(logits.numpy() - network.predict_logits(TEXTS, 32)).max() < 1e-5


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
