"""`trimtab drift`: a page for people, a document for programs, the self-test on real rows, an acknowledgement."""

from __future__ import annotations

from dataclasses import replace

import pytest
import typer

from monitoring.selftest import CurvePoint, SelfTest
from service.cli.drift import tell_selftests
from service.cli.drift_page import LEVELS, sparkline
from tests.fixtures.calls import Outcome, Trimtab
from tests.fixtures.deployment import Deployment
from tests.fixtures.references import traffic, version_with_references
from tests.service.routes.test_drift import ALARMED, EVIDENCE, keep_texts
from trimtab.adapter import load_private_key
from trimtab.drift import (
    ArmStatistic,
    DriftKind,
    DriftReport,
    DriftState,
    Harm,
    LabelledRisk,
    LabelShiftFound,
    MonitorState,
)
from trimtab.ledger import jobs, reports, versions
from trimtab.ledger.versions import VersionState
from trimtab.store import AdapterStore

HARM = Harm(
    reference_accuracy=0.8, estimated_accuracy=0.71, drop=0.09, drop_low=0.05, atc_accuracy=0.65, n_reference=200,
    note="estimates understate harm",
)  # fmt: skip
RISK = LabelledRisk(
    accuracy=0.66, n=120, reference_accuracy=0.8, statistic=7.0, threshold=5.0, alarm=True, drop_low=0.06
)
SHIFT = LabelShiftFound(
    prior_before={"neg": 0.5, "pos": 0.5}, prior_after={"neg": 0.2, "pos": 0.8}, total_variation=0.3, residual=0.6,
    explains=True,
)  # fmt: skip
ALARM = DriftReport(
    id="r2", model="toy", version=2, created_at=2.0, first_seq=101, last_seq=600, n_window=500, events_seen=600,
    state=DriftState.DRIFTING, arms=(ArmStatistic(name="short", statistic=0.4, threshold=0.2, low=0.18, high=0.23),),
    features=(), max_ks=0.3, alarm=True, actionable=True, calibrated=True, nearest="film", change_from_seq=420,
    kind=DriftKind.COVARIATE_HARMFUL, severity=2, explanation="The inputs changed.", harm=HARM, labelled=RISK,
    label_shift=SHIFT, evidence=EVIDENCE, job_id="job-1234567",
)  # fmt: skip
QUIET = replace(
    ALARM, id="r1", created_at=1.0, alarm=False, kind=None, evidence=None, job_id=None,
    arms=(ArmStatistic(name="short", statistic=0.1, threshold=0.2),),
)  # fmt: skip


@pytest.fixture
def drift(toy: Deployment, trimtab: Trimtab) -> Trimtab:
    """`trimtab drift` on a model `toy` with a quiet check and an alarm."""
    toy.create_model()
    keep_texts(toy)
    with toy.ledger.begin() as tx:
        reports.save_report(tx, QUIET)
        reports.save_report(tx, ALARM)
        reports.save_state(tx, replace(ALARMED, log_m=(0.5,) * 8, detail="[bold]no markup[/bold]"))

    def call(*arguments: object) -> Outcome:
        return trimtab("--home", toy.settings.home, "drift", *arguments)

    return call


def test_the_page_says_what_happened_whether_it_hurts_and_why(drift: Trimtab) -> None:
    page = drift("toy", "--full").out
    for part in (
        "toy: drifting (covariate_benign, severity 2)", "[bold]no markup[/bold]",
        "0.2 (0.18 to 0.23)", "2.00", "The inputs changed.", "about sample 420",
        "estimated 0.710 against 0.800", "at least 0.050", "Estimates understate harm",
        "accuracy 0.660 over the newest 120", "neg 50% -> 20%", "pca_00", "40% of the window", "ada",
        "brand new", "(no longer kept)", "well known", "covariate_harmful", "job-1234",
    ):  # fmt: skip
        assert part in page, part


def test_the_short_page_begins_with_what_to_do(drift: Trimtab, toy: Deployment) -> None:
    page = drift("toy").out
    assert page.startswith("To do: `trimtab adapt toy`, or `trimtab drift acknowledge toy`")
    for part in (
        "toy: drifting (covariate_benign, severity 2)",
        "▄█",
        "The inputs changed.",
        "at least 0.050",
        "pca_00",
    ):
        assert part in page, part
    assert "brand new" not in page
    assert len(page.splitlines()) < 12
    with toy.ledger.begin() as tx:
        job = jobs.open_job(tx, "toy", cause={}, domain="d", window_from_seq=1)
    assert drift("toy").out.startswith(f"To do: nothing: job {job.id[:8]} is queued")


def test_every_state_has_something_to_do(drift: Trimtab, toy: Deployment) -> None:
    for state in DriftState:
        with toy.ledger.begin() as tx:
            reports.save_state(tx, replace(ALARMED, state=state))
        first = drift("toy").out.splitlines()[0]
        assert first.startswith("To do: ")
        assert "{" not in first


def test_an_alarm_of_a_version_that_no_longer_serves_is_no_news(drift: Trimtab, toy: Deployment) -> None:
    toy.add_version(1)
    toy.add_version(2)
    assert "The inputs changed." in drift("toy").out
    toy.add_version(3)
    page = drift("toy")
    assert page.out.startswith("To do: wait: version 3 serves, and the monitor has not looked")
    assert "The inputs changed." not in page.out
    assert drift("toy", "--json").document["alarm"] is None


