"""The model as every peer runs it: Hugging Face transformers, eager, padded to the longest text of the batch.

Peers run in environments without Trimtab, so nothing here imports it. It is also the reference for right answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

MAX_TOKENS = 512
logging.set_verbosity_error()  # type: ignore[no-untyped-call]
logging.disable_progress_bar()  # type: ignore[no-untyped-call]


class Classifier:
    """An encoder, mean pooling over the tokens, a linear head."""

    def __init__(self, checkpoint: str | Path, threads: int = 1) -> None:
        """checkpoint: a directory as `benchmarks.serving.versions.export` writes it."""
        torch.set_num_threads(threads)
        self.tokenizer = AutoTokenizer.from_pretrained(str(checkpoint))
        self.encoder = AutoModel.from_pretrained(str(checkpoint), dtype=torch.float32).eval()
        head = load_file(Path(checkpoint) / "head.safetensors")
        self.weight, self.bias = head["weight"], head["bias"]

    def logits(self, texts: Sequence[str]) -> Tensor:
        """(n, k) logits of n texts, in one padded batch."""
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        with torch.inference_mode():
            hidden = self.encoder(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            return torch.nn.functional.linear(pooled, self.weight, self.bias)

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        """The k probabilities of n texts."""
        scores: list[list[float]] = self.logits(texts).softmax(dim=1).tolist()
        return scores
