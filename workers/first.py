"""Version 1 of a model: trained on labelled rows, or a fine-tuned checkpoint as it is; with gate sets and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sqlalchemy import Connection

from trimtab.adapter import AdapterManifest
from trimtab.base import load_base
from trimtab.bundle import PROBE_TEXTS
from trimtab.datafiles import Row
from trimtab.errors import AlreadyExists, DataError, ModelNotFound
from trimtab.ledger import versions
from trimtab.ledger.examples import Example, add_examples
from trimtab.ledger.gate_history import record_bits
from trimtab.ledger.models import create_model, get_model, require_name
from trimtab.pooling import load_checkpoint
from trimtab.splits import choose_part, key_of
from workers.artefact import Candidate, Provenance, draft, library_versions, seal, with_references
from workers.classifier import TrainableClassifier
from workers.delivery import deliver
from workers.evaluate import Scorecard
from workers.fit import FitReport, Recipe, TrainingSet, fit
from workers.material import MAX_REFERENCE
from workers.memory import choose, frozen_features, priority_of, with_core
from workers.progress import Report, silent
from workers.workshop import Workshop

# The bounds are chosen so that no text is in two parts when it comes back as traffic (trimtab.splits.LABEL_PARTS cuts
# the same unit at 0.60 and 0.72): training here lies inside training there, selection and gate likewise.
INIT_PARTS: Mapping[str, float] = {
    "train": 0.40, "reference": 0.20, "selection": 0.08, "reference ": 0.05, "gate": 0.27,
}  # fmt: skip
SALT = "labels"
DEFAULT_DOMAIN = "domain-1"
MIN_PER_LABEL = 8
NO_GATE: Mapping[str, Any] = {
    "verdict": "init",
    "reason": "the first version has no incumbent to be held against",
    "checks": [],
}


@dataclass(frozen=True)
class FirstVersion:
    """What `create_first_version` made: number, digest, rows by part, and the scores on the gate part."""

    version: int
    digest: str
    n_rows: Mapping[str, int]
    gate: Scorecard
    fitted: FitReport | None


@dataclass(frozen=True, kw_only=True)
class Start:
    """What the first version is made of: distinct rows by part, how it was made, and the fit if there was one."""

    model: str
    base_name: str
    labels: tuple[str, ...]
    kept: Mapping[str, Sequence[_Kept]]
    plan: Mapping[str, Any]
    fitted: FitReport | None = None


@dataclass(frozen=True)
class _Kept:
    """A distinct row: its text key, its part and its domain."""

    row: Row
    key: str
    part: str
    domain: str


def create_first_version(
    shop: Workshop,
    *,
    model: str,
    base_name: str,
    rows: Sequence[Row],
    labels: Sequence[str] | None = None,
    max_train: int = 1500,
    epochs: int = 2,
    report: Report = silent,
) -> FirstVersion:
    """Trains and publishes version 1 as champion and baseline.

    Args:
        base_name: directory or hub id of a Hugging Face encoder.
        rows: labelled rows; each is used for one purpose only, by the hash of its group or text.
        labels: the label names in the order of the logits; None: the labels that occur, sorted.
        max_train: rows trained on at most; the surplus joins the drift reference.

    Raises:
        InvalidInput: the model cannot be named so.
        AlreadyExists: there is a model of this name.
        DataError: fewer than two labels, one that is not among `labels`, or fewer than 8 training rows of one.
        BaseModelMissing: the base cannot be loaded.
    """
    names = tuple(labels) if labels else tuple(sorted({row.label for row in rows}))
    _refuse_taken(shop, model)
    kept = split(rows, model, max_train)
    _refuse_unfit(rows, kept["train"], names)
    report("loading", 0, 1)
    base = load_base(base_name, shop.device)
    recipe = Recipe(epochs=epochs, seed=shop.training.seed, max_tokens=shop.max_tokens)
    network = TrainableClassifier(base, len(names), recipe.seed)
    training_set = TrainingSet(_texts(kept["train"]), _indices(kept["train"], names))
    fitted = fit(network, training_set, None, recipe, lambda step, of: report("training", step, of))
    start = Start(
        model=model, base_name=base_name, labels=names, kept=kept,
        plan={"method": "lora", "situation": "init", "recipe": asdict(recipe)}, fitted=fitted,
    )  # fmt: skip
    return publish_first(shop, network, start, report)


def adopt_checkpoint(
    shop: Workshop,
    *,
    model: str,
    directory: str,
    rows: Sequence[Row] = (),
    labels: Sequence[str] | None = None,
    max_train: int = 1500,
    report: Report = silent,
) -> FirstVersion:
    """Publishes a fine-tuned Hugging Face sequence classifier as version 1, as it is: its LoRA adds nothing yet.

    Args:
        directory: of the checkpoint; the model's base from now on.
        rows: labelled rows, which give gate sets, memory and drift reference. Without any the drift is not watched
            (there is nothing to hold the traffic against), and no version is promoted by itself (nothing to judge by).
        labels: names in the order of the checkpoint's outputs; None: as the checkpoint names them.

    Raises:
        InvalidInput, AlreadyExists, DataError: as `create_first_version`.
        BaseModelMissing: it is no such classifier, or it pools in a way that is not reproduced.
    """
    _refuse_taken(shop, model)
    report("loading", 0, 1)
    checkpoint = load_checkpoint(directory)
    names = tuple(labels) if labels else checkpoint.labels
    if len(names) != len(checkpoint.labels):
        raise DataError(f"the checkpoint has {len(checkpoint.labels)} labels, {len(names)} were named")
    kept = split(rows, model, max_train)
    if rows:
        _refuse_unfit(rows, kept["train"], names)
    network = TrainableClassifier(load_base(directory, shop.device), len(names), shop.training.seed)
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(checkpoint.weight))
        network.head.bias.copy_(torch.from_numpy(checkpoint.bias))
    start = Start(
        model=model, base_name=directory, labels=names, kept=kept,
        plan={"method": "from_checkpoint", "situation": "init", "pooling": f"first token, {checkpoint.activation}"},
    )  # fmt: skip
    return publish_first(shop, network, start, report)


def publish_first(shop: Workshop, network: TrainableClassifier, start: Start, report: Report) -> FirstVersion:
    """References, gate sets and memory of the first version; signed, stored, and made champion and baseline."""
    model, kept, names = start.model, start.kept, start.labels
    candidate = draft(network, model=model, version=1, labels=names, max_tokens=shop.max_tokens)
    chosen = reference_rows(kept, model)
    reference = [_example(each, model, "reference", place) for place, each in enumerate(chosen)]
    by_domain = _by_domain(reference)
    candidate = with_references(
        candidate,
        by_domain,
        report,
        projected=_texts(kept["train"]) or PROBE_TEXTS,
        ordered=ordered_domains(chosen),
        anchors=sorted(by_domain),
    )
    report("evaluating", 0, 1)
    score = candidate.answers.scorecard(_texts(kept["gate"]), _indices(kept["gate"], names))
    counts = {part: len(found) for part, found in kept.items()} | {"drift_reference": len(reference)}
    files, manifest = seal(candidate, NO_GATE, _provenance(start, counts, score), shop.private_key)
    digest = deliver(shop, candidate.bundle.base, files)
    first_examples = examples_of(candidate, kept, reference, model, shop.memory.budget)
    with shop.ledger.begin() as tx:
        _record(tx, manifest, digest, start.base_name)
        add_examples(tx, first_examples)
        record_bits(tx, model, 1, _bits(kept["gate"], score))
    return FirstVersion(1, digest, counts, score, start.fitted)


def split(rows: Sequence[Row], salt: str, max_train: int) -> dict[str, list[_Kept]]:
    """Distinct rows by part: train, selection, gate, reference. The last of several rows with one text counts."""
    parts: dict[str, list[_Kept]] = {"train": [], "selection": [], "gate": [], "reference": []}
    for key, row in {key_of(row.text): row for row in rows}.items():
        part = choose_part(key_of(row.text, row.group), INIT_PARTS, SALT).strip()
        parts[part].append(_Kept(row, key, part, row.domain or DEFAULT_DOMAIN))
    parts["train"].sort(key=lambda kept: priority_of(kept.key, salt))
    parts["reference"] += parts["train"][max_train:]
    parts["train"] = parts["train"][:max_train]
    return parts


def reference_rows(kept: Mapping[str, Sequence[_Kept]], salt: str) -> list[_Kept]:
    """Rows that were never trained on, at most 2,000 a domain.

    Where every row of a domain has a timestamp, the newest of them in order of time: how neighbours depend on each
    other is part of what thresholds are calibrated on. Else those of the gate and the selection, which are scored
    anyway, then the smallest hashes of the rest.
    """
    groups: dict[str, list[_Kept]] = {}
    rest = sorted(kept["reference"], key=lambda each: priority_of(each.key, salt))
    for each in (*kept["gate"], *kept["selection"], *rest):
        groups.setdefault(each.domain, []).append(each)
    return [each for group in groups.values() for each in _newest(group) or group[:MAX_REFERENCE]]


def ordered_domains(reference: Sequence[_Kept]) -> frozenset[str]:
    """The domains of which every row has a timestamp."""
    timeless = {each.domain for each in reference if each.row.timestamp is None}
    return frozenset({each.domain for each in reference} - timeless)


def _newest(group: Sequence[_Kept]) -> list[_Kept]:
    """The newest 2,000, oldest first; none when a row has no timestamp."""
    timed = [(each.row.timestamp, each.row.line, each) for each in group if each.row.timestamp is not None]
    if len(timed) < len(group):
        return []
    return [each for *_, each in sorted(timed, key=lambda entry: entry[:2])][-MAX_REFERENCE:]


def examples_of(
    candidate: Candidate,
    kept: Mapping[str, Sequence[_Kept]],
    reference: Sequence[Example],
    model: str,
    budget: int,
) -> list[Example]:
    """Memory with the version's logits, gate and selection sets, reference texts: confirmed, not on probation."""
    if not kept["train"]:
        return []
    logits = candidate.answers.outputs(_texts(kept["train"])).logits
    memory = [
        replace(
            _example(each, model, "memory"),
            logits=tuple(map(float, z)),
            priority=priority_of(each.key, model),
        )
        for each, z in zip(kept["train"], logits, strict=True)
    ]
    held_out = [_example(each, model, part) for part in ("gate", "selection") for each in kept[part]]
    herded = with_core(memory, frozen_features(candidate.bundle))
    return [*choose(herded, budget), *held_out, *reference]


