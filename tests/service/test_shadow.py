"""What the version on trial would have answered: seen by nobody, in the way of nobody, and told to the monitor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import pytest
import redis
import torch
from prometheus_client import REGISTRY
from torch import nn

from service.follow import Follower
from service.routing import Route, Routing, RoutingTable
from service.shadow import PASS_ITEMS, Shadow
from tests.fixtures.deployment import Deployment, RunningApi, eventually
from tests.service.test_follow_looks import follower_of
from tests.service.test_sampling import dropped, samples_in
from trimtab.bundle import ModelBundle, Remedy
from trimtab.ledger import replicas
from trimtab.settings import SamplesSettings
from trimtab.trial import Stage

TEXTS = [f"{'good film ' * (i % 7)}bad {i}" for i in range(3 * PASS_ITEMS)]
NOWHERE: list[str | None] = [None] * len(TEXTS)


def always() -> bool:
    return True


def never() -> bool:
    return False


def counted(result: str) -> float:
    labels = {"model": "toy", "result": result}
    return REGISTRY.get_sample_value("trimtab_shadow_answers_total", labels) or 0.0


@pytest.fixture
def tried(toy: Deployment) -> Deployment:
    """Version 1 is champion, version 2 runs unseen."""
    toy.create_model()
    toy.add_version(1)
    toy.try_version(2)
    return toy


@pytest.fixture
def followed(tried: Deployment) -> tuple[Routing, Follower]:
    """The routes of a replica that has looked once, and what keeps them."""
    routing = Routing()
    follower = follower_of(tried, routing)
    follower.look()
    return routing, follower


@pytest.fixture
def routing(followed: tuple[Routing, Follower]) -> Routing:
    return followed[0]


def route_of(routing: Routing) -> Route:
    return routing.table.routes["toy"]


def put(routing: Routing, **changes: object) -> None:
    route = replace(route_of(routing), **changes)  # type: ignore[arg-type]
    routing.table = RoutingTable(routes={"toy": route}, starting="")


def with_challenger(routing: Routing, change: Callable[[ModelBundle], ModelBundle]) -> ModelBundle:
    """Serves the changed challenger."""
    bundles = dict(route_of(routing).bundles)
    bundles[2] = change(bundles[2])
    put(routing, bundles=bundles)
    return bundles[2]


def broken(bundle: ModelBundle) -> ModelBundle:
    return replace(bundle, head_bias=torch.full_like(bundle.head_bias, torch.nan))


def misshapen(bundle: ModelBundle) -> ModelBundle:
    return replace(bundle, head_weight=torch.zeros(2, 5))


def test_it_is_what_the_challenger_would_have_answered(routing: Routing) -> None:
    before = counted("answered")
    shadows = Shadow(routing, always).answers(route_of(routing).champion, TEXTS, NOWHERE, always)
    bundle = route_of(routing).bundles[2]
    expected = bundle.probabilities(bundle.predict(TEXTS).logits)
    assert all(shadow is not None for shadow in shadows)
    assert [shadow[:2] for shadow in shadows if shadow] == [
        (2, bundle.labels[i]) for i in expected.argmax(axis=1)
    ]
    assert [shadow[2] for shadow in shadows if shadow] == pytest.approx(expected.max(axis=1), abs=1e-5)
    assert counted("answered") - before == len(TEXTS)


def test_it_knows_the_domains(routing: Routing) -> None:
    remedy = Remedy(shifts={"up": (0.0, 100.0), "down": (100.0, 0.0)})
    with_challenger(routing, lambda bundle: replace(bundle, remedy=remedy))
    domains = [("up", "down")[i % 2] for i in range(len(TEXTS))]
    shadows = Shadow(routing, always).answers(route_of(routing).champion, TEXTS, domains, always)
    assert [shadow and shadow[1] for shadow in shadows] == [
        "positive" if domain == "up" else "negative" for domain in domains
    ]


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.SHADOW])
def test_in_no_other_stage_is_it_asked(routing: Routing, stage: Stage) -> None:
    trial = route_of(routing).trial
    assert trial is not None
    put(routing, trial=replace(trial, stage=stage, share=0.25))
    assert not any(Shadow(routing, always).answers(route_of(routing).champion, TEXTS, NOWHERE, always))


def test_only_answers_of_the_champion_have_a_shadow(routing: Routing) -> None:
    shadow, route = Shadow(routing, always), route_of(routing)
    assert not any(shadow.answers(route.bundles[2], TEXTS, NOWHERE, always))
    assert not any(shadow.answers(replace(route.champion), TEXTS, NOWHERE, always))  # one that was replaced
    put(routing, trial=None)
    assert not any(shadow.answers(route.champion, TEXTS, NOWHERE, always))
    routing.table = RoutingTable(starting="")
    assert not any(shadow.answers(route.champion, TEXTS, NOWHERE, always))


@pytest.mark.parametrize(("idle", "room"), [(never, always), (always, never)])
def test_while_there_is_no_time_it_is_skipped(
    routing: Routing, idle: Callable[[], bool], room: Callable[[], bool]
) -> None:
    before = counted("skipped")
    found = Shadow(routing, idle).answers(route_of(routing).champion, TEXTS, NOWHERE, room)
    assert found == [None] * len(TEXTS)
    assert counted("skipped") - before == len(TEXTS)


def test_it_gives_way_after_one_pass(routing: Routing) -> None:
    before, looks = counted("skipped"), count()
    # Free before the texts are read and for one pass, then somebody asks.
    shadow = Shadow(routing, lambda: next(looks) < 2)
    found = shadow.answers(route_of(routing).champion, TEXTS, NOWHERE, always)
    n_done = sum(each is not None for each in found)
    assert 0 < n_done <= PASS_ITEMS
    assert found[n_done:] == [None] * (len(TEXTS) - n_done)
    assert counted("skipped") - before == len(TEXTS) - n_done


@pytest.mark.parametrize(
    ("change", "error"), [(broken, "FloatingPointError"), (misshapen, "RuntimeError")], ids=["nan", "shape"]
)
def test_one_that_cannot_answer_is_asked_once_and_reported(
    followed: tuple[Routing, Follower],
    tried: Deployment,
    change: Callable[[ModelBundle], ModelBundle],
    error: str,
) -> None:
    routing, follower = followed
    shadow, before = follower._shadow, counted("failed")
    with_challenger(routing, change)
    champion = route_of(routing).champion
    assert not any(shadow.answers(champion, TEXTS, NOWHERE, always))
    assert not any(shadow.answers(champion, TEXTS, NOWHERE, always))
    assert counted("failed") - before == len(TEXTS)
    follower._report()
    with tried.ledger.read() as tx:
        (replica,) = replicas.list_replicas(tx)
    assert replica.refused == {"toy": {"2": f"on trial it could not answer: {error}"}}
    put(routing, trial=None)
    follower._report()
    with tried.ledger.read() as tx:
        assert replicas.list_replicas(tx)[0].refused == {}


class Held(nn.Module):
    """An encoder that answers when it may."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.asked, self.may = threading.Event(), threading.Event()

    def forward(self, **given: object) -> object:
        self.asked.set()
        assert self.may.wait(30)
        return self.encoder(**given)


