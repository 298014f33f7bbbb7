"""A detector in memory is the detector from the ledger: after a crash at any block, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection

from monitoring.check import Baseline
from monitoring.detector import Windows
from monitoring.detectors import Detectors, Following, position
from monitoring.mixture import know_domains
from tests.fixtures.ledgers import block, filled_model, sample
from tests.fixtures.references import labelled, traffic
from trimtab.drift import MonitorState
from trimtab.features import Floats
from trimtab.ledger import Ledger, samples
from trimtab.ledger.forget import forget
from trimtab.ledger.windows import rows_after

MODEL = "sentiment"
WINDOWS = Windows(block=10, short=40, long=80)
REFERENCE = {"movie": traffic(100, 0.0, 1)}
BASELINE = Baseline(1, know_domains(REFERENCE), labelled(REFERENCE), ())
STREAM = traffic(200, 0.3, 2)


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Connection]:
    """A ledger with the stream as samples 1 to 200 of version 1."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.migrate()
    with ledger.begin() as tx:
        filled_model(tx)
        ingest(tx, STREAM)
        yield tx
    ledger.close()


def ingest(tx: Connection, rows: Floats, first: int = 1) -> None:
    made = [sample(first + i, features=tuple(row.tolist())) for i, row in enumerate(rows)]
    samples.ingest(tx, [block(f"block {first}", made)])


def follow(tx: Connection, detectors: Detectors, state: MonitorState, n_blocks: int) -> MonitorState:
    """Take so many blocks; the state that is saved after them."""
    following = detectors.of(tx, state, BASELINE)
    for _ in range(n_blocks):
        following.take(rows_after(tx, MODEL, 1, following.at_seq, WINDOWS.block, STREAM.shape[1]))
    return replace(state, consumed_seq=following.at_seq, log_m=following.log_m)


def same(one: Following, other: Following) -> bool:
    return (
        one.log_m == other.log_m
        and one.starts == other.starts
        and np.array_equal(one.detector.rows, other.detector.rows)
        and repr(one.detector.read()) == repr(other.detector.read())
    )


@pytest.mark.parametrize("crash_after", [1, 3, 4, 8, 9, 15])
def test_a_crash_after_any_block_changes_nothing(tx: Connection, crash_after: int) -> None:
    state = MonitorState(model=MODEL, version=1)
    unbroken, broken = Detectors(WINDOWS), Detectors(WINDOWS)
    whole = follow(tx, unbroken, state, 20)
    half = follow(tx, broken, state, crash_after)
    rest = follow(tx, Detectors(WINDOWS), MonitorState.from_json(half.to_json()), 20 - crash_after)
    assert rest == whole
    assert same(Detectors(WINDOWS).of(tx, rest, BASELINE), unbroken.of(tx, whole, BASELINE))


def test_what_was_taken_and_not_saved_is_taken_again(tx: Connection) -> None:
    detectors = Detectors(WINDOWS)
    saved = follow(tx, detectors, MonitorState(model=MODEL, version=1), 5)
    follow(tx, detectors, saved, 3)  # the transaction that would have saved this was lost
    again = follow(tx, detectors, saved, 3)
    assert again == follow(tx, Detectors(WINDOWS), saved, 3)
    assert again.consumed_seq == 80


def test_in_memory_it_is_not_read_again(tx: Connection) -> None:
    detectors = Detectors(WINDOWS)
    state = follow(tx, detectors, MonitorState(model=MODEL, version=1), 5)
    assert detectors.of(tx, state, BASELINE) is detectors.of(tx, state, BASELINE)


def test_another_version_begins_anew_after_its_first_sample(tx: Connection) -> None:
    detectors = Detectors(WINDOWS)
    follow(tx, detectors, MonitorState(model=MODEL, version=1), 5)
    changed = MonitorState(model=MODEL, version=1, after_seq=120, consumed_seq=120)
    following = detectors.of(tx, changed, BASELINE)
    assert (following.at_seq, following.detector.n_events, following.log_m) == (120, 0, ())
    assert position(follow(tx, detectors, changed, 2)) == 140
    assert detectors.of(tx, follow(tx, detectors, changed, 2), BASELINE).first_seq(2) == 121


def test_samples_that_were_deleted_make_the_window_shorter_and_no_error(tx: Connection) -> None:
    state = follow(tx, Detectors(WINDOWS), MonitorState(model=MODEL, version=1), 10)
    for number in (*range(1, 31), 95):
        forget(tx, prediction_id=f"p{number}")
    restored = Detectors(WINDOWS).of(tx, state, BASELINE)
    assert restored.detector.n_events == 60
    assert STREAM[94].tolist() not in restored.detector.rows.tolist()
    assert restored.log_m == state.log_m
    assert restored.at_seq == 100


def test_what_is_forgotten_leaves_the_windows_in_memory_at_the_next_look(tx: Connection) -> None:
    held = Detectors(WINDOWS)
    state = follow(tx, held, MonitorState(model=MODEL, version=1), 10)
    before = held.of(tx, state, BASELINE)
    assert held.of(tx, state, BASELINE) is before
    assert STREAM[94].tolist() in before.detector.rows.tolist()
    forget(tx, prediction_id="p95")
    after = held.of(tx, state, BASELINE)
    assert STREAM[94].tolist() not in after.detector.rows.tolist()
    assert (after.at_seq, after.log_m) == (before.at_seq, before.log_m)
    assert held.of(tx, state, BASELINE) is after


def test_a_state_of_other_features_begins_without_evidence(tx: Connection) -> None:
    state = follow(tx, Detectors(WINDOWS), MonitorState(model=MODEL, version=1), 10)
    odd = replace(state, log_m=state.log_m[:-1])
    assert Detectors(WINDOWS).of(tx, odd, BASELINE).log_m == ()
