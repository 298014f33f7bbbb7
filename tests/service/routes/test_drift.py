"""GET /v1/drift: what the monitor left in the ledger."""

from __future__ import annotations

from tests.fixtures.deployment import Deployment, RunningApi
from trimtab.drift import ArmStatistic, DriftReport, DriftState, MonitorState
from trimtab.ledger import reports


def report(n: int) -> DriftReport:
    return DriftReport(
        id=f"report-{n}",
        model="toy",
        version=1,
        created_at=float(n),
        first_seq=1,
        last_seq=n,
        n_window=100,
        events_seen=n,
        state=DriftState.SUSPECT,
        arms=(ArmStatistic(name="max_ks", statistic=0.5, threshold=0.2),),
        features=(),
        max_ks=0.5,
        alarm=True,
        actionable=True,
        calibrated=True,
        nearest="source",
    )


def test_before_the_first_check_it_is_collecting(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    with toy.running() as api:
        body = api.http.get("/v1/drift/toy").json()
        assert (body["state"], body["events_seen"], body["arms"]) == ("collecting", 0, [])
        assert api.http.get("/v1/drift/toy/reports").json() == {"reports": []}


def test_state_and_reports_are_shown(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    state = MonitorState(
        model="toy", version=1, state=DriftState.DRIFTING, since=5.0, events_seen=900, alarms_total=1,
        arms=report(1).arms, reference_domains=("movie",), severity=3, detail="why",
    )  # fmt: skip
    with toy.ledger.begin() as tx:
        reports.save_state(tx, state)
        for n in range(1, 6):
            reports.save_report(tx, report(n))
    with toy.running() as api:
        assert api.http.get("/v1/drift/toy").json() == {
            "model": "toy",
            "state": "drifting",
            "kind": None,
            "severity": 3,
            "since": 5.0,
            "events_seen": 900,
            "alarms_total": 1,
            "arms": [{"name": "max_ks", "statistic": 0.5, "threshold": 0.2}],
            "reference": {"version": 1, "domains": ["movie"]},
            "detail": "why",
        }
        assert page(api, limit=2) == ["report-5", "report-4"]
        assert page(api, limit=2, after="report-4") == ["report-3", "report-2"]
        one = api.http.get("/v1/drift/toy/reports/report-3").json()
        assert (one["state"], one["events_seen"]) == ("suspect", 3)


def page(api: RunningApi, **params: str | int) -> list[str]:
    listed = api.http.get("/v1/drift/toy/reports", params=params).json()["reports"]
    return [each["id"] for each in listed]


def test_what_is_not_there(toy: Deployment) -> None:
    toy.create_model()
    toy.create_model("other")
    with toy.ledger.begin() as tx:
        reports.save_report(tx, report(1))
    with toy.running(ready=False) as api:
        assert api.http.get("/v1/drift/nobody").json()["type"].endswith("model-not-found")
        assert api.http.get("/v1/drift/nobody/reports").status_code == 404
        for path in ("toy/reports/nothing", "other/reports/report-1", "toy/reports?after=nothing"):
            assert api.http.get(f"/v1/drift/{path}").json()["type"].endswith("report-not-found"), path
        assert api.http.get("/v1/drift/toy/reports?limit=0").status_code == 422
