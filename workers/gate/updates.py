"""A candidate's change of the weights beside the changes that were accepted before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trimtab.adapter import WEIGHTS, verify
from trimtab.errors import AdapterRefused, VersionNotFound
from trimtab.ledger.versions import Version, VersionState, list_versions
from workers.gate.evidence import Update
from workers.lora import Files, Layers, change, delta_distance, norm
from workers.workshop import Workshop

LAST = 10  # accepted changes that are compared with


def update_of(champion: Files, candidate: Files, accepted: Sequence[tuple[Files, Files]]) -> Update:
    """The candidate's change of the champion beside accepted ones, each (parent's files, its files).

    Changes that left the encoder as it was (a head refit, a remedy) are not compared with, and a return to weights that
    were accepted once is no change to be judged.
    """
    kept = [found for each in accepted if (found := _change(*each)) is not None]
    known = {version[WEIGHTS] for pair in accepted for version in pair}
    mine = None if candidate[WEIGHTS] in known else _change(champion, candidate)
    return Update(
        norm=0.0 if mine is None else norm(mine),
        cosine=0.0 if mine is None else _mean_cosine(mine, kept),
        accepted_norms=tuple(map(norm, kept)),
        accepted_cosines=tuple(
            _mean_cosine(each, [other for other in kept if other is not each]) for each in kept
        ),
    )


def accepted_changes(shop: Workshop, model: str, base_digest: str) -> list[tuple[Files, Files]]:
    """(parent's files, its files) of the last ten accepted versions on this base that were made from another one.

    Versions that retention has deleted or that are refused are passed over. Raises StoreUnavailable.
    """
    with shop.ledger.read() as tx:
        known = {version.n: version for version in list_versions(tx, model)}
    made = [known[n] for n in sorted(known, reverse=True) if known[n].state is VersionState.ACCEPTED]
    read = {n: _files(shop, known[n], base_digest) for n in _needed(made, known)}
    pairs = [(read.get(each.parent or 0), read.get(each.n)) for each in made[:LAST]]
    return [(parent, child) for parent, child in pairs if parent is not None and child is not None]


def _needed(made: Sequence[Version], known: dict[int, Version]) -> set[int]:
    """The last ten with a parent, and their parents."""
    return {n for each in made[:LAST] if each.parent in known for n in (each.n, each.parent or 0)}


def _files(shop: Workshop, version: Version, base_digest: str) -> Files | None:
    if not version.has_files or version.digest is None:
        return None
    try:
        files = shop.store.get(version.digest)
        manifest = verify(files, shop.public_key, version.digest)
    except (VersionNotFound, AdapterRefused):
        return None
    return files if manifest.base.digest == base_digest else None


def _change(parent: Files, child: Files) -> Layers | None:
    """What the child adds to its parent; None where the encoder stayed as it was."""
    return None if parent[WEIGHTS] == child[WEIGHTS] else change(parent, child)


def _mean_cosine(one: Layers, others: Sequence[Layers]) -> float:
    return float(np.mean([delta_distance(one, other).cosine for other in others])) if others else 0.0
