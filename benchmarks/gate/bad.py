"""Bad candidates of seven kinds, each made for real and sent down the real path from labels to publication."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.torch import load, save

from benchmarks.gate.world import MODEL, Sent, Service, World, accuracy, other_base, service
from trimtab.adapter import CONFIG, HEAD, WEIGHTS
from trimtab.base import load_base
from trimtab.bundle import read_tensors
from trimtab.datafiles import Row
from trimtab.errors import TrimtabError
from trimtab.ledger import jobs, versions
from trimtab.settings import TrainingSettings
from trimtab.splits import key_of, part_of
from workers.adapt import run_adaptation
from workers.artefact import Candidate, draft_of
from workers.classifier import continue_from
from workers.fit import Recipe, ReplaySet, TrainingSet, fit
from workers.lora import interpolate
from workers.material import Material
from workers.task import Proposal, Task
from workers.workshop import LoadedVersion

CLIENTS = ("a", "b", "c", "d", "e", "f", "g", "h")
POISONER = "x"
FORGOTTEN = 0.05
N_OVERFIT = 40


@dataclass(frozen=True)
class Fate:
    """What became of a candidate.

    Attributes:
        kind, number: Which it was.
        outcome: The job's status, or the error that ended it.
        reached: Whether a replica would serve it: it is champion, and its files pass the replica's own checks.
        stopped_by: Checks that were not passed and decide.
        past, new: Change of the accuracy on fresh rows of the past and the new domain; None: there is no such version.
    """

    kind: str
    number: int
    outcome: str
    reached: bool
    stopped_by: tuple[str, ...]
    past: float | None
    new: float | None


@dataclass(frozen=True)
class Setting:
    """What every candidate needs: the world, its traffic, how training is set, and how long a fit is."""

    world: World
    traffic: tuple[Row, ...]
    training: TrainingSettings
    labels: tuple[str, ...]
    epochs: int = 2


Run = Callable[[Setting, Service, int], str]


def fates(setting: Setting, kinds: Mapping[str, int], known: Sequence[Fate] = ()) -> Iterator[Fate]:
    """One fate after the other, so many of each kind, in turns; those that are known are passed over."""
    there = {(fate.kind, fate.number) for fate in known}
    for number in range(max(kinds.values())):
        for kind, n in kinds.items():
            if number < n and (kind, number) not in there:
                yield fate(setting, kind, number)


def fate(setting: Setting, kind: str, number: int) -> Fate:
    """Makes the candidate in a service of its own and looks what came of it."""
    with service(setting.world, f"{kind}-{number}".replace(" ", "-"), setting.training) as opened:
        try:
            outcome = KINDS[kind](setting, opened, number)
        except TrimtabError as error:
            outcome = f"refused: {type(error).__name__}"
        champion, made = opened.champion(), opened.version(2)
        reached = champion == 2 and made is not None
        changes = _changes(setting.world, opened.first, made)
        return Fate(kind, number, outcome, reached, _stopped_by(opened), *changes)


def _changes(
    world: World, first: LoadedVersion, made: LoadedVersion | None
) -> tuple[float | None, float | None]:
    if made is None:
        return None, None
    past, new = (accuracy(made, rows) - accuracy(first, rows) for rows in (world.past, world.new))
    return past, new


def _stopped_by(opened: Service) -> tuple[str, ...]:
    with opened.shop.ledger.read() as tx:
        last = jobs.list_jobs(tx, MODEL)[0]
    checks = (last.verdict or {}).get("checks", ())
    worst = "fail" if any(check["result"] == "fail" for check in checks) else "insufficient_data"
    names = [check["name"] for check in checks if check["result"] == worst]
    return tuple(dict.fromkeys(name if name.startswith("data") else name.partition(":")[0] for name in names))


def _sent(setting: Setting, number: int, label: Callable[[Row, str], str], share: float = 0.0) -> list[Sent]:
    """The traffic in an order of this number, by eight clients and a share by the poisoner."""
    rng = random.Random(number)
    rows = rng.sample(setting.traffic, len(setting.traffic))
    clients = [POISONER if rng.random() < share else rng.choice(CLIENTS) for _ in rows]
    return [Sent(row.text, label(row, client), client) for row, client in zip(rows, clients, strict=True)]


def _other(setting: Setting, label: str) -> str:
    return next(each for each in setting.labels if each != label)


def _true(row: Row, _client: str) -> str:
    return row.label


def flipped(setting: Setting, opened: Service, number: int) -> str:
    """Every label that is trained on is wrong; those that judge are right: a batch that was labelled upside down."""

    def label(row: Row, _client: str) -> str:
        return _other(setting, row.label) if part_of(key_of(row.text)) == "train" else row.label

    return str(run_adaptation(opened.shop, opened.send(_sent(setting, number, label))))


def poisoned(setting: Setting, opened: Service, number: int) -> str:
    """One client of nine sends half of the labels, all of them wrong, those that judge too."""

    def label(row: Row, client: str) -> str:
        return _other(setting, row.label) if client == POISONER else row.label

    return str(run_adaptation(opened.shop, opened.send(_sent(setting, number, label, share=0.5))))


def overfit(setting: Setting, opened: Service, number: int) -> str:
    """Forty rows whose labels are dealt out at random, learnt by heart without replay."""

    def make(task: Task, _material: Material) -> Proposal:
        labels = np.random.default_rng(number).permutation(task.train.labels[:N_OVERFIT])
        rows = TrainingSet(task.train.texts[:N_OVERFIT], labels)
        return _proposal(_fitted(task, rows, None, epochs=10 * setting.epochs), "overfit")

    return str(opened.judge(opened.send(_sent(setting, number, _true)), make))


def wrong_base(setting: Setting, opened: Service, number: int) -> str:
    """Trained on a base of other weights: published as what it is, or (every second) passed off as the right one."""

    def make(task: Task, _material: Material) -> Proposal:
        directory = setting.world.home / "other-base"
        if not directory.exists():
            other_base(task.base, directory)
        elsewhere = replace(task, base=load_base(str(directory), "cpu"))
        trained = _fitted(elsewhere, task.train, None, epochs=setting.epochs)
        if number % 2:
            trained = _drafted(task, trained.files)
        return _proposal(trained, "wrong base")

    return str(opened.judge(opened.send(_sent(setting, number, _true)), make))


def not_a_number(setting: Setting, opened: Service, number: int) -> str:
    """A value of the weights becomes NaN (or infinite) after they were merged."""

    def make(task: Task, _material: Material) -> Proposal:
        found = _good(task, setting)
        tensors = dict(read_tensors(found.files[WEIGHTS], WEIGHTS))
        name = sorted(tensors)[number % len(tensors)]
        tensors[name] = tensors[name].clone()
        tensors[name].view(-1)[number] = float("nan") if number % 2 else float("inf")
        return _proposal(replace(found, files={**found.files, WEIGHTS: save(tensors)}), "not a number")

    return str(opened.judge(opened.send(_sent(setting, number, _true)), make))


def tampered(setting: Setting, opened: Service, number: int) -> str:
    """Weights exchanged behind the gate's back: before the files are signed, or (every second) in the store."""

    def make(task: Task, _material: Material) -> Proposal:
        found = _good(task, setting)
        if number % 2:
            return _proposal(found, "sound")
        tensors = {name: 1.5 * tensor for name, tensor in load(found.files[WEIGHTS]).items()}
        return _proposal(replace(found, files={**found.files, WEIGHTS: save(tensors)}), "tampered")

    status = opened.judge(opened.send(_sent(setting, number, _true)), make)
    if number % 2:
        _overwrite(opened)
    return str(status)


