"""`python -m benchmarks.adaptation.targets`: which layers LoRA should adapt. ADR 0020 quotes what it prints.

A reduced stream (source, two new domains with replay), the same for every choice: accuracy at the end, CPU time of
the fits on one thread, memory that a served version has for itself, and how long its merge takes. Choices alternate
within a seed, so that a busy machine is busy for all of them.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.adaptation.data import Domain, Sizes, Study
from service.demo.data import LABELS, cache_dir, fetch_archive, load_domains
from service.demo.model import packaged_model
from trimtab.base import BaseModel, load_base
from workers.artefact import Candidate, draft
from workers.classifier import LoraShape, TrainableClassifier, continue_from, default_shape
from workers.fit import Recipe, ReplaySet, fit

ORDER = ("movie", "tweets", "amazon")
SIZES = Sizes(source_train=1000, source_selection=50, source_test=600, train=300, selection=20, unlabelled=20)
N_TEST = 600
EXEMPLARS = 150
Choice = Callable[[BaseModel], LoraShape]


def upper_half(base: BaseModel) -> LoraShape:
    """Every linear layer of the upper half of the blocks."""
    n = int(base.encoder.config.num_hidden_layers)  # type: ignore[union-attr,arg-type]
    blocks = tuple(f"layer.{i}." for i in range(n // 2, n))
    return _only(base, lambda name: any(block in name for block in blocks))


def query_value(base: BaseModel) -> LoraShape:
    return _only(base, lambda name: name.endswith((".query", ".value")))


CHOICES: dict[str, Choice] = {
    "all linear layers": default_shape,
    "query and value": query_value,
    "upper half, all linear": upper_half,
}


def _only(base: BaseModel, wanted: Callable[[str], bool]) -> LoraShape:
    return LoraShape(tuple(filter(wanted, default_shape(base).targets)))


def untold(_step: int, _of: int) -> None:
    """Nobody waits for it."""


@dataclass(frozen=True)
class Outcome:
    """One chain: balanced accuracy on every domain at its end, costs of the fits and of serving."""

    choice: str
    seed: int
    accuracy: dict[str, float]
    fit_cpu_s: float
    own_mb: float
    merge_s: float

    @property
    def average(self) -> float:
        return statistics.fmean(self.accuracy.values())


def run_chain(choice: str, base: BaseModel, domains: dict[str, Domain], seed: int) -> Outcome:
    """Source, then each new domain with DER++ on the exemplars of those before."""
    network = TrainableClassifier(base, len(LABELS), seed, CHOICES[choice](base))
    kept: list[ReplaySet] = []
    seconds = 0.0
    for number, name in enumerate(ORDER):
        train = domains[name].train
        recipe = Recipe(epochs=3 if number else 2, seed=seed)
        started = time.process_time()
        if number:
            network = continue_from(base, network.files(), len(LABELS), seed)
        fit(network, train.training_set(), joined(kept), recipe, untold)
        seconds += time.process_time() - started
        first = train.first(EXEMPLARS)
        logits = network.predict_logits(first.texts, recipe.max_tokens)
        kept.append(ReplaySet(first.texts, first.labels, logits, (name,) * len(first)))
    started = time.process_time()
    candidate = draft(network, model="study", version=1, labels=LABELS, max_tokens=128)
    merge_s = time.process_time() - started
    scores = {name: score(candidate, domains[name]) for name in ORDER}
    return Outcome(choice, seed, scores, seconds, candidate.bundle.own_bytes / 1e6, merge_s)


def joined(parts: Sequence[ReplaySet]) -> ReplaySet | None:
    """One replay set of several."""
    if not parts:
        return None
    return ReplaySet(
        tuple(text for part in parts for text in part.texts),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.logits for part in parts]),
        tuple(domain for part in parts for domain in part.domains),
    )


def score(candidate: Candidate, domain: Domain) -> float:
    test = domain.test.first(N_TEST)
    return candidate.answers.scorecard(test.texts, test.labels).balanced_accuracy


def table(outcomes: Sequence[Outcome]) -> str:
    """Means over the seeds, and the difference in average accuracy to the first choice with its standard error."""
    lines = [
        "choice | average accuracy | minus the first | movie | tweets | amazon | CPU s | own MB | merge s"
    ]
    seeds = sorted({each.seed for each in outcomes})
    by = {(each.choice, each.seed): each for each in outcomes}
    first = next(iter(CHOICES))
    for choice in CHOICES:
        found = [by[choice, seed] for seed in seeds if all((name, seed) in by for name in CHOICES)]
        if not found:
            continue
        gaps = [100 * (each.average - by[first, each.seed].average) for each in found]
        error = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")
        numbers = [statistics.fmean(each.accuracy[name] for each in found) for name in ORDER]
        costs = [statistics.fmean(getattr(e, n) for e in found) for n in ("fit_cpu_s", "own_mb", "merge_s")]
        lines.append(
            f"{choice} | {statistics.fmean(e.average for e in found):.3f} | {statistics.fmean(gaps):+.2f} "
            f"± {error:.2f} | {' | '.join(f'{n:.3f}' for n in numbers)} | {costs[0]:.1f} | {costs[1]:.1f} "
            f"| {costs[2]:.2f}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs what --out does not hold yet, and prints the table after every chain."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptation.targets", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(".bench/adaptation-targets.jsonl"))
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = load_domains(fetch_archive(cache_dir()))
    study = replace(Study(rows=rows, labels=LABELS, base=str(packaged_model())), sizes=SIZES)
    lines = arguments.out.read_text(encoding="utf-8").splitlines() if arguments.out.exists() else []
    outcomes = [Outcome(**json.loads(line)) for line in lines]
    base = load_base(study.base, "cpu")
    for seed in range(arguments.seeds):
        domains = study.split(seed)
        for choice in CHOICES:
            if any((each.choice, each.seed) == (choice, seed) for each in outcomes):
                continue
            outcomes.append(run_chain(choice, base, domains, seed))
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            text = "\n".join(json.dumps(asdict(each)) for each in outcomes)
            arguments.out.write_text(text + "\n", encoding="utf-8")
            print(table(outcomes), flush=True)


if __name__ == "__main__":
    main()
