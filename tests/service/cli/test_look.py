"""Commands that look: a table for people, JSON for programs, and nothing need be running."""

from __future__ import annotations

import pytest

from service.cli.look import _events, _status
from service.home import Running, announce, own_home
from tests.fixtures.calls import Outcome, Trimtab
from tests.fixtures.deployment import Deployment
from trimtab.drift import ArmStatistic, DriftReport, DriftState, MonitorState
from trimtab.jobs import JobStatus
from trimtab.ledger import jobs, replicas, reports
from trimtab.ledger.consumers import report_worker
from trimtab.trial import Stage

REPORT = DriftReport(
    id="r1", model="toy", version=2, created_at=1.0, first_seq=1, last_seq=500, n_window=500, events_seen=500,
    state=DriftState.DRIFTING, arms=(ArmStatistic(name="energy", statistic=0.4, threshold=0.2),), features=(),
    max_ks=0.3, alarm=True, actionable=True, calibrated=True, nearest="film", mixture={"film": 1.0},
)  # fmt: skip


@pytest.fixture
def look(toy: Deployment, trimtab: Trimtab) -> Trimtab:
    """`trimtab` on a home with model `toy`: version 1 previous, 2 champion, a job that waits, a report."""
    toy.create_model()
    toy.add_version(1)
    toy.add_version(2)
    with toy.ledger.begin() as tx:
        cause = {"kind": "drift", "report": "r1"}
        jobs.open_job(
            tx, "toy", cause=cause, domain="shop", window_from_seq=1,
            status=JobStatus.WAITING_FOR_LABELS, missing={"train": 12, "gate": 3},
        )  # fmt: skip
        reports.save_report(tx, REPORT)
        reports.save_state(
            tx, MonitorState(model="toy", version=2, state=DriftState.ADAPTING, alarms_total=1)
        )
        replicas.report_replica(
            tx, "a", pid=1, url="http://here:8000", serving={"toy": [2]}, generations={"toy": 2}, refused={}
        )

    def call(*arguments: object) -> Outcome:
        return trimtab("--home", toy.settings.home, *arguments)

    return call


def test_status_says_what_serves_and_how_it_stands(look: Trimtab, toy: Deployment) -> None:
    shown = look("status", "--json").document
    (model,) = shown["models"]
    assert (model["name"], model["champion"], model["previous"]) == ("toy", 2, 1)
    assert (model["drift"]["state"], model["drift"]["alarms_total"]) == ("adapting", 1)
    assert model["job"]["missing"] == {"train": 12, "gate": 3}
    assert shown["up"] is None
    assert shown["replicas"][0]["serving"] == {"toy": [2]}
    table = look("status")
    assert table.code == 0
    for word in ("toy", "adapting", "waiting_for_labels"):
        assert word in table.out


def test_status_shows_a_trial(look: Trimtab, toy: Deployment) -> None:
    assert look("status", "--json").document["models"][0]["trial"] is None
    trial = toy.try_version(3)
    assert _status(toy.settings).facts[1] == "toy: version 2 serves  version 3 shadow  " + _state_and_job(toy)
    toy.advance(trial, 0.05)
    shown = look("status", "--json").document["models"][0]
    assert (shown["trial"]["version"], shown["trial"]["share"], shown["challenger"]) == (3, 0.05, 3)
    assert "version 3 canary 5%" in _status(toy.settings).facts[1]
    toy.end(trial, Stage.PROMOTED)
    after = look("status", "--json").document["models"][0]
    assert (after["champion"], after["trial"]) == (3, None)


def _state_and_job(toy: Deployment) -> str:
    with toy.ledger.read() as tx:
        (job,) = jobs.list_jobs(tx, "toy")
    return f"drift adapting  job {job.id[:8]} {job.status}"


def test_status_warns_when_jobs_wait_and_no_worker_is_there(look: Trimtab, toy: Deployment) -> None:
    warning = "no worker takes from queue 'adapt'"
    assert warning not in look("status").out  # the only job waits for labels
    with toy.ledger.begin() as tx:
        (job,) = jobs.list_jobs(tx, "toy")
        jobs.requeue_waiting(tx, job.id)
    assert f"a job waits and {warning}" in look("status").out
    assert look("status", "--json").document["jobs_waiting"] == 1
    with toy.ledger.begin() as tx:
        report_worker(tx, "adapt", "trimtab-7@here", 60.0)
    assert warning not in look("status").out
    assert look("status", "--json").document["workers"] == ["trimtab-7@here"]


def test_status_finds_a_running_supervisor(look: Trimtab, toy: Deployment) -> None:
    with own_home(toy.settings.home):
        announce(toy.settings.home, Running(pid=7, url="http://here:1", started_at=0.0))
        assert look("status", "--json").document["up"]["url"] == "http://here:1"
        assert "up at http://here:1 (pid 7" in look("status").out


def test_status_finds_an_api_that_runs_alone(look: Trimtab, toy: Deployment) -> None:
    assert "no `trimtab up` here, but the API answers at http://here:8000" in look("status").out
    with toy.ledger.begin() as tx:
        replicas.forget_replica(tx, "a")
    assert ": not running" in look("status").out


def test_versions_show_aliases_and_states(look: Trimtab) -> None:
    first, second = look("versions", "toy", "--json").document
    assert (first["n"], first["aliases"], first["state"]) == (1, ["previous"], "accepted")
    assert (second["n"], second["aliases"]) == (2, ["champion"])
    assert "champion" in look("versions", "toy").out


def test_events_go_on_after_a_number(look: Trimtab) -> None:
    events = look("events", "--json").document
    assert events[0]["kind"] == "model_created"
    later = look("events", "--json", "--after", events[2]["seq"]).document
    assert later == events[3:]
    assert "job_opened" in look("events").out


def test_what_is_watched_is_the_newest(look: Trimtab, toy: Deployment) -> None:
    first = _events(toy.settings, 0, 2, newest=False).document
    newest = _events(toy.settings, 0, 2, newest=True).document
    assert [event.seq for event in first] == [1, 2]
    assert newest[-1].seq > 2
    assert [event.seq for event in newest] == [newest[-1].seq - 1, newest[-1].seq]
    assert _events(toy.settings, newest[0].seq, 2, newest=True).document == newest[1:]


@pytest.mark.parametrize("command", ["drift", "versions", "jobs"])
def test_an_unknown_model_is_told(look: Trimtab, command: str) -> None:
    outcome = look(command, "nobody")
    assert outcome.code == 2
    assert outcome.err == "trimtab: There is no model named 'nobody'. There are: toy.\n"