@pytest.fixture
def small_ring(tried: Deployment) -> Iterator[RunningApi]:
    tried.settings = tried.settings.model_copy(update={"samples": SamplesSettings(ring=500)})
    # The ledger is not looked at again: the routes stay as the test puts them.
    with tried.running(poll_s=600) as api:
        yield api


def test_nobody_waits_for_it_and_no_sample_is_lost(small_ring: RunningApi, redis_client: redis.Redis) -> None:
    """The challenger hangs in the midst of a pass: requests are answered, and what it held comes when it goes on."""
    routing, lost, skipped = small_ring.serving.routing, dropped("ring_full"), counted("skipped")
    eventually(lambda: route_of(routing).challenger, "the version on trial")
    held = with_challenger(routing, lambda bundle: replace(bundle, encoder=Held(bundle.encoder))).encoder
    assert isinstance(held, Held)
    small_ring.predict("a first film")
    assert held.asked.wait(30)
    answers = [small_ring.predict(["film", "bad"] * 16).json() for _ in range(14)]
    assert {answer["model_version"] for answer in answers} == {1}
    assert samples_in(redis_client) == []
    held.may.set()
    sent = eventually(lambda: (s := samples_in(redis_client))[14 * 32 :] and s, "all samples")
    assert len(sent) == 1 + 14 * 32
    assert dropped("ring_full") == lost
    # Behind the first block of six requests more than half of the ring still waits: that block is not asked about.
    assert [sample.shadow is None for sample in sent] == [False] + [True] * 192 + [False] * 256
    assert counted("skipped") - skipped == 192


def test_samples_carry_it_and_clients_see_nothing_of_it(tried: Deployment, redis_client: redis.Redis) -> None:
    inputs = [{"text": text, "group": f"review {i}"} for i, text in enumerate(TEXTS[:20])]
    with tried.running() as api:
        eventually(lambda: api.serving.routing.table.routes["toy"].challenger, "the version on trial")
        answers = [api.predict(each).json() for each in inputs]
        sent = eventually(lambda: (s := samples_in(redis_client))[19:] and s, "the samples")
        theirs = api.predict(inputs, version="challenger", parameters={"sample": False}).json()["predictions"]
        ours = api.predict(inputs, version=1, parameters={"sample": False}).json()["predictions"]
    assert {answer["model_version"] for answer in answers} == {1}
    assert [a["predictions"][0]["label"] for a in answers] == [each["label"] for each in ours]
    assert {(sample.version, sample.label) for sample in sent} == {(1, each["label"]) for each in ours}
    shadows = {sample.text: sample.shadow for sample in sent}
    assert any(shadows.values())
    for each, answer in zip(inputs, theirs, strict=True):
        if shadow := shadows[each["text"]]:
            assert shadow == (2, answer["label"], pytest.approx(answer["score"], abs=1e-5))


def test_a_sample_without_a_trial_has_no_shadow(toy: Deployment, redis_client: redis.Redis) -> None:
    toy.create_model()
    toy.add_version(1)
    toy.add_version(2)
    with toy.running() as api:
        api.predict(TEXTS[:5])
    assert [sample.shadow for sample in samples_in(redis_client)] == [None] * 5


def test_the_bundle_answers_the_same_from_two_threads(routing: Routing) -> None:
    """The version on trial may be asked by number meanwhile."""
    bundle = route_of(routing).bundles[2]
    expected = bundle.predict(TEXTS).logits
    differences: list[float] = []

    def ask() -> None:
        differences.extend(float(abs(bundle.predict(TEXTS).logits - expected).max()) for _ in range(10))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(differences) == 30
    assert max(differences) < 1e-5
