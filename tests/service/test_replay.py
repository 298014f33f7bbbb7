"""Replay: a steady pace, labels late and by hash, a scorecard by domain, failures kept."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.client import Answer, ApiClient
from service.replay import (
    DelayedFeedback,
    Pace,
    Sent,
    balanced_accuracy,
    percentile,
    replay,
    segments,
    send_feedback,
)
from tests.fixtures.calls import Trimtab
from tests.fixtures.deployment import RunningApi
from tests.fixtures.toy_texts import toy_rows
from trimtab.datafiles import Row


@pytest.fixture
def client(api: RunningApi) -> Iterator[ApiClient]:
    with ApiClient(api.url) as opened:
        yield opened


def waiting(client: ApiClient, fraction: float = 1.0, delay_s: float = 0.0) -> DelayedFeedback:
    return DelayedFeedback(client, fraction=fraction, delay_s=delay_s)


def answer(label: str, version: int = 1, seconds: float = 0.01) -> Answer:
    return Answer(
        prediction_id="p", label=label, score=0.9, scores={}, version=version, generation=1, seconds=seconds
    )


def test_every_row_is_answered_and_told(client: ApiClient) -> None:
    rows = toy_rows("film", 20)
    told: list[Sent] = []
    sent = replay(client, "toy", rows, pace=Pace(lambda: 0.0), feedback=waiting(client), told=told.append)
    assert [one.row for one in sent] == rows
    assert told == sent
    assert all(one.answer is not None and one.answer.version == 2 for one in sent)


def test_a_failed_answer_is_kept_and_the_stream_goes_on(client: ApiClient) -> None:
    rows = [
        Row(text="good film", label="positive"),
        Row(text="\x00" * 3_000_000, label="negative"),
        *toy_rows("film", 1),
    ]
    sent = replay(client, "toy", rows, pace=Pace(lambda: 0.0), feedback=waiting(client))
    assert [one.answer is None for one in sent] == [False, True, False]
    assert "413" in sent[1].failure
    assert segments(sent)[0].failed == 1


def test_labels_wait_their_time_and_go_at_the_end(client: ApiClient) -> None:
    later = waiting(client, delay_s=3600.0)
    rows = toy_rows("film", 120)
    replay(client, "toy", rows, pace=Pace(lambda: 0.0), feedback=later)
    assert later.sent == 0
    assert send_feedback(later, everything=True) == ""
    assert later.sent == 120
    assert later.counts["accepted"] == 120
    assert send_feedback(later, everything=True) == ""
    assert later.sent == 120


def test_labels_that_could_not_be_sent_are_kept(api: RunningApi) -> None:
    with ApiClient(api.url) as good, ApiClient("http://127.0.0.1:9") as nobody:
        late = waiting(nobody)
        late.take(Row(text="a", label="positive"), good.predict("toy", ["a"])[0])
        assert "ConnectError" in send_feedback(late, everything=True)
        late._client = good
        assert send_feedback(late, everything=True) == ""
        assert late.sent == 1


def test_a_hash_chooses_the_same_share_every_time(client: ApiClient) -> None:
    rows = [Row(text=f"text {i}", label="x") for i in range(2_000)]
    chosen = [waiting(client, fraction=0.3).chosen(row) for row in rows]
    assert chosen == [waiting(client, fraction=0.3).chosen(row) for row in rows]
    assert sum(chosen) / len(rows) == pytest.approx(0.3, abs=0.04)
    grouped = [Row(text=f"text {i}", label="x", group="one review") for i in range(50)]
    assert len({waiting(client, fraction=0.5).chosen(row) for row in grouped}) == 1


def test_the_pace_is_steady_and_follows_the_rate() -> None:
    started = time.monotonic()
    pace = Pace(lambda: 200.0)
    for _ in range(21):
        pace.wait()
    assert time.monotonic() - started >= 0.1
    unhurried = Pace(lambda: 0.0)
    started = time.monotonic()
    for _ in range(1_000):
        unhurried.wait()
    assert time.monotonic() - started < 0.1


def test_segments_are_by_domain_in_order() -> None:
    def sent(domain: str | None, label: str, predicted: str, version: int) -> Sent:
        return Sent(Row(text="t", label=label, domain=domain), answer(predicted, version))

    parts = segments(
        [sent("b", "x", "x", 1), sent("b", "x", "x", 2), sent("b", "y", "x", 2), sent(None, "x", "y", 2)]
    )
    assert [(part.domain, part.n) for part in parts] == [("b", 3), ("(none)", 1)]
    assert parts[0].accuracy == pytest.approx(2 / 3)
    assert parts[0].balanced_accuracy == 0.5
    assert parts[0].versions == {1: 1, 2: 2}
    assert parts[0].p50_ms == 10.0


def test_balanced_accuracy_is_the_mean_recall() -> None:
    pairs = [("a", "a")] * 8 + [("a", "b")] * 2 + [("b", "b")] + [("b", "a")]
    assert balanced_accuracy(pairs) == pytest.approx((0.8 + 0.5) / 2)
    assert math.isnan(balanced_accuracy([]))


def test_percentiles() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([1.0], 0.95) == 1.0
    assert math.isnan(percentile([], 0.5))


def write(path: Path, rows: list[Row]) -> Path:
    lines = ["text,label,domain", *(f"{row.text},{row.label},{row.domain}" for row in rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_the_command_shows_a_scorecard(api: RunningApi, trimtab: Trimtab, tmp_path: Path) -> None:
    data = write(tmp_path / "stream.csv", toy_rows("film", 15) + toy_rows("shop", 5))
    order = ("replay", "toy", "--data", data, "--url", api.url, "--rate", 0, "--feedback", 1)
    outcome = trimtab(*order)
    assert outcome.code == 0
    assert "toy: 20 events" in outcome.out
    assert "feedback: 20 sent" in outcome.out
    document = trimtab(*order, "--json").document
    assert [(part["domain"], part["n"]) for part in document["segments"]] == [("film", 15), ("shop", 5)]
    assert document["failed"] == 0


def test_the_command_sends_nothing_where_nobody_answers(trimtab: Trimtab, tmp_path: Path) -> None:
    data = write(tmp_path / "stream.csv", toy_rows("film", 2))
    outcome = trimtab("replay", "toy", "--data", data, "--url", "http://127.0.0.1:9", "--json")
    assert outcome.code == 1
    assert "nothing was sent to http://127.0.0.1:9" in outcome.err
