"""A prior correction whose time is over is noticed, once, and only then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from monitoring.calibration import calibrate
from monitoring.check import Baseline
from monitoring.detector import Windows
from monitoring.mixture import know_domains
from monitoring.policy import Rules
from monitoring.reverting import open_if_back, prior_is_back, shifted_domains
from tests.fixtures.ledgers import digest_of, filled_model
from tests.fixtures.references import FEATURE_MAP, N_FEATURES
from trimtab.drift import DriftKind, DriftReport, DriftState, MonitorState
from trimtab.features import Floats, References
from trimtab.jobs import PRIOR_BACK, AdaptationJob, JobStatus
from trimtab.ledger import Ledger, examples, jobs, schema, versions
from trimtab.ledger.clock import now
from trimtab.ledger.examples import Example
from trimtab.ledger.versions import VersionState

FIRST = len(FEATURE_MAP.components)
STATE = MonitorState(model="sentiment", version=4, state=DriftState.OK)
SHARES = {"movie": 0.5, "sale": 0.9}  # of the second class


def drawn(share: float, n: int, seed: int) -> tuple[Floats, np.ndarray]:
    """(n, d) feature rows and true labels, of which nine in ten are answered rightly."""
    random = np.random.default_rng(seed)
    truth = (random.random(n) < share).astype(np.int64)
    answered = np.where(random.random(n) < 0.9, truth, 1 - truth)
    rows = random.normal(size=(n, N_FEATURES)).astype(np.float32)
    rows[:, FIRST : FIRST + 2] = np.where(np.arange(2) == answered[:, None], -0.1, -2.4)
    return rows, truth


def references() -> References:
    made = {domain: drawn(share, 600, seed) for seed, (domain, share) in enumerate(SHARES.items())}
    predicted = {domain: rows[:, FIRST : FIRST + 2].argmax(axis=1) for domain, (rows, _) in made.items()}
    return References(
        FEATURE_MAP,
        {domain: rows for domain, (rows, _) in made.items()},
        truth={domain: truth for domain, (_, truth) in made.items()},
        predicted=predicted,
    )


@pytest.mark.parametrize(("share", "back_to"), [(0.5, "movie"), (0.9, ""), (0.7, ""), (0.2, "")])
def test_the_shares_must_be_those_of_before_and_not_those_of_since(share: float, back_to: str) -> None:
    rows, _ = drawn(share, 500, seed=9)
    assert prior_is_back(references(), {"sale"}, rows) == back_to
    assert prior_is_back(references(), set(), rows) == ""


def test_a_correction_that_holds_is_seldom_taken_for_over() -> None:
    found = [prior_is_back(references(), {"sale"}, drawn(0.9, 500, seed)[0]) for seed in range(100, 140)]
    assert found == [""] * 40


@pytest.mark.parametrize("unlabelled", [{"movie"}, {"sale"}, {"movie", "sale"}])
def test_without_labels_of_either_time_nothing_is_said(unlabelled: set[str]) -> None:
    known = references()
    truth = dict(known.truth) | {domain: np.full(600, -1) for domain in unlabelled}
    assert prior_is_back(replace(known, truth=truth), {"sale"}, drawn(0.5, 500, 9)[0]) == ""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Version 4 corrects the prior for "sale"; three are from the time before."""
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    opened.migrate()
    with opened.begin() as tx:
        model = filled_model(tx)
        manifest = {"training": {"remedy": "prior", "corrected": True}}
        versions.record_version(tx, model, 4, digest_of(4), 3, VersionState.ACCEPTED, manifest=manifest)
        versions.promote(tx, model, 4, actor="test", reason="test")
        kept = [("movie", 1), ("sale", 4)]
        examples.add_examples(
            tx,
            [
                Example(model=model, domain=domain, role="reference", text=domain, key=domain, version=n)
                for domain, n in kept
            ],
        )
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    known, windows = know_domains(references().rows), Windows(block=10, short=100, long=200)
    thresholds = tuple(calibrate(rows, known.edges, windows, 500.0, ordered=False) for rows in known.rows)
    return Baseline(4, known, references(), thresholds)


