"""Runs chains of versions over the stream, cell by cell, and keeps what each version answers right."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.adaptation.avalanche import through_avalanche
from benchmarks.adaptation.cells import Cell, Cells, Result
from benchmarks.adaptation.data import Domain, Study, Texts
from benchmarks.adaptation.memory import remember, replay_set
from benchmarks.adaptation.methods import Made, Method, Situation, start
from trimtab.adapter import REMEDY
from trimtab.base import BaseModel, load_base
from trimtab.bundle import Remedy
from workers.artefact import draft_of
from workers.evaluate import Answers
from workers.fit import TrainingSet
from workers.task import Task
from workers.workshop import LoadedVersion

SOURCE_CODE, JOINT_CODE = 1, 1
MEMORY = "memory.json"


@dataclass(frozen=True)
class Seed:
    """One seed of the study: its split of the texts, and what its cells depend on."""

    study: Study
    number: int

    @cached_property
    def domains(self) -> dict[str, Domain]:
        return self.study.split(self.number)

    @cached_property
    def digests(self) -> dict[str, str]:
        return {name: domain.digest() for name, domain in self.domains.items()}

    def source_cell(self) -> Cell:
        return self._cell("source", (), {"code": SOURCE_CODE, "memory": self.study.memory})

    def joint_cell(self) -> Cell:
        return self._cell("joint", (), {"code": JOINT_CODE})

    def step_cell(self, method: Method, order: Sequence[str], step: int) -> Cell:
        """The version after `step` new domains of the order; after none of them the source's."""
        if step == 0:
            return self.source_cell()
        before = self.step_cell(method, order, step - 1)
        return self._cell(method.name, order[:step], {"code": method.code, "from": before.digest})

    def learnt(self, method: Method, name: str) -> Domain:
        """A domain with as many labels as the method may see."""
        domain, sizes = self.domains[name], self.study.sizes
        if name == self.study.source:
            return domain
        if method.unlabelled_only:
            return replace(domain, train=Texts(), selection=Texts())
        if method.few:
            few = domain.train.first(sizes.few_train)
            return replace(domain, train=few, selection=domain.selection.first(sizes.few_selection))
        return domain

    def _cell(self, method: str, order: Sequence[str], more: Mapping[str, Any]) -> Cell:
        depends = {
            "study": self.study.recipe(),
            "seed": self.number,
            "data": self.digests,
            "order": list(order),
        }
        return Cell(f"{method}/{'-'.join(order) or 'all'}/seed-{self.number}", depends | dict(more))


