"""Traffic in a thread: rows are answered in turn, labels come late, failures are kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.console.stage import labels_by
from benchmarks.console.traffic import Traffic, label_late
from service.client import ApiClient
from tests.fixtures.deployment import Deployment, RunningApi, eventually
from trimtab.datafiles import Row


def rows(domain: str, n: int) -> list[Row]:
    return [
        Row(text=f"{domain} {i}", label="positive", id=f"{domain}-{i}", domain=domain, group=None, line=i)
        for i in range(n)
    ]


@pytest.fixture
def api(keyed: Deployment) -> Iterator[RunningApi]:
    with keyed.running() as running:
        yield running


def known_key(keyed: Deployment, api: RunningApi, *roles: str) -> str:
    key = keyed.add_key("app", *roles)
    eventually(lambda: api.http.get("/v1/whoami", headers={"X-API-Key": key}).json()["roles"], "the key")
    return key


def test_one_domain_after_the_other(keyed: Deployment, api: RunningApi) -> None:
    with Traffic(api.url, known_key(keyed, api, "predict", "feedback")) as traffic:
        traffic.rate = 0.0
        traffic.send(rows("movie", 30), labelled=0.0)
        eventually(lambda: traffic.answered("movie") == 30, "the movies")
        traffic.send(rows("tweets", 20), labelled=0.0)
        traffic.label(0.5)
        eventually(lambda: traffic.answered("tweets") == 20, "the tweets")
    assert [each.row.domain for each in traffic.sent] == ["movie"] * 30 + ["tweets"] * 20
    assert {each.answer.version for each in traffic.sent if each.answer} == {1}
    assert traffic.failures == []


def test_labels_come_at_once_and_count_once(keyed: Deployment, api: RunningApi) -> None:
    key = known_key(keyed, api, "predict", "feedback")
    with Traffic(api.url, key) as traffic, ApiClient(api.url, key=key) as client:
        traffic.rate = 0.0
        traffic.send(rows("tweets", 60), labelled=0.0)
        eventually(lambda: traffic.answered("tweets") == 60, "the tweets")
        assert labels_by(keyed.settings, "app") == 0
        assert label_late(client, traffic.sent) == 60
        assert label_late(client, traffic.sent[:10]) == 10
    assert labels_by(keyed.settings, "app") == 60
    assert labels_by(keyed.settings, "somebody else") == 0


def test_what_is_refused_is_kept_as_a_failure(keyed: Deployment, api: RunningApi) -> None:
    with Traffic(api.url, known_key(keyed, api, "feedback")) as traffic:
        traffic.rate = 0.0
        traffic.send(rows("tweets", 3), labelled=0.0)
        eventually(lambda: len(traffic.failures) == 3, "three refusals")
    assert all("403" in each for each in traffic.failures)
    assert traffic.answered("tweets") == 0
