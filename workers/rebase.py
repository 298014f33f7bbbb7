"""Another base model for a model that serves: a new lineage, learnt from the memory and judged against the champion.

The memory's texts are read anew by the new base: their labels are learnt, and the old champion's answers to them are
kept by the replay loss. Then the candidate has to be no worse than the champion on every gate set, by the same test
as every adaptation; a gain is not asked for. Which base a version stands on is in its signed manifest: promoting the
version moves the base with it, and a rollback brings the old base back. Adapters of another base are refused by
digest (trimtab.bundle.check_base).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from trimtab.adapter import REFERENCES, AdapterManifest
from trimtab.base import BaseModel, load_base
from trimtab.errors import Conflict, DataError
from trimtab.features import References
from trimtab.ledger import examples, models, versions
from trimtab.ledger.examples import Example
from trimtab.ledger.versions import CHAMPION, PINNED, VersionState
from workers.artefact import (
    Candidate,
    Provenance,
    delta_norms,
    draft,
    library_versions,
    seal,
    with_references,
)
from workers.classifier import TrainableClassifier
from workers.evaluate import Scorecard
from workers.fit import FitReport, Recipe, ReplaySet, TrainingSet, fit
from workers.gate import Decision, Evidence, Paired, Verdict
from workers.gate.paired import forgetting
from workers.gate.soundness import integrity, parity
from workers.gate.verdict import decide
from workers.material import MAX_PROJECTED
from workers.progress import Report, silent
from workers.workshop import LoadedVersion, Workshop, load_version

EPOCHS = 3
N_PARITY = 64
STATES = {
    Decision.PROMOTE: VersionState.ACCEPTED,
    Decision.REJECT: VersionState.REJECTED,
    Decision.HOLD: VersionState.HELD,
}


@dataclass(frozen=True)
class Rebased:
    """What came of it: the new version's number, the gate's verdict, and scores by domain of champion and candidate."""

    version: int
    verdict: Verdict
    scores: Mapping[str, tuple[Scorecard, Scorecard]]


@dataclass(frozen=True)
class Kept:
    """What the ledger keeps of a model: its labels, champion, memory, and gate and reference sets by domain."""

    labels: tuple[str, ...]
    champion: int
    version: int
    memory: tuple[Example, ...]
    gate: Mapping[str, tuple[Example, ...]]
    reference: Mapping[str, tuple[Example, ...]]

    def indices(self, kept: Sequence[Example]) -> npt.NDArray[np.int64]:
        """(n,) label indices."""
        return np.array([self.labels.index(example.label or "") for example in kept], dtype=np.int64)


def rebase(
    shop: Workshop, *, model: str, base_name: str, epochs: int = EPOCHS, report: Report = silent
) -> Rebased:
    """Trains the model's memory on another base and makes it champion if it is no worse on any gate set.

    Raises:
        ModelNotFound, BaseModelMissing, StoreUnavailable, AdapterRefused.
        DataError: there is no memory to learn from, or it is the base that serves already.
        Conflict: the champion changed meanwhile; nothing was published.
    """
    report("loading", 0, 1)
    kept = read(shop, model)
    champion = load_version(shop, None, model, kept.champion)
    base = load_base(base_name, shop.device)
    if base.digest == champion.bundle.base.digest:
        raise DataError(
            f"{base_name} is the base that version {kept.champion} of {model!r} stands on already"
        )
    recipe = Recipe(epochs=epochs, seed=shop.training.seed, max_tokens=shop.max_tokens)
    network = TrainableClassifier(base, len(kept.labels), recipe.seed)
    new, replay = training_sets(kept, champion)
    fitted = fit(network, new, replay, recipe, lambda step, of: report("training", step, of))
    candidate = draft(
        network, model=model, version=kept.version, labels=kept.labels, max_tokens=shop.max_tokens
    )
    candidate = with_old_references(candidate, champion, kept, report)
    report("gate", 0, 1)
    pairs = [pair_of(domain, champion, candidate, kept, found) for domain, found in kept.gate.items()]
    verdict = judge(shop, candidate, network, new.texts, pairs)
    manifest, digest = store(shop, candidate, verdict, provenance_of(champion, kept, base, recipe, fitted))
    publish(shop, kept, manifest, digest, verdict)
    return Rebased(kept.version, verdict, {pair.domain: (pair.incumbent, pair.candidate) for pair in pairs})


def read(shop: Workshop, model: str) -> Kept:
    """Reads what is kept, and reserves a version's number. Raises ModelNotFound, DataError."""
    with shop.ledger.begin() as tx:
        row = models.get_model(tx, model)
        memory = tuple(e for e in examples.list_examples(tx, model, "memory") if e.label in row.labels)
        if not memory:
            raise DataError(f"{model!r} has no memory: there is nothing to learn from on another base")
        return Kept(
            row.labels,
            versions.get_aliases(tx, model)[CHAMPION],
            versions.reserve_version(tx, model, f"rebase-{uuid.uuid4().hex}"),
            memory,
            _by_domain(examples.list_examples(tx, model, "gate")),
            _by_domain(examples.list_examples(tx, model, "reference")),
        )