def test_an_arm_that_is_off_is_said_to_be(drift: Trimtab, toy: Deployment) -> None:
    assert "The e-detector is off" in drift("toy", "--full").out
    on = ArmStatistic(name="e_detector", statistic=1.0, threshold=5.0)
    with toy.ledger.begin() as tx:
        reports.save_report(tx, replace(QUIET, id="r3", arms=(on, *QUIET.arms)))
    assert "The e-detector is off" not in drift("toy", "--full").out


def test_history_runs_from_old_to_new(drift: Trimtab) -> None:
    assert f"{LEVELS[3]}{LEVELS[7]}" in drift("toy", "--full").out


def test_the_document_has_state_checks_and_the_newest_alarm(drift: Trimtab) -> None:
    shown = drift("toy", "--json").document
    assert shown["state"]["state"] == "drifting"
    assert shown["state"]["log_m"] == []
    assert [(report["id"], "evidence" in report) for report in shown["reports"]] == [
        ("r2", False),
        ("r1", False),
    ]
    assert shown["alarm"]["evidence"]["typical_new"][0]["text"] == "brand new"
    assert len(drift("toy", "--json", "--limit", 1).document["reports"]) == 1


def test_a_model_without_a_check_has_a_page(drift: Trimtab, toy: Deployment) -> None:
    toy.create_model("other")
    page = drift("other", "--full")
    assert (page.code, "No check yet." in page.out) == (0, True)
    assert drift("other", "--json").document["alarm"] is None


def test_acknowledge(drift: Trimtab, toy: Deployment) -> None:
    with toy.ledger.begin() as tx:
        job = jobs.open_job(tx, "toy", cause={}, domain="d", window_from_seq=1)
    told = drift("acknowledge", "toy").out
    assert "toy: acknowledged" in told
    assert f"job {job.id[:8]} stays queued: `trimtab jobs cancel {job.id[:8]}` ends it" in told
    with toy.ledger.read() as tx:
        state = reports.load_state(tx, "toy")
    assert state is not None
    assert state.acknowledged_ratio == pytest.approx(2.5)
    toy.create_model("other")
    refused = drift("acknowledge", "other")
    assert refused.code == 1
    assert "no confirmed drift" in refused.err


def test_a_model_may_be_named_like_a_word_of_the_command(toy: Deployment, trimtab: Trimtab) -> None:
    toy.create_model("selftest")
    with toy.ledger.begin() as tx:
        reports.save_state(tx, MonitorState(model="selftest", state=DriftState.OK))
    assert "selftest: ok" in trimtab("--home", toy.settings.home, "drift", "selftest").out


def test_an_unknown_model_or_word_is_told(drift: Trimtab) -> None:
    for words in (("nobody",), ("selftest", "nobody"), ("acknowledge", "nobody"), ("frobnicate", "toy")):
        outcome = drift(*words)
        assert outcome.code == 2, words
        assert words[0] if words[0] == "frobnicate" else "nobody" in outcome.err


@pytest.fixture
def known(toy: Deployment) -> Deployment:
    """A version whose reference is large enough in one domain of two."""
    toy.create_model()
    rows = {"film": traffic(1_100, 0.0, 1), "shop": traffic(200, 1.0, 2)}
    key = load_private_key(toy.settings.private_key_path)
    digest = AdapterStore(toy.settings.store_url).put(version_with_references(key, rows, model="toy"))
    with toy.ledger.begin() as tx:
        versions.record_version(tx, "toy", 1, digest, None, VersionState.ACCEPTED, manifest={})
        versions.promote(tx, "toy", 1, actor="test", reason="test")
    return toy


def test_selftest_counts_false_alarms_on_the_models_own_reference(
    known: Deployment, trimtab: Trimtab
) -> None:
    def selftest(*options: object) -> Outcome:
        return trimtab("--home", known.settings.home, "drift", "selftest", "toy", *options)

    page = selftest("--runs", 20)
    assert page.code == 0
    for part in ("film", "held", "within events", "shop: 200 reference rows, 1000 are needed."):
        assert part in page.out, part


def test_the_document_of_a_selftest_is_nothing_but_it(known: Deployment, trimtab: Trimtab) -> None:
    outcome = trimtab("--home", known.settings.home, "drift", "selftest", "toy", "--runs", 20, "--json")
    (found,) = outcome.document.values()
    assert (outcome.code, found["runs"], found["held"]) == (0, 20, True)
    assert found["curve"][-1]["events"] == found["events"]


def test_a_broken_promise_is_said_and_the_command_fails(capsys: pytest.CaptureFixture[str]) -> None:
    broken = SelfTest(
        budget_events=10_000.0, runs=20, events=500, alarms=9, expected=1.0, low=0, high=4, realised_per_budget=12.0,
        held=False, block_length=1, arms={"short": 9}, curve=(CurvePoint(500, 0.45, 0.05),),
    )  # fmt: skip
    held = replace(broken, alarms=1, held=True)
    tell_selftests("toy", {"film": held}, as_json=False)
    with pytest.raises(typer.Exit) as failed:
        tell_selftests("toy", {"film": held, "shop": broken}, as_json=False)
    assert failed.value.exit_code == 1
    assert "BROKEN" in capsys.readouterr().out


def test_selftest_needs_a_version_and_rows(toy: Deployment, trimtab: Trimtab) -> None:
    toy.create_model()
    outcome = trimtab("--home", toy.settings.home, "drift", "selftest", "toy")
    assert (outcome.code, "no version that serves" in outcome.err) == (2, True)


@pytest.mark.parametrize(("values", "line"), [([0.0, 0.5, 1.0, 9.0], "▁▄██"), ([], ""), ([-1.0, 0.99], "▁▇")])
def test_a_full_block_means_the_top_or_more(values: list[float], line: str) -> None:
    assert sparkline(values, 1.0) == line
