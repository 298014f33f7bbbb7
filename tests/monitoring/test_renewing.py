"""Gate sets ask for labels of new random texts, grow by the answers, and let worn examples go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, update

from monitoring.asking import Asking
from monitoring.renewing import AT_ONCE, Renewing, choose, retire_worn
from tests.fixtures.ledgers import block, filled_model, sample
from trimtab.drift import DriftReport, DriftState, MonitorState
from trimtab.ledger import (
    Ledger,
    events,
    examples,
    gate_history,
    gate_labels,
    jobs,
    label_requests,
    models,
    reports,
    samples,
    versions,
)
from trimtab.ledger.clock import now
from trimtab.ledger.examples import Example, list_examples
from trimtab.ledger.gate_history import Bit
from trimtab.ledger.label_requests import AT_RANDOM, Labeller, LabelRequest
from trimtab.ledger.schema import predictions
from trimtab.ledger.windows import window_texts
from trimtab.settings import GateSettings, LabelsSettings
from trimtab.splits import key_of

MODEL = "sentiment"
N = 400
ANN = Labeller("team", "ann")
OLD = [f"old text {i}" for i in range(20)]
FEW_USES = GateSettings(max_uses=4, target_n=0)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Four hundred predictions that look like "movie", a domain with a gate set of twenty older texts."""
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    opened.migrate()
    with opened.begin() as tx:
        filled_model(tx)
        samples.ingest(tx, [block("b", (sample(n) for n in range(1, N + 1)))])
        examples.add_examples(tx, (gate_example(text, created_at=now(tx) - 60) for text in OLD))
        gate_history.record_bits(tx, MODEL, 1, {"movie": dict.fromkeys(map(key_of, OLD), True)})
        reports.save_report(tx, report())
        set_state(tx, DriftState.OK)
    yield opened
    opened.close()


def report(**changes: Any) -> DriftReport:
    values: dict[str, Any] = {
        "id": "r", "model": MODEL, "version": 1, "created_at": 1.0, "first_seq": 1, "last_seq": N, "n_window": N,
        "events_seen": N, "state": DriftState.OK, "arms": (), "features": (), "max_ks": 0.0, "alarm": False,
        "actionable": False, "calibrated": True, "nearest": "movie", "mixture": {"movie": 1.0},
    }  # fmt: skip
    return DriftReport(**(values | changes))


def gate_example(text: str, **changes: Any) -> Example:
    values: dict[str, Any] = {"model": MODEL, "domain": "movie", "role": "gate", "text": text, "label": "pos"}
    return Example(**(values | {"key": key_of(text), "version": 1} | changes))


def set_state(tx: Connection, state: DriftState) -> None:
    reports.save_state(tx, MonitorState(model=MODEL, version=1, state=state))


def renewing(ledger: Ledger, gate: GateSettings, settled_s: float = -60.0, **labels: Any) -> Renewing:
    """A chore that does not pause; answers count at once, whatever the resolution of the clock."""
    return Renewing(ledger, gate, LabelsSettings(**labels), every_s=0.0, settled_s=settled_s)


def requests(ledger: Ledger) -> list[LabelRequest]:
    with ledger.begin() as tx:
        return label_requests.lease_requests(tx, MODEL, ANN, limit=1000, lease_s=0.0)


def answer(ledger: Ledger, chosen: list[LabelRequest], label: str = "pos") -> None:
    with ledger.begin() as tx:
        for request in chosen:
            label_requests.answer(tx, request.id, label, ANN)


def use(ledger: Ledger, times: int, first: int = 0) -> None:
    with ledger.begin() as tx:
        for job in range(first, first + times):
            gate_history.record_uses(tx, MODEL, f"job {job}", {"movie": 20})


def gate_set(ledger: Ledger) -> dict[str, Example]:
    with ledger.read() as tx:
        return {example.key: example for example in list_examples(tx, MODEL, "gate", "movie")}


def kinds(ledger: Ledger) -> list[str]:
    with ledger.read() as tx:
        return [event.kind for event in events.list_events(tx)]


def test_a_small_set_asks_for_what_it_lacks_once(ledger: Ledger) -> None:
    chore = renewing(ledger, GateSettings(target_n=50))
    assert [chore.renew(), chore.renew()] == [30, 0]
    found = requests(ledger)
    assert len({request.key for request in found}) == 30
    assert {(each.gate_set, each.job_id, each.part, each.reason in AT_RANDOM) for each in found} == {
        ("movie", None, "gate", True)
    }
    assert kinds(ledger).count("gate_labels_requested") == 1
    with ledger.read() as tx:
        standing = label_requests.standing(tx, MODEL)
    assert (standing.open, standing.wanted) == (30, 30)


