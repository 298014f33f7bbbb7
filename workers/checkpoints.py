"""How far a fit has come, kept in the store so that any worker can go on: tensors as safetensors, facts as JSON.

One object a fit, signed with the workers' key and replaced as a whole. One that is torn, foreign or of another fit is
not gone on from: that costs time and nothing else.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from trimtab.errors import StoreUnavailable
from trimtab.store import CheckpointStore

EVERY_S = 30.0
_SIGNATURE_BYTES = 64
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A fit in the middle: numbers and names as JSON can hold them, and tensors on the CPU."""

    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def to_bytes(self, key: Ed25519PrivateKey) -> bytes:
        """The signature over everything else, the facts as one line, the tensors."""
        content = json.dumps(self.facts, sort_keys=True).encode() + b"\n" + save_tensors(dict(self.tensors))
        return key.sign(content) + content

    @staticmethod
    def from_bytes(content: bytes, key: Ed25519PrivateKey) -> Snapshot:
        """Reads `to_bytes`. Raises ValueError when it is torn or not signed with this key."""
        signature, signed = content[:_SIGNATURE_BYTES], content[_SIGNATURE_BYTES:]
        try:
            key.public_key().verify(signature, signed)
            facts, _, tensors = signed.partition(b"\n")
            return Snapshot(json.loads(facts), load_tensors(tensors))
        except (InvalidSignature, SafetensorError) as error:
            raise ValueError(f"not a whole checkpoint of ours: {error!r}") from None


# Keeps how many steps a fit (its digest) has, once that was measured; returns what was kept first.
FixedSteps = Callable[[str, int], int]


@dataclass(frozen=True)
class Checkpoints:
    """The snapshots of one job's fits. `every_s`: how much work a crash may cost.

    `fixed_steps` outlives them: a fit that has to begin anew has as many steps as it had.
    """

    store: CheckpointStore
    job: str
    key: Ed25519PrivateKey
    every_s: float = EVERY_S
    fixed_steps: FixedSteps | None = None

    def save(self, fit: str, snapshot: Snapshot) -> None:
        """Replaces the fit's snapshot; a store that is away for a moment ends no training."""
        try:
            self.store.put(self.job, fit, snapshot.to_bytes(self.key))
        except StoreUnavailable as error:
            _log.warning("no checkpoint: %s", error, extra={"job": self.job})

    def load(self, fit: str) -> Snapshot | None:
        """The fit's snapshot, None when there is none that can be trusted. Raises StoreUnavailable."""
        content = self.store.get(self.job, fit)
        if content is None:
            return None
        try:
            return Snapshot.from_bytes(content, self.key)
        except ValueError as error:
            _log.warning("a checkpoint is left aside: %s", error, extra={"job": self.job})
            return None