def report(**changes: Any) -> DriftReport:
    values: dict[str, Any] = {
        "id": "r", "model": "sentiment", "version": 4, "created_at": 1.0, "first_seq": 11, "last_seq": 510,
        "n_window": 500, "events_seen": 510, "state": DriftState.OK, "arms": (), "features": (), "max_ks": 0.0,
        "alarm": False, "actionable": False, "calibrated": True, "nearest": "movie", "mixture": {"movie": 1.0},
    }  # fmt: skip
    return DriftReport(**(values | changes))


def opened(
    ledger: Ledger, baseline: Baseline, share: float = 0.5, state: MonitorState = STATE, **changes: Any
) -> AdaptationJob | None:
    rules = Rules(**changes.pop("rules", {}))
    with ledger.begin() as tx:
        return open_if_back(tx, state, report(**changes), drawn(share, 500, 9)[0], baseline, rules)


def test_a_job_that_may_only_drop_it_is_opened_without_waiting_for_labels(
    ledger: Ledger, baseline: Baseline
) -> None:
    job = opened(ledger, baseline)
    assert job is not None
    assert (job.status, job.missing, job.window_from_seq) == (JobStatus.QUEUED, None, 11)
    assert job.cause == {
        "kind": PRIOR_BACK, "report": "r", "drift": DriftKind.LABEL_SHIFT, "method": "prior", "version": 4,
        "like": "movie",
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"share": 0.9},
        {"alarm": True},
        {"state": replace(STATE, in_alarm=True)},
        {"state": replace(STATE, version=3)},
        {"state": replace(STATE, unhelpful=2)},
        {"state": replace(STATE, cooldown_until=9e12)},
        {"rules": {"act_on": "none"}},
    ],
)
def test_what_stands_against_it(ledger: Ledger, baseline: Baseline, changes: dict[str, Any]) -> None:
    assert opened(ledger, baseline, **changes) is None


def end(ledger: Ledger, job: AdaptationJob | None, status: JobStatus) -> None:
    assert job is not None
    with ledger.begin() as tx:
        lease = jobs.claim(tx, job.id, "worker", 60.0)
        assert lease is not None
        jobs.finish(tx, lease, status)


NO_WAIT, DAY = {"cooldown_s": 0.0}, {"cooldown_s": 86_400.0}


@pytest.mark.parametrize("status", [JobStatus.REJECTED, JobStatus.PROMOTED])
def test_a_verdict_is_final_for_the_version(ledger: Ledger, baseline: Baseline, status: JobStatus) -> None:
    end(ledger, opened(ledger, baseline), status)
    assert opened(ledger, baseline, rules=NO_WAIT) is None


@pytest.mark.parametrize(
    "status", [JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.TIMED_OUT, JobStatus.HELD]
)
def test_what_came_to_no_verdict_is_tried_again_later(
    ledger: Ledger, baseline: Baseline, status: JobStatus
) -> None:
    end(ledger, opened(ledger, baseline), status)
    assert opened(ledger, baseline, rules=DAY) is None
    assert opened(ledger, baseline, rules=NO_WAIT) is not None


def test_each_time_it_waits_twice_as_long(ledger: Ledger, baseline: Baseline) -> None:
    """Two attempts 1,000 s ago: the second is followed by twice the cooldown."""
    for _ in range(2):
        end(ledger, opened(ledger, baseline, rules=NO_WAIT), JobStatus.HELD)
    with ledger.begin() as tx:
        tx.execute(update(schema.jobs).values(finished_at=now(tx) - 1000.0))
    assert opened(ledger, baseline, rules={"cooldown_s": 600.0}) is None
    assert opened(ledger, baseline, rules={"cooldown_s": 400.0}) is not None


def test_domains_that_entered_under_a_correction(ledger: Ledger) -> None:
    with ledger.read() as tx:
        assert shifted_domains(tx, "sentiment") == {"sale"}
