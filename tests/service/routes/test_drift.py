"""GET /v1/drift: what the monitor left in the ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.fixtures.deployment import Deployment, RunningApi
from trimtab.drift import (
    ArmStatistic,
    DriftKind,
    DriftReport,
    DriftState,
    Explanation,
    FeatureDrift,
    MonitorState,
    Share,
)
from trimtab.ledger import examples, reports, samples
from trimtab.ledger.examples import Example
from trimtab.ledger.forget import forget
from trimtab.samples import Sample, SampleBlock
from trimtab.watch import Watch

EVIDENCE = Explanation(
    features=(FeatureDrift(name="pca_00", ks=0.5, before=(0.5, 0.5), after=(1.0, 0.0), edges=(0.0,)),),
    unexplained_share=0.4,
    typical_new=("p1", "p9"),
    nearest_old=("k1", "k9"),
    clients=(Share(name="ada", share=0.5, share_new=0.9),),
)
ALARMED = MonitorState(
    model="toy", version=1, state=DriftState.DRIFTING, in_alarm=True, severity=2, kind=DriftKind.COVARIATE_BENIGN,
    arms=(ArmStatistic(name="short", statistic=0.5, threshold=0.2),),
)  # fmt: skip


def report(n: int, **changes: Any) -> DriftReport:
    made = DriftReport(
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
    return replace(made, **changes)


def keep_texts(toy: Deployment) -> None:
    """Prediction p1 and an example with key k1."""
    made = Sample(
        prediction_id="p1", model="toy", version=1, generation=1, text="brand new", label="pos", score=0.6,
        domain=None, group=None, client="ada", observed_at=2e9, features=(0.0,),
    )  # fmt: skip
    with toy.ledger.begin() as tx:
        samples.ingest(tx, [("1-0", SampleBlock("b", "r", (made,)))])
        old = Example(model="toy", domain="film", role="memory", text="well known", key="k1", version=1)
        examples.add_examples(tx, [old])


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
            "watch": None,
            "detail": "why",
        }
        assert page(api, limit=2) == ["report-5", "report-4"]
        assert page(api, limit=2, after="report-4") == ["report-3", "report-2"]
        one = api.http.get("/v1/drift/toy/reports/report-3").json()
        assert (one["state"], one["events_seen"]) == ("suspect", 3)


def test_a_version_on_probation_is_shown_with_its_promise(toy: Deployment) -> None:
    toy.create_model()
    watch = Watch(
        version=2, n_events=40, of_events=5000, n_labels=12, accuracy=0.75, promised=0.8, threshold=2.3
    )
    with toy.ledger.begin() as tx:
        reports.save_state(tx, MonitorState(model="toy", version=2, watching_version=2, watch=watch))
    with toy.running(ready=False) as api:
        shown = api.http.get("/v1/drift/toy").json()["watch"]
        assert shown == {name: member for name, member in vars(watch).items() if name in shown}
        assert shown["promised"] == 0.8


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


def test_one_report_is_whole_with_the_texts_that_are_still_kept(toy: Deployment) -> None:
    toy.create_model()
    keep_texts(toy)
    with toy.ledger.begin() as tx:
        reports.save_report(tx, report(1, evidence=EVIDENCE, kind=DriftKind.VOCABULARY))
    with toy.running(ready=False) as api:
        one = api.http.get("/v1/drift/toy/reports/report-1").json()
        found = one["evidence"]
        assert found["features"][0]["before"] == [0.5, 0.5]
        said = {"text": "brand new", "label": "pos", "score": 0.6, "domain": None, "client": "ada"}
        assert found["typical_new"] == [{"prediction_id": "p1", **said}, {"prediction_id": "p9"}]
        assert found["nearest_old"] == [{"key": "k1", "text": "well known"}, {"key": "k9", "text": None}]
        assert (one["kind"], one["kind_action"]) == ("vocabulary", DriftKind.VOCABULARY.action)
        assert api.http.get("/v1/drift/toy/reports").json()["reports"][0]["evidence"] is None


def test_a_text_that_was_forgotten_is_gone_from_every_report(toy: Deployment) -> None:
    toy.create_model()
    keep_texts(toy)
    with toy.ledger.begin() as tx:
        reports.save_report(tx, report(1, evidence=EVIDENCE))
        forget(tx, client="ada")
    with toy.running(ready=False) as api:
        answer = api.http.get("/v1/drift/toy/reports/report-1")
        assert "brand new" not in answer.text
        assert answer.json()["evidence"]["typical_new"] == [{"prediction_id": "p1"}, {"prediction_id": "p9"}]


def test_numbers_that_are_none_are_null(toy: Deployment) -> None:
    toy.create_model()
    with toy.ledger.begin() as tx:
        broken = replace(EVIDENCE, features=(FeatureDrift(name="pca_00", ks=float("nan")),))
        reports.save_report(tx, report(1, evidence=broken))
    with toy.running(ready=False) as api:
        one = api.http.get("/v1/drift/toy/reports/report-1")
        assert one.status_code == 200
        assert one.json()["evidence"]["features"][0]["ks"] is None


def test_an_operator_acknowledges_once_there_is_a_drift(toy: Deployment) -> None:
    toy.create_model()
    path = "/admin/v1/models/toy/drift/acknowledge"
    with toy.running(ready=False) as api:
        assert api.http.post(path).json()["type"].endswith("nothing-to-acknowledge")
        with toy.ledger.begin() as tx:
            reports.save_state(tx, ALARMED)
        answer = api.http.post(path).json()
        assert (answer["state"], answer["kind"]) == ("acknowledged", "covariate_benign")
        assert api.http.get("/v1/drift/toy").json()["state"] == "acknowledged"
        assert api.http.post("/admin/v1/models/nobody/drift/acknowledge").status_code == 404
