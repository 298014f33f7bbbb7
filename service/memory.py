"""Memory that is free is given back: the C library keeps what large tensors left."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def release_memory() -> bool:
    """Gives free heap pages back to the system (malloc_trim of glibc); whether there were any."""
    trim = _malloc_trim()
    return bool(trim(0)) if trim is not None else False


@cache
def _malloc_trim() -> Any:
    """None where the C library has no such function (musl, macOS)."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
