"""What comes of an adaptation, written in one transaction: version, aliases, examples, the end of the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection

from trimtab.adapter import AdapterManifest
from trimtab.jobs import AdaptationJob, JobStatus, Lease
from trimtab.labels import Labelled
from trimtab.ledger import gate_history, jobs, trials
from trimtab.ledger.events import record_event
from trimtab.ledger.examples import Example, add_examples, list_examples, replace_memory, retire, supersede
from trimtab.ledger.gate_history import Window
from trimtab.ledger.parked import park
from trimtab.ledger.traffic import rate
from trimtab.ledger.versions import PINNED, VersionState, get_aliases, promote, record_version
from trimtab.settings import TrialSettings
from trimtab.trial import TrialMode
from workers.contest import Choice
from workers.evaluate import Answers
from workers.gate import Check, Decision, Result, Verdict
from workers.material import Material
from workers.memory import choose, frozen_features, priority_of, with_core
from workers.plan import Plan
from workers.task import Task
from workers.workshop import Workshop

ENDS = {
    Decision.PROMOTE: (VersionState.ACCEPTED, JobStatus.PROMOTED),
    Decision.REJECT: (VersionState.REJECTED, JobStatus.REJECTED),
    Decision.HOLD: (VersionState.HELD, JobStatus.HELD),
}


RATE_S = 300.0  # the traffic of so long decides whether there is enough for a trial
POISONED = "data:labels"  # the check of the training rows that quarantines their window


@dataclass(frozen=True)
class Outcome:
    """A sealed candidate: its digest in the store, how it was chosen and judged, and the examples that come with it."""

    digest: str
    manifest: AdapterManifest
    verdict: Verdict
    choice: Choice
    examples: tuple[Example, ...]
    bits: Mapping[str, bool]  # by key of the new domain's gate examples: whether the candidate is right


def publish(shop: Workshop, lease: Lease, material: Material, task: Task, outcome: Outcome) -> JobStatus:
    """Records the version, and if the verdict says so makes it champion with its examples on probation.

    All in one transaction that first checks the lease's token: a worker that was taken over publishes nothing. A
    champion that changed meanwhile was not what the candidate was held against, and one that an operator has pinned
    is not replaced: then a version that passed is held. What a held version would bring is parked until a person
    promotes it. Where trials are on, and there is traffic enough, it is put on trial instead of being made champion,
    and the monitor ends the job. Raises LeaseLost.
    """
    manifest, model = outcome.manifest, outcome.manifest.model
    with shop.ledger.begin() as tx:
        job = jobs.check(tx, lease)
        checked = still_valid(tx, model, material.champion, outcome.verdict)
        verdict, on_trial = with_trial(tx, shop.trial, model, checked)
        told = verdict.as_json() | {"selection": outcome.choice.as_json()}
        state, status = ENDS[verdict.decision]
        record_version(
            tx, model, manifest.version, outcome.digest, material.champion, state,
            manifest=asdict(manifest), gate=told, reason=verdict.reason,
        )  # fmt: skip
        gate_history.record_uses(tx, model, job.id, {d: len(kept) for d, kept in material.gate_sets.items()})
        held = verdict.decision is Decision.HOLD
        if verdict.decision is not Decision.REJECT:
            remember(tx, None if held else shop.memory.budget, material, task, outcome)
        if held:
            park(tx, model, task.version)
        if any(check.name == POISONED and check.result is Result.FAIL for check in verdict.checks):
            gate_history.quarantine_window(tx, _window(job, material, task.version, verdict.reason))
        if on_trial:
            return _put_on_trial(tx, lease, material, manifest.version, told)
        if verdict.decision is Decision.PROMOTE:
            promote(tx, model, manifest.version, actor=f"worker {lease.owner}", reason=verdict.reason)
        jobs.finish(tx, lease, status, verdict=told, version=manifest.version, reason=verdict.reason)
    return status


def with_trial(tx: Connection, settings: TrialSettings, model: str, verdict: Verdict) -> tuple[Verdict, bool]:
    """Whether a version of this verdict is tried first; where too little traffic comes the verdict says so."""
    if verdict.decision is not Decision.PROMOTE or settings.mode is TrialMode.OFF:
        return verdict, False
    seen = rate(tx, model, RATE_S)
    if seen >= settings.min_rate:
        return verdict, True
    detail = (
        f"skipped_low_traffic: {seen:.2f} predictions a second in the last {RATE_S:.0f} s, "
        f"{settings.min_rate:g} are needed"
    )
    record_event(tx, "trial_skipped", model, {"reason": detail})
    skipped = Check(
        name="trial", result=Result.INSUFFICIENT, value=seen, limit=settings.min_rate, detail=detail
    )
    return replace(verdict, checks=(*verdict.checks, skipped)), False


def _put_on_trial(
    tx: Connection, lease: Lease, material: Material, version: int, verdict: Mapping[str, Any]
) -> JobStatus:
    """Its examples are on probation as those of a champion would be; the worker is done."""
    reason = f"{verdict['reason']}; held against version {material.champion} on real traffic"
    trials.start_trial(
        tx, material.model.name, version,
        champion=material.champion, job_id=lease.job_id, reason=reason, actor=f"worker {lease.owner}",
    )  # fmt: skip
    return jobs.await_trial(tx, lease, verdict=verdict, version=version, reason=reason).status


def still_valid(tx: Connection, model: str, champion: int, verdict: Verdict) -> Verdict:
    """The verdict on a candidate that was held against `champion`.

    Held instead of promoted where another one serves since, or a person has pinned it.
    """
    if verdict.decision is Decision.REJECT:
        return verdict
    aliases, reason = get_aliases(tx, model), ""
    if aliases.get("champion") != champion:
        reason = f"the champion is no longer version {champion}, which the candidate was held against"
    elif PINNED in aliases and verdict.decision is Decision.PROMOTE:
        reason = f"an operator has pinned version {champion}"
    return replace(verdict, decision=Decision.HOLD, reason=reason) if reason else verdict


def remember(tx: Connection, budget: int | None, material: Material, task: Task, outcome: Outcome) -> None:
    """Memory, gate, selection and reference examples of a version that was not rejected, on probation.

    An exemplar whose text was learnt with another label makes way for it. What the labels contradict is not replayed
    any more, and a domain that they retire is not judged on any more. With a budget the memory of the other domains is
    brought down to it.
    """
    model = material.model.name
    supersede(tx, model, learnt_otherwise(tx, material), task.version)
    retire(tx, model, task.contradicted, task.version)
    for sets in (material.gate_sets, material.selection_sets):
        untrue = [example.key for domain in task.retired for example in sets.get(domain, ())]
        retire(tx, model, untrue, task.version, roles=("gate", "selection"))
    if budget is not None:
        replace_memory(tx, model, choose(list_examples(tx, model, "memory"), budget))
    add_examples(tx, outcome.examples)
    gate_history.record_bits(tx, model, task.version, {material.domain: outcome.bits})


def learnt_otherwise(tx: Connection, material: Material) -> list[str]:
    """Keys of the exemplars whose texts were trained on with another label."""
    learnt = material.learnt
    memory = list_examples(tx, material.model.name, "memory")
    return [each.key for each in memory if learnt.get(each.key, each.label) != each.label]


def hold(tx: Connection, lease: Lease, plan: Plan, choice: Choice | None = None) -> JobStatus:
    """Ends the job as held: nothing was proposed, and the plan (or every remedy) says why. Raises LeaseLost."""
    declined = () if choice is None else tuple(f"{each.name}: {each.reason}" for each in choice.entries[1:])
    reason = "; ".join((*plan.reasons, *declined))
    verdict = {"verdict": Decision.HOLD.value, "reason": reason, "checks": [], "missing": dict(plan.missing)}
    if choice is not None:
        verdict["selection"] = choice.as_json()
    return jobs.finish(tx, lease, JobStatus.HELD, verdict=verdict, reason=reason).status


def bits_of(task: Task, answers: Answers, material: Material) -> dict[str, bool]:
    """By key of the new domain's gate examples: whether these answers are right."""
    rows = material.rows["gate"]
    domain = task.domain if task.named else None
    predicted = answers.predicted([row.text for row in rows], domain)
    return {row.key: task.labels[i] == row.label for row, i in zip(rows, predicted, strict=True)}


