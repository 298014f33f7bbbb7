"""Gate sets are kept fresh: one that is small or half worn asks labels for random texts of its domain, and grows.

Only texts of the gate's part of the split are asked for, which nothing is trained on, and only while the traffic looks
like what the model was accepted on. New examples enter under the version that the domain was first accepted with, so
that losses do not add up from one renewal to the next. Once as many are there as have decided `max_uses` times, these
are for comparing rivals only.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from monitoring.asking import KEPT_S, MAX_WINDOW, distinct
from trimtab.drift import DriftReport, DriftState
from trimtab.ledger import (
    Ledger,
    examples,
    gate_history,
    gate_labels,
    jobs,
    label_requests,
    models,
    reports,
    versions,
)
from trimtab.ledger.clock import now
from trimtab.ledger.events import record_event
from trimtab.ledger.examples import ROLES, Example
from trimtab.ledger.gate_history import SetWear
from trimtab.ledger.gate_labels import GateAnswer
from trimtab.ledger.label_requests import NewRequest, Reason
from trimtab.ledger.windows import WindowText, window_texts
from trimtab.settings import GateSettings, LabelsSettings
from trimtab.splits import unit_of

EVERY_S = 30.0  # between two looks at a model
SETTLED_S = 600.0  # an answer may be corrected so long before it judges
AT_ONCE = 100  # requests of all gate sets of a model that are open
CALM = (DriftState.OK, DriftState.KNOWN)


@dataclass
class Renewing:
    """Looks after the gate sets of every model; remembers when it looked."""

    ledger: Ledger
    gate: GateSettings
    labels: LabelsSettings
    every_s: float = EVERY_S
    settled_s: float = SETTLED_S
    _looked_at: dict[str, float] = field(default_factory=dict, init=False)

    def renew(self) -> int:
        """Take answers into the gate sets, retire worn examples, ask for new ones; returns how many were asked for."""
        with self.ledger.read() as tx:
            names = [model.name for model in models.list_models(tx)]
        return sum(self._renew(name) for name in names if self._due(name))

    def _renew(self, model: str) -> int:
        with self.ledger.begin() as tx:
            gate_labels.drop_orphans(tx, model)
            take_in(tx, model, self.settled_s)
            retire_worn(tx, model, self.gate.max_uses)
            return ask(tx, model, self.gate, min(AT_ONCE, self.labels.max_open))

    def _due(self, model: str) -> bool:
        if time.monotonic() - self._looked_at.get(model, -self.every_s) < self.every_s:
            return False
        self._looked_at[model] = time.monotonic()
        return True


def take_in(tx: Connection, model: str, settled_s: float = 0.0) -> int:
    """Make gate examples of the answers that are older; returns how many there were.

    They share the fate of their set's oldest example: on probation they go with the version that brought it.
    """
    settled = now(tx) - settled_s
    came = [each for each in _answers(tx, model) if each.settled_at <= settled]
    oldest = {
        domain: min(
            examples.list_examples(tx, model, "gate", domain), key=lambda each: (each.version, each.id)
        )
        for domain in {each.domain for each in came}.intersection(examples.domains(tx, model, "gate"))
    }
    known = [each for each in came if each.domain in oldest]
    added = examples.add_examples(tx, (_example(each, oldest[each.domain]) for each in known))
    for domain, version in ((domain, example.version) for domain, example in oldest.items()):
        # What this version did not answer, the worker asks it when it judges.
        right = {
            each.key: each.label == each.predicted
            for each in known
            if (each.domain, each.version) == (domain, version)
        }
        gate_history.record_bits(tx, model, version, {domain: right})
    return added


def _answers(tx: Connection, model: str) -> list[GateAnswer]:
    """Those that name a class of the champion: the others judge nothing before theirs is taught."""
    known = versions.served_model(tx, model).labels
    return [each for each in gate_labels.answers(tx, model) if each.label in known]


def retire_worn(tx: Connection, model: str, max_uses: int) -> int:
    """Take examples that decided `max_uses` times out of their gate set, where as many others are there."""
    retired = 0
    for domain, wear in gate_history.wear(tx, model, max_uses).items():
        if wear.worn and len(wear.fresh) >= len(wear.worn):
            retired += examples.demote(tx, model, wear.worn)
            detail = {"domain": domain, "n": len(wear.fresh), "retired": len(wear.worn)}
            record_event(tx, "gate_set_renewed", model, detail, "monitor")
    return retired


def ask(tx: Connection, model: str, gate: GateSettings, at_once: int) -> int:
    """Open requests for what the model's gate sets lack; returns how many. None while drift or a job is under way."""
    report = _calm(tx, model)
    if report is None:
        return 0
    wanted = lacking(tx, model, gate, at_once)
    if not wanted:
        return 0
    texts = _free_texts(tx, model, report)
    opened = 0
    for domain, n in wanted.items():
        chosen = choose(texts, domain, n, report)
        n_opened = label_requests.ask(
            tx, model, None, map(_request, chosen), expires_at=now(tx) + KEPT_S, gate_set=domain
        )
        opened += n_opened
        if n_opened:
            record_event(tx, "gate_labels_requested", model, {"domain": domain, "n": n_opened}, "monitor")
    return opened


