"""What a variant costs: CPU of each step of a swap, and memory; the API's own functions, called in this process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from safetensors.torch import save

from benchmarks.serving.versions import Home
from trimtab.adapter import WEIGHTS, load_public_key, verify
from trimtab.bundle import build_bundle, read_tensors, self_test
from trimtab.store import AdapterStore

Result = TypeVar("Result")
NARROW = ("query", "value", "q_lin", "v_lin")


@dataclass(frozen=True)
class SwapCosts:
    """Medians over repetitions.

    Attributes:
        cpu_ms: CPU time of the calling thread by step: read, verify, build; self_test apart.
        bytes_all: Memory of a version with LoRA on every linear layer, beside the shared base.
        bytes_narrow: The same of a version with LoRA on query and value only.
    """

    cpu_ms: Mapping[str, float]
    bytes_all: int
    bytes_narrow: int

    @property
    def to_serve_ms(self) -> float:
        """Everything that a swap needs before it may be assigned, without self-test and warm-up."""
        return sum(self.cpu_ms[step] for step in ("read", "verify", "build"))


def measure_costs(home: Home, repetitions: int = 15) -> SwapCosts:
    """Builds the newest version again and again, as the follower does."""
    torch.set_num_threads(1)
    store, key = AdapterStore(home.settings.store_url), load_public_key(home.settings.public_key_path)
    digest = home.bundles[max(home.bundles)].digest
    times: dict[str, list[float]] = {"read": [], "verify": [], "build": [], "self_test": []}
    for _ in range(repetitions):
        files = _timed(times["read"], partial(store.get, digest))
        manifest = _timed(times["verify"], partial(verify, files, key, digest))
        build = partial(build_bundle, home.base, files, manifest=manifest, digest=digest)
        bundle = _timed(times["build"], build)
        _timed(times["self_test"], partial(self_test, bundle, manifest.golden))
    narrow = build_bundle(home.base, narrowed(files), manifest=manifest, digest=digest)
    # The first of each is colder than a follower that runs.
    cpu_ms = {step: statistics.median(values[1:]) for step, values in times.items()}
    return SwapCosts(cpu_ms, bundle.own_bytes, narrow.own_bytes)


def narrowed(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files with LoRA on query and value only (unsigned: for weighing, not for serving)."""
    kept = {
        name: tensor
        for name, tensor in read_tensors(files[WEIGHTS], WEIGHTS).items()
        if any(f".{part}." in name for part in NARROW)
    }
    return {**files, WEIGHTS: save(kept)}


def _timed(times_ms: list[float], act: Callable[[], Result]) -> Result:
    started = time.thread_time()
    result = act()
    times_ms.append((time.thread_time() - started) * 1000)
    return result