def training_sets(kept: Kept, champion: LoadedVersion) -> tuple[TrainingSet, ReplaySet]:
    """The memory with its labels, and with the champion's answers of today: the old ones are of several versions."""
    texts, labels = tuple(example.text for example in kept.memory), kept.indices(kept.memory)
    logits = champion.answers.outputs(texts).logits
    return TrainingSet(texts, labels), ReplaySet(texts, labels, logits)


def with_old_references(
    candidate: Candidate, champion: LoadedVersion, kept: Kept, report: Report
) -> Candidate:
    """The reference texts of every domain, read by the new base."""
    past = References.from_bytes(champion.files[REFERENCES])
    projected = [example.text for example in kept.memory[: 2 * MAX_PROJECTED]]
    return with_references(
        candidate, kept.reference, report, projected=projected, ordered=past.ordered, anchors=past.anchors
    )


def pair_of(
    domain: str, champion: LoadedVersion, candidate: Candidate, kept: Kept, found: Sequence[Example]
) -> Paired:
    """Champion and candidate on a domain's gate set."""
    texts, truth = tuple(example.text for example in found), kept.indices(found)
    return Paired(
        domain=domain,
        against=f"champion {champion.n}",
        incumbent=champion.answers.scorecard(texts, truth, domain),
        candidate=candidate.answers.scorecard(texts, truth, domain),
    )


def judge(
    shop: Workshop,
    candidate: Candidate,
    network: TrainableClassifier,
    texts: Sequence[str],
    pairs: Sequence[Paired],
) -> Verdict:
    """Sound as an artefact, and not worse on any gate set; without gate sets a person decides."""
    if not pairs:
        reason = "there is no gate set to hold the new base against: a person promotes"
        return Verdict(decision=Decision.HOLD, reason=reason, checks=())
    probes = tuple(texts[:N_PARITY])
    merged = candidate.answers.outputs(probes).logits
    difference = float(np.abs(merged - network.predict_logits(probes, shop.max_tokens)).max())
    evidence = Evidence(
        delta_norms=delta_norms(network.base, candidate.bundle), parity=difference, n_parity=len(probes),
        past=tuple(pairs), gain=pairs[0],
    )  # fmt: skip
    checks = (integrity(evidence), parity(evidence), *(forgetting(pair, shop.gate) for pair in pairs))
    decision, reason = decide(checks)
    if shop.gate.mode == "hold" and decision is Decision.PROMOTE:
        decision, reason = Decision.HOLD, "every check passed; TRIMTAB_GATE__MODE is hold: a person promotes"
    return Verdict(decision=decision, reason=reason, checks=checks)


def provenance_of(
    champion: LoadedVersion, kept: Kept, base: BaseModel, recipe: Recipe, fitted: FitReport
) -> Provenance:
    """Why and from what: the old champion is the parent in lineage, not in weights."""
    before = champion.bundle.base
    return Provenance(
        parent=champion.n,
        parent_digest=champion.digest,
        trigger={"kind": "rebase", "from": before.name, "from_digest": before.digest},
        data={"n_memory": len(kept.memory), "domains": sorted(kept.gate)},
        plan={"method": "rebase", "situation": "rebase", "base": base.name, "recipe": asdict(recipe)},
        training=asdict(fitted) | {"libraries": library_versions()},
        metrics={},
    )


def store(
    shop: Workshop, candidate: Candidate, verdict: Verdict, provenance: Provenance
) -> tuple[AdapterManifest, str]:
    """Seals the version and puts it into the store: its manifest and digest."""
    files, manifest = seal(candidate, verdict.as_json(), provenance, shop.private_key)
    return manifest, shop.store.put(files)


def publish(shop: Workshop, kept: Kept, manifest: AdapterManifest, digest: str, verdict: Verdict) -> None:
    """Records the version and promotes it if the verdict says so, in one transaction. Raises Conflict."""
    model, n = manifest.model, manifest.version
    with shop.ledger.begin() as tx:
        aliases = versions.get_aliases(tx, model)
        if aliases.get(CHAMPION) != kept.champion or PINNED in aliases:
            raise Conflict(
                f"version {kept.champion} is no longer the champion, or it is pinned: nothing was published"
            )
        versions.record_version(
            tx, model, n, digest, kept.champion, STATES[verdict.decision],
            manifest=asdict(manifest), gate=verdict.as_json(), reason=verdict.reason,
        )  # fmt: skip
        if verdict.decision is Decision.PROMOTE:
            versions.promote(tx, model, n, actor="rebase", reason=verdict.reason)


def _by_domain(found: Sequence[Example]) -> dict[str, tuple[Example, ...]]:
    names = dict.fromkeys(example.domain for example in found)
    return {name: tuple(example for example in found if example.domain == name) for name in names}
