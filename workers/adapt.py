"""One adaptation, top to bottom: material, plan, fit, draft, references, evidence, gate, seal, publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from trimtab.adapter import REFERENCES
from trimtab.base import BaseModel, load_base
from trimtab.errors import BaseMismatch
from trimtab.features import References
from trimtab.jobs import AdaptationJob, JobStatus, Lease
from trimtab.ledger import jobs, versions
from workers.artefact import (
    Candidate,
    Provenance,
    delta_norms,
    draft,
    library_versions,
    seal,
    with_references,
)
from workers.classifier import TrainableClassifier, continue_from
from workers.fit import FitReport, fit
from workers.gate import Evidence, Paired, gate
from workers.material import Material, gather
from workers.plan import Method, Plan, make_plan
from workers.progress import JobProgress, Report
from workers.publish import Outcome, hold, new_examples, publish
from workers.workshop import LoadedVersion, Workshop, load_version

N_PARITY = 64


def run_adaptation(shop: Workshop, lease: Lease) -> JobStatus:
    """Does the job of this lease and publishes what came of it; returns the job's final status.

    Raises:
        LeaseLost: another worker took over, or the job was cancelled; nothing was published.
        AdapterRefused, BaseModelMissing, StoreUnavailable, LedgerUnavailable: it could not be done.
    """
    report = JobProgress(shop.ledger, lease)
    report("reading", 0, 1)
    with shop.ledger.begin() as tx:
        job = jobs.check(tx, lease)
        material = gather(tx, job, shop.memory.budget)
        plan = make_plan(material.situation, shop.training, shop.max_tokens)
        jobs.set_plan(tx, lease, plan.as_json())
        if plan.method is Method.HOLD or plan.recipe is None:
            return hold(tx, lease, plan)
        version = versions.reserve_version(tx, job.model, job.id)

    base = load_base_of(material, shop)
    champion = load_version(shop, base, job.model, material.champion)
    network = continue_from(base, champion.files, len(material.model.labels), plan.recipe.seed)
    fitted = fit(
        network,
        material.training_set(),
        material.replay_set(),
        plan.recipe,
        lambda step, of: report("training", step, of),
    )
    candidate = draft(
        network, model=job.model, version=version, labels=material.model.labels, max_tokens=shop.max_tokens
    )
    candidate = complete(candidate, champion, material, report)
    evidence = weigh(shop, champion, candidate, network, material, report)
    verdict = gate(evidence, shop.gate)
    provenance = describe(
        job, material, plan, fitted, champion, selection_scores(champion, candidate, material)
    )
    files, manifest = seal(candidate, verdict.as_json(), provenance, shop.private_key)
    report("publishing", 0, 1)
    outcome = Outcome(
        shop.store.put(files),
        manifest,
        verdict,
        new_examples(candidate, material, job, version, shop.memory.budget),
    )
    return publish(shop, lease, material, outcome)


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


def weigh(
    shop: Workshop,
    champion: LoadedVersion,
    candidate: Candidate,
    network: TrainableClassifier,
    material: Material,
    report: Report,
) -> Evidence:
    """Everything the gate looks at. Past domains are held against the champion and against the version that was
    first accepted on them, so that small losses do not add up from version to version."""
    parity_texts = tuple(example.text for example in material.reference[:N_PARITY])
    merged = candidate.answers.outputs(parity_texts).logits
    parity = float(np.abs(merged - network.predict_logits(parity_texts, shop.max_tokens)).max())
    judges: dict[int, LoadedVersion] = {champion.n: champion}
    past = []
    for number, (domain, examples) in enumerate(material.gate_sets.items()):
        report("gate", number, len(material.gate_sets) + 1)
        for n in sorted({champion.n, min(example.version for example in examples)}, reverse=True):
            if n not in judges:
                judges[n] = load_version(shop, network.base, material.model.name, n)
            texts, labels = tuple(e.text for e in examples), [e.label for e in examples]
            past.append(_paired(domain, champion.n, judges[n], candidate, texts, material.indices(labels)))
    rows = material.rows["gate"]
    texts, truth = tuple(row.text for row in rows), material.indices(row.label for row in rows)
    gain = _paired(material.domain, champion.n, champion, candidate, texts, truth)
    return Evidence(
        delta_norms=delta_norms(network.base, candidate.bundle),
        parity=parity,
        n_parity=len(parity_texts),
        past=tuple(past),
        gain=gain,
    )


def _paired(
    domain: str, champion: int, judge: LoadedVersion, candidate: Candidate, texts: tuple[str, ...], truth: Any
) -> Paired:
    role = "champion" if judge.n == champion else "first accepted"
    return Paired(
        domain=domain,
        against=f"{role} {judge.n}",
        incumbent=judge.answers.scorecard(texts, truth),
        candidate=candidate.answers.scorecard(texts, truth),
    )


def selection_scores(champion: LoadedVersion, candidate: Candidate, material: Material) -> dict[str, Any]:
    """Both versions on the selection part: reported, and later the place where rivals are chosen."""
    rows = material.rows["selection"]
    texts, labels = tuple(row.text for row in rows), material.indices(row.label for row in rows)
    if not texts:
        return {}
    scores = {"champion": champion.answers, "candidate": candidate.answers}
    return {name: answers.scorecard(texts, labels).summary() for name, answers in scores.items()}


def describe(
    job: AdaptationJob,
    material: Material,
    plan: Plan,
    fitted: FitReport,
    champion: LoadedVersion,
    selection: Mapping[str, Any],
) -> Provenance:
    """What the manifest says about where this version comes from."""
    counts = {part: dict(Counter(row.label for row in rows)) for part, rows in material.rows.items()}
    return Provenance(
        parent=champion.n,
        parent_digest=champion.digest,
        trigger={"job": job.id, "cause": job.cause},
        data={
            "domain": material.domain,
            "window_from_seq": job.window_from_seq,
            "n_window": material.n_window,
            "labelled": counts,
            "n_memory": len(material.memory),
            "memory_digest": material.memory_digest(),
        },
        plan=plan.as_json(),
        training=asdict(fitted) | {"libraries": library_versions()},
        metrics={"selection": dict(selection)},
    )