def test_not_more_than_people_can_see_through(ledger: Ledger) -> None:
    assert renewing(ledger, GateSettings(target_n=500)).renew() <= AT_ONCE
    assert renewing(ledger, GateSettings(target_n=500), max_open=7).renew() == 0
    assert 7 < len(requests(ledger)) <= AT_ONCE


def test_the_answers_join_the_set_and_nothing_else(ledger: Ledger) -> None:
    """They enter under the version that the domain was first accepted with, with its answer where it gave it."""
    chore = renewing(ledger, GateSettings(target_n=30))
    chore.renew()
    found = requests(ledger)
    with ledger.begin() as tx:  # half of them was answered by a later version
        later = [request.seq for request in found[:5]]
        tx.execute(update(predictions).where(predictions.c.seq.in_(later)).values(version=2))
    answer(ledger, found[1:], "neg")
    chore.renew()
    kept = gate_set(ledger)
    joined = {request.key for request in found[1:]}
    assert kept.keys() == joined | {key_of(text) for text in OLD}
    assert {
        (kept[key].label, kept[key].version, kept[key].label_source, kept[key].probation) for key in joined
    } == {("neg", 1, "human", False)}
    with ledger.read() as tx:
        bits = gate_history.first_bits(tx, MODEL)["movie"]
        held_out = examples.keys(tx, MODEL, ("memory", "selection", "reference"))
    assert {key for key in joined if key in bits} == {request.key for request in found[5:]}
    assert {bits[request.key] for request in found[5:]} == {Bit(1, False)}
    assert not joined & held_out


def test_an_answer_of_a_class_that_is_not_taught_waits(ledger: Ledger) -> None:
    """It could judge nothing, and would stand in the place of one that can: another text is asked for."""
    with ledger.begin() as tx:
        models.declare_label(tx, MODEL, "neutral")
        assert versions.served_model(tx, MODEL).labels == ("neg", "pos")
    chore = renewing(ledger, GateSettings(target_n=30))
    assert chore.renew() == 10
    answer(ledger, requests(ledger), "neutral")
    assert chore.renew() == 10
    assert gate_set(ledger).keys() == {key_of(text) for text in OLD}


