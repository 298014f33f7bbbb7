"""A trial from its start to its end, on a real ledger and a real Valkey: tick by tick, as the monitor makes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client import REGISTRY

from monitoring import trials as attending
from monitoring.monitor import tick
from monitoring.trials import attend_trial, next_share
from tests.fixtures.references import LABELS, traffic
from tests.monitoring.conftest import MODEL, settings_in
from tests.monitoring.trial_stage import STEP, Stagehand, half, opened, other, rehearsing, same
from trimtab.jobs import JobStatus
from trimtab.ledger import events, jobs, replicas, reports, samples, versions
from trimtab.ledger.versions import PINNED, VersionState
from trimtab.settings import PolicySettings, Settings
from trimtab.trial import CHALLENGER, Stage, Trial, TrialMode

NEG, POS = LABELS


@pytest.fixture
def settings(tmp_path: Path, redis_client: redis.Redis, valkey: Any) -> Settings:
    return settings_in(tmp_path, valkey.url, trial=rehearsing())


@pytest.fixture
def stage(settings: Settings) -> Iterator[Stagehand]:
    with opened(settings) as found:
        yield found


def ended(kind: str) -> float:
    return REGISTRY.get_sample_value("trimtab_trials_total", {"model": MODEL, "outcome": kind}) or 0.0


def gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"trimtab_trial_{name}", {"model": MODEL, **labels})


def happened(stage: Stagehand) -> list[str]:
    with stage.place.ledger.read() as tx:
        kinds = [each.kind for each in events.list_events(tx, limit=1000)]
    return [kind for kind in kinds if kind.startswith("trial_")]


def test_a_good_one_goes_unseen_then_to_more_and_more_clients_then_to_all(stage: Stagehand) -> None:
    before = ended("promoted")
    stage.put_on_trial()
    stage.answer(STEP - 1, shadow=same)
    trial = stage.tick()
    assert (trial.stage, trial.evidence["n"], trial.reason) == (
        Stage.SHADOW, STEP - 1, f"{STEP - 1} of {STEP} answers unseen, 0 of them labelled",
    )  # fmt: skip
    stage.answer(1, shadow=same)
    assert (stage.tick().stage, stage.trial.share) == (Stage.CANARY, 0.05)
    assert stage.tick().share == 0.05
    assert (gauge("state", state="canary"), gauge("share")) == (1.0, 0.05)
    stage.answer(STEP, version=2)
    assert stage.tick().share == 0.25
    assert stage.aliases == {"champion": 1, CHALLENGER: 2}
    stage.answer(STEP, version=2)
    trial = stage.tick()
    assert (trial.stage, trial.share) == (Stage.PROMOTED, 0.0)
    assert stage.aliases == {"champion": 2, "previous": 1}
    assert stage.job[0] is JobStatus.PROMOTED
    assert "its trial was passed" in stage.job[1]
    assert ended("promoted") == before + 1
    assert (gauge("state", state="canary"), gauge("share")) == (0.0, 0.0)
    assert happened(stage) == ["trial_started", "trial_advanced", "trial_advanced", "trial_ended"]


def test_the_new_champion_is_on_probation_as_any_that_a_job_promoted(stage: Stagehand) -> None:
    stage.put_on_trial()
    for version in (1, 2, 2):
        stage.answer(STEP, version=version, shadow=same if version == 1 else None)
        stage.tick()
    assert tick(stage.station)
    state = stage.place.state()
    assert (state.version, state.watching_version, state.last_job_id) == (2, 2, stage.job_id)
    assert stage.memory() == 1


def test_where_only_the_unseen_part_is_wanted_it_is_champion_after_it(settings: Settings) -> None:
    unseen = settings.model_copy(update={"trial": rehearsing(mode=TrialMode.SHADOW)})
    with opened(unseen) as stage:
        stage.put_on_trial()
        stage.answer(STEP, shadow=same)
        assert stage.tick().stage is Stage.PROMOTED
        assert stage.aliases["champion"] == 2


@pytest.mark.parametrize("labelled_rows", [0, 40])
def test_a_bad_one_never_answers_anybody(stage: Stagehand, labelled_rows: int) -> None:
    """Nor becomes champion: with labels it is found before the stage is over, without them at its end."""
    before = ended("rejected")
    stage.put_on_trial()
    numbers = stage.answer(STEP - 1, shadow=other)
    stage.label(numbers[:labelled_rows], same)
    trial = stage.tick()
    assert trial.stage is (Stage.REJECTED if labelled_rows else Stage.SHADOW)
    stage.answer(1, shadow=other)
    trial = stage.tick()
    assert (trial.stage, trial.ended_at is not None) == (Stage.REJECTED, True)
    assert ("worse than the champion" if labelled_rows else "otherwise than the champion") in trial.reason
    assert (stage.aliases, stage.version(), stage.memory()) == ({"champion": 1}, VersionState.REJECTED, 0)
    assert stage.job == (JobStatus.REJECTED, trial.reason)
    assert "trial_advanced" not in happened(stage)
    assert ended("rejected") == before + 1


def test_after_a_trial_that_was_not_passed_there_is_a_cooldown(settings: Settings) -> None:
    patient = settings.model_copy(update={"policy": PolicySettings(cooldown_s=1000.0)})
    with opened(patient) as stage:
        stage.put_on_trial()
        stage.answer(STEP, shadow=other)
        assert stage.tick().stage is Stage.REJECTED
        state = stage.place.state()
        assert (state.last_job_id, state.unhelpful) == (stage.job_id, 1)
        assert state.cooldown_until > state.since


def test_differences_that_labels_show_to_be_gains_are_wanted(stage: Stagehand) -> None:
    stage.put_on_trial()
    stage.label(stage.answer(STEP, shadow=half), half)
    trial = stage.tick()
    assert (trial.stage, trial.evidence["disagreement"], trial.evidence["lost"]) == (Stage.CANARY, 0.52, 0)


def test_differences_that_the_gate_has_seen_are_wanted(stage: Stagehand) -> None:
    stage.put_on_trial(discordance=0.45)
    stage.answer(STEP, shadow=half)
    assert stage.tick().stage is Stage.CANARY


def test_class_shares_that_it_has_nowhere_reject_it(stage: Stagehand) -> None:
    stage.put_on_trial(discordance=0.6)
    stage.answer(STEP, shadow=lambda _: POS)
    assert "class shares" in stage.tick().reason


def test_clients_that_get_worse_answers_do_so_for_a_short_while(stage: Stagehand) -> None:
    """All wrong in the first stage, beside a champion that is right: stopped before its answers make a stage."""
    stage.put_on_trial()
    stage.answer(STEP, shadow=same)
    assert stage.tick().stage is Stage.CANARY
    for _ in range(STEP - 1):
        stage.label(stage.answer(2), same)
        stage.label(stage.answer(1, version=2), other)
        if stage.tick().stage.final:
            break
    assert stage.trial.stage is Stage.REJECTED
    assert "worse than the champion" in stage.trial.reason
    assert stage.aliases == {"champion": 1}


def test_answers_that_no_input_explains_stop_it_at_the_end_of_a_stage(stage: Stagehand) -> None:
    stage.put_on_trial()
    stage.answer(STEP, shadow=same)
    assert stage.tick().stage is Stage.CANARY
    stage.place.send(traffic(2 * STEP, 0.0, seed=5), version=2)  # all "pos"
    trial = stage.tick()
    assert (trial.stage, stage.aliases) == (Stage.REJECTED, {"champion": 1})
    assert "0% of the answers are 'neg', 50% were on inputs like these" in trial.reason


def test_a_stage_without_a_client_ends_by_time(settings: Settings) -> None:
    quick = settings.model_copy(update={"trial": rehearsing(stage_s=1e-9)})
    with opened(quick) as stage:
        stage.put_on_trial()
        stage.answer(STEP, shadow=same)
        shares = [(stage.tick().stage, stage.trial.share) for _ in range(3)]
    assert shares == [(Stage.CANARY, 0.05), (Stage.CANARY, 0.25), (Stage.PROMOTED, 0.0)]


def say_as_replica(stage: Stagehand, reason: str, *loaded: int) -> None:
    with stage.place.ledger.begin() as tx:
        replicas.report_replica(
            tx, "r1", pid=1, url="u", generations={}, refused={MODEL: {"2": reason}} if reason else {},
            serving={MODEL: {"champion": 1, "versions": {str(n): "d" for n in loaded}}},
        )  # fmt: skip


def test_one_that_cannot_answer_somewhere_is_rejected(stage: Stagehand) -> None:
    stage.put_on_trial()
    say_as_replica(stage, "it cannot answer: ArithmeticError", 1, 2)
    trial = stage.tick()
    assert (trial.stage, trial.reason) == (Stage.REJECTED, "replica r1: it cannot answer: ArithmeticError")


def test_one_that_is_not_loaded_everywhere_goes_no_further_until_it_is(stage: Stagehand) -> None:
    stage.put_on_trial()
    stage.answer(STEP, shadow=same)
    say_as_replica(stage, "the store is away", 1)
    trial = stage.tick()
    assert (trial.stage, trial.evidence["not_loaded"]) == (Stage.SHADOW, "replica r1: the store is away")
    say_as_replica(stage, "", 1, 2)
    assert stage.tick().stage is Stage.CANARY


@pytest.mark.parametrize(
    ("what", "ends_as", "job", "why"),
    [
        ("promote it", Stage.PROMOTED, JobStatus.PROMOTED, "an operator promoted it"),
        ("promote another", Stage.ABANDONED, JobStatus.HELD, "the champion is no longer version 1"),
        ("pin", Stage.ABANDONED, JobStatus.HELD, "an operator has pinned version 1"),
        ("drop", Stage.ABANDONED, JobStatus.CANCELLED, "took the alias challenger off"),
        ("quarantine", Stage.REJECTED, JobStatus.REJECTED, "a replica refused to serve it"),
        ("cancel", Stage.ABANDONED, JobStatus.CANCELLED, "cancelled by operator"),
    ],
)
def test_what_somebody_decides_ends_the_trial(
    stage: Stagehand, what: str, ends_as: Stage, job: JobStatus, why: str
) -> None:
    stage.put_on_trial()
    with stage.place.ledger.begin() as tx:
        versions.record_version(tx, MODEL, 3, "e" * 64, 1, VersionState.ACCEPTED, manifest={})
        {
            "promote it": lambda: versions.promote(tx, MODEL, 2, actor="operator", reason="now"),
            "promote another": lambda: versions.promote(tx, MODEL, 3, actor="operator", reason="now"),
            "pin": lambda: versions.set_alias(tx, MODEL, PINNED, 1, actor="operator", reason="now"),
            "drop": lambda: versions.drop_alias(tx, MODEL, CHALLENGER, actor="operator", reason="now"),
            "quarantine": lambda: versions.quarantine(tx, MODEL, 2, reason="digest", replica="r"),
            "cancel": lambda: jobs.cancel(tx, stage.job_id),
        }[what]()
    attend_trial(stage.station, MODEL)
    assert stage.trial.stage is ends_as
    assert why in stage.trial.reason
    assert stage.job[0] is job
    assert CHALLENGER not in stage.aliases
    assert stage.memory() == (1 if ends_as is Stage.PROMOTED else 0)


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"mode": TrialMode.OFF}, "trials were turned off"), ({"max_s": 1e-9}, "no conclusion within")],
)
def test_a_trial_that_cannot_conclude_is_left_to_a_person(
    settings: Settings, changes: dict[str, Any], why: str
) -> None:
    with opened(settings.model_copy(update={"trial": rehearsing(**changes)})) as stage:
        stage.put_on_trial()
        trial = stage.tick()
        assert (trial.stage, stage.job[0], stage.version()) == (
            Stage.ABANDONED, JobStatus.HELD, VersionState.HELD,
        )  # fmt: skip
        assert why in trial.reason


def test_a_round_that_was_killed_is_made_again(stage: Stagehand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed when it had written the next stage, before the commit: nothing is there, and the next round does it."""
    stage.put_on_trial()
    stage.answer(STEP, shadow=same)
    stage.station.intake.take_in()
    before = stage.trial

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("trimtab.ledger.trials.get_trial", killed)
        with pytest.raises(KeyboardInterrupt):
            attend_trial(stage.station, MODEL)
    assert stage.trial == before
    attend_trial(stage.station, MODEL)
    after = stage.trial
    assert (after.stage, after.share) == (Stage.CANARY, 0.05)
    attend_trial(stage.station, MODEL)
    assert (stage.trial.stage, stage.trial.share, stage.trial.from_seq) == (
        Stage.CANARY,
        0.05,
        after.from_seq,
    )


