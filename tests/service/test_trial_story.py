"""A candidate on its way through a real API, a real Valkey, ledger and monitor: unseen, for 5 %, for 25 %, champion.

The candidate is version 1 under another number, which is as good as the champion by construction, or its opposite.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load as load_tensors
from safetensors.torch import save

from monitoring.monitor import tick
from monitoring.station import Station, open_station
from service.routing import Route
from service.valkey import ValkeyServer
from tests.fixtures.deployment import Deployment, RunningApi, eventually, flushed
from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, toy_shop
from trimtab.adapter import HEAD, AdapterManifest, file_digests, load_private_key, sign, verify
from trimtab.base import load_base
from trimtab.bundle import build_bundle, golden_of
from trimtab.jobs import JobStatus
from trimtab.ledger import jobs, trials, versions
from trimtab.ledger.versions import VersionState
from trimtab.settings import DriftSettings, ServerSettings, TrialSettings
from trimtab.trial import Stage, Trial, TrialMode

ROWS = toy_rows("film", 300)
TEXTS = [row.text for row in ROWS]
TRIAL = TrialSettings(
    mode=TrialMode.CANARY, shadow_requests=60, canary_shares=(0.05, 0.25), stage_requests=4, stage_s=3600.0
)


@pytest.fixture
def shop(tmp_path: Path, tiny_base_dir: Path, valkey: ValkeyServer) -> Iterator[ToyShop]:
    """A trained version 1 on films."""
    drift = DriftSettings(
        window=100, long_window=200, act_on="none", false_alarm_budget="1 per 100000 events"
    )
    more: dict[str, Any] = {"trial": TRIAL, "drift": drift, "server": ServerSettings(poll_s=0.05)}
    with toy_shop(tmp_path, tiny_base_dir, flushed(valkey.url), **more) as opened:
        opened.create_first(ROWS, epochs=1)
        yield opened


@dataclass
class Rehearsal:
    """A deployment that is served, its monitor, and clients of many groups."""

    shop: ToyShop
    api: RunningApi
    station: Station
    n_asked: int = 0

    def put_on_trial(self, *, opposite: bool) -> Trial:
        """Version 2 by a job, as the worker does when the gate lets it pass."""
        digest = self.shop.shop.store.put(_again(self.shop, opposite=opposite))
        job = self.shop.open_job(1)
        lease = self.shop.claim(job)
        with self.shop.ledger.begin() as tx:
            versions.reserve_version(tx, MODEL, job.id)
            versions.record_version(tx, MODEL, 2, digest, 1, VersionState.ACCEPTED, manifest={})
            trials.start_trial(tx, MODEL, 2, champion=1, job_id=job.id, reason="passed", actor="worker")
            jobs.await_trial(tx, lease, verdict={"checks": []}, version=2, reason="passed")
        eventually(lambda: self.route.challenger, "the version on trial")
        return self.trial

    @property
    def route(self) -> Route:
        return self.api.serving.routing.table.routes[MODEL]

    @property
    def trial(self) -> Trial:
        with self.shop.ledger.read() as tx:
            found = trials.get_trial(tx, MODEL, 2)
        assert found is not None
        return found

    def ask(self, n: int) -> list[str]:
        """The versions that answered n clients, each with a text of its own."""
        answered = []
        for _ in range(n):
            self.n_asked += 1
            text = {"text": TEXTS[self.n_asked % len(TEXTS)], "group": f"review {self.n_asked}"}
            answered.append(self.api.predict(text).headers["X-Model-Version"])
        return answered

    def round(self) -> Trial:
        """A round of the monitor; replicas have heard of what came of it."""
        assert tick(self.station)
        trial = self.trial
        eventually(lambda: self._follows(trial), "the replica")
        return trial

    def _follows(self, trial: Trial) -> bool:
        here = self.route.trial
        return trial.stage.final if here is None else (here.stage, here.share) == (trial.stage, trial.share)

    def job(self) -> JobStatus:
        with self.shop.ledger.read() as tx:
            return jobs.list_jobs(tx, MODEL, limit=1)[0].status


@pytest.fixture
def rehearsal(shop: ToyShop) -> Iterator[Rehearsal]:
    settings = shop.settings
    toy = Deployment(
        settings=settings, base_dir=shop.base_dir, base=load_base(str(shop.base_dir), "cpu"),
        ledger=shop.ledger, store=shop.shop.store, key=load_private_key(settings.private_key_path),
    )  # fmt: skip
    with toy.running() as api, open_station(settings, toy.nudged.append) as station:
        yield Rehearsal(shop, api, station)


def _again(shop: ToyShop, *, opposite: bool) -> dict[str, bytes]:
    """The files of version 1 as version 2; the opposite answers the other label everywhere."""
    key, base = load_private_key(shop.settings.private_key_path), load_base(str(shop.base_dir), "cpu")
    with shop.ledger.read() as tx:
        digest = versions.get_version(tx, MODEL, 1).digest or ""
    files = dict(shop.shop.store.get(digest))
    manifest = verify(files, key.public_key())
    if opposite:
        files[HEAD] = save({name: -tensor for name, tensor in load_tensors(files[HEAD]).items()})
    second = replace(manifest, version=2, parent=1, files=file_digests(files))
    bundle = build_bundle(base, files, manifest=second, digest="")
    signed: AdapterManifest = replace(second, golden=golden_of(bundle))
    return files | sign(signed, key)


def test_a_good_candidate_becomes_champion_step_by_step(rehearsal: Rehearsal) -> None:
    rehearsal.put_on_trial(opposite=False)
    seen: list[tuple[Stage, float]] = []
    by_stage: dict[tuple[Stage, float], list[str]] = {}
    trial = rehearsal.trial
    for _ in range(60):
        if trial.stage.final:
            break
        stage = (trial.stage, trial.share)
        seen += [stage] if stage not in seen else []
        by_stage.setdefault(stage, []).extend(rehearsal.ask(25))
        trial = rehearsal.round()
    assert seen == [(Stage.SHADOW, 0.0), (Stage.CANARY, 0.05), (Stage.CANARY, 0.25)]
    assert set(by_stage[Stage.SHADOW, 0.0]) == {"1"}
    for stage in seen[1:]:
        assert set(by_stage[stage]) == {"1", "2"}
    assert (trial.stage, rehearsal.job()) == (Stage.PROMOTED, JobStatus.PROMOTED)
    rehearsal.api.wait_for(2, MODEL)
    assert set(rehearsal.ask(5)) == {"2"}
    with rehearsal.shop.ledger.read() as tx:
        assert versions.get_aliases(tx, MODEL) == {"champion": 2, "previous": 1, "baseline": 1}


def test_one_that_is_wrong_everywhere_never_answers_anybody(rehearsal: Rehearsal) -> None:
    rehearsal.put_on_trial(opposite=True)
    answered: list[str] = []
    trial = rehearsal.trial
    for _ in range(30):
        if trial.stage.final:
            break
        answered += rehearsal.ask(20)
        trial = rehearsal.round()
    assert (trial.stage, rehearsal.job()) == (Stage.REJECTED, JobStatus.REJECTED)
    assert trial.evidence["disagreement"] == 1.0
    assert set(answered + rehearsal.ask(10)) == {"1"}
    eventually(lambda: 2 not in rehearsal.route.bundles, "its end on the replica")
    with rehearsal.shop.ledger.read() as tx:
        assert versions.get_version(tx, MODEL, 2).state is VersionState.REJECTED
        assert versions.get_aliases(tx, MODEL) == {"champion": 1, "baseline": 1}
