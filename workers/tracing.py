"""One OpenTelemetry trace for each adaptation: the report that opened it, the wait, the work, the verdict.

Everything is in the ledger with its times, so the trace is told at once when the job has ended: no process carries a
context, and a wait of days needs no open span. The trace's id is the job's id (both are 32 hex digits).

Optional: `pip install trimtab[otel]`, and OTEL_EXPORTER_OTLP_ENDPOINT names a collector.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trimtab.drift import DriftReport
from trimtab.errors import ReportNotFound
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.ledger import Ledger
from trimtab.ledger.clock import now
from trimtab.ledger.reports import get_report
from workers.progress import stages_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_log = logging.getLogger(__name__)


def trace_if_wanted(ledger: Ledger, job: AdaptationJob) -> bool:
    """Sends the trace of a job that workers are done with, if a collector is named; whether one was made.

    Never raises: the job has ended as it has. A collector that is away is tried for at most 10 s, then logged.
    """
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        trace_job(_until_now(ledger, job), _report_of(ledger, job), OTLPSpanExporter())
    except ImportError:
        _log.warning("a collector is named, but OpenTelemetry is missing: pip install 'trimtab[otel]'")
        return False
    except Exception as error:  # noqa: BLE001  # whatever it is, no job fails for a trace
        _log.warning("no trace: %s", error, extra={"job": job.id})
        return False
    return True


def _until_now(ledger: Ledger, job: AdaptationJob) -> AdaptationJob:
    """The job; one on trial as if it ended now, for what comes is not the worker's."""
    if job.status.final:
        return job
    with ledger.read() as tx:
        return replace(job, finished_at=now(tx))


def _report_of(ledger: Ledger, job: AdaptationJob) -> DriftReport | None:
    """The report that opened the job; None when none did, or its time to be kept is over."""
    if "report" not in job.cause:
        return None
    with suppress(ReportNotFound), ledger.read() as tx:
        return get_report(tx, job.cause["report"])
    return None


def trace_job(job: AdaptationJob, report: DriftReport | None, exporter: SpanExporter) -> None:
    """Tells an ended job as one trace, and waits until it is sent.

    Args:
        report: the drift report that opened the job; None for one that was opened by hand or by an alert.
    """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class JobIds(RandomIdGenerator):
        """Random spans in the job's own trace."""

        def generate_trace_id(self) -> int:
            return int(job.id, 16)

    provider = TracerProvider(
        resource=Resource.create({"service.name": "trimtab"}), id_generator=JobIds(), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tell(provider.get_tracer("trimtab"), job, report)
    provider.shutdown()


def _tell(tracer: Tracer, job: AdaptationJob, report: DriftReport | None) -> None:
    """The root span from the report, else from the job's opening, to its end; the stages below it."""
    from opentelemetry.trace import Status, StatusCode, set_span_in_context

    ended_at = job.finished_at or job.created_at
    began_at = report.created_at if report else job.created_at
    root = tracer.start_span("adaptation", start_time=_ns(began_at), attributes=_of_job(job))
    inside = set_span_in_context(root)
    for name, start, end, attributes in _stages(job, report):
        span = tracer.start_span(name, inside, start_time=_ns(start), attributes=attributes)
        if name == "train and judge":
            _add_checks(span, job, ended_at)
        span.end(_ns(end))
    if job.status in {JobStatus.FAILED, JobStatus.TIMED_OUT}:
        root.set_status(Status(StatusCode.ERROR, job.reason))
    root.add_event(job.status.value, {"reason": job.reason}, timestamp=_ns(ended_at))
    root.end(_ns(ended_at))


def _stages(
    job: AdaptationJob, report: DriftReport | None
) -> Iterator[tuple[str, float, float, Mapping[str, Any]]]:
    """Name, start, end and attributes of what happened one after the other."""
    ended_at = job.finished_at or job.created_at
    if report is not None:
        yield "drift report", report.created_at, job.created_at, _of_report(report)
    started_at = job.started_at or ended_at
    yield "wait for labels and a worker", job.created_at, started_at, {}
    if job.started_at is not None:
        yield "train and judge", started_at, ended_at, {"trimtab.attempts": job.attempts}
        for stage in stages_of(job):
            used = {} if stage.cpu_s is None else {"trimtab.cpu_s": stage.cpu_s}
            yield f"stage: {stage.name}", stage.began_at, stage.ended_at, used


def _add_checks(span: Span, job: AdaptationJob, at: float) -> None:
    for check in (job.verdict or {}).get("checks", ()):
        shown = {
            name: check[name] for name in ("result", "value", "bound", "n") if check.get(name) is not None
        }
        span.add_event(f"gate: {check['name']}", shown, timestamp=_ns(at))


def _of_job(job: AdaptationJob) -> dict[str, Any]:
    told = {"job": job.id, "model": job.model, "status": job.status.value, "domain": job.domain}
    told |= {"cause": str(job.cause.get("kind", ""))}
    made = {} if job.version is None else {"version": job.version}
    return {f"trimtab.{name}": value for name, value in (told | made).items()}


def _of_report(report: DriftReport) -> dict[str, Any]:
    told = {
        "report": report.id,
        "severity": report.severity,
        "max_ks": report.max_ks,
        "version": report.version,
    }
    kind = {} if report.kind is None else {"kind": report.kind.value}
    return {f"trimtab.{name}": value for name, value in (told | kind).items()}


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