def test_what_somebody_did_during_the_look_is_not_undone(
    stage: Stagehand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is cancelled between the look and its consequence: the version is not promoted all the same."""
    stage.put_on_trial()
    stage.answer(STEP, shadow=same)
    stage.station.intake.take_in()
    looked = attending.look

    def slow_look(*given: Any) -> Any:
        with stage.place.ledger.begin() as tx:
            jobs.cancel(tx, stage.job_id, reason="quicker")
        return looked(*given)

    monkeypatch.setattr(attending, "look", slow_look)
    attend_trial(stage.station, MODEL)
    assert (stage.trial.stage, stage.trial.reason) == (Stage.ABANDONED, "quicker")
    assert stage.aliases == {"champion": 1}


def test_the_drift_of_the_champion_is_watched_meanwhile(stage: Stagehand) -> None:
    """And no second job is opened while the trial runs."""
    stage.put_on_trial()
    for i in range(12):
        stage.place.send(traffic(20, 2.0, seed=i))
        assert tick(stage.station)
    with stage.place.ledger.read() as tx:
        assert reports.load_state(tx, MODEL) is not None
        assert samples.events_seen(tx, MODEL, 1) == 240
        assert [job.status for job in jobs.list_jobs(tx, model=MODEL)] == [JobStatus.ON_TRIAL]
    assert stage.place.state().in_alarm


def test_shares_grow_stage_by_stage() -> None:
    trial = Trial(
        model="m", version=2, champion=1, job_id=None, stage=Stage.SHADOW, share=0.0, from_seq=0,
        started_at=0.0, stage_at=0.0,
    )  # fmt: skip
    shares = []
    while share := next_share(trial, rehearsing(canary_shares=(0.1, 0.3, 1.0))):
        shares.append(share)
        trial = replace(trial, stage=Stage.CANARY, share=share)
    assert shares == [0.1, 0.3, 1.0]
    assert next_share(trial, rehearsing(mode=TrialMode.SHADOW)) == 0.0
