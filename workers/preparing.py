"""From the ledger's material to the task: versions loaded, features read, contradicted exemplars left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from trimtab.adapter import REFERENCES
from trimtab.base import BaseModel
from trimtab.drift import DriftKind
from trimtab.features import Floats, References
from trimtab.ledger.windows import newest_rows
from workers.contradictions import find_contradicted
from workers.fit import TrainingSet
from workers.material import MAX_WINDOW, Material
from workers.memory import frozen_features
from workers.plan import Plan
from workers.progress import Report
from workers.task import Task
from workers.workshop import LoadedVersion, Workshop, load_version


def make_task(
    shop: Workshop, champion: LoadedVersion, material: Material, plan: Plan, version: int, report: Report
) -> Task:
    """The task that the plan's rivals work on; under concept drift without the exemplars that the labels contradict.

    Raises AdapterRefused, StoreUnavailable, LedgerUnavailable.
    """
    tried = {rival.name for rival in plan.rivals}
    task = Task(
        base=champion.bundle.base,
        champion=champion,
        labels=material.model.labels,
        domain=material.domain,
        train=material.training_set(),
        selection=material.labelled_set(material.rows["selection"]),
        replay=material.replay_set(),
        past=material.past,
        only_drop=material.only_drop,
        shifted=material.shifted,
        calibration=material.calibration,
        held_out=material.held_out,
        unlabelled=material.unlabelled,
        known=load_known(shop, champion.bundle.base, material) if "known" in tried else (),
        named=material.named,
        window=window_features(shop, champion, material) if "prior" in tried else None,
        version=version,
        epochs=plan.epochs,
        max_seconds=plan.max_seconds,
        seed=plan.seed,
        max_tokens=shop.max_tokens,
        report=report,
    )
    return without_contradicted(task, material) if material.drift is DriftKind.CONCEPT else task


def load_known(shop: Workshop, base: BaseModel, material: Material) -> tuple[LoadedVersion, ...]:
    """The versions accepted before, newest first. Raises AdapterRefused, StoreUnavailable."""
    return tuple(load_version(shop, base, material.model.name, n) for n in material.known)


def window_features(shop: Workshop, champion: LoadedVersion, material: Material) -> Floats | None:
    """(n, d) feature rows that the champion's replicas made of the window's predictions.

    None where the champion answered less than half of the window: then its texts have to be asked.
    """
    names = References.from_bytes(champion.files[REFERENCES]).feature_map.names
    seqs = material.window_seqs or (0,)
    with shop.ledger.read() as tx:
        found = newest_rows(
            tx,
            material.model.name,
            champion.n,
            MAX_WINDOW,
            len(names),
            after_seq=seqs[0] - 1,
            until_seq=seqs[-1],
        )
    rows = found.features[np.isin(found.seqs, seqs)]
    return rows if 2 * len(rows) >= len(seqs) else None


def without_contradicted(task: Task, material: Material) -> Task:
    """The task without the exemplars, and without the past domains, that the new labels contradict."""
    exemplars = material.exemplars
    if not exemplars or not task.train.texts:
        return task
    states = frozen_features(task.champion.bundle)  # the champion's own lie where it would put their labels
    old = material.labelled_set(exemplars)  # those that are learnt anew speak, too
    found = find_contradicted(
        states(old.texts),
        old.labels,
        tuple(example.domain for example in exemplars),
        states(task.train.texts),
        task.train.labels,
    )
    left_out = {
        example.key
        for example, contradicted in zip(exemplars, found.exemplars, strict=True)
        if contradicted or example.domain in found.retired
    }
    return replace(
        task,
        replay=material.replay_set(left_out),
        contradicted=tuple(sorted(left_out - material.learnt.keys())),
        retired=found.retired,
        past=_without(task.past, found.retired),
        calibration=_without(task.calibration, found.retired),
    )


def _without(found: Mapping[str, TrainingSet], names: frozenset[str]) -> dict[str, TrainingSet]:
    return {name: each for name, each in found.items() if name not in names}
