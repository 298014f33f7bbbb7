"""Another base model for a model that serves: a new lineage, learnt from the memory and judged against the champion.

The memory's texts are read anew by the new base: their labels are learnt, and the old champion's answers to them are
kept by the replay loss.
Then the candidate has to be no worse than the champion on every gate set, by the same test as every adaptation; a gain
is not asked for. It is a job like every other: no adaptation runs beside it, it can be cancelled, a worker goes on with
it when whoever began it died, and its version is watched.

Which base a version stands on is in its signed manifest: promoting the version moves the base with it, and a rollback
brings the old base back. Adapters of another base are refused by digest (trimtab.bundle.check_base).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from trimtab.adapter import REFERENCES, AdapterManifest
from trimtab.base import BaseModel, load_base
from trimtab.errors import Conflict, DataError, LeaseLost
from trimtab.features import References
from trimtab.jobs import AdaptationJob, JobStatus, Lease
from trimtab.ledger import examples, gate_history, jobs, samples, versions
from trimtab.ledger.examples import Example
from trimtab.ledger.versions import CHAMPION, PINNED
from workers.adapt import checkpoints_of
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
from workers.delivery import deliver
from workers.evaluate import Scorecard
from workers.fit import FitReport, Recipe, ReplaySet, TrainingSet, fit
from workers.gate import Decision, Evidence, Paired, Verdict
from workers.gate.paired import forgetting
from workers.gate.soundness import integrity, parity
from workers.gate.verdict import decide
from workers.heartbeat import kept as renewed
from workers.material import MAX_PROJECTED
from workers.progress import JobProgress, Report, silent
from workers.publish import ENDS, still_valid
from workers.workshop import LoadedVersion, Workshop, load_version

REBASE = "rebase"  # what its job was opened for
EPOCHS = 3
N_PARITY = 64


@dataclass(frozen=True)
class Rebased:
    """What came of it: the new version's number, the gate's verdict, and scores by domain of champion and candidate."""

    version: int
    status: JobStatus
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
        JobInFlight: the model is adapted just now. LeaseLost: it was cancelled. Conflict: the champion is pinned.
    """
    report("loading", 0, 1)
    base = load_base(base_name, shop.device)
    lease = open_claimed(shop, model, base, epochs)
    ours = JobProgress(shop.ledger, lease)

    def both(stage: str, step: int, of: int) -> None:
        report(stage, step, of)
        ours(stage, step, of)

    with renewed(shop.ledger, lease, shop.training.lease_s):
        try:
            return move(shop, lease, base, both)
        except LeaseLost:
            raise
        except BaseException as error:
            end_badly(shop, lease, error)
            raise
        finally:
            shop.checkpoints.delete(lease.job_id)


def run_rebase(shop: Workshop, lease: Lease) -> JobStatus:
    """Goes on with a rebase whose command died; returns the job's final status. Raises as `rebase` does."""
    with shop.ledger.read() as tx:
        cause = jobs.check(tx, lease).cause
    return move(shop, lease, load_base(cause["base"], shop.device), JobProgress(shop.ledger, lease)).status


def open_claimed(shop: Workshop, model: str, base: BaseModel, epochs: int) -> Lease:
    """Opens the job and takes its lease in one transaction: no worker begins it. Raises as `rebase` does."""
    with shop.ledger.begin() as tx:
        champion = versions.served_model(tx, model)
        if champion.base_digest == base.digest:
            raise DataError(f"{base.name} is the base that the champion of {model!r} stands on already")
        if PINNED in versions.get_aliases(tx, model):
            raise Conflict(f"the champion of {model!r} is pinned: nothing replaces it")
        if not examples.list_examples(tx, model, "memory"):
            raise DataError(f"{model!r} has no memory: there is nothing to learn from on another base")
        cause = {"kind": REBASE, "base": base.name, "epochs": epochs}
        from_seq = samples.last_seq(tx, model) + 1
        job = jobs.open_job(tx, model, cause=cause, domain="", window_from_seq=from_seq)
        lease = jobs.claim(tx, job.id, f"{socket.gethostname()}:{os.getpid()}", shop.training.lease_s)
    if lease is None:
        raise LeaseLost(f"job {job.id} was taken by somebody else")
    return lease


def end_badly(shop: Workshop, lease: Lease, error: BaseException) -> None:
    """The job ends with the reason; one that was interrupted by hand is cancelled."""
    with suppress(LeaseLost), shop.ledger.begin() as tx:
        if isinstance(error, KeyboardInterrupt):
            jobs.cancel(tx, lease.job_id, actor="command line", reason="interrupted")
        else:
            jobs.finish(tx, lease, JobStatus.FAILED, reason=f"{type(error).__name__}: {error}")


