"""`python -m benchmarks.adaptation.timeline`: time from the alert to the promoted version for 1,000 labelled tweets."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from benchmarks.adaptation.timeline_report import Moments, Span, chart, report, spans_of
from benchmarks.serving.machine import facts
from service.client import ApiClient, Label
from service.demo.budget import MAX_TRAIN, SOURCE, deal
from service.demo.data import cache_dir, fetch_archive, load_domains, write_rows
from service.demo.machine import DemoFailed, Machine, free_port, init_model, start_machine
from service.demo.model import packaged_model
from service.demo.shortened import demo_settings
from trimtab.datafiles import Row
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.ledger import Ledger, jobs, reports, samples
from trimtab.settings import Settings, read_settings
from trimtab.splits import key_of

MODEL, DOMAIN = "sentiment", "tweets"
N_HOME = 500  # movie snippets before the change
BATCH = 25
LOOK_S = 0.1
PATIENCE_S = 1200.0
Found = TypeVar("Found")


@dataclass(frozen=True)
class Run:
    """A machine that is up, its ledger, a client, and the texts to come."""

    machine: Machine
    ledger: Ledger
    client: ApiClient
    rows: dict[str, tuple[Row, ...]]
    n_labels: int

    def to_label(self, job: AdaptationJob) -> list[str]:
        """Ids of the predictions that get a label."""
        return window(self.ledger, MODEL, job, self.n_labels)


@dataclass(frozen=True)
class Measured:
    """The spans of a run, CPU seconds by process, and the job's verdict in words."""

    spans: tuple[Span, ...]
    processes: dict[str, float]
    status: str
    reason: str


def play(run: Run) -> Measured:
    """Home traffic, the change, labels when they are asked for, until the new version answers. Raises DemoFailed."""
    send(run, run.rows[SOURCE][:N_HOME])
    before = cpu_of(run.machine)
    job = wait_for_job(run)
    give_labels(run, job)
    labels_at = time.time()
    ended = look_until(lambda: ended_job(run.ledger, job.id), "the end of the job")
    if ended.status is not JobStatus.PROMOTED:
        raise DemoFailed(f"the job is {ended.status}: {ended.reason}")
    text = run.rows[DOMAIN][-1].text
    look_until(lambda: answered_by(run.client, text) == ended.version, "the first answer", 0.02)
    served_at = time.time()
    used = {name: round(seconds - before[name], 1) for name, seconds in cpu_of(run.machine).items()}
    with run.ledger.read() as tx:
        alert_at = reports.get_report(tx, ended.cause["report"]).created_at
    moments = Moments(alert_at=alert_at, labels_at=labels_at, served_at=served_at)
    return Measured(spans_of(ended, moments), used, ended.status.value, ended.reason)


def send(run: Run, rows: Sequence[Row]) -> None:
    """Traffic, in requests of 25 texts."""
    for start in range(0, len(rows), BATCH):
        run.client.predict(MODEL, [row.text for row in rows[start : start + BATCH]])


def wait_for_job(run: Run) -> AdaptationJob:
    """Sends tweets until the monitor has opened a job and its window holds enough of them."""
    rows = run.rows[DOMAIN][:-1]
    for start in range(0, len(rows), BATCH):
        send(run, rows[start : start + BATCH])
        if start < run.n_labels:
            continue
        job = newest_job(run.ledger, MODEL)
        if job is not None and len(run.to_label(job)) == run.n_labels:
            return job
    job = look_until(lambda: newest_job(run.ledger, MODEL), "a job")
    look_until(lambda: len(run.to_label(job)) == run.n_labels, f"{run.n_labels} texts in the window")
    return job


def window(ledger: Ledger, model: str, job: AdaptationJob, n: int) -> list[str]:
    """Ids of the first n predictions of the job's window whose texts differ."""
    with ledger.read() as tx:
        found = samples.window_rows(tx, model, job.window_from_seq, 20_000)
    distinct = {key_of(row.text): row.prediction_id for row in reversed(found) if row.text is not None}
    return list(distinct.values())[::-1][:n]


