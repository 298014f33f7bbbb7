"""The cells of a study as matrices: what is in, and what of it can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.adaptation.cells import Cells, Result
from benchmarks.adaptation.data import Study
from benchmarks.adaptation.methods import Method
from benchmarks.adaptation.scores import N_DRAWS, Doubles, Draws, draw, flips, matrix
from benchmarks.adaptation.stream import Seed, unpacked

Order = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Chain:
    """What one method did with one order, by seed: matrices, negative flips, CPU seconds a step, what was told."""

    order: Order
    seeds: tuple[int, ...]
    matrices: tuple[Doubles, ...]
    flips: tuple[Doubles, ...]
    cpu_s: tuple[float, ...]
    told: tuple[tuple[dict[str, Any], ...], ...]

    def of(self, seeds: Sequence[int]) -> list[Doubles]:
        """The matrices of these seeds, which must be in."""
        return [self.matrices[self.seeds.index(seed)] for seed in seeds]


@dataclass(frozen=True, eq=False)
class Results:
    """The finished cells of a study; seeds are looked for below `n_seeds`."""

    cells: Cells
    study: Study
    n_seeds: int
    n_draws: int = N_DRAWS

    @cached_property
    def seeds(self) -> list[Seed]:
        return [Seed(self.study, number) for number in range(self.n_seeds)]

    @cached_property
    def draws(self) -> list[Draws]:
        return [
            draw({name: domain.test for name, domain in seed.domains.items()}, seed.number, self.n_draws)
            for seed in self.seeds
        ]

    def chain(self, method: Method, order: Order) -> Chain | None:
        """All steps of an order for the seeds that have them all; None when there is no such seed."""
        found = {seed.number: self._steps(seed, method, order) for seed in self.seeds}
        return self._chain(order, {number: steps for number, steps in found.items() if steps is not None})

    def joint(self, order: Order) -> Chain | None:
        """Joint training, as if it were the one step after the source."""
        found = {}
        for seed in self.seeds:
            steps = [self.cells.result(cell) for cell in (seed.source_cell(), seed.joint_cell())]
            if None not in steps:
                found[seed.number] = [step for step in steps if step is not None]
        return self._chain(order, found)

    def sources(self) -> Chain | None:
        """The source versions."""
        found = {seed.number: self.cells.result(seed.source_cell()) for seed in self.seeds}
        return self._chain(self.study.orders[0], {n: [step] for n, step in found.items() if step is not None})

    def _steps(self, seed: Seed, method: Method, order: Order) -> list[Result] | None:
        steps = [
            self.cells.result(seed.step_cell(method, order, step))
            for step in range(len(method.domains_of(order)) + 1)
        ]
        return None if None in steps else [step for step in steps if step is not None]

    def _chain(self, order: Order, found: dict[int, list[Result]]) -> Chain | None:
        if not found:
            return None
        domains = (self.study.source, *order)
        rows = {number: [self._right(number, step) for step in steps] for number, steps in found.items()}
        return Chain(
            order=order,
            seeds=tuple(found),
            matrices=tuple(matrix(self.draws[n], each, domains) for n, each in rows.items()),
            flips=tuple(flips(self.draws[n], each, domains) for n, each in rows.items() if len(each) > 1),
            cpu_s=tuple(step["cpu_s"]["learnt"] for steps in found.values() for step in steps[1:] or steps),
            told=tuple(tuple(step["told"] for step in steps[1:]) for steps in found.values()),
        )

    def _right(self, number: int, step: Result) -> dict[str, np.ndarray[Any, np.dtype[np.bool_]]]:
        domains = self.seeds[number].domains
        return {name: unpacked(digits, len(domains[name].test)) for name, digits in step["right"].items()}


def common(*chains: Chain | None) -> list[int]:
    """Seeds that all of them have."""
    if not chains or any(chain is None for chain in chains):
        return []
    return sorted(set.intersection(*(set(chain.seeds) for chain in chains if chain is not None)))
