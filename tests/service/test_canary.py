"""Who is answered by the version on trial: the same share everywhere, the same clients every time, and nobody else."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.answering import asker_of
from service.calls import Call
from service.routing import Route, Routing
from service.schemas import Item
from tests.fixtures.deployment import Deployment, RunningApi, eventually
from tests.service.test_follow_looks import follower_of
from tests.service.test_wanted import bundles
from trimtab.ledger import versions
from trimtab.trial import Stage, Trial

ASKERS = [f"client {i}" for i in range(4000)]
NDJSON = {"Content-Type": "application/x-ndjson"}
STAGES = st.sampled_from([Stage.SHADOW, Stage.PROMOTED, Stage.REJECTED, Stage.ABANDONED])


def trial_of(share: float = 0.25, *, version: int = 2, stage: Stage = Stage.CANARY) -> Trial:
    return Trial(
        model="toy", version=version, champion=1, job_id=None, stage=stage, share=share, from_seq=0,
        started_at=0.0, stage_at=0.0,
    )  # fmt: skip


def route_on(trial: Trial | None, **aliases: int) -> Route:
    pointing = {"champion": 1, "challenger": 2} | aliases
    return Route(model="toy", generation=7, aliases=pointing, bundles=bundles(1, 2, 3), trial=trial)


def answered_by(route: Route, version: int) -> list[str]:
    return [asker for asker in ASKERS if route.pick(None, asker).version == version]


@pytest.mark.parametrize("share", [0.05, 0.25])
@pytest.mark.parametrize("version", [2, 3])
def test_the_share_is_the_share(share: float, version: int) -> None:
    n = len(answered_by(route_on(trial_of(share, version=version), challenger=version), version))
    # Binomial, 4 standard deviations.
    assert abs(n - share * len(ASKERS)) < 4 * math.sqrt(share * (1 - share) * len(ASKERS))


def test_whoever_is_in_stays_in_while_the_share_grows() -> None:
    shares = [0.0, 0.05, 0.25, 1.0]
    inside = [set(answered_by(route_on(trial_of(share)), 2)) for share in shares]
    assert inside[0] == set()
    assert inside[1] < inside[2] < inside[3] == set(ASKERS)


def test_another_trial_draws_other_clients() -> None:
    one = set(answered_by(route_on(trial_of(version=2)), 2))
    other = set(answered_by(route_on(trial_of(version=3), challenger=3), 3))
    # Of two independent draws of 25 % one in sixteen is in both: 250 of 4,000, 4 standard deviations are 61.
    assert abs(len(one & other) - 250) < 62


@given(st.text(), st.floats(0, 1))
def test_the_same_asker_gets_the_same_version(asker: str, share: float) -> None:
    first, second = route_on(trial_of(share)), route_on(trial_of(share))
    assert first.pick(None, asker).version == second.pick(None, asker).version


@given(st.text(), STAGES)
def test_outside_a_canary_the_champion_answers(asker: str, stage: Stage) -> None:
    assert route_on(trial_of(1.0, stage=stage)).pick(None, asker).version == 1


@pytest.mark.parametrize(
    ("aliases", "changes"),
    [({"pinned": 1}, {}), ({"champion": 3}, {}), ({"challenger": 3}, {}), ({}, {"champion": 3})],
    ids=["pinned", "another champion", "another challenger", "held against another"],
)
def test_a_trial_that_does_not_hold_answers_nobody(aliases: dict[str, int], changes: dict[str, Any]) -> None:
    route = route_on(replace(trial_of(1.0), **changes), **aliases)
    assert route.challenger is None
    assert answered_by(route, route.aliases["champion"]) == ASKERS


def test_a_challenger_that_is_not_loaded_answers_nobody() -> None:
    aliases = {"champion": 1}  # of what is loaded
    route = Route(model="toy", generation=7, aliases=aliases, bundles=bundles(1), trial=trial_of(1.0))
    assert answered_by(route, 1) == ASKERS


def test_who_names_a_version_or_nobody_in_particular_is_not_drawn() -> None:
    route = route_on(trial_of(1.0), previous=3)
    named: list[int | str] = [1, 2, 3, "champion", "challenger", "previous"]
    assert [route.pick(version, "client").version for version in named] == [1, 2, 3, 1, 2, 3]
    assert (route.pick(None).version, route.pick(None, "client").version) == (1, 2)


def test_evidence_changes_no_route_but_stage_and_share_do() -> None:
    trial = trial_of(0.05)
    content = route_on(trial).content
    assert route_on(replace(trial, evidence={"n": 3}, reason="more")).content == content
    for other in (None, replace(trial, share=0.25), replace(trial, stage=Stage.SHADOW)):
        assert route_on(other).content != content


def test_an_asker_is_a_client_and_its_group() -> None:
    call, other = Call("r", client="ann"), Call("r", client="ann\nb")
    assert asker_of(call, None) == asker_of(call, Item(text="a")) == "ann"
    assert asker_of(call, Item(text="a", group="g")) == asker_of(call, Item(text="b", group="g"))
    assert len({asker_of(c, Item(text="a", group=g)) for c in (call, other) for g in (None, "b", "g")}) == 5


class TestServed:
    """Version 1 is champion and 2 on trial for half of the askers, served by the real thing."""

    @pytest.fixture
    def canary(self, toy: Deployment) -> tuple[Deployment, Trial]:
        toy.create_model()
        toy.add_version(1)
        return toy, toy.try_version(2, share=0.5)

    def test_replicas_agree_and_say_who_answered(self, canary: tuple[Deployment, Trial]) -> None:
        toy, _ = canary
        other = Routing()
        follower_of(toy, other).look()
        with toy.running() as api:
            wait_for_challenger(api)
            route = api.serving.routing.table.routes["toy"]
            seen = [_asked(api, f"review {i}") for i in range(40)]
            assert seen == [_asked(api, f"review {i}") for i in range(40)]
            expected = [other.table.routes["toy"].pick(None, f"anonymous\nreview {i}") for i in range(40)]
            assert seen == [(str(each.version), each.digest, str(route.generation)) for each in expected]
        assert {version for version, _, _ in seen} == {"1", "2"}

    def test_a_request_is_answered_whole(self, canary: tuple[Deployment, Trial]) -> None:
        toy, _ = canary
        texts = [{"text": f"good film {i}", "group": f"review {i}"} for i in range(30)]
        lines = "\n".join(json.dumps(text) for text in texts)
        with toy.running() as api:
            wait_for_challenger(api)
            versions_seen = []
            for start in range(10):
                turned = texts[start:] + texts[:start]
                answer = api.predict(turned)
                pinned = api.predict(turned, version=int(answer.headers["X-Model-Version"]))
                assert answer.json()["adapter_digest"] == pinned.json()["adapter_digest"]
                assert _labels(answer.json()) == _labels(pinned.json())
                versions_seen.append(answer.headers["X-Model-Version"])
            bulk = api.http.post("/v1/predict/stream", content=lines, headers=NDJSON)
        assert set(versions_seen) == {"1", "2"}
        assert bulk.headers["X-Model-Version"] == versions_seen[0]
        assert {json.loads(line)["model_version"] for line in bulk.text.splitlines()} == {
            int(versions_seen[0])
        }

    def test_a_trial_that_ends_takes_nothing_from_who_was_being_answered(
        self, canary: tuple[Deployment, Trial]
    ) -> None:
        toy, trial = canary
        with toy.running() as api:
            wait_for_challenger(api)
            engine = api.serving.engine
            asker = next(a for a in ASKERS if engine.pick("toy", None, a).bundle.version == 2)
            picked = engine.pick("toy", None, asker)
            toy.end(trial, Stage.REJECTED)
            eventually(lambda: api.predict("a", version=2).status_code == 404, "the end of the trial")
            assert engine.pick("toy", None, asker).bundle.version == 1
            loop = asyncio.new_event_loop()
            prediction = loop.run_until_complete(engine.predict(picked, ["a good film"]))
            loop.close()
        assert (prediction.bundle.version, prediction.generation) == (2, picked.generation)

    def test_what_the_operator_does_ends_it_at_once(self, canary: tuple[Deployment, Trial]) -> None:
        toy, trial = canary
        toy.advance(trial, 1.0)
        with toy.running() as api:
            eventually(lambda: _asked(api, "a")[0] == "2", "the whole share")
            _point(api, "pinned", 1)
            eventually(lambda: _asked(api, "a")[0] == "1", "the pin")
            assert api.http.delete("/admin/v1/models/toy/aliases/pinned").status_code == 200
            eventually(lambda: _asked(api, "a")[0] == "2", "the end of the pin")
            assert api.http.delete("/admin/v1/models/toy/aliases/challenger").status_code == 200
            eventually(lambda: _asked(api, "a")[0] == "1", "the end of the challenger")

    def test_promoted_by_hand_everybody_is_answered_by_it(self, canary: tuple[Deployment, Trial]) -> None:
        toy, _ = canary
        with toy.running() as api:
            wait_for_challenger(api)
            _point(api, "champion", 2)
            api.wait_for(2)
            assert {_asked(api, f"review {i}")[0] for i in range(20)} == {"2"}
            assert api.predict("a", version="previous").json()["model_version"] == 1

    def test_a_quarantined_challenger_answers_nobody(self, canary: tuple[Deployment, Trial]) -> None:
        toy, _ = canary
        with toy.running() as api:
            wait_for_challenger(api)
            with toy.ledger.begin() as tx:
                versions.quarantine(tx, "toy", 2, reason="broken", replica="another")
            eventually(lambda: api.predict("a", version=2).status_code == 404, "the quarantine")
            assert {_asked(api, f"review {i}")[0] for i in range(20)} == {"1"}


def wait_for_challenger(api: RunningApi) -> None:
    eventually(lambda: api.serving.routing.table.routes["toy"].challenger, "the version on trial")


def _point(api: RunningApi, alias: str, version: int) -> None:
    generation = api.http.get("/admin/v1/models/toy/versions").headers["ETag"]
    order = {"version": version, "reason": "by hand"}
    answer = api.http.put(
        f"/admin/v1/models/toy/aliases/{alias}", json=order, headers={"If-Match": generation}
    )
    assert answer.status_code == 200, answer.text


def _asked(api: RunningApi, group: str) -> tuple[str, str, str]:
    """Version, digest and generation of the answer to somebody."""
    answer = api.predict({"text": "a good film", "group": group})
    assert answer.status_code == 200, answer.text
    assert answer.json()["model_version"] == int(answer.headers["X-Model-Version"])
    names = ("X-Model-Version", "X-Adapter-Digest", "X-Generation")
    version, digest, generation = (answer.headers[name] for name in names)
    return version, digest, generation


def _labels(answer: dict[str, Any]) -> list[str]:
    return [each["label"] for each in answer["predictions"]]
