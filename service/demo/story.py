"""The story: version 1 at home on movie reviews, tweets come, a worker adapts, movie comes back, a rollback.

prepare -> init -> up -> movie (quiet) -> tweets (alarm, labels, training, gate, swap) -> movie (no job)
-> compare versions on test rows -> [amazon, nyt] -> rollback -> stop -> judge every promise
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.client import Answer, ApiClient
from service.demo import show
from service.demo.budget import MAX_TRAIN, SOURCE, DomainRows, deal
from service.demo.data import cache_dir, fetch_archive, load_domains, write_rows
from service.demo.machine import DemoFailed, Machine, free_port, init_model, start_machine
from service.demo.measured import Accuracy, Measured, Rollback
from service.demo.model import packaged_model
from service.demo.probe import Prober, Scores, expected_scores, purity
from service.demo.promises import MIN_IN_DOMAIN, judge
from service.demo.shortened import demo_settings
from service.demo.watch import FINAL, View, Watcher, all_reports
from service.replay import DelayedFeedback, Pace, balanced_accuracy, replay, send_feedback
from trimtab.datafiles import Row
from trimtab.settings import Settings

MODEL = "sentiment"
FEEDBACK = 0.8  # share of the traffic whose label comes one day
DELAY_S = 4.0
RATE = 25.0  # events per second
RATE_TRAINING = 5.0  # two cores: the traffic leaves the trainer room
N_PROBE_TEXTS = 20  # of each of the two domains
N_KEEPSAKES = 5
BETWEEN = (
    570  # events at home between two further domains: more than a window, so that the next change is its own
)
AFTER_SWAP = 300  # tweets that the new version answers before the traffic returns to movie
CATCH_UP_S = 60.0
JOB_END_S = 420.0
PIN_BATCH = 32


@dataclass
class Stage:
    """What the chapters work with; `run_demo` opens and closes it."""

    client: ApiClient
    watcher: Watcher
    prober: Prober
    feedback: DelayedFeedback
    screen: show.Screen
    measured: Measured
    rows: dict[str, DomainRows]
    expected: dict[int, tuple[Scores, ...]] = field(default_factory=dict)
    keepsakes: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def keepsake_texts(self) -> list[str]:
        return [row.text for row in self.rows["tweets"].test[-N_KEEPSAKES:]]


def run_demo(settings: Settings, *, full: bool, json_file: Path | None, keep: bool, seed: int) -> int:
    """Run the whole story; returns the exit code: 0 only if every promise held.

    Raises:
        DemoDataMissing, BaseModelMissing: what the demo needs cannot be had.
        DemoFailed: a process did not start.
    """
    measured = Measured(seed=seed, full=full, further=("amazon", "nyt") if full else ())
    home = Path(tempfile.mkdtemp(prefix="trimtab-demo-"))
    try:
        with measured.timed("total"):
            _tell(settings, home, measured)
    finally:
        if keep:
            show.line(f"The home is kept: trimtab --home {home / 'home'} status")
        else:
            shutil.rmtree(home, ignore_errors=True)
    promises = judge(measured)
    show.scorecard(measured, promises)
    if json_file is not None:
        json_file.write_text(json.dumps(show.as_document(measured, promises), indent=2), encoding="utf-8")
    return 0 if all(promise.held for promise in promises) else 1


def _tell(settings: Settings, home: Path, measured: Measured) -> None:
    with measured.timed("prepare"):
        base, rows = packaged_model(), _prepare_rows(measured)
        data = write_rows(home / "init.jsonl", rows[SOURCE].init)
    settings = demo_settings(
        settings, home=home / "home", port=free_port(), seed=measured.seed, full=measured.full
    )
    show.opening(measured, base, settings)
    with measured.timed("init"):
        init_model(settings, MODEL, base=base, data=data, max_train=MAX_TRAIN)
    with measured.timed("up"):
        machine = start_machine(settings)
    show.line(f"Up at {machine.running.url}: {', '.join(machine.running.parts)}")
    try:
        _play(machine, rows, measured)
    finally:
        with measured.timed("stop"):
            measured.exit_code = machine.stop()
            measured.left_over = machine.left_over()


def _prepare_rows(measured: Measured) -> dict[str, DomainRows]:
    rows = deal(load_domains(fetch_archive(cache_dir())), seed=measured.seed)
    measured.budget = {
        name: {"init": len(part.init), "stream": len(part.stream), "test": len(part.test)}
        for name, part in rows.items()
    }
    return rows


def _play(machine: Machine, rows: dict[str, DomainRows], measured: Measured) -> None:
    """Everything that happens while the machine is up."""
    url = machine.running.url
    texts = _probe_texts(rows)
    with ApiClient(url) as client, show.Screen() as screen:
        watcher, prober = Watcher(url, MODEL), Prober(url, MODEL, texts)
        feedback = DelayedFeedback(client, fraction=FEEDBACK, delay_s=DELAY_S)
        stage = Stage(client, watcher, prober, feedback, screen, measured, rows)
        watcher.start()
        try:
            _remember(stage)
            prober.start()
            _chapters(stage)
        finally:
            prober.stop()
            watcher.stop()
            _count_answers(stage)
        measured.purity = purity(prober.answers, stage.expected)
        measured.reports = all_reports(client, MODEL)
        measured.detected_after = _delays(measured)
        measured.in_domain_crossings = sum(
            report["alarm"] and report["events_seen"] <= measured.in_domain_events
            for report in measured.reports
        )


def _chapters(stage: Stage) -> None:
    measured, movie = stage.measured, stage.rows[SOURCE].stream
    n_back = len(movie) - BETWEEN * max(len(measured.further) - 1, 0)
    with measured.timed("movie"):
        _at_home(stage, movie[:MIN_IN_DOMAIN])
    with measured.timed("tweets"):
        _new_domain(stage, "tweets")
    with measured.timed("movie again"):
        _return(stage, movie[MIN_IN_DOMAIN:n_back])
    with measured.timed("compare"):
        _compare(stage, (SOURCE, "tweets"))
    for index, domain in enumerate(measured.further):
        if index:
            _send(stage, f"movie before {domain}", movie[n_back + BETWEEN * (index - 1) :][:BETWEEN])
            _wait_until_seen(stage)
        with measured.timed(domain):
            _new_domain(stage, domain)
        with measured.timed("compare"):
            _compare(stage, (SOURCE, "tweets", *measured.further[: index + 1]))
    with measured.timed("rollback"):
        _roll_back(stage)


def _at_home(stage: Stage, rows: Sequence[Row]) -> None:
    """Traffic like the training data: nothing may happen."""
    _send(stage, "movie", rows)
    _wait_until_seen(stage)
    stage.measured.in_domain_events = len(rows)
    stage.measured.in_domain_alarms = stage.watcher.view.alarms_total


def _new_domain(stage: Stage, domain: str) -> None:
    """Traffic of another kind until the job that it opens has ended, and a little longer."""
    rows, before = stage.rows[domain].stream, {job["id"] for job in stage.watcher.view.jobs}

    def ended(view: View) -> bool:
        job = view.job
        return job is not None and job["id"] not in before and job["status"] in FINAL

    n_sent = _send(stage, domain, rows, until=ended)
    _send_all_labels(stage)
    if stage.watcher.wait_for(lambda view: view.job is not None and view.job["id"] not in before, CATCH_UP_S):
        stage.watcher.wait_for(ended, JOB_END_S)
    job = stage.watcher.view.job
    if job is None or job["id"] in before:
        return
    stage.measured.jobs[domain] = stage.client.call("GET", f"/admin/v1/jobs/{job['id']}")
    if job["status"] == "promoted":
        stage.watcher.wait_for(lambda view: view.champion == job["version"], CATCH_UP_S)
        _remember(stage)
        _send(stage, domain, rows[n_sent : n_sent + AFTER_SWAP])


def _return(stage: Stage, rows: Sequence[Row]) -> None:
    """The first domain again: known, nothing to learn."""
    before = {job["id"] for job in stage.watcher.view.jobs}
    _send(stage, "movie again", rows)
    _wait_until_seen(stage)
    stage.measured.return_events = len(rows)
    stage.measured.jobs_on_return = sum(job["id"] not in before for job in stage.watcher.view.jobs)


def _compare(stage: Stage, domains: Sequence[str]) -> None:
    """Every loaded version on the test rows, which were never traffic, by asking the API for it by number."""
    served = next(each for each in stage.client.call("GET", "/v1/models")["models"] if each["name"] == MODEL)
    done = {(each.version, each.domain) for each in stage.measured.accuracies}
    for version in served["versions"]:
        for domain in domains:
            if (version, domain) not in done:
                stage.measured.accuracies.append(_accuracy(stage, version, domain))


def _accuracy(stage: Stage, version: int, domain: str) -> Accuracy:
    rows, pairs = stage.rows[domain].test, []
    for start in range(0, len(rows), PIN_BATCH):
        batch = rows[start : start + PIN_BATCH]
        answers = stage.client.predict(MODEL, [row.text for row in batch], version=version, sample=False)
        if any(answer.version != version for answer in answers):
            raise DemoFailed(f"asked for version {version}, but version {answers[0].version} answered")
        stage.measured.n_answers += 1
        pairs += [(row.label, answer.label) for row, answer in zip(batch, answers, strict=True)]
    plain = sum(true == predicted for true, predicted in pairs) / len(pairs)
    return Accuracy(
        version=version, domain=domain, n=len(pairs), balanced=balanced_accuracy(pairs), plain=plain
    )


def _roll_back(stage: Stage) -> None:
    """Step back, and hold the answers against those that the same version gave before."""
    aliases = stage.client.call("GET", f"/admin/v1/models/{MODEL}/versions")["aliases"]
    if "previous" not in aliases:
        return  # nothing was promoted; that promise is broken already
    started = time.monotonic()
    back = stage.client.call("POST", f"/admin/v1/models/{MODEL}/rollback", {"reason": "the demo shows it"})
    version = back["aliases"]["champion"]
    stage.watcher.wait_for(lambda view: view.champion == version, CATCH_UP_S)
    seconds = round(time.monotonic() - started, 3)
    now, before = _keepsakes(stage), stage.keepsakes[version]
    stage.measured.rollback = Rollback(
        version=version,
        n=len(now),
        equal=sum(one == other for one, other in zip(now, before, strict=True)),
        seconds=seconds,
    )


def _probe_texts(rows: dict[str, DomainRows]) -> list[str]:
    return [row.text for domain in (SOURCE, "tweets") for row in rows[domain].test[:N_PROBE_TEXTS]]


def _remember(stage: Stage) -> None:
    """What the serving version answers now: to be held against later answers that name it."""
    stage.watcher.wait_for(lambda view: view.champion > 0, CATCH_UP_S)
    version = stage.watcher.view.champion
    stage.expected[version] = expected_scores(stage.client, MODEL, _probe_texts(stage.rows), version)
    stage.keepsakes[version] = _keepsakes(stage)
    stage.measured.n_answers += len(_probe_texts(stage.rows))


def _keepsakes(stage: Stage) -> list[dict[str, Any]]:
    """Single-item answers of whatever serves, with every digit; without the ids, which never repeat."""
    answers = [
        stage.client.predict(MODEL, [text], scores=True, sample=False)[0] for text in stage.keepsake_texts
    ]
    stage.measured.n_answers += len(answers)
    return [_content(answer) for answer in answers]


def _content(answer: Answer) -> dict[str, Any]:
    return {
        "version": answer.version,
        "label": answer.label,
        "score": answer.score,
        "scores": dict(answer.scores),
    }


def _send(
    stage: Stage, segment: str, rows: Sequence[Row], until: Callable[[View], bool] = lambda _: False
) -> int:
    """Send rows as traffic, slower while a job trains, until `until(view)`; returns how many were sent."""
    watcher, measured = stage.watcher, stage.measured
    pace = Pace(lambda: RATE_TRAINING if watcher.view.training else RATE)
    first = len(measured.sent)
    measured.segments.setdefault(segment, first)
    with stage.screen.chapter(segment, len(rows)) as progress:
        for row in rows:
            sent = replay(stage.client, MODEL, [row], pace=pace, feedback=stage.feedback)
            measured.sent += sent
            progress(watcher.view)
            if until(watcher.view):
                break
    return len(measured.sent) - first


def _wait_until_seen(stage: Stage) -> None:
    """Until the monitor has seen everything that was sent, and checked it."""
    n_answered = sum(sent.answer is not None for sent in stage.measured.sent)
    stage.watcher.wait_for(lambda view: view.events_seen >= n_answered, CATCH_UP_S)


def _send_all_labels(stage: Stage) -> None:
    if failure := send_feedback(stage.feedback, everything=True):
        stage.measured.failures.append(failure)


def _count_answers(stage: Stage) -> None:
    measured, prober = stage.measured, stage.prober
    measured.n_answers += len(measured.sent) + len(prober.answers) + len(prober.failures)
    measured.failures += [sent.failure for sent in measured.sent if sent.answer is None] + prober.failures


def _delays(measured: Measured) -> dict[str, int]:
    """By domain: events between its first one and the check that opened its job."""
    events_seen = {
        report["job_id"]: report["events_seen"] for report in measured.reports if report.get("job_id")
    }
    delays = {}
    for domain, job in measured.jobs.items():
        before = sum(sent.answer is not None for sent in measured.sent[: measured.segments[domain]])
        if job["id"] in events_seen:
            delays[domain] = int(events_seen[job["id"]]) - before
    return delays
