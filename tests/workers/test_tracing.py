"""The trace of an adaptation: one tree with the job's own id, from the report to the verdict, to a real collector."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import small_training, toy_shop
from tests.monitoring.test_policy import report
from trimtab.drift import DriftKind
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.ledger import Ledger, reports
from workers.run_job import run_job
from workers.tracing import ENDPOINTS, trace_if_wanted, trace_job

JOB = AdaptationJob(
    id="4bf92f3577b34da6a3ce929d0e0e4736", model="m", status=JobStatus.PROMOTED, domain="shop", window_from_seq=7,
    cause={"kind": "drift", "report": "r"}, version=2, reason="passed every check", attempts=1,
    created_at=1000.0, started_at=1060.0, finished_at=1090.0,
    verdict={"checks": [{"name": "gain", "result": "pass", "value": 0.2, "bound": 0.1, "n": 80},
                        {"name": "forgetting:film", "result": "pass", "value": None}]},
)  # fmt: skip
REPORT = report(2.0, created_at=998.5, kind=DriftKind.COVARIATE_HARMFUL, severity=2)


def told(job: AdaptationJob = JOB, **given: Any) -> dict[str, ReadableSpan]:
    exporter = InMemorySpanExporter()
    trace_job(job, given.get("report", REPORT), exporter)
    return {span.name: span for span in exporter.get_finished_spans()}


def seconds(span: ReadableSpan) -> tuple[float, float]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time / 1e9, span.end_time / 1e9


def test_one_tree_from_the_report_to_the_verdict() -> None:
    spans = told()
    times = {name: seconds(span) for name, span in spans.items()}
    assert times == {
        "drift report": (998.5, 1000.0),
        "wait for labels and a worker": (1000.0, 1060.0),
        "train and judge": (1060.0, 1090.0),
        "adaptation": (998.5, 1090.0),
    }
    root = spans.pop("adaptation")
    assert root.parent is None
    assert {span.parent.span_id for span in spans.values() if span.parent} == {root.context.span_id}


def test_the_stages_of_the_work_are_told_with_their_processor_time() -> None:
    progress = {
        "stages": [
            {"stage": "reading", "at": 1062.0, "cpu_s": 1.5},
            {"stage": "gate", "at": 1080.0, "cpu_s": 9.0},
        ]
    }
    spans = told(replace(JOB, progress=progress))
    assert seconds(spans["stage: reading"]) == (1062.0, 1080.0)
    assert dict(spans["stage: reading"].attributes or {}) == {"trimtab.cpu_s": 7.5}
    assert seconds(spans["stage: gate"]) == (1080.0, 1090.0)
    assert not spans["stage: gate"].attributes


def test_a_trace_is_found_by_its_job() -> None:
    assert {f"{span.context.trace_id:032x}" for span in told().values()} == {JOB.id}


def test_it_says_why_what_and_how_it_ended() -> None:
    spans = told()
    assert dict(spans["adaptation"].attributes or {}) == {
        "trimtab.job": JOB.id, "trimtab.model": "m", "trimtab.status": "promoted", "trimtab.domain": "shop",
        "trimtab.cause": "drift", "trimtab.version": 2,
    }  # fmt: skip
    assert (spans["drift report"].attributes or {})["trimtab.kind"] == "covariate_harmful"
    (ended,) = spans["adaptation"].events
    assert (ended.name, dict(ended.attributes or {})) == ("promoted", {"reason": "passed every check"})
    gain, forgetting = spans["train and judge"].events
    assert (gain.name, dict(gain.attributes or {})) == (
        "gate: gain",
        {"result": "pass", "value": 0.2, "bound": 0.1, "n": 80},
    )
    assert (forgetting.name, dict(forgetting.attributes or {})) == (
        "gate: forgetting:film",
        {"result": "pass"},
    )


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (JobStatus.PROMOTED, StatusCode.UNSET),
        (JobStatus.REJECTED, StatusCode.UNSET),
        (JobStatus.FAILED, StatusCode.ERROR),
        (JobStatus.TIMED_OUT, StatusCode.ERROR),
    ],
)
def test_a_job_that_could_not_be_done_is_an_error_and_a_refusal_is_none(
    status: JobStatus, code: StatusCode
) -> None:
    assert told(replace(JOB, status=status))["adaptation"].status.status_code is code


def test_a_job_by_hand_begins_with_its_opening_and_one_that_never_ran_has_no_work() -> None:
    by_hand = told(replace(JOB, cause={"kind": "manual"}), report=None)
    assert seconds(by_hand["adaptation"])[0] == 1000.0
    assert "drift report" not in by_hand
    never = told(replace(JOB, status=JobStatus.TIMED_OUT, started_at=None, verdict=None))
    assert set(never) == {"drift report", "wait for labels and a worker", "adaptation"}
    assert seconds(never["wait for labels and a worker"]) == (1000.0, 1090.0)


@dataclass
class Collector:
    """What a collector was sent."""

    url: str
    spans: list[Any] = field(default_factory=list)


@contextmanager
def running_collector() -> Iterator[Collector]:
    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                collector.spans += [span for scope in resource.scope_spans for span in scope.spans]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """No word about every request."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
    collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_job_that_a_worker_ran_reaches_the_collector_with_its_report(
    tmp_path: Path, tiny_base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real job that soon times out: from the ledger over HTTP, the report found by the job's cause."""
    with (
        running_collector() as collector,
        toy_shop(tmp_path, tiny_base_dir, training=small_training(max_seconds=0.01)) as toy,
    ):
        monkeypatch.setenv(ENDPOINTS[0], collector.url)
        toy.create_first(toy_rows("film", 200), epochs=1)
        job = toy.open_job(toy.stream(toy_rows("shop", 50)))
        assert run_job(job.id, toy.settings) is JobStatus.TIMED_OUT
        assert {span.name for span in collector.spans} == {
            "adaptation", "wait for labels and a worker", "train and judge",
        }  # fmt: skip
        assert {span.trace_id.hex() for span in collector.spans} == {job.id}
        with toy.ledger.begin() as tx:
            reports.save_report(tx, replace(REPORT, model=job.model))
        assert trace_if_wanted(toy.ledger, replace(toy.job(job.id), cause=JOB.cause))
        assert collector.spans[3].name == "drift report"


def test_nothing_is_told_without_a_collector(ledger: Ledger) -> None:
    assert not trace_if_wanted(ledger, JOB)


def test_a_report_that_is_kept_no_longer_is_left_out(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_collector() as collector:
        monkeypatch.setenv(ENDPOINTS[1], f"{collector.url}/v1/traces")
        assert trace_if_wanted(ledger, JOB)
        assert "drift report" not in {span.name for span in collector.spans}
        assert len(collector.spans) == 3


def test_the_trace_of_a_job_on_trial_ends_when_the_worker_is_done(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_collector() as collector:
        monkeypatch.setenv(ENDPOINTS[0], collector.url)
        on_trial = replace(JOB, status=JobStatus.ON_TRIAL, finished_at=None)
        assert trace_if_wanted(ledger, on_trial)
        (root,) = [span for span in collector.spans if span.name == "adaptation"]
    (event,) = root.events
    assert event.name == "on_trial"
    assert event.time_unix_nano == root.end_time_unix_nano > 1090.0e9


class Broken(SpanExporter):
    """An exporter that cannot."""

    def export(self, spans: Any) -> SpanExportResult:
        raise ConnectionError("no collector")


def test_an_exporter_that_fails_does_not_fail_the_job() -> None:
    trace_job(JOB, REPORT, Broken())


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    opened.migrate()
    yield opened
    opened.close()
