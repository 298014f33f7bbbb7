"""The pristine base model: a Hugging Face encoder and its tokenizer, loaded once per process and never written to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from trimtab.adapter import BaseIdentity
from trimtab.errors import BaseModelMissing
from trimtab.features import Integers
from trimtab.packing import Runner, find_runner
from trimtab.pooling import is_classifier, load_checkpoint

# What is beyond this many characters a token is not looked at, so that an endless text costs no more than its start
# (English has 4 to 5 characters a token, Chinese 1 to 2).
CHARACTERS_PER_TOKEN = 16
_HUB_TIMEOUT_S = 5.0
_ASK_FOR_A_FOLDER = (
    "the Hugging Face hub does not answer, and it is not on this disk: name a directory, which "
    "`hf download ID --local-dir DIR` fills where there is a network"
)


@dataclass(frozen=True)
class Encoded:
    """n texts as an encoder reads them: ids with special tokens, and which texts were cut."""

    ids: tuple[list[int], ...]
    cut: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def n_tokens(self) -> int:
        """Tokens of all texts, with special tokens."""
        return sum(map(len, self.ids))

    def part(self, start: int, end: int) -> Encoded:
        """Texts start to end - 1."""
        return Encoded(self.ids[start:end], self.cut[start:end])


@dataclass(frozen=True)
class Tokens:
    """A batch of token ids: ids and mask are (n, longest); lengths and n_unknown count without special tokens."""

    ids: Tensor
    mask: Tensor
    lengths: tuple[int, ...]
    n_unknown: tuple[int, ...]


@dataclass(frozen=True)
class BaseModel:
    """A frozen encoder in fp32 with its tokenizer. `encoder` is for training; `runner` is how it is served."""

    name: str
    digest: str
    tokenizer_digest: str
    encoder: torch.nn.Module
    tokenizer: Tokenizer
    pad_id: int
    unknown_id: int | None
    hidden_size: int
    # Special tokens of one text.
    n_special: int
    # The longest text that the encoder has positions for, with special tokens.
    max_positions: int
    device: torch.device
    runner: Runner

    @property
    def identity(self) -> BaseIdentity:
        return BaseIdentity(name=self.name, digest=self.digest, tokenizer_digest=self.tokenizer_digest)

    def read(self, texts: Sequence[str], max_tokens: int) -> Encoded:
        """Texts as token ids, at most max_tokens (and max_positions) each; what is too long is cut at the end."""
        limit = min(max_tokens, self.max_positions)
        starts = [_start(text, CHARACTERS_PER_TOKEN * limit) for text in texts]
        found = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(starts)]
        longer = zip(found, starts, texts, strict=True)
        cut = tuple(len(row) > limit or len(start) < len(text) for row, start, text in longer)
        return Encoded(tuple(self._cut(row, limit) for row in found), cut)

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """The token ids of `read`."""
        return list(self.read(texts, max_tokens).ids)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, with special tokens, uncut."""
        return [len(encoding.ids) for encoding in self.tokenizer.encode_batch_fast(list(texts))]

    def count(self, ids: Sequence[Sequence[int]]) -> Integers:
        """(n, 2): tokens without the special ones, and unknown ones among them."""
        return np.array(
            [(max(len(row) - self.n_special, 0), row.count(self.unknown_id)) for row in ids], dtype=np.int64
        )

    def pad(self, ids: Sequence[Sequence[int]]) -> Tokens:
        """One padded batch of encoded texts on the model's device."""
        longest = max(len(row) for row in ids)
        padded = torch.full((len(ids), longest), self.pad_id, dtype=torch.long)
        mask = torch.zeros((len(ids), longest), dtype=torch.long)
        for i, row in enumerate(ids):
            padded[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        counts = self.count(ids)
        return Tokens(
            padded.to(self.device),
            mask.to(self.device),
            tuple(counts[:, 0].tolist()),
            tuple(counts[:, 1].tolist()),
        )

    @staticmethod
    def _cut(ids: list[int], max_tokens: int) -> list[int]:
        return ids if len(ids) <= max_tokens else [*ids[: max_tokens - 1], ids[-1]]


def _start(text: str, n_characters: int) -> str:
    """The start of a text that is longer than n characters, up to the last space: no word is cut in two."""
    if len(text) <= n_characters:
        return text
    end = text.rfind(" ", n_characters // 2, n_characters)
    return text[: end if end > 0 else n_characters]


def load_base(name: str, device: str = "auto") -> BaseModel:
    """Loads an encoder by directory or hub id, in fp32, from safetensors only.

    A directory that holds a fine-tuned sequence classifier keeps the pooling that it was fine-tuned with.

    Raises:
        BaseModelMissing: it is not there, is no encoder with a fast tokenizer, or has no safetensors weights.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    local = Path(name).is_dir()
    if not local and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise BaseModelMissing(f"base model {name}: there is no such directory")
    stored = local or not _hub_answers()
    try:
        adopted = load_checkpoint(name) if local and is_classifier(name) else None
        encoder: Any = adopted.encoder if adopted is not None else _load_encoder(name, local=stored)
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=stored, trust_remote_code=False)
        fast: Tokenizer = tokenizer.backend_tokenizer
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise BaseModelMissing(
            f"base model {name}: {_ASK_FOR_A_FOLDER if stored and not local else _first_line(error)}"
        ) from None
    fast.no_padding()
    fast.no_truncation()
    pad_id, max_positions = (
        tokenizer.pad_token_id or 0,
        _max_positions(encoder.config, tokenizer.model_max_length),
    )
    target = torch.device(device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    encoder.requires_grad_(False).eval().to(target)
    return BaseModel(
        name=name,
        digest=_digest_weights(encoder, adopted.activation if adopted is not None else ""),
        tokenizer_digest=hashlib.sha256(fast.to_str().encode()).hexdigest(),
        encoder=encoder,
        tokenizer=fast,
        pad_id=pad_id,
        unknown_id=tokenizer.unk_token_id,
        hidden_size=encoder.config.hidden_size,
        n_special=fast.num_special_tokens_to_add(is_pair=False),
        max_positions=max_positions,
        device=target,
        runner=find_runner(encoder, pad_id, max_positions, target),
    )


def _hub_answers() -> bool:
    """Asked once, briefly: the hub's own client tries for a minute, and what it kept on disk needs no hub."""
    import httpx
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        httpx.head(constants.ENDPOINT, timeout=_HUB_TIMEOUT_S)
    except httpx.HTTPError:
        return False
    return True


def _load_encoder(name: str, *, local: bool) -> Any:
    from transformers import AutoModel

    return AutoModel.from_pretrained(
        name, dtype=torch.float32, use_safetensors=True, local_files_only=local, trust_remote_code=False
    )


def _max_positions(config: Any, tokenizer_limit: int) -> int:
    """The tokenizer's own limit where it states one (RoBERTa has 514 positions for 512 tokens), else the positions."""
    return min(int(tokenizer_limit), int(getattr(config, "max_position_embeddings", tokenizer_limit)))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _digest_weights(encoder: torch.nn.Module, activation: str) -> str:
    """sha256 over the architecture, how its states are pooled, and names, shapes and values of all weights."""
    digest = hashlib.sha256(f"{type(encoder).__name__}{activation}".encode())
    state: dict[str, Any] = encoder.state_dict()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(memoryview(tensor.numpy().reshape(-1).view("uint8")))
    return digest.hexdigest()
