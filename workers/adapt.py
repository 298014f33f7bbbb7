"""One adaptation, top to bottom: material, plan, rivals, choice, references, evidence, gate, seal, publish."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from trimtab.adapter import REFERENCES
from trimtab.base import BaseModel, load_base
from trimtab.errors import BaseMismatch
from trimtab.features import References
from trimtab.jobs import AdaptationJob, JobStatus, Lease
from trimtab.ledger import feedback, jobs, versions
from workers.artefact import Candidate, Provenance, library_versions, seal, with_references
from workers.checkpoints import Checkpoints
from workers.contest import Choice, choose
from workers.delivery import deliver
from workers.examining import health_of
from workers.gate import Decision, gate
from workers.gate.data import suspects
from workers.gate.wear import level
from workers.health import Health
from workers.material import Material, gather
from workers.new_classes import with_classes
from workers.plan import MAY_BE_HARMLESS, Plan, insisted, make_plan
from workers.preparing import make_task, window_features
from workers.progress import JobProgress, Report, StepsInPlan
from workers.publish import Outcome, bits_of, hold, new_examples, publish
from workers.task import Proposal, Task
from workers.weighing import learns_from_labels, weigh
from workers.workshop import LoadedVersion, Workshop, load_version


@dataclass(frozen=True)
class Case:
    """A job with what was read and planned for it."""

    job: AdaptationJob
    material: Material
    plan: Plan
    task: Task
    health: Health | None = None


def run_adaptation(shop: Workshop, lease: Lease) -> JobStatus:
    """Does the job of this lease and publishes what came of it; returns the job's final status.

    Raises:
        LeaseLost: another worker took over, or the job was cancelled; nothing was published.
        AdapterRefused, BaseModelMissing, StoreUnavailable, LedgerUnavailable: it could not be done.
        VersionNotFound: the store lost the version that it was given.
    """
    report = JobProgress(shop.ledger, lease)
    report("reading", 0, 1)
    with shop.ledger.begin() as tx:
        job = begin(tx, lease)
        material = gather(
            tx,
            job,
            shop.memory.budget,
            max_client_share=shop.gate.max_client_share,
            at_least=shop.training.min_train_labels,
        )
    base = load_base_of(material, shop)
    champion = champion_of(shop, base, material)
    situation = material.situation(champion.bundle.remedy, base.device.type)
    situation = replace(situation, health=examine(shop, champion, material))
    plan = make_plan(situation, shop.training)
    if "method" in job.cause:
        plan = insisted(plan, job.cause["method"])
    with shop.ledger.begin() as tx:
        jobs.set_plan(tx, lease, plan.as_json())
        if not plan.rivals:
            return hold(tx, lease, plan)
        version = versions.reserve_version(tx, job.model, job.id)

    task = make_task(shop, champion, material, plan, version, report)
    task = replace(task, checkpoints=checkpoints_of(shop, lease))
    choice = choose(task, plan, shop.gate)
    if choice.chosen is None:
        with shop.ledger.begin() as tx:
            return hold(tx, lease, plan, choice)
    return judge_and_publish(
        shop, lease, Case(job, material, plan, task, situation.health), choice, choice.chosen
    )


def champion_of(shop: Workshop, base: BaseModel, material: Material) -> LoadedVersion:
    """What serves, with the classes that it is to learn. Raises as `load_version` does."""
    champion = load_version(shop, base, material.model.name, material.champion)
    counts = Counter(row.label for row in material.rows["train"])
    return with_classes(champion, material.model.labels, [counts[label] for label in material.model.labels])


def examine(shop: Workshop, champion: LoadedVersion, material: Material) -> Health | None:
    """How the champion stands on the window; None where the drift is of a kind that labels do not settle.

    Raises LedgerUnavailable.
    """
    if material.drift not in MAY_BE_HARMLESS or material.new_labels:
        return None
    rows, alpha = window_features(shop, champion, material), level(shop.gate.alpha, material.looks)
    return health_of(champion, material, rows, tolerance=shop.max_drop, alpha=alpha)


def begin(tx: Connection, lease: Lease) -> AdaptationJob:
    """The job; at its first attempt what it reads is decided, for every later one, too. Raises LeaseLost."""
    job = jobs.check(tx, lease)
    return jobs.fix_extent(tx, lease, feedback.extent_now(tx, job.model, job.window_from_seq))


def checkpoints_of(shop: Workshop, lease: Lease) -> Checkpoints:
    """Where the job's fits keep how far they are, and its plan how many steps they have."""
    steps = StepsInPlan(shop.ledger, lease)
    return Checkpoints(shop.checkpoints, lease.job_id, shop.private_key, fixed_steps=steps)