def lacking(tx: Connection, model: str, gate: GateSettings, at_once: int) -> dict[str, int]:
    """How many requests to open by domain: what its gate set lacks, without what is open or answered already."""
    n_open = gate_labels.open_by_gate_set(tx, model)
    coming = Counter(each.domain for each in _answers(tx, model)) + Counter(n_open)
    left, wanted = at_once - sum(n_open.values()), {}
    for domain, wear in gate_history.wear(tx, model, _half(gate)).items():
        wanted[domain] = max(0, min(left, _short(wear, gate) - coming[domain]))
        left -= wanted[domain]
    return {domain: n for domain, n in wanted.items() if n}


def choose(texts: Sequence[WindowText], domain: str, n: int, report: DriftReport) -> list[WindowText]:
    """The first n texts of the domain in random order; who names none sends what the whole window looks like."""
    theirs = [text for text in texts if (text.domain or report.nearest) == domain]
    return sorted(theirs, key=lambda text: unit_of(text.key, report.id))[:n]


def _short(wear: SetWear, gate: GateSettings) -> int:
    """Examples that the set lacks: to its size, and from half of its wear on as many new ones as old."""
    renewal = len(wear.worn) - len(wear.fresh) if wear.uses >= _half(gate) else 0
    return max(gate.target_n - wear.n, renewal)


def _half(gate: GateSettings) -> int:
    return max(1, gate.max_uses // 2)


def _calm(tx: Connection, model: str) -> DriftReport | None:
    """The newest report where nothing has drifted and nothing is under way."""
    state = reports.load_state(tx, model)
    if state is None or state.state not in CALM or jobs.in_flight(tx, model) is not None:
        return None
    newest = reports.list_reports(tx, model, limit=1)
    return newest[0] if newest and newest[0].version == state.version else None


def _free_texts(tx: Connection, model: str, report: DriftReport) -> list[WindowText]:
    """Texts of the report's window that may judge, that nobody labelled or asked for, and that serve no purpose."""
    taken = examples.keys(tx, model, ROLES) | gate_labels.keys_asked(tx, model)
    seen = window_texts(tx, model, report.first_seq, MAX_WINDOW)
    return [
        text
        for text in distinct(each for each in seen if each.seq <= report.last_seq)
        if text.part == "gate" and not text.labelled and text.key not in taken
    ]


def _request(text: WindowText) -> NewRequest:
    return NewRequest(seq=text.seq, key=text.key, part=text.part, reason=Reason.GATE)


def _example(answer: GateAnswer, oldest: Example) -> Example:
    return Example(
        model=oldest.model, domain=answer.domain, role="gate", text=answer.text, label=answer.label, key=answer.key,
        version=oldest.version, job_id=oldest.job_id, probation=oldest.probation, retired_by=oldest.retired_by,
        source="traffic", prediction_id=answer.prediction_id, client=answer.client or None, label_source="human",
    )  # fmt: skip