def _record(tx: Connection, manifest: AdapterManifest, digest: str, base_name: str) -> None:
    """The model with its version 1 as champion and baseline."""
    model, accepted = manifest.model, versions.VersionState.ACCEPTED
    create_model(tx, model, manifest.labels, base_name, manifest.base.digest)
    versions.record_version(tx, model, 1, digest, None, accepted, manifest=asdict(manifest), gate=NO_GATE)
    versions.promote(tx, model, 1, actor="init", reason="first version")
    versions.set_alias(tx, model, "baseline", 1, actor="init", reason="first version")


def _bits(gate: Sequence[_Kept], score: Scorecard) -> dict[str, dict[str, bool]]:
    """{domain: {key: right}} of the gate examples."""
    bits: dict[str, dict[str, bool]] = {}
    for each, right in zip(gate, score.right, strict=True):
        bits.setdefault(each.domain, {})[each.key] = bool(right)
    return bits


def _provenance(start: Start, counts: Mapping[str, int], score: Scorecard) -> Provenance:
    train = start.kept["train"]
    fitted = {} if start.fitted is None else asdict(start.fitted)
    return Provenance(
        trigger={"kind": "init"},
        data={"rows": dict(counts), "train_per_label": dict(Counter(kept.row.label for kept in train))},
        plan=start.plan,
        training=fitted | {"libraries": library_versions()},
        metrics={"gate": score.summary()} if score.n else {},
    )


