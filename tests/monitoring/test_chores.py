"""Nudges, expiry and gauges on their own; the rest of the chores is tested through the monitor."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import REGISTRY

from monitoring.chores import Expiry, Nudger
from monitoring.gauges import show_accuracy, show_missing, show_report, show_state
from tests.fixtures.references import traffic
from tests.monitoring.conftest import Place
from tests.monitoring.test_policy import ALARMED, job, report
from trimtab.drift import ArmStatistic, DriftState, FeatureDrift
from trimtab.jobs import JobStatus
from trimtab.ledger import samples

QUEUED = replace(job(JobStatus.QUEUED), lease_token=0)


def test_a_queued_job_is_given_time_and_a_lost_one_is_not() -> None:
    sent: list[str] = []
    nudger = Nudger(sent.append, again_after_s=3600.0)
    lost = replace(job(JobStatus.RUNNING), id="lost", lease_token=1)
    for _ in range(3):
        nudger.nudge_claimable([QUEUED, lost])
    assert sent == ["lost"]


def test_a_job_lost_twice_is_nudged_twice() -> None:
    sent: list[str] = []
    nudger = Nudger(sent.append, again_after_s=3600.0)
    for token in (1, 2):
        nudger.nudge_claimable([replace(job(JobStatus.RUNNING), lease_token=token)])
    assert sent == ["j1", "j1"]


def test_jobs_that_were_taken_are_forgotten() -> None:
    nudger = Nudger(lambda _: None, again_after_s=3600.0)
    nudger.nudge_claimable([QUEUED])
    nudger.nudge_claimable([])
    assert nudger._sent == {}


def test_old_samples_expire_in_batches_and_once_a_while(place: Place) -> None:
    with place.ledger.begin() as tx:
        rows = place.block(traffic(30, 0.0, 1)).samples
        old = tuple(replace(sample, observed_at=1.0) for sample in rows[:20])
        block = replace(place.block(traffic(1, 0.0, 2)), samples=old + rows[20:])
        samples.ingest(tx, [("1-0", block)])
    expiry = Expiry(place.ledger, retention_s=60.0)
    assert expiry.expire() == 20
    assert expiry.expire() == 0
    with place.ledger.read() as tx:
        assert len(samples.window_rows(tx, "sentiment", 0, 100)) == 10


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"trimtab_{name}", labels)


def test_the_state_is_one_hot() -> None:
    show_state(ALARMED)
    assert value("drift_state", model="m", state="drifting") == 1.0
    assert sum(value("drift_state", model="m", state=state) or 0.0 for state in DriftState) == 1.0


def test_series_of_another_nearest_domain_end() -> None:
    arms = (ArmStatistic(name="energy", statistic=2.0, threshold=1.0),)
    seen = report(2.0, arms=arms, features=(FeatureDrift(name="pca_00", ks=0.4),))
    show_report(seen, raised=True)
    before = value("drift_alarms_total", model="m")
    show_report(replace(seen, nearest="mixture"), raised=False)
    assert value("drift_statistic", model="m", domain="movie", arm="energy") is None
    assert value("drift_statistic", model="m", domain="mixture", arm="energy") == 2.0
    assert value("drift_threshold", model="m", domain="mixture", arm="energy") == 1.0
    assert value("drift_feature_ks", model="m", rank="1") == 0.4
    assert value("drift_alarms_total", model="m") == before


def test_missing_labels_and_accuracy_are_shown_while_they_are_true() -> None:
    show_missing({"m": {"gate": 3}})
    assert value("labels_missing", model="m", part="gate") == 3.0
    show_missing({})
    assert value("labels_missing", model="m", part="gate") is None
    show_accuracy("m", 1, 0.75, 40)
    assert value("drift_labelled_accuracy", model="m", version="1") == 0.75
    show_accuracy("m", 2, float("nan"), 0)
    assert value("drift_labelled_accuracy", model="m", version="1") is None
