"""What the tour requires is refused where it does not hold: a tour that cannot fail shows nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from benchmarks.console import tour
from benchmarks.console.tour import StepFailed, reopened, require
from service.demo.story import MODEL
from tests.fixtures.browsers import running_chromium, visiting
from tests.fixtures.deployment import Deployment, RunningApi, eventually

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as started:
        yield started


def new_key(keyed: Deployment, api: RunningApi) -> str:
    key = keyed.add_key("ada", "read", "feedback", "operate")
    eventually(lambda: api.http.get("/v1/whoami", headers={"X-API-Key": key}).json()["roles"], "the key")
    return key


def test_a_home_that_serves_version_1_is_accepted(keyed: Deployment, browser: Browser) -> None:
    with keyed.running() as api, visiting(browser, api.url) as visit:
        reopened(visit, new_key(keyed, api))


def test_a_home_that_serves_another_version_is_not(
    keyed: Deployment, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed.add_version(2, model=MODEL)
    with keyed.running() as api, visiting(browser, api.url) as visit:
        with pytest.raises(AssertionError, match=r'"1"|1'):
            reopened(visit, new_key(keyed, api))
        assert visit.page.locator(".metric .metric-value").first.inner_text() == "2"


def test_a_broken_requirement_is_told() -> None:
    require(True, "never said")
    with pytest.raises(StepFailed, match="seven predictions failed"):
        require(False, "seven predictions failed")


@pytest.mark.parametrize("word", ["Promoted", "Rejected", "Held for a person", "Failed", "Timed out"])
def test_every_end_of_a_job_ends_the_wait(word: str) -> None:
    assert tour.ENDED.search(word)


@pytest.mark.parametrize("word", ["Queued", "Running", "Waiting for labels", "Candidate", "Gate", "Outcome"])
def test_a_job_under_way_does_not(word: str) -> None:
    assert not tour.ENDED.search(word)