def _example(kept: _Kept, model: str, role: str, priority: int = 0) -> Example:
    return Example(
        model=model, domain=kept.domain, role=role, text=kept.row.text, label=kept.row.label, key=kept.key,
        version=1, source="init", label_source="init", priority=priority,
    )  # fmt: skip


def _refuse_taken(shop: Workshop, model: str) -> None:
    require_name(model)
    with shop.ledger.read() as tx:
        try:
            get_model(tx, model)
        except ModelNotFound:
            return
    raise AlreadyExists(f"there is already a model named {model!r}")


def _refuse_unfit(rows: Sequence[Row], train: Sequence[_Kept], labels: Sequence[str]) -> None:
    unknown = sorted({row.label for row in rows} - set(labels))
    if unknown:
        raise DataError(f"labels in the data that are not among --labels: {', '.join(unknown)}")
    if len(labels) < 2:
        raise DataError(
            f"a classifier needs at least two labels, the data have {len(labels)}: {', '.join(labels)}"
        )
    counts = Counter(kept.row.label for kept in train)
    few = [f"{label} ({counts[label]})" for label in labels if counts[label] < MIN_PER_LABEL]
    if few:
        raise DataError(
            f"too few rows to train on: {', '.join(few)}; 40 % of the rows are trained on, "
            f"and every label needs at least {MIN_PER_LABEL} of them"
        )


def _by_domain(examples: Sequence[Example]) -> dict[str, list[Example]]:
    groups: dict[str, list[Example]] = {}
    for each in examples:
        groups.setdefault(each.domain, []).append(each)
    return groups


def _texts(kept: Sequence[_Kept]) -> tuple[str, ...]:
    return tuple(each.row.text for each in kept)


def _indices(kept: Sequence[_Kept], labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """(n,) label indices."""
    return np.array([labels.index(each.row.label) for each in kept], dtype=np.int64)
