"""Column types that behave the same on SQLite and PostgreSQL, and how values become JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Dialect, Integer, LargeBinary, Text
from sqlalchemy.types import TypeDecorator

MAX_INDEXED = 200  # characters


def storable(text: str) -> str:
    """The text with what a database cannot hold replaced: lone surrogates by "?", NUL by U+FFFD."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def indexable(name: str) -> str:
    """A name of any length as something short enough for an index (PostgreSQL takes 2,704 bytes a row of it).

    Up to 200 characters as they are, else their sha256 (hex).
    """
    name = storable(name)
    return name if len(name) <= MAX_INDEXED else hashlib.sha256(name.encode()).hexdigest()


class CleanText(TypeDecorator[str]):
    """Text that every database can hold: one odd character of one user must not stop the stream."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else storable(value)


class Float32Array(TypeDecorator[NDArray[np.float32]]):
    """A float32 vector (d,) as little-endian bytes."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:  # noqa: ARG002
        return None if value is None else np.asarray(value, dtype="<f4").tobytes()

    def process_result_value(self, value: Any, dialect: Dialect) -> NDArray[np.float32] | None:  # noqa: ARG002
        return None if value is None else np.frombuffer(value, dtype="<f4")


# SQLite numbers rows by itself only in a column declared exactly INTEGER (which holds 64 bits there).
Sequence64 = BigInteger().with_variant(Integer, "sqlite")


def to_json(value: Any) -> str:
    """Strict JSON; NaN and infinity raise ValueError, as PostgreSQL would refuse them later."""
    return json.dumps(value, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be kept as JSON")