def forgets(setting: Setting, opened: Service, number: int) -> str:
    """Gains on the new domain and loses five points of the past one, as measured on fresh rows."""

    def make(task: Task, material: Material) -> Proposal:
        upside_down = [replace(e, label=_other(setting, str(e.label))) for e in material.memory]
        n = min(len(upside_down), len(task.train.texts))
        chosen = random.Random(number).sample(upside_down, n)
        labels = np.concatenate([task.train.labels, material.indices(e.label for e in chosen)])
        rows = TrainingSet((*task.train.texts, *(e.text for e in chosen)), labels)
        damaged = _fitted(task, rows, None, epochs=setting.epochs)
        return _proposal(_losing(task, setting.world.past, damaged), "forgets")

    return str(opened.judge(opened.send(_sent(setting, number, _true)), make))


def good(setting: Setting, opened: Service, number: int) -> str:
    """No bad candidate: the recipe on honest labels, to see that the gate lets it pass."""
    return str(run_adaptation(opened.shop, opened.send(_sent(setting, number, _true))))


KINDS: Mapping[str, Run] = {
    "flipped labels": flipped,
    "wrong base": wrong_base,
    "NaN": not_a_number,
    "tampered file": tampered,
    "overfit": overfit,
    "one-client poison": poisoned,
    "5 points forgotten": forgets,
    "good": good,
}
BAD = tuple(kind for kind in KINDS if kind != "good")