def judge_and_publish(
    shop: Workshop, lease: Lease, case: Case, choice: Choice, chosen: Proposal
) -> JobStatus:
    """From the chosen proposal to the job's end: references, evidence, gate, seal, publish.

    Raises as `run_adaptation` does.
    """
    material, task = case.material, case.task
    if chosen.back_to is not None:
        material = material.without_news()
    candidate = complete(chosen.candidate, task.champion, material, task.report)
    evidence = weigh(shop, task, chosen, material, case.health)
    verdict = gate(evidence, shop.gate)
    told = verdict.as_json() | {"selection": choice.as_json()}
    provenance = describe(case.job, material, case.plan, task, choice, chosen)
    if verdict.unfit and not learns_from_labels(chosen):
        doubtful = suspects(evidence.data, shop.gate.alpha)
        material = material.without_training_rows().without_labels_of(doubtful)
    files, manifest = seal(candidate, told, provenance, shop.private_key)
    task.report("publishing", 0, 1)
    outcome = Outcome(
        deliver(shop, candidate.bundle.base, files, rejected=verdict.decision is Decision.REJECT),
        manifest,
        verdict,
        choice,
        new_examples(task, candidate.answers, material, case.job, shop.memory.budget),
        bits_of(task, candidate.answers, material),
    )
    return publish(shop, lease, material, task, outcome)


def load_base_of(material: Material, shop: Workshop) -> BaseModel:
    """The model's base; raises BaseModelMissing, or BaseMismatch when its content is not what the model was made on."""
    base = load_base(material.model.base, shop.device)
    if base.digest != material.model.base_digest:
        raise BaseMismatch(
            f"{material.model.base} has digest {base.digest[:16]}, not {material.model.base_digest[:16]}"
        )
    return base


def complete(candidate: Candidate, champion: LoadedVersion, material: Material, report: Report) -> Candidate:
    """With the drift references of the past domains and of the new one, whose rows are in order of arrival.

    Past domains keep what the champion's references say of them: whether they are ordered, which are anchors.
    """
    past = References.from_bytes(champion.files[REFERENCES])
    return with_references(
        candidate,
        {**material.references, material.domain: material.reference},
        report,
        projected=material.projected_texts,
        ordered=past.ordered | {material.domain},
        anchors=past.anchors,
    )


def describe(
    job: AdaptationJob, material: Material, plan: Plan, task: Task, choice: Choice, chosen: Proposal
) -> Provenance:
    """What the manifest says about where this version comes from."""
    counts = {part: dict(Counter(row.label for row in rows)) for part, rows in material.rows.items()}
    return Provenance(
        parent=task.champion.n,
        parent_digest=task.champion.digest,
        trigger={"job": job.id, "cause": job.cause},
        data={
            "domain": material.domain,
            "window_from_seq": job.window_from_seq,
            "window_to_seq": material.window_seqs[-1] if material.window_seqs else job.window_from_seq,
            "n_window": material.n_window,
            "labelled": counts,
            "n_unlabelled": len(material.unlabelled),
            "n_memory": len(task.replay.texts),
            "n_contradicted": len(task.contradicted),
            "retired": sorted(task.retired),
            "memory_digest": material.memory_digest(),
        },
        plan=plan.as_json() | {"method": chosen.name},
        training={
            **chosen.details.get("fit", {}),
            "remedy": chosen.name,
            "learnt": chosen.learnt,
            "corrected": chosen.candidate.bundle.remedy.log_prior is not None,
            "libraries": library_versions(),
        },
        metrics={"selection": choice.as_json()},
    )