def tweets(ledger: Ledger, **changes: Any) -> None:
    """Half of the traffic is tweets, and version 2 brought a gate set of five of them, on probation."""
    with ledger.begin() as tx:
        tx.execute(update(predictions).where(predictions.c.seq <= N // 2).values(domain="tweets"))
        values: dict[str, Any] = {
            "domain": "tweets",
            "version": 2,
            "job_id": "j2",
            "probation": True,
        } | changes
        examples.add_examples(tx, (gate_example(f"tweet {i}", **values) for i in range(5)))


def renewed_tweets(ledger: Ledger, *, n: int = 10) -> Renewing:
    """The set of tweets has grown to n."""
    chore = renewing(ledger, GateSettings(target_n=n))
    chore.renew()
    asked = [request for request in requests(ledger) if request.gate_set == "tweets"]
    answer(ledger, asked[: n - 5])
    chore.renew()
    assert len(tweets_of(ledger)) == n
    return chore


def tweets_of(ledger: Ledger) -> list[Example]:
    with ledger.read() as tx:
        return list_examples(tx, MODEL, "gate", "tweets")


def test_what_joins_a_set_on_probation_shares_its_fate(ledger: Ledger) -> None:
    """A version that is stepped back from leaves no gate set behind, nor anything that asks or answers for one."""
    tweets(ledger)
    chore = renewed_tweets(ledger)
    assert {(each.version, each.job_id, each.probation) for each in tweets_of(ledger)} == {(2, "j2", True)}
    with ledger.begin() as tx:
        examples.demote(tx, MODEL, [each.key for each in tweets_of(ledger)[:2]])
    chore.renew()
    answered, asked = [request for request in requests(ledger) if request.gate_set == "tweets"]
    answer(ledger, [answered])
    with ledger.begin() as tx:
        examples.remove_probation(tx, MODEL, 2)
    chore.renew()
    assert tweets_of(ledger) == []
    assert asked.key not in {request.key for request in requests(ledger)}
    with ledger.read() as tx:
        assert list_examples(tx, MODEL, "selection") == []
    tweets(ledger, version=3, job_id="j3")
    with ledger.read() as tx:
        assert gate_labels.answers(tx, MODEL) == []


def test_what_joins_a_set_that_is_kept_is_kept(ledger: Ledger) -> None:
    tweets(ledger)
    renewed_tweets(ledger)
    with ledger.begin() as tx:
        examples.confirm_probation(tx, MODEL, 2)
        examples.remove_probation(tx, MODEL, 2)
    assert len(tweets_of(ledger)) == 10
    assert not any(each.probation for each in tweets_of(ledger))


def test_an_answer_may_be_corrected_for_a_while(ledger: Ledger) -> None:
    chore = renewing(ledger, GateSettings(target_n=22), settled_s=600.0)
    chore.renew()
    answer(ledger, requests(ledger))
    assert chore.renew() == 0
    assert len(gate_set(ledger)) == len(OLD)


def test_a_half_worn_set_asks_for_as_many_as_it_has(ledger: Ledger) -> None:
    chore = renewing(ledger, FEW_USES)
    assert chore.renew() == 0
    use(ledger, times=1)
    assert chore.renew() == 0
    use(ledger, times=1, first=1)
    assert chore.renew() == len(OLD)


def test_worn_examples_go_when_as_many_new_ones_are_there(ledger: Ledger) -> None:
    """From the first half of the wear to a set that is new: the old ones compare rivals from then on."""
    chore = renewing(ledger, FEW_USES)
    use(ledger, times=4)
    chore.renew()
    found = requests(ledger)
    answer(ledger, found[:-1])
    chore.renew()
    assert len(gate_set(ledger)) == 2 * len(OLD) - 1
    with ledger.read() as tx:
        assert gate_history.uses(tx, MODEL) == {"movie": 4}
    answer(ledger, found[-1:])
    chore.renew()
    assert gate_set(ledger).keys() == {request.key for request in found}
    with ledger.read() as tx:
        assert gate_history.uses(tx, MODEL) == {"movie": 0}
        selection = {example.key for example in list_examples(tx, MODEL, "selection")}
    assert selection == {key_of(text) for text in OLD}
    assert kinds(ledger).count("gate_set_renewed") == 1
    assert chore.renew() == 0


def test_what_is_still_needed_stays(ledger: Ledger) -> None:
    use(ledger, times=4)
    with ledger.begin() as tx:
        assert retire_worn(tx, MODEL, max_uses=4) == 0
    assert len(gate_set(ledger)) == len(OLD)


def test_nothing_is_asked_while_the_traffic_is_not_known(ledger: Ledger) -> None:
    chore = renewing(ledger, GateSettings(target_n=50))
    for state in sorted(set(DriftState) - {DriftState.OK, DriftState.KNOWN}):
        with ledger.begin() as tx:
            set_state(tx, state)
        assert chore.renew() == 0


def test_nothing_is_asked_beside_a_job(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        jobs.open_job(tx, MODEL, cause={}, domain="", window_from_seq=1)
    assert renewing(ledger, GateSettings(target_n=50)).renew() == 0


def test_texts_are_of_the_domain_by_their_client_or_by_the_look_of_all(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        tx.execute(update(predictions).where(predictions.c.seq <= N // 2).values(domain="tweets"))
    with ledger.read() as tx:
        texts = window_texts(tx, MODEL, 1, N)
    assert {text.seq > N // 2 for text in choose(texts, "movie", N, report())} == {True}
    assert {text.seq <= N // 2 for text in choose(texts, "tweets", N, report())} == {True}
    mixed = report(nearest="mixture")
    assert choose(texts, "movie", N, mixed) == []
    assert len(choose(texts, "tweets", N, mixed)) == N // 2


def test_whatever_the_order_the_same_texts_are_drawn(ledger: Ledger) -> None:
    with ledger.read() as tx:
        texts = window_texts(tx, MODEL, 1, N)
    assert choose(texts, "movie", 9, report()) == choose(texts[::-1], "movie", 9, report())
    assert choose(texts, "movie", 9, report()) != choose(texts, "movie", 9, report(id="s"))


def test_what_is_kept_or_was_asked_is_not_asked_again(ledger: Ledger) -> None:
    chore = renewing(ledger, GateSettings(target_n=10_000))
    chore.renew()
    found = requests(ledger)
    with ledger.begin() as tx:
        for request in found:
            label_requests.skip(tx, request.id, ANN)
        free = [text for text in window_texts(tx, MODEL, 1, N) if text.part == "gate"]
        kept = [text for text in free if text.key not in {request.key for request in found}][:3]
        memory = [gate_example(f"text {text.key}", key=text.key, role="memory") for text in kept]
        examples.add_examples(tx, memory)
    chore.renew()
    again = {request.key for request in requests(ledger)}
    assert not again & {request.key for request in found}
    assert not again & {text.key for text in kept}


def test_the_chore_of_jobs_leaves_standing_requests_alone(ledger: Ledger) -> None:
    renewing(ledger, GateSettings(target_n=30)).renew()
    Asking(ledger, LabelsSettings(), every_s=0.0).ask()
    assert len(requests(ledger)) == 10
