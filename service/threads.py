"""Which thread computes with how many cores: decided once, at the entry point, before torch is loaded."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def prepare_environment(environment: MutableMapping[str, str]) -> None:
    """What thread pools read once, when they are made; what the operator set stays.

    Waiting threads must not spin: where they have fewer cores than they think, everybody stands still. The tokenizer is
    fast enough on one thread. Batches without padding have a shape of their own nearly every time: torch and oneDNN
    would keep 1,024 prepared products each, hundreds of megabytes that come with traffic and never go.
    """
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    environment.setdefault("LRU_CACHE_CAPACITY", "16")
    environment.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")


def compute_threads(wanted: int, n_cores: int, n_workers: int = 1) -> int:
    """Threads of one process's inference engine: as many as wanted, for 0 its share of all cores but one.

    The one core is for the event loops, which read, tokenise and answer.
    """
    return wanted or max(1, (n_cores - 1) // n_workers)


def available_cores(quota: Path = _QUOTA) -> int:
    """Cores that this process may use: by affinity, and by the quota of its container (cgroup v2)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        limit, period = quota.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return allowed
    return allowed if limit == "max" else max(1, min(allowed, int(limit) // int(period)))


def use_threads(n: int) -> None:
    """Sets the compute threads of the calling thread, and of no other.

    The first use of torch in a thread takes over what any thread set last; asking first gets that over with.
    """
    import torch

    torch.get_num_threads()
    torch.set_num_threads(n)
