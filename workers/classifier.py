"""The network while it is trained: pristine base, LoRA by peft on every linear layer of the encoder, linear head."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save
from torch import Tensor, nn

from trimtab.adapter import CONFIG, HEAD, WEIGHTS
from trimtab.base import BaseModel, Tokens
from trimtab.bundle import read_tensors
from trimtab.features import Floats
from trimtab.packing import mean_pool

RANK = 8
LORA_ALPHA = 16
DROPOUT = 0.05


class TrainableClassifier(nn.Module):
    """logits = head(mean_pool(encoder with LoRA)). Only LoRA and head are trainable; the base is never written to."""

    def __init__(self, base: BaseModel, n_labels: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.base = base
        self.config = _lora_config(base)
        with _known_warnings():
            self.encoder = get_peft_model(_own_modules(base.encoder), self.config)
        self.head = nn.Linear(base.hidden_size, n_labels).to(base.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens: Tokens) -> Tensor:
        """(n, k) logits of a padded batch."""
        hidden = self.encoder(input_ids=tokens.ids, attention_mask=tokens.mask).last_hidden_state
        logits: Tensor = self.head(mean_pool(hidden, tokens.mask))
        return logits

    def lora_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]

    def predict_logits(self, texts: Sequence[str], max_tokens: int, batch: int = 32) -> Floats:
        """(n, k) logits in evaluation mode, unmerged: what the merged bundle must reproduce."""
        self.eval()
        ids = self.base.encode(texts, max_tokens)
        with torch.inference_mode():
            parts = [self(self.base.pad(ids[i : i + batch])).cpu() for i in range(0, len(ids), batch)]
        logits: Floats = torch.cat(parts).float().numpy().astype(np.float32)
        return logits

    def files(self) -> dict[str, bytes]:
        """adapter_model.safetensors and adapter_config.json as plain peft reads them, and head.safetensors."""
        return {
            WEIGHTS: save(_on_cpu(get_peft_model_state_dict(self.encoder))),
            CONFIG: json.dumps(_plain(self.config), indent=1, sort_keys=True).encode(),
            HEAD: save(_on_cpu(self.head.state_dict())),
        }


def continue_from(
    base: BaseModel, files: Mapping[str, bytes], n_labels: int, seed: int
) -> TrainableClassifier:
    """A classifier that starts at a version's LoRA and head (the same rank serves all domains).

    Raises MalformedAdapter when a file cannot be read.
    """
    network = TrainableClassifier(base, n_labels, seed)
    lora = read_tensors(files[WEIGHTS], WEIGHTS)
    set_peft_model_state_dict(network.encoder, lora)
    network.head.load_state_dict(read_tensors(files[HEAD], HEAD))
    return network


def _own_modules(encoder: nn.Module) -> nn.Module:
    """A copy of the module tree that shares every tensor: peft replaces modules, it must not do so in the base."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in encoder.parameters()}
    shared |= {id(tensor): tensor for tensor in encoder.buffers()}
    return copy.deepcopy(encoder, shared)


def _lora_config(base: BaseModel) -> LoraConfig:
    # Mean pooling never reads the pooler: adapting it would only add weights without a gradient.
    linear = [name for name, module in base.encoder.named_modules() if isinstance(module, nn.Linear)]
    targets = sorted(name for name in linear if "pooler" not in name)
    return LoraConfig(
        r=RANK,
        lora_alpha=LORA_ALPHA,
        lora_dropout=DROPOUT,
        target_modules=targets,
        base_model_name_or_path=base.name,
    )


@contextmanager
def _known_warnings() -> Iterator[None]:
    """peft asks the encoder for a property that transformers has renamed; nothing here depends on it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


def _plain(config: LoraConfig) -> dict[str, Any]:
    """peft's configuration as JSON can hold it: sets sorted, enums by value."""
    found = {key: _json_value(value) for key, value in config.to_dict().items()}  # type: ignore[no-untyped-call]
    return found | {"inference_mode": True}


def _json_value(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    return getattr(value, "value", value)


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