@dataclass(frozen=True, eq=False)
class Runner:
    """Makes the cells that are missing."""

    cells: Cells
    study: Study
    peers: Path = Path(".bench/peers")

    @cached_property
    def base(self) -> BaseModel:
        return load_base(self.study.base, "cpu")

    def source(self, seed: Seed) -> Result:
        """Version 1 of every chain of a seed."""
        sets = [seed.domains[self.study.source].train.training_set()]
        return self._first(seed, seed.source_cell(), sets, self.study.source_epochs)

    def joint(self, seed: Seed) -> Result:
        """One training from the base on the training texts of all domains."""
        sets = [domain.train.training_set() for domain in seed.domains.values()]
        return self._first(seed, seed.joint_cell(), sets, self.study.joint_epochs)

    def chain(self, seed: Seed, method: Method, order: Sequence[str]) -> None:
        """Every step of an order, each from the one before. Raises PeerMissing."""
        self.source(seed)
        if method.learn is None:
            self._peer(seed, method, order)
            return
        for step in range(1, len(method.domains_of(tuple(order))) + 1):
            self._step(seed, method, order, step)

    def _peer(self, seed: Seed, method: Method, order: Sequence[str]) -> None:
        """All steps of an order at once."""
        cells = [seed.step_cell(method, order, step) for step in range(1, len(order) + 1)]
        with self.cells.alone(cells[-1]):
            if all(self.cells.result(cell) for cell in cells):
                return
            domains = [seed.domains[name] for name in (self.study.source, *order)]
            source, folder = self.cells.files(seed.source_cell()), self.peers / method.name
            answers = through_avalanche(self.base, source, domains, self.study, seed.number, folder)
            for cell, answer in zip(cells, answers, strict=True):
                right = {
                    each.name: packed(np.array(answer["predicted"][each.name]) == each.test.labels)
                    for each in domains
                }
                self.cells.keep(cell, {"right": right, "cpu_s": {"learnt": answer["cpu_s"]}, "told": {}}, {})

    def _first(self, seed: Seed, cell: Cell, sets: Sequence[TrainingSet], epochs: int) -> Result:
        with self.cells.alone(cell):
            found = self.cells.result(cell)
            if found is not None:
                return found
            started = time.process_time()
            made = Made(start(self.base, self.study.labels, sets, epochs, seed.number))
            spent_s = time.process_time() - started
            kept = remember((), made.candidate, seed.domains[self.study.source], self.study.memory)
            return self._keep(seed, cell, made, kept, spent_s)

    def _step(self, seed: Seed, method: Method, order: Sequence[str], step: int) -> Result:
        cell = seed.step_cell(method, order, step)
        with self.cells.alone(cell):
            found = self.cells.result(cell)
            if found is not None:
                return found
            lineage = [self.cells.files(seed.step_cell(method, order, i)) for i in reversed(range(step))]
            seen = [seed.learnt(method, name) for name in (self.study.source, *order[: step - 1])]
            new = seed.learnt(method, order[step - 1])
            started = time.process_time()
            task = self._task(seed, new, seen, lineage)
            assert method.learn is not None
            made = method.learn(Situation(task, seen[-1].train.training_set()))
            spent_s = time.process_time() - started
            memory = json.loads(lineage[0][MEMORY])
            if method.replays:
                memory = remember(memory, made.candidate, new, self.study.memory)
            return self._keep(seed, cell, made, memory, spent_s)

    def _task(
        self, seed: Seed, new: Domain, seen: Sequence[Domain], lineage: Sequence[Mapping[str, bytes]]
    ) -> Task:
        """`lineage`: files of the versions so far, the champion first."""
        versions = [self._loaded(files, len(lineage) - i) for i, files in enumerate(lineage)]
        past = {domain.name: domain.selection.training_set() for domain in seen}
        return Task(
            base=self.base,
            champion=versions[0],
            labels=self.study.labels,
            domain=new.name,
            train=new.train.training_set(),
            selection=new.selection.training_set(),
            replay=replay_set(json.loads(lineage[0][MEMORY]), len(self.study.labels)),
            past=past,
            calibration=past,
            unlabelled=new.unlabelled.texts,
            known=tuple(versions[1:]),
            version=len(lineage) + 1,
            epochs=self.study.epochs,
            seed=seed.number,
        )

    def _loaded(self, files: Mapping[str, bytes], n: int) -> LoadedVersion:
        made = draft_of(self.base, files, model="s1", version=n, labels=self.study.labels, max_tokens=128)
        bundle = replace(made.bundle, remedy=Remedy.from_bytes(files[REMEDY]))
        return LoadedVersion(n, "", dict(files), Answers(bundle))

    def _keep(
        self, seed: Seed, cell: Cell, made: Made, memory: list[dict[str, Any]], learnt_s: float
    ) -> Result:
        started = time.process_time()
        answers = made.candidate.answers
        right = {
            name: packed(answers.scorecard(domain.test.texts, domain.test.labels).right)
            for name, domain in seed.domains.items()
        }
        seconds = {"learnt": learnt_s, "evaluated": time.process_time() - started}
        files = {**made.candidate.files, **made.extra, MEMORY: json.dumps(memory).encode()}
        return self.cells.keep(cell, {"right": right, "cpu_s": seconds, "told": dict(made.told)}, files)


def packed(right: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    """(n,) booleans as hexadecimal digits."""
    return np.packbits(right).tobytes().hex()


def unpacked(digits: str, n: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The first n booleans of `packed`."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(digits), dtype=np.uint8))[:n].astype(bool)
