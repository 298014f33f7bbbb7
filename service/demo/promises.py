"""What the demo promises, each held against what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from service.demo.measured import Accuracy, Measured
from service.demo.probe import SAME

MIN_IN_DOMAIN = 2_000
MAX_DELAY = 1_000
MIN_GAIN = 0.08
MAX_LOSS = 0.03
MIN_TOLD_APART = 50


@dataclass(frozen=True)
class Promise:
    """One promise: whether it held, what was measured and what was required, in words."""

    name: str
    held: bool
    measured: str
    required: str


def judge(measured: Measured) -> list[Promise]:
    """Every promise of this run."""
    promises = [
        _quiet(measured),
        _noticed(measured),
        _trained(measured),
        _gate(measured),
        _answered(measured),
        _pure(measured),
        _gained(measured),
        _kept(measured),
        _calm(measured),
        _rolled_back(measured),
        _stopped(measured),
    ]
    return promises + [_decided(domain, measured) for domain in measured.further]


def _quiet(measured: Measured) -> Promise:
    found = f"{measured.in_domain_alarms} alarms in {measured.in_domain_events} events"
    held = measured.in_domain_alarms == 0 and measured.in_domain_events >= MIN_IN_DOMAIN
    return Promise("no alarm at home", held, found, f"0 in >= {MIN_IN_DOMAIN:,}")


def _noticed(measured: Measured) -> Promise:
    delay = measured.detected_after.get("tweets")
    found = "not noticed" if delay is None else f"{delay} events after the change"
    return Promise(
        "tweets noticed", delay is not None and delay <= MAX_DELAY, found, f"<= {MAX_DELAY:,} events"
    )


def _trained(measured: Measured) -> Promise:
    job = measured.job_of("tweets")
    found = (
        "no job"
        if job is None
        else f"job {job['status']}, version {job['version']}, {job['attempts']} attempt(s)"
    )
    held = job is not None and job["status"] == "promoted" and job["version"] == 2
    return Promise("a worker trained version 2", held, found, "promoted, version 2")


def _gate(measured: Measured) -> Promise:
    verdict = (measured.job_of("tweets") or {}).get("verdict") or {}
    checks = verdict.get("checks", [])
    passed = sum(check["result"] == "pass" for check in checks)
    tests = [check for check in checks if check["name"].startswith(("forgetting:", "gain:"))]
    stated = all(check[member] is not None for check in tests for member in ("value", "bound", "n", "power"))
    held = verdict.get("verdict") == "promote" and passed == len(checks) and len(tests) >= 2 and stated
    found = f"{verdict.get('verdict', 'no verdict')}, {passed} of {len(checks)} checks passed"
    return Promise("the gate let it pass", held, found, "promote, every check with value, bound, n, power")


def _answered(measured: Measured) -> Promise:
    found = f"{len(measured.failures)} of {measured.n_answers} failed"
    return Promise(
        "every request answered", not measured.failures and measured.n_answers > 0, found, "0 failed"
    )


def _pure(measured: Measured) -> Promise:
    purity = measured.purity
    if purity is None:
        return Promise("every answer of one version", False, "not measured", "")
    enough = purity.told_apart >= MIN_TOLD_APART and len(purity.by_version) >= 2
    held = purity.impure == 0 and purity.unknown == 0 and enough
    found = f"largest difference {purity.largest_difference:.1e} over {purity.told_apart} answers"
    return Promise(
        "every answer of one version",
        held,
        found,
        f"<= {SAME:.0e}, >= {MIN_TOLD_APART} answers, >= 2 versions",
    )


def _gained(measured: Measured) -> Promise:
    before, after = (
        accuracy_of(measured.accuracies, 1, "tweets"),
        accuracy_of(measured.accuracies, 2, "tweets"),
    )
    held = before is not None and after is not None and after.balanced - before.balanced >= MIN_GAIN
    return Promise("better on tweets", held, _change(before, after), f">= +{MIN_GAIN:.2f} balanced accuracy")


def _kept(measured: Measured) -> Promise:
    before, after = accuracy_of(measured.accuracies, 1, "movie"), accuracy_of(measured.accuracies, 2, "movie")
    held = before is not None and after is not None and after.balanced - before.balanced >= -MAX_LOSS
    return Promise(
        "nothing forgotten on movie", held, _change(before, after), f">= -{MAX_LOSS:.2f} balanced accuracy"
    )


def _calm(measured: Measured) -> Promise:
    found = f"{measured.jobs_on_return} new jobs in {measured.return_events} events"
    held = measured.jobs_on_return == 0 and measured.return_events > 0
    return Promise("back on movie, no new job", held, found, "0 jobs")


def _rolled_back(measured: Measured) -> Promise:
    back = measured.rollback
    found = (
        "not done"
        if back is None
        else f"{back.equal} of {back.n} answers equal version {back.version}'s before"
    )
    held = back is not None and back.n > 0 and back.equal == back.n
    return Promise("rollback restores every bit", held, found, "all equal, bit for bit")


def _stopped(measured: Measured) -> Promise:
    left = ", ".join(measured.left_over) or "nothing left"
    held = measured.exit_code == 0 and not measured.left_over
    return Promise(
        "stopped in order", held, f"exit code {measured.exit_code}, {left}", "exit code 0, nothing left"
    )


def _decided(domain: str, measured: Measured) -> Promise:
    """Only a job about this domain's own traffic decides it: one whose window began before is another's."""
    name, job = f"{domain}: decided", measured.job_of(domain)
    required = "promoted with its gain, or held with what was missing"
    if job is None:
        return Promise(name, False, "no job", required)
    if job["window_from_seq"] <= measured.segments[domain]:
        return Promise(name, False, f"its job ({job['status']}) is about the traffic before it", required)
    checks = (job.get("verdict") or {}).get("checks", [])
    gain = next((check for check in checks if check["name"] == f"gain:{domain}"), None)
    if job["status"] == "promoted" and gain is not None:
        return Promise(name, True, f"promoted, gain {gain['value']:+.3f} (n = {gain['n']})", required)
    missing = {part: n for part, n in (job.get("missing") or {}).items() if n}
    reason = job["reason"] or ", ".join(f"{part}: {n} missing" for part, n in missing.items())
    held = job["status"] in {"held", "timed_out"} and bool(reason)
    return Promise(name, held, f"{job['status']}: {reason}", required)


def accuracy_of(accuracies: Iterable[Accuracy], version: int, domain: str) -> Accuracy | None:
    """The measurement of this version on this domain."""
    return next((each for each in accuracies if each.version == version and each.domain == domain), None)


def _change(before: Accuracy | None, after: Accuracy | None) -> str:
    if before is None or after is None:
        return "not measured"
    return f"{before.balanced:.3f} -> {after.balanced:.3f} ({after.balanced - before.balanced:+.3f}, n = {after.n})"


def as_rows(promises: Sequence[Promise]) -> list[dict[str, Any]]:
    """Plain JSON objects."""
    return [vars(promise) for promise in promises]
