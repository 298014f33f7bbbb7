"""What a finding means: what labels and confidence say at every look, and with an alarm its kind and its reasons."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitoring.check import Baseline, Finding
from monitoring.explain import Window, concentrated, explain, find_novelty
from monitoring.harm import estimate_harm, labelled_risk
from monitoring.histograms import Floats, energy
from monitoring.kind import Evidence, Judgement, judge
from monitoring.label_shift import find_label_shift
from monitoring.labelled import labelled_reference
from monitoring.mixture import MIXTURE, effective_rows
from trimtab.drift import Explanation, Harm, LabelledRisk, LabelShiftFound
from trimtab.features import VOCABULARY_FEATURES
from trimtab.ledger.feedback import Outcome
from trimtab.ledger.windows import PredictionWindow
from trimtab.settings import DriftSettings
from trimtab.stats.sequential import risk_increase

UNEXPLAINED = 0.05  # share of the window that no known domain explains: from here on it is worth acting on
FEWEST_CHANGED = 100  # events that harm is estimated on
ANY_RUN = 2.0  # where a change began does not depend on the run length


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What a finding means; without an alarm there is neither a judgement nor a reason."""

    harm: Harm | None
    judgement: Judgement | None = None
    label_shift: LabelShiftFound | None = None
    explanation: Explanation | None = None


def labels_so_far(
    baseline: Baseline, outcomes: Sequence[Outcome], *, tolerance: float, run_length: float
) -> LabelledRisk | None:
    """The test on labelled traffic, in the order of the predictions; None without labels here or in the reference."""
    wrong, n = baseline.source_risk
    return labelled_risk(
        [not each.right for each in outcomes],
        reference_wrong=wrong,
        reference_n=n,
        tolerance=tolerance,
        run_length=run_length,
    )


def estimated_harm(baseline: Baseline, finding: Finding, rows: Floats) -> Harm | None:
    """Accuracy on (n, d) rows of traffic, estimated without labels; None without enough labelled reference rows."""
    hypothesis = finding.look.hypothesis
    mixed = hypothesis.name == MIXTURE
    model = baseline.confidence_for(hypothesis) if mixed else baseline.confidence[hypothesis.name]
    if model is None:
        return None
    max_prob, entropy = (rows[:, baseline.features.index(name)] for name in ("max_prob", "entropy"))
    return estimate_harm(model, max_prob, entropy)


def changed_rows(rows: Floats, n_changed: int, n_window: int) -> Floats:
    """The newest of (n, d) rows that harm is estimated on: those since the change, as far as the window reaches.

    Rows from before the change would only dilute what it costs; with fewer than FEWEST_CHANGED nothing could be told.
    """
    return rows[-min(n_window, max(n_changed, FEWEST_CHANGED)) :]


def meaning_of(
    baseline: Baseline,
    finding: Finding,
    harm: Harm | None,
    labelled: LabelledRisk | None,
    traffic: PredictionWindow,
    drift: DriftSettings,
) -> Meaning:
    """What an alarm means.

    Args:
        baseline: Of the version that answered.
        finding: With an alarm.
        harm: `estimated_harm` of the events since the change (`changed_rows`).
        labelled: `labels_so_far`.
        traffic: The samples of that window, as far as the ledger still keeps them.
        drift: The tolerances.
    """
    hypothesis, known, references = finding.look.hypothesis, baseline.known, baseline.references
    window = _window(traffic, references.feature_map.labels)
    shifted = find_label_shift(
        labelled_reference(references, known.names, hypothesis),
        known.edges,
        window.rows,
        window.predicted,
        references.feature_map.labels,
        threshold=finding.threshold,
        n_reference=effective_rows(known, hypothesis.weights),
    )
    novelty = find_novelty(known, hypothesis, references, window.rows)
    explanation = explain(known, hypothesis, references, window, baseline.features, novelty)
    source = concentrated(
        known,
        window,
        novelty,
        threshold=finding.threshold,
        n_reference=effective_rows(known, hypothesis.weights),
    )
    found = replace(
        _evidence(baseline, finding, explanation),
        harm=harm,
        labelled=labelled,
        label_shift=shifted,
        source=source,
    )
    judgement = judge(found, max_accuracy_drop=drift.max_accuracy_drop, min_effect=drift.min_effect)
    return Meaning(harm=harm, judgement=judgement, label_shift=shifted, explanation=explanation)


def worth_acting_on(finding: Finding, meaning: Meaning, min_effect: float) -> bool:
    """An alarm with some feature moved by `min_effect`, or harm, or inputs like nothing known."""
    harmful = meaning.judgement is not None and meaning.judgement.harmful
    new = meaning.explanation is not None and meaning.explanation.unexplained_low >= UNEXPLAINED
    return finding.alarm and (finding.max_ks >= min_effect or harmful or new)


def concept_start(baseline: Baseline, outcomes: Sequence[Outcome], tolerance: float) -> int:
    """Sequence number of the labelled prediction from which on the evidence of more errors is strongest."""
    wrong, n = baseline.source_risk
    losses = [not each.right for each in outcomes]
    found = risk_increase(losses, source_wrong=wrong, source_n=n, tolerance=tolerance, run_length=ANY_RUN)
    return outcomes[found.change_from].seq


def _evidence(baseline: Baseline, finding: Finding, explanation: Explanation) -> Evidence:
    """What the inputs alone show."""
    ks = finding.look.ks[np.isin(baseline.features, VOCABULARY_FEATURES)]
    return Evidence(
        inputs=any(arm.alarm for arm in finding.arms if arm.name != "labels"),
        max_ks=finding.max_ks,
        vocabulary_share=energy(ks) / max(finding.look.energy, 1e-12),
        vocabulary_ks=float(ks.max(initial=0.0)),
        unexplained_share=explanation.unexplained_share,
        unexplained_low=explanation.unexplained_low,
    )


def _window(traffic: PredictionWindow, labels: Sequence[str]) -> Window:
    place = {label: i for i, label in enumerate(labels)}
    return Window(
        rows=traffic.features,
        predicted=np.array([place.get(label, -1) for label in traffic.labels], dtype=np.int64),
        clients=traffic.clients,
        domains=traffic.domains,
        prediction_ids=traffic.prediction_ids,
    )
