"""The spans of a real job lie end to end, and the report and the chart show every one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.adaptation.timeline import Measured, ended_job, newest_job, window, write
from benchmarks.adaptation.timeline_report import Moments, Span, chart, report, spans_of, without_people
from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import ToyShop, toy_shop
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.ledger import jobs
from workers.trainer import end_job

MOMENTS = Moments(alert_at=10.0, labels_at=22.0, served_at=60.0)
STAGES = [{"stage": stage, "at": at, "cpu_s": cpu} for stage, at, cpu in (
    ("reading", 30.0, 4.0), ("head", 31.0, 4.5), ("publishing", 50.0, 20.0))]  # fmt: skip
JOB = AdaptationJob(
    id="j", model="m", status=JobStatus.PROMOTED, cause={}, domain="", window_from_seq=1, created_at=12.0,
    started_at=25.0, finished_at=55.0, progress={"stages": STAGES},
)  # fmt: skip


@pytest.fixture(scope="module")
def ended(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path
) -> Iterator[tuple[ToyShop, AdaptationJob]]:
    """A real adaptation by a head refit."""
    with toy_shop(tmp_path_factory.mktemp("timeline"), tiny_base_dir) as toy:
        toy.create_first(toy_rows("film", 200), epochs=1)
        first_seq = toy.stream(toy_rows("shop", 300))
        with toy.ledger.begin() as tx:
            cause = {"kind": "test", "method": "head"}
            job = jobs.open_job(tx, "toy", cause=cause, domain="", window_from_seq=first_seq)
        end_job(toy.shop, toy.claim(job))
        yield toy, toy.job(job.id)


def test_spans_lie_end_to_end_from_the_alert_to_the_answer() -> None:
    spans = spans_of(JOB, MOMENTS)
    assert [(span.began_s, span.ended_s) for span in spans] == [
        (0, 2), (2, 12), (12, 15), (15, 20), (20, 21), (21, 40), (40, 45), (45, 50),
    ]  # fmt: skip
    assert [span.cpu_s for span in spans] == [None, None, None, None, 0.5, 15.5, None, None]
    assert spans[5].name == "rival: head"
    assert without_people(spans) == 40.0


@pytest.mark.parametrize("missing", [{"progress": None}, {"finished_at": None}, {"started_at": None}])
def test_a_job_whose_stages_are_not_known_has_no_timeline(missing: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="job j is promoted"):
        spans_of(replace(JOB, **missing), MOMENTS)


def test_a_real_job_tells_its_stages(ended: tuple[ToyShop, AdaptationJob]) -> None:
    toy, job = ended
    assert job.started_at is not None
    assert job.finished_at is not None
    moments = Moments(alert_at=job.created_at, labels_at=job.created_at, served_at=job.finished_at)
    spans = spans_of(job, moments)
    names = [span.name for span in spans]
    assert names.index("rival: head") < names.index("rivals compared on the selection labels")
    assert names.index("evidence and gate") < names.index("sealed, delivered, read back, promoted")
    assert sum(span.wall_s for span in spans) == pytest.approx(job.finished_at - job.created_at)
    assert all(span.wall_s >= -1e-3 for span in spans)
    assert ended_job(toy.ledger, job.id) == newest_job(toy.ledger, "toy") == job


def test_labels_go_to_the_first_distinct_texts_of_the_window(ended: tuple[ToyShop, AdaptationJob]) -> None:
    toy, job = ended
    assert window(toy.ledger, "toy", job, 40) == [f"s{number}" for number in range(40)]
    assert len(window(toy.ledger, "toy", job, 1000)) <= 300


def test_the_report_and_the_chart_show_every_span(tmp_path: Path) -> None:
    spans = spans_of(JOB, MOMENTS)
    found = Measured(spans, {"worker": 31.5}, "promoted", "")
    write(tmp_path, found, {"processor": "a <fast> one"})
    told = (tmp_path / "timeline.md").read_text(encoding="utf-8")
    assert told == report(spans, {"processor": "a <fast> one"}, {"worker": 31.5})
    assert "| rival: head | 19.0 | 15.5 |" in told
    assert "| **alert to first answer** | **50.0** |" in told
    assert "| **the same without people** | **40.0** |" in told
    drawn = ElementTree.fromstring((tmp_path / "timeline.svg").read_text(encoding="utf-8"))  # noqa: S314
    assert len(drawn.findall("{*}rect")) == len(spans) + 1
    assert (tmp_path / "timeline.json").stat().st_size > 0


def test_a_name_with_signs_is_drawn_as_text() -> None:
    drawn = ElementTree.fromstring(chart([Span("a < b & c", 0.0, 1.0)]))  # noqa: S314
    assert "a < b & c" in {each.text for each in drawn.findall("{*}text")}
