"""The drifts that are put into real traffic, and what each of them truly costs in accuracy.

Mean shift and rotation are constructed: they move the pooled state before the projection and before the head, so the
model's outputs move with it. Label mix, unseen domains and the gradual change only choose other real rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.drift.corpus import LAYERS, SOURCE, Corpus, load_corpus
from benchmarks.drift.streams import mixed
from trimtab.features import Floats, Integers

Doubles = npt.NDArray[np.float64]
HORIZON = (
    4500  # events after the change; what the pool leaves behind a reference of 2,000 and a warm-up of 2,000
)
DOMAIN_HORIZON = 2900  # rows that the smallest unseen domain has
SHIFTED_SHARE = 0.1  # of the dimensions
ROTATED_PLANES = 32  # the first 64 principal directions, turned two by two
GRADUAL_EVENTS = 4000


@dataclass(frozen=True)
class World:
    """What a change chooses from: the corpus, its feature rows by layer, and the principal axes of the source."""

    corpus: Corpus
    rows: dict[str, Floats]
    axes: dict[str, Doubles]
    means: dict[str, Doubles]
    spreads: dict[str, Doubles]


@dataclass(frozen=True)
class Drawn:
    """Rows after a change: their indices, and by layer their states where the change moved them."""

    index: Integers
    states: dict[str, Floats] | None = None

    def last(self, world: World) -> Floats:
        """(n, h) last states, from which the outputs follow."""
        return world.corpus.states["last"][self.index] if self.states is None else self.states["last"]


Draw = Callable[[World, Integers, int, np.random.Generator], Drawn]


@dataclass(frozen=True)
class Change:
    """A drift.

    Attributes:
        draw: Takes n rows after the change from the (m,) unused source rows.
        horizon: Events that are watched after the change.
        goal: Median events to the first crossing that the project has set itself.
        pure, share: The traffic after the change is a mixture: this share is as `pure` draws, the rest as before.
    """

    name: str
    draw: Draw
    horizon: int = HORIZON
    goal: int | None = None
    pure: Draw | None = None
    share: float = 1.0

    def rows(self, world: World, drawn: Drawn, layer: str) -> Floats:
        """(n, d) feature rows of what was drawn."""
        if drawn.states is None:
            return world.rows[layer][drawn.index]
        return world.corpus.rows(drawn.index, layer, drawn.states)


def mean_shift(deviations: float) -> Draw:
    """A tenth of the state's dimensions moves by so many standard deviations."""

    def draw(world: World, pool: Integers, n: int, random: np.random.Generator) -> Drawn:
        index = random.permutation(pool)[:n]
        return Drawn(index, {layer: _shifted(world, layer, index, deviations, random) for layer in LAYERS})

    return draw


def rotation(degrees: float) -> Draw:
    """The principal directions of the state turn two by two."""

    def draw(world: World, pool: Integers, n: int, random: np.random.Generator) -> Drawn:
        index = random.permutation(pool)[:n]
        return Drawn(index, {layer: _rotated(world, layer, index, degrees) for layer in LAYERS})

    return draw


def label_mix(positive: float) -> Draw:
    """Positive texts become so frequent; the texts of a class stay what they are."""

    def draw(world: World, pool: Integers, n: int, random: np.random.Generator) -> Drawn:
        truth = world.corpus.truth[pool]
        return Drawn(mixed([pool[truth == 0], pool[truth == 1]], [1 - positive, positive], n, random))

    return draw


def unseen(domain: str, share: float) -> Draw:
    """A share of the traffic comes from a domain that the version was not trained on."""

    def draw(world: World, pool: Integers, n: int, random: np.random.Generator) -> Drawn:
        return Drawn(mixed([pool, world.corpus.fresh(domain)], [1 - share, share], n, random))

    return draw


def gradual(domain: str) -> Draw:
    """The share of another domain grows evenly from nothing to all of the traffic."""

    def draw(world: World, pool: Integers, n: int, random: np.random.Generator) -> Drawn:
        new = random.random(n) < np.arange(n) / GRADUAL_EVENTS
        index = random.permutation(pool)[:n]
        index[new] = random.permutation(world.corpus.fresh(domain))[: new.sum()]
        return Drawn(index)

    return draw


def _of_domain(domain: str, share: float, goal: int | None, horizon: int = HORIZON) -> Change:
    name = f"{domain} {100 * share:.0f} %"
    return Change(name, unseen(domain, share), horizon, goal, unseen(domain, 1.0), share)


