"""The plan for N cores, and that a thread's choice is its own."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch

from service.threads import available_cores, compute_threads, prepare_environment, use_threads


@pytest.mark.parametrize(
    ("wanted", "cores", "workers", "threads"),
    [(0, 1, 1, 1), (0, 2, 1, 1), (0, 8, 1, 7), (0, 8, 2, 3), (0, 2, 4, 1), (3, 8, 2, 3), (16, 2, 1, 16)],
)
def test_one_core_is_left_to_the_event_loops(wanted: int, cores: int, workers: int, threads: int) -> None:
    assert compute_threads(wanted, cores, workers) == threads


@pytest.mark.parametrize(
    ("quota", "share"),
    [("max 100000", 1.0), ("100000 100000", 0.0), ("50000 100000", 0.0), ("nonsense", 1.0)],
)
def test_a_containers_quota_counts(tmp_path: Path, quota: str, share: float) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    allowed = available_cores(tmp_path / "missing")
    assert available_cores(file) == max(1, round(share * allowed))
    assert allowed == len(os.sched_getaffinity(0))


def test_what_the_operator_set_stays() -> None:
    environment = {"OMP_WAIT_POLICY": "active", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1024"}
    prepare_environment(environment)
    assert environment == {
        "OMP_WAIT_POLICY": "active",
        "TOKENIZERS_PARALLELISM": "false",
        "LRU_CACHE_CAPACITY": "16",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1024",
    }


def test_torch_counts_threads_per_thread() -> None:
    """What the follower relies on: it takes one thread for itself and leaves the engine's alone."""
    counts: dict[str, int] = {}
    chosen, changed = threading.Event(), threading.Event()

    def engine() -> None:
        use_threads(2)
        chosen.set()
        changed.wait()
        counts["engine"] = torch.get_num_threads()

    thread = threading.Thread(target=engine)
    thread.start()
    chosen.wait()
    use_threads(1)
    changed.set()
    thread.join()
    assert counts == {"engine": 2}
