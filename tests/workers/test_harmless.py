"""Drifts that cost nothing: references are renewed, or the temperature is refitted, and no answer changes. For real."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from monitoring.calibration import calibrate
from monitoring.check import Baseline, judge_reading
from monitoring.detector import Detector, Windows
from monitoring.mixture import know_domains
from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, toy_shop
from trimtab.adapter import (
    CONFIG,
    HEAD,
    MANIFEST,
    REFERENCES,
    REMEDY,
    WEIGHTS,
    AdapterManifest,
    file_digests,
    sign,
)
from trimtab.bundle import Remedy
from trimtab.datafiles import Row
from trimtab.drift import DriftKind
from trimtab.features import References
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.ledger import gate_history, versions
from trimtab.ledger.examples import list_examples
from trimtab.splits import key_of, part_of
from workers.workshop import load_version

DATA = {"data:labels", "data:clients", "data:duplicates", "data:classes"}
WINDOWS = Windows(block=10, short=100, long=200)


def wordy(n: int, seed: int) -> list[Row]:
    """Films in more words that say nothing."""
    return [
        replace(row, text=f"this {row.text} that", domain="wordy") for row in toy_rows("film", n, seed=seed)
    ]


@pytest.fixture(scope="module")
def benign(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path
) -> Iterator[tuple[ToyShop, AdaptationJob]]:
    with toy_shop(tmp_path_factory.mktemp("benign"), tiny_base_dir) as toy:
        toy.create_first(toy_rows("film", 900))
        yield toy, toy.adapt(toy.stream(wordy(900, seed=5)), DriftKind.COVARIATE_BENIGN)


def files_of(toy: ToyShop, n: int) -> dict[str, bytes]:
    with toy.ledger.read() as tx:
        digest = versions.get_version(tx, MODEL, n).digest
    assert digest is not None
    return toy.shop.store.get(digest)


def baseline_of(files: dict[str, bytes]) -> Baseline:
    references = References.from_bytes(files[REFERENCES])
    known = know_domains(references.rows)
    thresholds = tuple(calibrate(rows, known.edges, WINDOWS, 500.0, ordered=False) for rows in known.rows)
    return Baseline(1, known, references, thresholds)


def alarms(toy: ToyShop, n: int, rows: list[Row]) -> bool:
    """Whether the monitor takes this traffic of a version for drift."""
    baseline = baseline_of(files_of(toy, n))
    answers = load_version(toy.shop, None, MODEL, n).answers
    texts = [row.text for row in rows]
    detector = Detector(baseline.known, WINDOWS)
    detector.take(baseline.references.feature_map.rows(answers.outputs(texts), texts))
    return judge_reading(baseline, detector.read(), (WINDOWS.short, WINDOWS.long), None).alarm


def test_a_harmless_drift_renews_the_references_only(benign: tuple[ToyShop, AdaptationJob]) -> None:
    toy, job = benign
    assert (job.status, job.reason) == (JobStatus.PROMOTED, "every check passed")
    assert job.plan is not None
    assert (job.plan["situation"], job.plan["method"]) == ("S0", "reference")
    assert any("the loss is at most" in reason for reason in job.plan["reasons"])
    first, second = files_of(toy, 1), files_of(toy, 2)
    assert all(first[name] == second[name] for name in (WEIGHTS, CONFIG, HEAD, REMEDY))
    assert References.from_bytes(second[REFERENCES]).rows.keys() == {"film", "wordy"}
    assert AdapterManifest.from_bytes(second[MANIFEST]).training["learnt"] is False


def test_the_verdict_says_with_what_power_no_loss_was_seen(benign: tuple[ToyShop, AdaptationJob]) -> None:
    _, job = benign
    assert job.verdict is not None
    checks = {check["name"]: check for check in job.verdict["checks"]}
    assert checks.keys() == {"integrity", "parity", "unchanged", "benign:wordy", *DATA}
    found = checks["benign:wordy"]
    assert found["bound"] < found["limit"]
    assert 0.0 < found["power"] <= 1.0
    assert found["n"] > 200


def test_the_same_answers_to_every_text(benign: tuple[ToyShop, AdaptationJob]) -> None:
    toy, _ = benign
    texts = [row.text for domain in ("film", "shop") for row in toy_rows(domain, 50, seed=9)]
    one, other = (load_version(toy.shop, None, MODEL, n).answers.probabilities(texts) for n in (1, 2))
    np.testing.assert_array_equal(one, other)


def test_the_alarm_does_not_come_again(benign: tuple[ToyShop, AdaptationJob]) -> None:
    toy, _ = benign
    later = wordy(WINDOWS.long, seed=77)
    assert alarms(toy, 1, later)
    assert not alarms(toy, 2, later)
    assert alarms(toy, 2, toy_rows("shop", WINDOWS.long, seed=3))


def domains_of(toy: ToyShop, role: str) -> set[str]:
    with toy.ledger.read() as tx:
        return {example.domain for example in list_examples(tx, MODEL, role)}


def test_labels_that_it_did_not_learn_from_are_there_for_the_next_job(
    benign: tuple[ToyShop, AdaptationJob],
) -> None:
    toy, _ = benign
    assert domains_of(toy, "memory") == {"film", "wordy"}


def test_labels_that_are_flipped_do_not_enter_the_memory_unseen(tmp_path: Path, tiny_base_dir: Path) -> None:
    """One of four clients turns its training labels round: what judges is right, the version is promoted."""
    opposite = dict(zip(LABELS, reversed(LABELS), strict=True))
    rows = [
        replace(row, label=opposite[row.label])
        if i % 4 == 0 and part_of(key_of(row.text)) == "train"
        else row
        for i, row in enumerate(wordy(900, seed=5))
    ]
    with toy_shop(tmp_path, tiny_base_dir) as toy:
        toy.create_first(toy_rows("film", 900))
        first = toy.stream(rows, clients=("mallory", "ann", "bob", "cid"))
        job = toy.adapt(first, DriftKind.COVARIATE_BENIGN)
        assert job.plan is not None
        assert (job.status, job.plan["method"]) == (JobStatus.PROMOTED, "reference")
        assert "labels of the training part are not kept: data:labels" in job.reason
        assert "'mallory'" in job.reason
        assert domains_of(toy, "memory") == {"film"}
        assert domains_of(toy, "gate") == {"film", "wordy"}
        with toy.ledger.read() as tx:
            (window,) = gate_history.quarantined(tx, MODEL)
            kept = [
                each for role in ("gate", "selection", "reference") for each in list_examples(tx, MODEL, role)
            ]
        said = {each.client for each in kept if each.domain == "wordy" and each.label is not None}
        assert said == {"ann", "bob", "cid"}  # what mallory says to judge by is right, but who is to know
        assert "mallory" in {each.client for each in kept if each.role == "reference"}
    assert (window.from_seq, window.to_seq) == (first, first + 899)


def timid(toy: ToyShop, temperature: float) -> None:
    """Version 2 is version 1 that says everything with this temperature."""
    files = files_of(toy, 1) | {REMEDY: Remedy(temperature=temperature).to_bytes()}
    manifest = replace(AdapterManifest.from_bytes(files[MANIFEST]), version=2, files=file_digests(files))
    digest = toy.shop.store.put(files | sign(manifest, toy.shop.private_key))
    with toy.ledger.begin() as tx:
        state = versions.VersionState.ACCEPTED
        versions.record_version(tx, MODEL, 2, digest, 1, state, manifest=asdict(manifest))
        versions.promote(tx, MODEL, 2, actor="test", reason="test")


def test_answers_that_are_less_sure_than_they_are_right_get_a_temperature(
    tmp_path: Path, tiny_base_dir: Path
) -> None:
    with toy_shop(tmp_path, tiny_base_dir) as toy:
        toy.create_first(toy_rows("film", 900))
        timid(toy, 6.0)
        job = toy.adapt(toy.stream(wordy(900, seed=5), version=2), DriftKind.COVARIATE_BENIGN)
        assert job.plan is not None
        assert (job.plan["situation"], job.plan["method"]) == ("S3", "temperature | reference")
        assert job.status is JobStatus.PROMOTED
        assert job.verdict is not None
        reasons = {each["name"]: each["reason"] for each in job.verdict["selection"]["rivals"]}
        assert reasons["reference"] == "not needed: temperature proposes something"
        found = {check["name"]: check for check in job.verdict["checks"]}
        assert found.keys() == {
            "integrity",
            "parity",
            "unchanged",
            "calibration_gain:wordy",
            "likelihood:film",
            *DATA,
        }
        assert found["calibration_gain:wordy"]["bound"] > 0
        assert found["likelihood:film"]["value"] < 1.0
        first, third = files_of(toy, 1), files_of(toy, 3)
        assert all(first[name] == third[name] for name in (WEIGHTS, CONFIG, HEAD))
        assert Remedy.from_bytes(third[REMEDY]).temperature < 6.0


def test_where_no_temperature_can_be_fitted_the_references_are_renewed(
    tmp_path: Path, tiny_base_dir: Path
) -> None:
    """Labels that judge, and too few that teach: the answers stay as sure as they are, and the alarm ends."""
    rows = wordy(900, seed=5)
    judged = [row for row in rows if part_of(key_of(row.text)) != "train"]
    with toy_shop(tmp_path, tiny_base_dir) as toy:
        toy.create_first(toy_rows("film", 900))
        timid(toy, 6.0)
        first = toy.stream(judged, version=2)
        toy.stream([row for row in rows if row not in judged], version=2, labelled=False, name="rest")
        job = toy.adapt(first, DriftKind.COVARIATE_BENIGN)
        assert job.plan is not None
        assert job.verdict is not None
        assert (job.plan["situation"], job.plan["method"]) == ("S3", "temperature | reference")
        table = {each["name"]: each for each in job.verdict["selection"]["rivals"]}
        assert (table["temperature"]["state"], table["reference"]["state"]) == ("declined", "chosen")
        assert "too few for a temperature" in table["temperature"]["reason"]
        assert job.status is JobStatus.PROMOTED, job.reason
        assert not alarms(toy, 3, wordy(WINDOWS.long, seed=77))
