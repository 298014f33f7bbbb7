"""The stream S1: a source domain and new domains after it, each split into parts by group, anew for every seed.

Texts of one review or article are in one part. Everything is drawn by hash, so a seed's split is the same everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby

import numpy as np

from trimtab.datafiles import Row
from trimtab.features import Integers
from trimtab.settings import MemorySettings
from trimtab.splits import key_of, unit_of
from workers.fit import TrainingSet

PARTS = ("train", "selection", "unlabelled", "test")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Texts of each part; what is left of a new domain is its test set.

    Attributes:
        source_train, source_selection, source_test: Of the source domain.
        train, selection: Labelled texts of a new domain to learn from, and on which rivals are compared.
        few_train, few_selection: The same where labels are scarce: the first of those.
        unlabelled: Texts of a new domain without labels; `unlabelled_of` where a domain allows more.
    """

    source_train: int = 2000
    source_selection: int = 400
    source_test: int = 1500
    train: int = 600
    selection: int = 120
    few_train: int = 100
    few_selection: int = 20
    unlabelled: int = 1000
    unlabelled_of: Mapping[str, int] = field(default_factory=lambda: {"tweets": 1500})

    def of(self, domain: str, source: str) -> dict[str, int]:
        """Texts by part; the test set's number is an upper limit."""
        if domain == source:
            return {"train": self.source_train, "selection": self.source_selection, "test": self.source_test}
        unlabelled = self.unlabelled_of.get(domain, self.unlabelled)
        return {
            "train": self.train,
            "selection": self.selection,
            "unlabelled": unlabelled,
            "test": 1_000_000,
        }


@dataclass(frozen=True, eq=False)
class Texts:
    """n texts with (n,) label indices and the group that each belongs to."""

    texts: tuple[str, ...] = ()
    labels: Integers = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    groups: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def first(self, n: int) -> Texts:
        return Texts(self.texts[:n], self.labels[:n], self.groups[:n])

    def training_set(self) -> TrainingSet:
        return TrainingSet(self.texts, self.labels)


@dataclass(frozen=True, eq=False)
class Domain:
    """The parts of a domain; no group is in two of them."""

    name: str
    train: Texts
    selection: Texts
    unlabelled: Texts
    test: Texts

    def digest(self) -> str:
        """Identifies every text and label in its part."""
        found = hashlib.sha256()
        for part in PARTS:
            each: Texts = getattr(self, part)
            for text, label in zip(each.texts, each.labels, strict=True):
                found.update(f"{part}\t{label}\t{text}\n".encode())
        return found.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is run: the rows of every domain, the source, orders of the new ones, sizes, base and passes over the data.

    Attributes:
        memory: Texts that are kept for replay, of all domains together; the product's default.
        epochs, source_epochs: Of an adaptation, of the source.
    """

    rows: Mapping[str, Sequence[Row]]
    labels: tuple[str, ...]
    base: str
    source: str = "movie"
    orders: tuple[tuple[str, ...], ...] = (("tweets", "amazon", "nyt"), ("nyt", "amazon", "tweets"))
    sizes: Sizes = field(default_factory=Sizes)
    memory: int = MemorySettings().budget
    epochs: int = 3
    source_epochs: int = 2

    def split(self, seed: int) -> dict[str, Domain]:
        """Every domain of the stream, the source first."""
        names = (self.source, *self.orders[0])
        return {
            name: split(name, self.rows[name], self.labels, self.sizes.of(name, self.source), seed)
            for name in names
        }

    @property
    def joint_epochs(self) -> int:
        """Passes of joint training, so that it sees at least as many texts as a chain with as much replay as news."""
        n_source, n_new = self.sizes.source_train, len(self.orders[0]) * self.sizes.train
        seen = n_source * self.source_epochs + 2 * n_new * self.epochs
        return -(-seen // (n_source + n_new))

    def recipe(self) -> dict[str, object]:
        """What every cell depends on besides its data; those of a chain also on the memory."""
        return {
            "base": self.base.rpartition("/")[2],
            "sizes": {key: value for key, value in asdict(self.sizes).items() if key != "source_test"},
            "epochs": self.epochs,
            "source_epochs": self.source_epochs,
        }


def split(
    name: str, rows: Iterable[Row], labels: Sequence[str], wanted: Mapping[str, int], seed: int
) -> Domain:
    """Whole groups in random order fill one part after the other; the surplus of a part's last group is left out.

    Within a part texts are in random order, so that the first hundred are a hundred of the whole part.
    """
    salt = f"adaptation-{seed}"
    kept = {key_of(row.text): row for row in rows}
    keyed = sorted((unit_of(key_of(row.text, row.group), salt), key, row) for key, row in kept.items())
    groups = iter(
        [[(key, row) for _, key, row in each] for _, each in groupby(keyed, lambda entry: entry[0])]
    )
    parts = {part: _texts(_filled(groups, n), labels, salt) for part, n in wanted.items()}
    return Domain(name, *(parts.get(part, Texts()) for part in PARTS))


def _filled(groups: Iterator[list[tuple[str, Row]]], n: int) -> list[tuple[str, Row]]:
    part: list[tuple[str, Row]] = []
    while len(part) < n and (group := next(groups, None)) is not None:
        part += group
    return part[:n]


def _texts(part: Iterable[tuple[str, Row]], labels: Sequence[str], salt: str) -> Texts:
    rows = [row for _, row in sorted(part, key=lambda entry: unit_of(entry[0], f"{salt}-text"))]
    return Texts(
        tuple(row.text for row in rows),
        np.array([labels.index(row.label) for row in rows], dtype=np.int64),
        tuple(key_of(row.text, row.group)[:16] for row in rows),
    )
