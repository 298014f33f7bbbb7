"""The hot swap: pure under load, refused when anything is wrong, undone bit for bit, and fail-static."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import REGISTRY

from service.follow import REPORT_S
from service.valkey import ValkeyServer
from tests.fixtures.deployment import LABELS, Deployment, RunningApi, deployment, eventually, flushed
from tests.fixtures.tiny_base import build_tiny_base
from tests.fixtures.versions import make_version
from trimtab.adapter import MANIFEST, WEIGHTS, AdapterManifest, Golden, sign
from trimtab.base import load_base
from trimtab.ledger import replicas, versions
from trimtab.ledger.versions import VersionState
from trimtab.settings import LedgerSettings

TEXTS = [
    "a good film",
    "the battery is bad and the price is not cheap",
    "boring music",
    "win the game , team !",
]
PURE = 1e-5
APART = 1e-2


def scores_of(response: httpx.Response) -> np.ndarray:
    predictions = response.json()["predictions"]
    return np.array([[item["scores"][label] for label in LABELS] for item in predictions])


def state_of(toy: Deployment, n: int) -> tuple[VersionState, str]:
    with toy.ledger.read() as tx:
        version = versions.get_version(tx, "toy", n)
    return version.state, version.reason


class Client(threading.Thread):
    """Asks without a pause and keeps every answer: (version, text's index, scores), or the status of a failure."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.answers: list[tuple[int, int, np.ndarray]] = []
        self.failures: list[int] = []
        self.done = threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as http:
            for i in self._numbers():
                body = {"inputs": [TEXTS[i]], "parameters": {"return": ["scores"]}}
                response = http.post("/v1/predict", json=body)
                if response.status_code == 200:
                    named = int(response.headers["X-Model-Version"])
                    assert named == response.json()["model_version"]
                    self.answers.append((named, i, scores_of(response)[0]))
                else:
                    self.failures.append(response.status_code)

    def _numbers(self) -> Iterator[int]:
        count = 0
        while not self.done.is_set():
            yield count % len(TEXTS)
            count += 1


def _all_went_on(clients: list[Client], asked: list[int]) -> bool:
    return all(len(client.answers) > before for client, before in zip(clients, asked, strict=True))


def test_every_answer_is_purely_of_the_version_it_names_across_many_swaps(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    with toy.running(poll_s=0.02) as api:
        clients = [Client(api.url) for _ in range(4)]
        for client in clients:
            client.start()
        expected = {1: scores_of(api.predict(TEXTS, parameters={"return": ["scores"]}))}
        for n in range(2, 24):
            toy.add_version(n)
            api.wait_for(n)
            expected[n] = scores_of(api.predict(TEXTS, parameters={"return": ["scores"]}))
            asked = [len(client.answers) for client in clients]
            eventually(partial(_all_went_on, clients, asked), "another answer for each client")
        for client in clients:
            client.done.set()
            client.join()
    answers = [answer for client in clients for answer in client.answers]
    assert [client.failures for client in clients] == [[]] * 4
    assert {named for named, _, _ in answers} >= set(range(2, 24))
    assert max(np.abs(scores - expected[named][i]).max() for named, i, scores in answers) <= PURE
    apart = [np.abs(expected[n] - expected[n + 1]).max() for n in range(1, 23)]
    assert min(apart) >= APART  # else purity would be empty


@pytest.mark.parametrize(
    "wrong", ["weights", "head.safetensors", "manifest.json", "manifest.sig", "key", "model"]
)
def test_a_version_that_is_not_what_was_signed_is_refused_and_the_incumbent_serves_on(
    toy: Deployment, wrong: str
) -> None:
    toy.create_model()
    toy.add_version(1)
    refused = REGISTRY.get_sample_value("trimtab_swaps_total", {"model": "toy", "outcome": "refused"}) or 0.0
    with toy.running() as api:
        before = api.predict(TEXTS[0]).content
        _add_wrong_version(toy, wrong)
        eventually(lambda: state_of(toy, 2)[0] is VersionState.QUARANTINED, "quarantine")
        assert (
            api.predict(TEXTS[0]).json()["predictions"][0]["score"]
            == json.loads(before)["predictions"][0]["score"]
        )
        assert api.serves(1)
        listed = api.http.get("/admin/v1/models/toy/versions").json()
        reported = eventually(lambda: _refused_here(api), "the replica's report")
        assert api.is_ready()
    second = next(version for version in listed["versions"] if version["version"] == 2)
    assert (second["state"], listed["aliases"]) == ("quarantined", {"champion": 1})
    assert second["reason"] == reported["2"]
    after = REGISTRY.get_sample_value("trimtab_swaps_total", {"model": "toy", "outcome": "refused"})
    assert after == refused + 1


def _refused_here(api: RunningApi) -> dict[str, str]:
    listed = api.http.get("/admin/v1/replicas").json()["replicas"]
    refused: dict[str, str] = listed[0]["refused"].get("toy", {}) if listed else {}
    return refused


def _add_wrong_version(toy: Deployment, wrong: str) -> None:
    if wrong == "key":
        files = make_version(toy.base, Ed25519PrivateKey.generate(), version=2, seed=2)
    elif wrong == "model":
        files = make_version(toy.base, toy.key, version=2, model="other", seed=2)
    else:
        files = make_version(toy.base, toy.key, version=2, seed=2)
    digest = toy.add_version(2, files=files, promote=False)
    if wrong not in {"key", "model"}:
        _flip_a_byte(toy.files_of(digest) / (WEIGHTS if wrong == "weights" else wrong))
    toy.promote(2)


def _flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def test_golden_outputs_that_are_not_reproduced_are_a_refusal(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    files = make_version(toy.base, toy.key, version=2, seed=2)
    manifest = AdapterManifest.from_bytes(files[MANIFEST])
    logits = tuple(tuple(value + 0.01 for value in row) for row in manifest.golden.logits)
    lying = AdapterManifest(
        **(vars(manifest) | {"golden": Golden(texts=manifest.golden.texts, logits=logits)})
    )
    with toy.running() as api:
        toy.add_version(2, files=files | sign(lying, toy.key))
        eventually(lambda: state_of(toy, 2)[0] is VersionState.QUARANTINED, "quarantine")
        assert "SelfTestFailed" in state_of(toy, 2)[1]
        assert api.serves(1)


def test_an_adapter_of_another_base_is_a_refusal(toy: Deployment, tmp_path: Path) -> None:
    toy.create_model()
    toy.add_version(1)
    other = load_base(str(build_tiny_base(tmp_path / "other", seed=9)), "cpu")
    build_tiny_base(tmp_path / "other", seed=10)  # what lies there now is not what the version was trained on
    with toy.running() as api:
        toy.add_version(2, files=make_version(other, toy.key, version=2))
        eventually(lambda: state_of(toy, 2)[0] is VersionState.QUARANTINED, "quarantine")
        assert "BaseMismatch" in state_of(toy, 2)[1]
        assert api.serves(1)


def test_a_version_of_a_new_lineage_is_served_on_its_own_base_and_a_rollback_returns(
    toy: Deployment, tmp_path: Path
) -> None:
    toy.create_model()
    toy.add_version(1)
    other = load_base(str(build_tiny_base(tmp_path / "other", seed=9)), "cpu")
    with toy.running() as api:
        api.wait_for(1)
        toy.add_version(2, files=make_version(other, toy.key, version=2))
        api.wait_for(2)
        with toy.ledger.begin() as tx:
            versions.rollback(tx, "toy", actor="test", reason="worse")
        api.wait_for(1)
        assert state_of(toy, 2)[0] is VersionState.ROLLED_BACK


def test_files_that_are_missing_are_waited_for(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    with toy.running() as api:
        digest = toy.add_version(2, promote=False)
        hidden = toy.files_of(digest).rename(toy.settings.home / "hidden")
        toy.promote(2)
        reason = eventually(lambda: _refused_here(api).get("2"), "the reason")
        assert "VersionNotFound" in reason
        assert (state_of(toy, 2)[0], api.serves(1)) == (VersionState.ACCEPTED, True)
        hidden.rename(toy.files_of(digest))
        api.wait_for(2)
        eventually(lambda: not _refused_here(api), "a clean report")


def test_a_rollback_gives_the_old_answers_bit_for_bit(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    with toy.running() as api:
        before = [api.predict(text).json()["predictions"][0]["score"] for text in TEXTS]
        toy.add_version(2)
        api.wait_for(2)
        between = [api.predict(text).json()["predictions"][0]["score"] for text in TEXTS]
        answer = api.http.post("/admin/v1/models/toy/rollback", json={"reason": "worse"})
        assert (answer.status_code, answer.json()["aliases"]) == (200, {"champion": 1})
        api.wait_for(1)
        after = [api.predict(text).json()["predictions"][0]["score"] for text in TEXTS]
        assert before == after
        assert between != before
        assert api.predict(TEXTS[0], version=2).status_code == 404
        assert api.http.post("/admin/v1/models/toy/rollback").json()["type"].endswith("nothing-to-roll-back")


def test_every_aliased_version_stays_loaded_and_others_go(toy: Deployment) -> None:
    toy.create_model()
    for n in (1, 2, 3, 4):
        toy.add_version(n)
    with toy.ledger.begin() as tx:
        for alias, n in (("challenger", 2), ("baseline", 1)):
            versions.set_alias(tx, "toy", alias, n, actor="test", reason="")
    with toy.running() as api:
        model = api.http.get("/v1/models").json()["models"][0]
        assert model["versions"] == [1, 2, 3, 4]
        assert [model[alias] for alias in ("champion", "previous", "challenger", "baseline")] == [4, 3, 2, 1]
        route = api.serving.routing.table.routes["toy"]
        toy.add_version(5)
        api.wait_for(5)
        now = api.serving.routing.table.routes["toy"]
        assert sorted(now.bundles) == [1, 2, 4, 5]
        assert now.bundles[4] is route.bundles[4]  # not built again


def test_without_a_model_it_is_alive_but_not_ready(toy: Deployment) -> None:
    with toy.running(ready=False) as api:
        reasons = eventually(lambda: _reasons(api, "no model"), "the reason")
        assert "trimtab init" in reasons[0]
        assert api.http.get("/v2/health/live").json() == {"live": True, "ready": True}
        refused = api.predict("a")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        toy.create_model()
        assert eventually(lambda: _reasons(api, "no champion"), "the model")
        assert api.predict("a", model="toy").json()["type"].endswith("not-ready")
        toy.add_version(1)
        eventually(api.is_ready, "readiness")
        toy.create_model("other")
        eventually(lambda: "other" in api.serving.routing.table.waiting, "the other model")
        assert api.is_ready()  # what is still being made does not concern what serves


def _reasons(api: RunningApi, part: str) -> list[str]:
    response = api.http.get("/v2/health/ready")
    reasons: list[str] = response.json()["reasons"]
    return reasons if response.status_code == 503 and any(part in reason for reason in reasons) else []


def test_a_replica_on_which_nothing_loads_does_not_condemn_versions_for_all(toy: Deployment) -> None:
    toy.create_model()
    digest = toy.add_version(1)
    _flip_a_byte(toy.files_of(digest) / WEIGHTS)
    with toy.running(ready=False) as api:
        assert "DigestMismatch" in eventually(lambda: _reasons(api, "champion 1"), "the reason")[0]
        assert state_of(toy, 1)[0] is VersionState.ACCEPTED


def test_two_models_need_a_name(toy: Deployment) -> None:
    for name in ("toy", "other"):
        toy.create_model(name)
        toy.add_version(1, model=name)
    with toy.running() as api:
        assert api.predict("a").status_code == 422
        assert api.predict("a", model="other").json()["model"] == "other"


def test_serving_goes_on_without_the_ledger(
    tmp_path: Path, tiny_base_dir: Path, valkey: ValkeyServer
) -> None:
    there, away = tmp_path / "database", tmp_path / "away"
    there.mkdir()
    ledger = LedgerSettings(url=f"sqlite:///{there / 'ledger.db'}")
    with deployment(tmp_path, tiny_base_dir, flushed(valkey.url), ledger=ledger) as toy:
        toy.create_model()
        toy.add_version(1)
        with toy.running() as api:
            there.rename(away)
            api.serving.ledger.close()  # connections that are open would go on with the moved file
            refused = eventually(lambda: _unavailable(api), "the ledger's absence")
            assert refused.json()["type"].endswith("ledger-unavailable")
            assert str(tmp_path) not in refused.text
            assert refused.headers["Retry-After"]
            assert (api.predict("a").status_code, api.is_ready()) == (200, True)
            away.rename(there)
            eventually(lambda: api.http.get("/admin/v1/replicas").status_code == 200, "the ledger's return")
            toy.add_version(2)
            api.wait_for(2)


def _unavailable(api: RunningApi) -> httpx.Response | None:
    response = api.http.get("/admin/v1/replicas")
    return response if response.status_code == 503 else None


def test_replicas_report_and_leave(toy: Deployment) -> None:
    toy.create_model()
    digest = toy.add_version(1)
    with toy.running() as api:
        eventually(lambda: api.http.get("/admin/v1/replicas").json()["replicas"], "the report")
        replica = api.http.get("/admin/v1/replicas").json()["replicas"][0]
        assert replica["serving"]["toy"]["champion"] == 1
        assert replica["serving"]["toy"]["versions"] == {"1": digest}
        assert replica["generations"] == {"toy": 1}
        assert replica["age_s"] < REPORT_S * 2
    with toy.ledger.read() as tx:
        assert replicas.list_replicas(tx) == []


def test_a_restarted_replica_converges_to_the_same(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    with toy.running() as api:
        first = api.predict(TEXTS[0]).json()["predictions"][0]["score"]
        for n in (2, 3):
            toy.add_version(n)
        api.wait_for(3)
        third = api.predict(TEXTS[0]).json()["predictions"][0]["score"]
    with toy.running() as again:
        assert again.predict(TEXTS[0]).json()["predictions"][0]["score"] == third != first


def test_phases_of_a_swap_are_timed(toy: Deployment) -> None:
    def counts() -> Counter[str]:
        phases = ("fetch", "verify", "build", "self_test", "warm_up", "activate", "drain")
        name = "trimtab_swap_phase_duration_seconds_count"
        return Counter({p: int(REGISTRY.get_sample_value(name, {"phase": p}) or 0) for p in phases})

    toy.create_model()
    before = counts()
    toy.add_version(1)
    with toy.running() as api:
        for n in (2, 3):  # then no alias keeps the first
            toy.add_version(n)
            api.wait_for(n)
        eventually(lambda: len(counts() - before) == 7, "all phases")
