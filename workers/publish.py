"""What comes of an adaptation, written in one transaction: version, aliases, examples, the end of the job."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from sqlalchemy import Connection

from trimtab.adapter import AdapterManifest
from trimtab.jobs import AdaptationJob, JobStatus, Lease
from trimtab.labels import Labelled
from trimtab.ledger import jobs
from trimtab.ledger.examples import Example, add_examples, list_examples, replace_memory
from trimtab.ledger.versions import VersionState, get_aliases, promote, record_version
from workers.artefact import Candidate
from workers.gate import Decision, Verdict
from workers.material import Material
from workers.memory import base_features, choose, priority_of, with_core
from workers.plan import Plan
from workers.workshop import Workshop

ENDS = {
    Decision.PROMOTE: (VersionState.ACCEPTED, JobStatus.PROMOTED),
    Decision.REJECT: (VersionState.REJECTED, JobStatus.REJECTED),
    Decision.HOLD: (VersionState.HELD, JobStatus.HELD),
}


@dataclass(frozen=True)
class Outcome:
    """A sealed candidate: digest in the store, manifest, the gate's verdict, and the examples that come with it."""

    digest: str
    manifest: AdapterManifest
    verdict: Verdict
    examples: tuple[Example, ...]


def publish(shop: Workshop, lease: Lease, material: Material, outcome: Outcome) -> JobStatus:
    """Records the version, and if the verdict says so makes it champion with its examples on probation.

    All in one transaction that first checks the lease's token: a worker that was taken over publishes nothing. A
    champion that changed meanwhile was not what the candidate was held against: then the version is held.
    Raises LeaseLost.
    """
    manifest, model = outcome.manifest, outcome.manifest.model
    with shop.ledger.begin() as tx:
        jobs.check(tx, lease)
        verdict = outcome.verdict
        if get_aliases(tx, model).get("champion") != material.champion:
            reason = (
                f"the champion is no longer version {material.champion}, which the candidate was held against"
            )
            verdict = replace(verdict, decision=Decision.HOLD, reason=reason)
        state, status = ENDS[verdict.decision]
        record_version(
            tx, model, manifest.version, outcome.digest, material.champion, state,
            manifest=asdict(manifest), gate=verdict.as_json(), reason=verdict.reason,
        )  # fmt: skip
        if verdict.decision is Decision.PROMOTE:
            promote(tx, model, manifest.version, actor=f"worker {lease.owner}", reason=verdict.reason)
            confirmed = list_examples(tx, model, "memory")
            replace_memory(tx, model, choose(confirmed, shop.memory.budget))
            add_examples(tx, outcome.examples)
        jobs.finish(
            tx, lease, status, verdict=verdict.as_json(), version=manifest.version, reason=verdict.reason
        )
    return status


def hold(tx: Connection, lease: Lease, plan: Plan) -> JobStatus:
    """Ends the job as held: nothing could be trained, and the plan says why. Raises LeaseLost."""
    reason = "; ".join(plan.reasons)
    verdict = {"verdict": Decision.HOLD.value, "reason": reason, "checks": [], "missing": dict(plan.missing)}
    return jobs.finish(tx, lease, JobStatus.HELD, verdict=verdict, reason=reason).status


def new_examples(
    candidate: Candidate, material: Material, job: AdaptationJob, version: int, budget: int
) -> tuple[Example, ...]:
    """The new domain's memory (with the candidate's logits), gate, selection and reference examples, on probation."""
    trained = material.rows["train"]
    logits = candidate.answers.outputs([row.text for row in trained]).logits
    common = Example(
        model=job.model, domain=material.domain, role="memory", text="", key="", version=version, job_id=job.id,
        probation=True, source="traffic",
    )  # fmt: skip
    memory = [
        replace(_labelled(common, row), logits=tuple(map(float, z)), priority=priority_of(row.key, job.model))
        for row, z in zip(trained, logits, strict=True)
    ]
    held_out = [
        replace(_labelled(common, row), role=part)
        for part in ("gate", "selection")
        for row in material.rows[part]
    ]
    reference = [
        replace(each, version=version, job_id=job.id, probation=True, source="traffic")
        for each in material.reference
    ]
    herded = with_core(memory, base_features(candidate.bundle.base, candidate.bundle.max_tokens))
    return (*choose(herded, budget), *held_out, *reference)


def _labelled(common: Example, row: Labelled) -> Example:
    return replace(
        common, text=row.text, label=row.label, key=row.key, prediction_id=row.prediction_id, client=row.client,
        label_source="feedback",
    )  # fmt: skip
