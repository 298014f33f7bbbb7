"""The engine against eager, padded Hugging Face, without HTTP: CPU time, the machine's limit, differences of logits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.serving.intervals import Estimate, median_interval, ratio_interval
from benchmarks.serving.peers.classifier import Classifier
from trimtab.bundle import ModelBundle

BATCH = 32
SQUARE = 1024


@dataclass(frozen=True)
class EngineRound:
    """One round, everything measured once, in CPU seconds of the process.

    Attributes:
        eager_s, engine_s: For the same texts, in unsorted batches.
        gflops: Multiply-adds counted twice, a CPU second, by shape of the product.
        single_eager_s, single_engine_s: The same for texts one by one.
    """

    eager_s: float
    engine_s: float
    single_eager_s: float
    single_engine_s: float
    gflops: dict[str, float]


@dataclass(frozen=True)
class EngineResult:
    """What the rounds say.

    Attributes:
        speedup, single_speedup: Eager's CPU time over the engine's.
        engine_per_s, eager_per_s: Texts a CPU second, batches.
        limit_per_s: Texts a CPU second if all operations ran at the machine's best sgemm rate.
        share_of_limit: Of the engine, in batches.
        share_of_shapes: The same where each linear layer runs at the best rate of its own shape, attention at the best
            of all: what the engine leaves to be had without other products.
        largest_difference: max |logit of the engine - logit of eager, padded| over all texts.
        padding: Share of padded tokens among those that eager computes.
        rounds: What it was computed from.
    """

    speedup: Estimate
    single_speedup: Estimate
    engine_per_s: Estimate
    eager_per_s: Estimate
    limit_per_s: Estimate
    share_of_limit: Estimate
    share_of_shapes: Estimate
    largest_difference: float
    padding: float
    rounds: list[EngineRound]


def measure_engine(
    bundle: ModelBundle, classify: Classifier, texts: Sequence[str], n_rounds: int
) -> Iterator[EngineRound]:
    """Rounds of everything, one after the other, so that a slow spell of the machine hits all alike."""
    torch.set_num_threads(1)
    batches = [texts[i : i + BATCH] for i in range(0, len(texts), BATCH)]
    single = texts[: len(texts) // 8]
    n_tokens = sum(len(ids) for ids in bundle.base.encode(texts, bundle.max_tokens)) // len(batches)
    for warm in (classify.logits, bundle.predict):
        warm(batches[0])
    for _ in range(n_rounds):
        yield EngineRound(
            eager_s=cpu_of(lambda: [classify.logits(batch) for batch in batches]),
            engine_s=cpu_of(lambda: [bundle.predict(batch) for batch in batches]),
            single_eager_s=cpu_of(lambda: [classify.logits([text]) for text in single]),
            single_engine_s=cpu_of(lambda: [bundle.predict([text]) for text in single]),
            gflops=sgemm_gflops(bundle.base.encoder, n_tokens),
        )


def summarise(
    bundle: ModelBundle, classify: Classifier, texts: Sequence[str], rounds: Sequence[EngineRound]
) -> EngineResult:
    """The medians over rounds, each ratio within its round."""
    lengths = [len(ids) for ids in bundle.base.encode(texts, bundle.max_tokens)]
    operations = flops(bundle.base.encoder, lengths)
    limits = [len(texts) * max(each.gflops.values()) * 1e9 / operations for each in rounds]
    rates = [len(texts) / each.engine_s for each in rounds]
    eager, engine = [each.eager_s for each in rounds], [each.engine_s for each in rounds]
    return EngineResult(
        speedup=ratio_interval(eager, engine),
        single_speedup=ratio_interval(
            [each.single_eager_s for each in rounds], [each.single_engine_s for each in rounds]
        ),
        engine_per_s=median_interval(rates),
        eager_per_s=median_interval([len(texts) / each for each in eager]),
        limit_per_s=median_interval(limits),
        share_of_limit=ratio_interval(rates, limits),
        share_of_shapes=ratio_interval(
            rates, [len(texts) / _shapes_s(bundle.base.encoder, lengths, each.gflops) for each in rounds]
        ),
        largest_difference=largest_difference(bundle, classify, texts),
        padding=padded_share(lengths),
        rounds=list(rounds),
    )


def cpu_of(act: Callable[[], object]) -> float:
    """CPU seconds of this process during the call."""
    started = time.process_time()
    act()
    return time.process_time() - started


def largest_difference(bundle: ModelBundle, classify: Classifier, texts: Sequence[str]) -> float:
    """max |difference of logits| between the engine and the padded module, in the same batches."""
    worst = 0.0
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        difference = np.abs(bundle.predict(batch).logits - classify.logits(batch).numpy())
        worst = max(worst, float(difference.max()))
    return worst


def padded_share(lengths: Sequence[int]) -> float:
    """How many of the tokens of padded batches are padding, for texts of these lengths in their order."""
    batches = [lengths[i : i + BATCH] for i in range(0, len(lengths), BATCH)]
    return 1.0 - sum(lengths) / sum(len(batch) * max(batch) for batch in batches)


def flops(encoder: torch.nn.Module, lengths: Sequence[int]) -> float:
    """Floating-point operations of one pass over texts of these lengths without padding.

    Linear layers 2 m k n; attention 2 products of length x length x hidden a layer. Softmax, GELU and layer norms,
    which an sgemm rate does not describe, are left out: the limit is a little too high.
    """
    linear = [module for name, module in encoder.named_modules() if _counts(name, module)]
    per_token = sum(2.0 * module.weight.numel() for module in linear)
    return float(per_token * sum(lengths)) + attention_flops(encoder, lengths)


def attention_flops(encoder: torch.nn.Module, lengths: Sequence[int]) -> float:
    """Of the two products of attention."""
    hidden, layers = _size(encoder, "hidden_size"), _size(encoder, "num_hidden_layers")
    return sum(4.0 * length**2 * hidden * layers for length in lengths)


def _shapes_s(encoder: torch.nn.Module, lengths: Sequence[int], gflops: Mapping[str, float]) -> float:
    """CPU seconds of a pass when every linear layer runs at the best rate that was measured for its shape."""
    best: dict[str, float] = {}
    for name, rate in gflops.items():
        sizes = "x".join(name.split(" ")[0].split("x")[1:])
        best[sizes] = max(best.get(sizes, 0.0), rate * 1e9)
    linear = [module for name, module in encoder.named_modules() if _counts(name, module)]
    seconds = sum(2.0 * m.weight.numel() / best[f"{m.weight.shape[1]}x{m.weight.shape[0]}"] for m in linear)
    return float(seconds * sum(lengths)) + attention_flops(encoder, lengths) / max(best.values())


def sgemm_gflops(encoder: torch.nn.Module, n_tokens: int, seconds: float = 0.1) -> dict[str, float]:
    """Measured fp32 products of one thread, by BLAS and oneDNN: the model's shapes at n tokens, and a large square."""
    linear = [module for name, module in encoder.named_modules() if _counts(name, module)]
    shapes = {(n_tokens, *reversed(module.weight.shape)) for module in linear} | {(SQUARE, SQUARE, SQUARE)}
    rates = {}
    for m, k, n in sorted(shapes):
        a, b = torch.randn(m, k), torch.randn(n, k)
        repetitions = max(round(seconds * 5e10 / (2.0 * m * k * n)), 3)
        for name, multiply in (("BLAS", torch.nn.functional.linear), ("oneDNN", _onednn)):
            multiply(a, b)
            used = cpu_of(partial(_repeat, partial(multiply, a, b), repetitions))
            rates[f"{m}x{k}x{n} {name}"] = repetitions * 2.0 * m * k * n / used / 1e9
    return rates


def _onednn(a: Tensor, b: Tensor) -> Tensor:
    """a b^T by oneDNN, which is faster than the BLAS on some machines."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")  # noqa: SLF001
    return product


def _repeat(act: Callable[[], object], n: int) -> None:
    for _ in range(n):
        act()


def _counts(name: str, module: torch.nn.Module) -> bool:
    # Mean pooling never reads the pooler.
    return isinstance(module, torch.nn.Linear) and "pooler" not in name


def _size(encoder: torch.nn.Module, name: str) -> int:
    return int(getattr(encoder.config, name))
