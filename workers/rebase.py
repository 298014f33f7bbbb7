"""Another base model for a model that serves: a new lineage, learnt from the memory and judged against the champion.

The memory's texts are read anew by the new base: their labels are learnt, and the old champion's answers to them are
kept by the replay loss.
Then the candidate goes the way of every adaptation: the same evidence, gate and publishing, but that a gain is not
asked for. It is a job like every other: no adaptation runs beside it, it can be cancelled, a worker goes on with it
when whoever began it died, and its version is watched.

Which base a version stands on is in its signed manifest: promoting the version moves the base with it, and a rollback
brings the old base back. Adapters of another base are refused by digest (trimtab.bundle.check_base).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from sqlalchemy import Connection

from trimtab.base import BaseModel, load_base
from trimtab.bundle import Remedy
from trimtab.errors import Conflict, DataError, LeaseLost
from trimtab.jobs import REBASE, AdaptationJob, JobStatus, Lease
from trimtab.ledger import examples, jobs, samples, versions
from trimtab.ledger.models import on_base
from trimtab.ledger.versions import PINNED
from workers.adapt import checkpoints_of, complete
from workers.artefact import Provenance, draft, library_versions, seal
from workers.classifier import TrainableClassifier
from workers.contest import Choice
from workers.delivery import deliver
from workers.evaluate import Scorecard
from workers.fit import FitReport, Recipe, ReplaySet, fit
from workers.gate import Evidence, gate
from workers.heartbeat import kept as renewed
from workers.material import Material, gather
from workers.memory import choose
from workers.progress import JobProgress, Report, silent
from workers.publish import Outcome, publish
from workers.task import Proposal, Task
from workers.weighing import weigh
from workers.workshop import LoadedVersion, Workshop, load_version

EPOCHS = 3


@dataclass(frozen=True)
class Rebased:
    """What came of it: the new version's number, how the job ended and why, and scores by domain of both versions."""

    version: int
    status: JobStatus
    reason: str
    scores: Mapping[str, tuple[Scorecard, Scorecard]]


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
        if not choose(examples.list_examples(tx, model, "memory"), 1):
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
    with shop.ledger.begin() as tx:
        job = jobs.check(tx, lease)
        material = read(tx, job, base, shop.memory.budget)
        version = versions.reserve_version(tx, job.model, job.id)
    champion = load_version(shop, None, job.model, material.champion)
    why = reasons(material, base, champion.bundle.remedy)
    with shop.ledger.begin() as tx:
        jobs.set_plan(tx, lease, {"method": REBASE, "situation": REBASE, "reasons": why})
    task = task_of(shop, material, champion, base, version, report)
    recipe = Recipe(epochs=job.cause["epochs"], seed=task.seed, max_tokens=shop.max_tokens)
    proposal, fitted = propose(shop, lease, task, recipe, "; ".join(why))
    candidate = complete(proposal.candidate, champion, material, report)
    evidence = weigh(shop, task, proposal, material)
    verdict, choice = gate(evidence, shop.gate), Choice(proposal, proposal.reason, ())
    told = verdict.as_json() | {"selection": choice.as_json()}
    files, manifest = seal(
        candidate, told, provenance_of(job, task, material, recipe, fitted), shop.private_key
    )
    report("publishing", 0, 1)
    outcome = Outcome(deliver(shop, base, files), manifest, verdict, choice, (), {})
    status = publish(shop, lease, material, task, outcome)
    with shop.ledger.read() as tx:
        ended = jobs.get_job(tx, lease.job_id)
    return Rebased(version, status, ended.reason, scores_of(evidence, champion))


def read(tx: Connection, job: AdaptationJob, base: BaseModel, budget: int) -> Material:
    """What is kept of the model and nothing of the traffic, as of a model on the new base. Raises ModelNotFound."""
    found = gather(tx, job, budget).without_news()
    return replace(
        found,
        model=on_base(found.model, base.name, base.digest),
        unlabelled=(),
    )


def reasons(material: Material, base: BaseModel, remedy: Remedy) -> list[str]:
    """What is done, and what the champion answers with that is lost with its weights."""
    learnt = f"{len(material.memory)} exemplars are learnt anew on {base.name}"
    lost = {
        "prior correction": remedy.log_prior is not None,
        "temperature": remedy.temperature != 1.0,
        "shifts of domains": bool(remedy.shifts),
    }
    gone = [name for name, is_lost in lost.items() if is_lost]
    return [learnt, f"the champion's {' and '.join(gone)} went with its weights"] if gone else [learnt]


def task_of(
    shop: Workshop,
    material: Material,
    champion: LoadedVersion,
    base: BaseModel,
    version: int,
    report: Report,
) -> Task:
    """The memory with its labels, and with the champion's answers of today: the old ones are of several versions."""
    kept = material.labelled_set(material.memory)
    logits = champion.answers.outputs(kept.texts).logits
    domains = tuple(example.domain for example in material.memory)
    return Task(
        base=base,
        champion=champion,
        labels=material.model.labels,
        domain=material.domain,
        train=kept,
        selection=material.labelled_set(()),
        replay=ReplaySet(kept.texts, kept.labels, logits, domains),
        version=version,
        seed=shop.training.seed,
        max_tokens=shop.max_tokens,
        report=report,
    )


def propose(
    shop: Workshop, lease: Lease, task: Task, recipe: Recipe, reason: str
) -> tuple[Proposal, FitReport]:
    """A new LoRA and head on the new base, and what the fit did."""
    network = TrainableClassifier(task.base, len(task.labels), recipe.seed)
    fitted = fit(
        network,
        task.train,
        task.replay,
        recipe,
        lambda step, of: task.report("training", step, of),
        checkpoints_of(shop, lease),
    )
    model = task.champion.bundle.model
    candidate = draft(
        network, model=model, version=task.version, labels=task.labels, max_tokens=task.max_tokens
    )
    return Proposal(name=REBASE, candidate=candidate, cost=0, reason=reason), fitted


def provenance_of(
    job: AdaptationJob, task: Task, material: Material, recipe: Recipe, fitted: FitReport
) -> Provenance:
    """Why and from what: the old champion is the parent in lineage, not in weights."""
    before = task.champion.bundle.base
    return Provenance(
        parent=task.champion.n,
        parent_digest=task.champion.digest,
        trigger={"kind": REBASE, "job": job.id, "from": before.name, "from_digest": before.digest},
        data={
            "n_memory": len(material.memory),
            "memory_digest": material.memory_digest(),
            "domains": sorted(material.gate_sets),
        },
        plan={"method": REBASE, "situation": REBASE, "base": task.base.name, "recipe": asdict(recipe)},
        training=asdict(fitted) | {"libraries": library_versions()},
        metrics={},
    )


def scores_of(evidence: Evidence, champion: LoadedVersion) -> dict[str, tuple[Scorecard, Scorecard]]:
    """By domain: the champion's and the candidate's."""
    return {
        pair.domain: (pair.incumbent, pair.candidate)
        for pair in evidence.past
        if pair.against == f"champion {champion.n}"
    }