def move(shop: Workshop, lease: Lease, base: BaseModel, report: Report) -> Rebased:
    """Trains, judges and publishes under the lease. Raises as `rebase` does."""
    job, kept = read(shop, lease)
    champion = load_version(shop, None, job.model, kept.champion)
    recipe = Recipe(epochs=job.cause["epochs"], seed=shop.training.seed, max_tokens=shop.max_tokens)
    network = TrainableClassifier(base, len(kept.labels), recipe.seed)
    new, replay = training_sets(kept, champion)
    fitted = fit(
        network,
        new,
        replay,
        recipe,
        lambda step, of: report("training", step, of),
        checkpoints_of(shop, lease),
    )
    candidate = draft(
        network, model=job.model, version=kept.version, labels=kept.labels, max_tokens=shop.max_tokens
    )
    candidate = with_old_references(candidate, champion, kept, report)
    report("gate", 0, 1)
    pairs = [pair_of(domain, champion, candidate, kept, found) for domain, found in kept.gate.items()]
    verdict = judge(shop, candidate, network, new.texts, pairs)
    report("publishing", 0, 1)
    provenance = provenance_of(job, champion, kept, base, recipe, fitted)
    verdict, status = publish(shop, lease, kept, *store(shop, candidate, verdict, provenance), verdict, pairs)
    scores = {pair.domain: (pair.incumbent, pair.candidate) for pair in pairs}
    return Rebased(kept.version, status, verdict, scores)


def read(shop: Workshop, lease: Lease) -> tuple[AdaptationJob, Kept]:
    """The job and what is kept; reserves the version's number, and writes the plan. Raises LeaseLost."""
    with shop.ledger.begin() as tx:
        job = jobs.check(tx, lease)
        model, labels = job.model, versions.served_model(tx, job.model).labels
        memory = tuple(e for e in examples.list_examples(tx, model, "memory") if e.label in labels)
        reason = f"{len(memory)} exemplars are learnt anew on {job.cause['base']}"
        jobs.set_plan(tx, lease, {"method": REBASE, "situation": REBASE, "reasons": [reason]})
        return job, Kept(
            labels,
            versions.get_aliases(tx, model)[CHAMPION],
            versions.reserve_version(tx, model, job.id),
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
    job: AdaptationJob,
    champion: LoadedVersion,
    kept: Kept,
    base: BaseModel,
    recipe: Recipe,
    fitted: FitReport,
) -> Provenance:
    """Why and from what: the old champion is the parent in lineage, not in weights."""
    before = champion.bundle.base
    return Provenance(
        parent=champion.n,
        parent_digest=champion.digest,
        trigger={"kind": REBASE, "job": job.id, "from": before.name, "from_digest": before.digest},
        data={"n_memory": len(kept.memory), "domains": sorted(kept.gate)},
        plan={"method": REBASE, "situation": REBASE, "base": base.name, "recipe": asdict(recipe)},
        training=asdict(fitted) | {"libraries": library_versions()},
        metrics={},
    )


def store(
    shop: Workshop, candidate: Candidate, verdict: Verdict, provenance: Provenance
) -> tuple[AdapterManifest, str]:
    """Seals the version and delivers it to the store: its manifest and digest. Raises as `deliver` does."""
    files, manifest = seal(candidate, verdict.as_json(), provenance, shop.private_key)
    return manifest, deliver(shop, candidate.bundle.base, files)


def publish(  # noqa: PLR0917
    shop: Workshop,
    lease: Lease,
    kept: Kept,
    manifest: AdapterManifest,
    digest: str,
    verdict: Verdict,
    pairs: Sequence[Paired],
) -> tuple[Verdict, JobStatus]:
    """Records the version, promotes it if the verdict says so, and ends the job, in one transaction.

    Returns the verdict, held where the champion changed meanwhile, and the job's status. Raises LeaseLost.
    """
    model, n = manifest.model, manifest.version
    with shop.ledger.begin() as tx:
        job = jobs.check(tx, lease)
        verdict = still_valid(tx, model, kept.champion, verdict)
        state, status = ENDS[verdict.decision]
        versions.record_version(
            tx, model, n, digest, kept.champion, state,
            manifest=asdict(manifest), gate=verdict.as_json(), reason=verdict.reason,
        )  # fmt: skip
        gate_history.record_uses(tx, model, job.id, {pair.domain: pair.candidate.n for pair in pairs})
        if verdict.decision is Decision.PROMOTE:
            versions.promote(tx, model, n, actor=REBASE, reason=verdict.reason)
            gate_history.record_bits(tx, model, n, {pair.domain: bits_of(pair, kept) for pair in pairs})
        jobs.finish(tx, lease, status, verdict=verdict.as_json(), version=n, reason=verdict.reason)
    return verdict, status


def bits_of(pair: Paired, kept: Kept) -> dict[str, bool]:
    """By key of the domain's gate examples: whether the new base is right."""
    right = pair.candidate.right.tolist()
    return {example.key: bool(bit) for example, bit in zip(kept.gate[pair.domain], right, strict=True)}


def _by_domain(found: Sequence[Example]) -> dict[str, tuple[Example, ...]]:
    """Those that are not retired."""
    current = [example for example in found if example.retired_by is None]
    names = dict.fromkeys(example.domain for example in current)
    return {name: tuple(example for example in current if example.domain == name) for name in names}