def _of_labels(positive: float, horizon: int) -> Change:
    """Half of the source's texts are positive: this share of positive ones comes on top."""
    name = f"label mix 50 % to {100 * positive:.0f} %"
    return Change(name, label_mix(positive), horizon, pure=label_mix(1.0), share=2 * positive - 1)


UNSEEN = ("tweets", "amazon", "nyt")
GRADUAL = Change(f"tweets, gradual over {GRADUAL_EVENTS}", gradual("tweets"), pure=unseen("tweets", 1.0))
CHANGES = (
    Change("mean shift 0.25 sd", mean_shift(0.25)),
    Change("mean shift 0.5 sd", mean_shift(0.5)),
    Change("rotation 15°", rotation(15)),
    Change("rotation 45°", rotation(45), goal=200),
    _of_labels(0.65, 3000),
    _of_labels(0.8, 2500),
    *(_of_domain(domain, 0.1, goal=2000) for domain in UNSEEN),
    *(_of_domain(domain, 0.3, goal=300) for domain in UNSEEN),
    *(_of_domain(domain, 1.0, None, DOMAIN_HORIZON) for domain in UNSEEN),
    GRADUAL,
)


def change_named(name: str) -> Change:
    """The change of this name. Raises KeyError."""
    return {each.name: each for each in CHANGES}[name]


def pure_rows(change: Change, world: World, layer: str, n: int = 2000) -> Floats:
    """(n, d) rows of what is new after the change, for the best possible delay."""
    fresh, draw = world.corpus.fresh(SOURCE), change.pure or change.draw
    return change.rows(world, draw(world, fresh, n, np.random.default_rng(1)), layer)


def accuracy_drop(change: Change, world: World) -> tuple[float, float]:
    """Points of accuracy and of balanced accuracy that the drift costs; of the gradual change at its end."""
    fresh = world.corpus.fresh(SOURCE)
    draw = change.pure if change is GRADUAL and change.pure else change.draw
    drawn = draw(world, fresh, min(change.horizon, DOMAIN_HORIZON), np.random.default_rng(0))
    before, after = _accuracies(world, Drawn(fresh)), _accuracies(world, drawn)
    return 100 * (before[0] - after[0]), 100 * (before[1] - after[1])


@cache
def load_world(cached: Path) -> World:
    """The corpus with everything that the changes need of it."""
    corpus = load_corpus(cached)
    every = np.arange(len(corpus.texts))
    fresh = corpus.fresh(SOURCE)
    known = {layer: corpus.states[layer][fresh].astype(np.float64) for layer in LAYERS}
    centred = {layer: each - each.mean(axis=0) for layer, each in known.items()}
    return World(
        corpus=corpus,
        rows={layer: corpus.rows(every, layer) for layer in LAYERS},
        axes={layer: np.linalg.eigh(each.T @ each)[1][:, ::-1].T for layer, each in centred.items()},
        means={layer: each.mean(axis=0) for layer, each in known.items()},
        spreads={layer: each.std(axis=0) for layer, each in known.items()},
    )


def _shifted(
    world: World, layer: str, index: Integers, deviations: float, random: np.random.Generator
) -> Floats:
    spread = world.spreads[layer]
    moved = random.choice(len(spread), size=round(SHIFTED_SHARE * len(spread)), replace=False)
    shift = np.zeros_like(spread)
    shift[moved] = deviations * spread[moved]
    return np.asarray(world.corpus.states[layer][index] + shift, dtype=np.float32)


def _rotated(world: World, layer: str, index: Integers, degrees: float) -> Floats:
    states = world.corpus.states[layer][index]
    axes = world.axes[layer][: 2 * ROTATED_PLANES]
    along = (states - world.means[layer]) @ axes.T
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = np.empty_like(along)
    turned[:, 0::2] = cos * along[:, 0::2] - sin * along[:, 1::2]
    turned[:, 1::2] = sin * along[:, 0::2] + cos * along[:, 1::2]
    return np.asarray(states + (turned - along) @ axes, dtype=np.float32)


def _accuracies(world: World, drawn: Drawn) -> tuple[float, float]:
    right = world.corpus.predicted(drawn.last(world)) == world.corpus.truth[drawn.index]
    recalls = [right[world.corpus.truth[drawn.index] == label].mean() for label in (0, 1)]
    return float(right.mean()), float(np.mean(recalls))
