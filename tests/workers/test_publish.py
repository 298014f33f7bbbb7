"""A version that passed the gate, where trials are on: it goes on trial, or too little traffic is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.ledgers import block, filled_model, sample
from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import MODEL, small_training, toy_shop
from trimtab.jobs import JobStatus
from trimtab.ledger import Ledger, events, jobs, samples, trials, versions
from trimtab.ledger.examples import list_examples
from trimtab.ledger.versions import VersionState
from trimtab.settings import GateSettings, TrialSettings
from trimtab.store import CheckpointStore
from trimtab.trial import CHALLENGER, Stage, TrialMode
from workers.gate import Decision, Result, Verdict
from workers.publish import RATE_S, still_valid, with_trial
from workers.run_job import run_job

PASSED = Verdict(decision=Decision.PROMOTE, reason="every check passed", checks=())
CANARY = TrialSettings(mode=TrialMode.CANARY, min_rate=0.1)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A model that nobody has asked anything yet."""
    opened = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    opened.migrate()
    with opened.begin() as tx:
        filled_model(tx)
    return opened


def arrive(ledger: Ledger, n: int) -> None:
    """n predictions, just now by any clock."""
    with ledger.begin() as tx:
        samples.ingest(tx, [block("b", (sample(i, observed_at=4e9) for i in range(1, n + 1)))])


def test_enough_traffic_means_a_trial(ledger: Ledger) -> None:
    arrive(ledger, int(CANARY.min_rate * RATE_S))
    with ledger.begin() as tx:
        assert with_trial(tx, CANARY, "sentiment", PASSED) == (PASSED, True)
        assert "trial_skipped" not in {each.kind for each in events.list_events(tx)}


def test_too_little_traffic_is_said_in_the_verdict_and_in_an_event(ledger: Ledger) -> None:
    arrive(ledger, int(CANARY.min_rate * RATE_S) - 1)
    with ledger.begin() as tx:
        verdict, on_trial = with_trial(tx, CANARY, "sentiment", PASSED)
        (event,) = [each for each in events.list_events(tx) if each.kind == "trial_skipped"]
    (check,) = verdict.checks
    assert (on_trial, verdict.decision) == (False, Decision.PROMOTE)
    assert (check.name, check.result, check.limit) == ("trial", Result.INSUFFICIENT, 0.1)
    assert check.value == pytest.approx(29 / RATE_S)
    assert check.detail.startswith("skipped_low_traffic: 0.10 predictions a second in the last 300 s")
    assert event.detail == {"reason": check.detail}


@pytest.mark.parametrize(
    ("settings", "decision"),
    [
        (TrialSettings(min_rate=0.0), Decision.PROMOTE),
        (CANARY, Decision.REJECT),
        (CANARY, Decision.HOLD),
    ],
)
def test_nothing_else_is_tried_and_nothing_is_said_of_it(
    ledger: Ledger, settings: TrialSettings, decision: Decision
) -> None:
    """Trials that are off, and versions that would not serve anyway."""
    verdict = Verdict(decision=decision, reason="r", checks=())
    with ledger.begin() as tx:
        assert with_trial(tx, settings, "sentiment", verdict) == (verdict, False)
        assert "trial_skipped" not in {each.kind for each in events.list_events(tx)}


@pytest.mark.parametrize(
    ("decision", "becomes"),
    [
        (Decision.PROMOTE, Decision.HOLD),
        (Decision.HOLD, Decision.HOLD),
        (Decision.REJECT, Decision.REJECT),
    ],
)
def test_another_champion_holds_what_passed_and_frees_nothing_that_was_rejected(
    ledger: Ledger, decision: Decision, becomes: Decision
) -> None:
    verdict = Verdict(decision=decision, reason="r", checks=())
    with ledger.begin() as tx:
        champion = versions.get_aliases(tx, "sentiment")["champion"]
        assert still_valid(tx, "sentiment", champion, verdict) == verdict
        found = still_valid(tx, "sentiment", champion + 1, verdict)
    assert found.decision is becomes
    assert (found == verdict) == (decision is Decision.REJECT)


def test_a_version_that_passed_goes_on_trial_with_its_memory_on_probation(
    tmp_path: Path, tiny_base_dir: Path
) -> None:
    """A real worker and trainer; when the trial is over the ledger is as if it had never been."""
    always = TrialSettings(mode=TrialMode.CANARY, min_rate=0.0)
    with toy_shop(
        tmp_path,
        tiny_base_dir,
        training=small_training(epochs=1),
        trial=always,
        gate=GateSettings(mode="off"),
    ) as toy:
        toy.create_first(toy_rows("film", 300), epochs=2)
        job = toy.open_job(toy.stream(toy_rows("shop", 300)))
        with toy.ledger.read() as tx:
            before = {each.key for each in list_examples(tx, MODEL, "gate")}
        assert run_job(job.id, toy.settings) is JobStatus.ON_TRIAL
        assert run_job(job.id, toy.settings) is None
        assert CheckpointStore(toy.settings.store_url).jobs() == set()
        with toy.ledger.begin() as tx:
            trial = trials.open_trials(tx)[MODEL]
            assert (trial.version, trial.champion, trial.job_id, trial.stage) == (2, 1, job.id, Stage.SHADOW)
            aliases = versions.get_aliases(tx, MODEL)
            assert (aliases["champion"], aliases[CHALLENGER]) == (1, 2)
            assert versions.get_version(tx, MODEL, 2).state is VersionState.ACCEPTED
            new = [each for each in list_examples(tx, MODEL, "gate") if each.key not in before]
            assert new
            assert all(each.probation for each in new)
            assert "on real traffic" in jobs.get_job(tx, job.id).reason
            jobs.end_trial(tx, trial, Stage.REJECTED, reason="no", actor="trial")
            assert {each.key for each in list_examples(tx, MODEL, "gate")} == before
            assert versions.get_version(tx, MODEL, 2).state is VersionState.REJECTED