def _good(task: Task, setting: Setting) -> Candidate:
    """Trained with replay as the recipe does, once: what is broken or tampered with are copies of it."""
    place: Path = setting.world.home / "good-fit"
    if not place.exists():
        unfinished = setting.world.home / "unfinished-fit"
        unfinished.mkdir(exist_ok=True)
        for name, content in _fitted(task, task.train, task.replay, epochs=setting.epochs).files.items():
            (unfinished / name).write_bytes(content)
        unfinished.rename(place)
    return _drafted(task, {each.name: each.read_bytes() for each in place.iterdir()})


def _fitted(task: Task, rows: TrainingSet, replay: ReplaySet | None, *, epochs: int) -> Candidate:
    network = continue_from(task.base, task.champion.files, len(task.labels), task.seed)
    fit(network, rows, replay, Recipe(epochs=epochs, seed=task.seed, max_tokens=task.max_tokens), _quiet)
    return _drafted(task, network.files())


def _drafted(task: Task, files: Mapping[str, bytes]) -> Candidate:
    weights = {name: files[name] for name in (WEIGHTS, CONFIG, HEAD)}
    return draft_of(
        task.base, weights, model=MODEL, version=task.version, labels=task.labels, max_tokens=task.max_tokens
    )


def _losing(task: Task, fresh: Sequence[Row], damaged: Candidate) -> Candidate:
    """The point between champion and damaged version that loses five points of the fresh rows, by bisection."""
    before, low, high = accuracy(task.champion, fresh), 0.0, 1.0
    found = damaged
    for _ in range(7):
        middle = (low + high) / 2
        found = _drafted(task, interpolate(task.champion.files, damaged.files, middle).files)
        loss = before - accuracy(replace(task.champion, answers=found.answers), fresh)
        if abs(loss - FORGOTTEN) < 0.005:
            break
        low, high = (middle, high) if loss < FORGOTTEN else (low, middle)
    return found


def _proposal(candidate: Candidate, name: str) -> Proposal:
    return Proposal(name=name, candidate=candidate, cost=9, reason="made by the study")


def _overwrite(opened: Service) -> None:
    """Exchanges the weights of the newest version in the store."""
    with opened.shop.ledger.read() as tx:
        digest = versions.get_version(tx, MODEL, 2).digest
    place: Path = opened.settings.home / "store" / "adapters" / str(digest) / WEIGHTS
    place.write_bytes(save({name: 1.5 * tensor for name, tensor in load(place.read_bytes()).items()}))


def _quiet(_step: int, _of: int) -> None:
    """Nobody is told."""