def give_labels(run: Run, job: AdaptationJob) -> None:
    """All labels in one request: the job finds none of them, or all."""
    truth = {key_of(row.text): row.label for row in (*run.rows[SOURCE], *run.rows[DOMAIN])}
    ids = run.to_label(job)
    with run.ledger.read() as tx:
        known = samples.get_predictions(tx, ids)
    labels = [Label(each, truth[key_of(known[each].text or "")]) for each in ids]
    outcome = run.client.feedback(labels)
    if outcome["joined"] != len(labels):
        raise DemoFailed(f"of {len(labels)} labels {outcome['joined']} were joined")


def newest_job(ledger: Ledger, model: str) -> AdaptationJob | None:
    with ledger.read() as tx:
        return next(iter(jobs.list_jobs(tx, model, limit=1)), None)


def ended_job(ledger: Ledger, job_id: str) -> AdaptationJob | None:
    with ledger.read() as tx:
        job = jobs.get_job(tx, job_id)
    return job if job.status.final else None


def answered_by(client: ApiClient, text: str) -> int:
    return client.predict(MODEL, [text], sample=False)[0].version


def look_until(look: Callable[[], Found | None], what: str, every_s: float = LOOK_S) -> Found:
    """The first true answer of `look`. Raises DemoFailed when none comes in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        if time.monotonic() > deadline:
            raise DemoFailed(f"{what} did not come within {PATIENCE_S:.0f} s")
        time.sleep(every_s)
    return found


def cpu_of(machine: Machine) -> dict[str, float]:
    """CPU seconds of every part so far; those of children that have ended count for the part that started them."""
    return {name: _cpu(psutil.Process(pid)) for name, pid in machine.running.parts.items()}


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    own: float = times.user + times.system + times.children_user + times.children_system
    return own + sum(_cpu(child) for child in process.children())


@contextmanager
def up(home: Path, seed: int, n_labels: int) -> Iterator[Run]:
    """Version 1 made and served in a home of its own, until the context ends. Raises DemoFailed, DemoDataMissing."""
    rows = deal(load_domains(fetch_archive(cache_dir())), seed=seed)
    settings = demo_settings(read_settings(), home=home / "home", port=free_port(), seed=seed, full=False)
    data = write_rows(home / "init.jsonl", rows[SOURCE].init)
    init_model(settings, MODEL, base=packaged_model(), data=data, max_train=MAX_TRAIN)
    machine = start_machine(settings)
    ledger = Ledger(settings.ledger_url)
    try:
        with ApiClient(machine.running.url, timeout_s=120.0) as client:
            streams = {name: part.stream for name, part in rows.items()}
            yield Run(machine, ledger, client, streams, n_labels)
    finally:
        ledger.close()
        machine.stop()


def write(out: Path, found: Measured, about: dict[str, str]) -> None:
    """timeline.json, timeline.md and timeline.svg."""
    out.mkdir(parents=True, exist_ok=True)
    document = json.dumps(asdict(found) | {"facts": about}, indent=1)
    (out / "timeline.json").write_text(document + "\n", encoding="utf-8")
    (out / "timeline.md").write_text(report(found.spans, about, found.processes), encoding="utf-8")
    (out / "timeline.svg").write_text(chart(found.spans), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs it once and prints the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptation.timeline", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".bench/timeline"))
    parser.add_argument("--labels", type=int, default=1000, help="labelled tweets, of all parts together")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(argv)
    settings: Settings = read_settings()
    about = facts() | {"labels": str(arguments.labels), "trainer's threads": str(settings.training.threads)}
    with (
        tempfile.TemporaryDirectory(prefix="trimtab-timeline-") as home,
        up(Path(home), arguments.seed, arguments.labels) as run,
    ):
        found = play(run)
    write(arguments.out, found, about)
    print(report(found.spans, about, found.processes))


if __name__ == "__main__":
    main()