def new_examples(
    task: Task, answers: Answers, material: Material, job: AdaptationJob, budget: int
) -> tuple[Example, ...]:
    """The new domain's memory (with the candidate's logits), gate, selection and reference examples, on probation."""
    common = Example(
        model=job.model, domain=material.domain, role="memory", text="", key="", version=task.version,
        job_id=job.id, probation=True, source="traffic",
    )  # fmt: skip
    memory = _memory(task, answers, material.rows["train"], common)
    held_out = [
        replace(_labelled(common, row), role=part)
        for part in ("gate", "selection")
        for row in material.rows[part]
    ]
    reference = [
        replace(each, version=task.version, job_id=job.id, probation=True, source="traffic")
        for each in material.reference
    ]
    return (*choose(memory, budget), *held_out, *reference)


def _memory(task: Task, answers: Answers, rows: Sequence[Labelled], common: Example) -> list[Example]:
    if not rows:
        return []
    logits = answers.outputs([row.text for row in rows]).logits
    memory = [
        replace(
            _labelled(common, row), logits=tuple(map(float, z)), priority=priority_of(row.key, common.model)
        )
        for row, z in zip(rows, logits, strict=True)
    ]
    return with_core(memory, frozen_features(task.champion.bundle))


def _labelled(common: Example, row: Labelled) -> Example:
    return replace(
        common, text=row.text, label=row.label, key=row.key, prediction_id=row.prediction_id,
        client=row.client or None, label_source="feedback",
    )  # fmt: skip


def _window(job: AdaptationJob, material: Material, version: int, reason: str) -> Window:
    last = material.window_seqs[-1] if material.window_seqs else job.window_from_seq
    return Window(
        model=job.model,
        from_seq=job.window_from_seq,
        to_seq=last,
        reason=reason,
        version=version,
        job_id=job.id,
    )
