"""Fine-tuned sequence classifiers of Hugging Face as base models: their own pooling, so that they answer as they did.

Such a classifier reads the state of the first token through a dense layer and an activation, and its last layer is
linear. The encoder gets a hook that puts that state in the place of every token's last hidden state: whoever takes
the mean over a text's tokens, padded or packed, in serving or in training, then gets what the classifier's last layer
reads. Which activation it is, is found out by comparing with the checkpoint's own logits, not looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trimtab.errors import BaseModelMissing
from trimtab.features import Floats
from trimtab.packing import mean_pool

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "none": lambda states: states,
}
# In the encoder, named so that nothing adapts it: it is what the mean of a plain encoder does not read.
DENSE = "pooler_dense"
TOLERANCE = 1e-4
N_PROBES = 8
_SUFFIX = "ForSequenceClassification"


@dataclass(frozen=True)
class FirstToken:
    """A forward hook: every token's last hidden state becomes activation(dense(state of its text's first token))."""

    activation: str

    def __call__(self, encoder: nn.Module, _: Any, given: dict[str, Any], output: Any) -> Any:
        """The output with its last hidden states replaced; `given` holds the pack, or the attention mask."""
        hidden = output.last_hidden_state
        pack = given.get("pack")
        if pack is None:
            first = self._finish(encoder, hidden[:, :1])
            output.last_hidden_state = first.expand(-1, hidden.shape[1], -1)
            return output
        first = self._finish(encoder, hidden[0, pack.offsets[:-1].long()])
        lengths = torch.tensor(pack.lengths, device=hidden.device)
        output.last_hidden_state = first.repeat_interleave(lengths, dim=0)[None]
        return output

    def _finish(self, encoder: nn.Module, states: Tensor) -> Tensor:
        dense = encoder.get_submodule(DENSE)
        return ACTIVATIONS[self.activation](dense(states))


@dataclass(frozen=True)
class Checkpoint:
    """A fine-tuned classifier: its encoder with the hook, and its last layer, (k, h) weight and (k,) bias."""

    encoder: nn.Module
    activation: str
    labels: tuple[str, ...]
    weight: Floats
    bias: Floats


def is_classifier(directory: str) -> bool:
    """Whether the directory holds a fine-tuned sequence classifier rather than a bare encoder."""
    from transformers import AutoConfig

    if not Path(directory).is_dir():
        return False
    named: Any = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    return any(name.endswith(_SUFFIX) for name in named.architectures or ())


def load_checkpoint(directory: str) -> Checkpoint:
    """Reads a fine-tuned classifier in fp32, from safetensors only.

    Raises:
        BaseModelMissing: it is no classifier of one label a text, or pools in a way that is not reproduced here.
    """
    from transformers import AutoModelForSequenceClassification

    if not is_classifier(directory):
        raise BaseModelMissing(
            f"checkpoint {directory}: no fine-tuned sequence classifier, at most an encoder"
        )
    try:
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            directory,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError) as error:
        raise BaseModelMissing(f"checkpoint {directory}: {str(error).strip().splitlines()[0]}") from None
    kind = model.config.problem_type
    if model.config.num_labels < 2 or kind not in {None, "single_label_classification"}:
        raise BaseModelMissing(
            f"checkpoint {directory}: it must choose one of at least two labels (not {kind or 'a regression'})"
        )
    model.eval()
    dense, last = _layers(model)
    if last is None:
        raise BaseModelMissing(
            f"checkpoint {directory}: no linear last layer was found in {type(model).__name__}"
        )
    labels = tuple(str(model.config.id2label[i]) for i in range(model.config.num_labels))
    activation = _find_activation(model, dense, last, directory)
    weight, bias = last.weight.detach().numpy().copy(), last.bias.detach().numpy().copy()
    return Checkpoint(model.base_model, activation, labels, weight, bias)


def _layers(model: Any) -> tuple[nn.Module, nn.Linear | None]:
    """The layer that reads the first token's state (perhaps nothing), and the last one."""
    head = model.classifier
    if isinstance(head, nn.Linear):
        pooler = getattr(model.base_model, "pooler", None)
        dense = getattr(model, "pre_classifier", None) or getattr(pooler, "dense", pooler)
        return dense or nn.Identity(), head
    last = getattr(head, "out_proj", None)
    return getattr(head, "dense", nn.Identity()), last if isinstance(last, nn.Linear) else None


def _find_activation(model: Any, dense: nn.Module, last: nn.Linear, directory: str) -> str:
    """The one under which the hooked encoder and the last layer give the checkpoint's own logits.

    Leaves the encoder with that hook. Raises BaseModelMissing.
    """
    encoder = model.base_model
    ids = _probes(model.config)
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        expected = model(input_ids=ids, attention_mask=mask).logits
        encoder.add_module(DENSE, dense)
        for activation in ACTIVATIONS:
            hook = encoder.register_forward_hook(FirstToken(activation), with_kwargs=True)
            states = mean_pool(encoder(input_ids=ids, attention_mask=mask).last_hidden_state, mask)
            if float((last(states) - expected).abs().max()) <= TOLERANCE:
                return activation
            hook.remove()
    raise BaseModelMissing(
        f"checkpoint {directory}: {type(model).__name__} does not read its first token through one dense layer; "
        "train on the encoder instead (--base with --data)"
    )


def _probes(config: Any) -> Tensor:
    """(8, 12) token ids, always the same ones."""
    random = np.random.default_rng(0)
    low = min(10, config.vocab_size - 1)
    return torch.from_numpy(random.integers(low, config.vocab_size, size=(N_PROBES, 12)))
