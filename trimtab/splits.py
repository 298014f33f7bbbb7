"""Which part a labelled text belongs to: decided by a hash, so that it never changes and parts never cross."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from typing import Literal, TypeVar

LabelPart = Literal["train", "selection", "gate"]
LABEL_PARTS: Mapping[LabelPart, float] = {"train": 0.60, "selection": 0.12, "gate": 0.28}

P = TypeVar("P", bound=str)

_SPACES = re.compile(r"\s+")


def normalise(text: str) -> str:
    """The text as it is compared: NFKC, lower case, single spaces."""
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def key_of(text: str, group: str | None = None) -> str:
    """sha256 (hex) of the group if there is one (a review, an article), else of the normalised text."""
    basis = f"group:{group}" if group else f"text:{normalise(text)}"
    return hashlib.sha256(basis.encode()).hexdigest()


def unit_of(key: str, salt: str = "") -> float:
    """A number in [0, 1) that depends on key and salt only, uniform over keys."""
    digest = hashlib.sha256(f"{salt}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def choose_part(key: str, shares: Mapping[P, float], salt: str = "") -> P:
    """The part of `shares` (they sum to 1) in which the key's unit falls."""
    unit, reached = unit_of(key, salt), 0.0
    for part, share in shares.items():
        reached += share
        if unit < reached:
            return part
    return part


def part_of(key: str, salt: str = "labels") -> LabelPart:
    """Train, selection or gate: the part of a labelled sample of the traffic."""
    return choose_part(key, LABEL_PARTS, salt)
