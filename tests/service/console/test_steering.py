"""The operator's evening in a real browser: a drift appears, labels by keyboard, a job, its gate, the way back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from service.valkey import ValkeyServer
from tests.fixtures.browsers import Visit, running_chromium, visiting
from tests.fixtures.console_story import MODEL, Story
from tests.fixtures.deployment import Deployment, RunningApi, deployment, eventually, flushed
from trimtab.jobs import AdaptationJob
from trimtab.ledger import events, feedback, jobs, label_requests, versions
from trimtab.settings import AuthSettings

pytestmark = [pytest.mark.system, pytest.mark.slow]
ALL = ("read", "feedback", "operate")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as started:
        yield started


@pytest.fixture
def keyed(tmp_path: Path, tiny_base_dir: Path, valkey: ValkeyServer) -> Iterator[Deployment]:
    with deployment(tmp_path, tiny_base_dir, flushed(valkey.url), auth=AuthSettings(mode="keys")) as made:
        yield made


@pytest.fixture
def story(keyed: Deployment) -> Story:
    """Source traffic with quiet checks: nothing has drifted yet."""
    told = Story(keyed)
    told.begin()
    told.traffic(60, minutes_ago=12)
    told.checks([0.4, 0.5, 0.45], minutes_ago=5)
    return told


def sign_in(visit: Visit, key: str) -> Page:
    page = visit.page
    page.goto(f"{visit.url}/console/")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.locator("#page h1").wait_for()
    return page


def new_key(toy: Deployment, api: RunningApi, name: str, *roles: str) -> str:
    """A key that the API knows already."""
    key = toy.add_key(name, *roles)
    headers = {"X-API-Key": key}
    eventually(lambda: api.http.get("/v1/whoami", headers=headers).json()["roles"], "the key")
    return key


def test_from_drift_to_the_way_back(story: Story, browser: Browser) -> None:
    toy = story.toy
    with toy.running() as api, visiting(browser, api.url) as visit:
        page = sign_in(visit, new_key(toy, api, "ada", *ALL))
        expect(page.locator(".state .badge").first).to_have_text("On course")
        job, asked = drift_appears(story, page)
        label_twenty(toy, page, job, asked)
        job_runs(story, page, job)
        gate_is_shown(page)
        api.wait_for(2, MODEL)
        step_back(page)
        api.wait_for(1, MODEL)
        expect(page.locator(".lead").first).to_contain_text("Version 1 is in use")
        with toy.ledger.read() as tx:
            said = [(each.kind, each.actor) for each in events.newest_events(tx, limit=2)]
        assert ("rolled_back", "ada") in said


def drift_appears(story: Story, page: Page) -> tuple[AdaptationJob, list[str]]:
    """While the page is open, and without a reload."""
    page.locator("#nav-drift").click()
    expect(page.locator(".standing .badge")).to_have_text("On course")
    expect(page.locator("#live")).to_have_text("Live")
    ids = story.traffic(60, tweets=True)
    job = story.drift(ids)
    story.ask(job, ids[:30])
    expect(page.locator(".standing .badge")).to_have_text("Adapting")
    expect(page.locator("#page")).to_contain_text("Harmful change of inputs")
    expect(page.locator(".multiple")).to_have_count(6)
    expect(page.locator(".text").first).to_contain_text("omg the new update")
    page.get_by_role("link", name="See the adaptation").click()
    expect(page.locator(".step.now")).to_have_text("Labels")
    return job, ids


def label_twenty(toy: Deployment, page: Page, job: AdaptationJob, asked: list[str]) -> None:
    """With two keys, one mistake taken back and one text skipped."""
    page.get_by_role("link", name="Give labels").first.click()
    subject = page.locator("#subject")
    subject.wait_for()
    for i in range(20):
        shown = subject.inner_text()
        page.keyboard.press("s" if i == 7 else "12"[i % 2])
        expect(subject).not_to_have_text(shown)
        if i == 3:
            page.keyboard.press("u")
            expect(subject).to_have_text(shown)
            page.keyboard.press("1")
            expect(subject).not_to_have_text(shown)
    page.keyboard.press("1")
    expect(page.locator("#labelling")).to_contain_text("20 of ")
    eventually(lambda: answered(toy) == 20, "20 answers in the ledger")
    with toy.ledger.read() as tx:
        given = [row.prediction_id for row in feedback.labelled(tx, MODEL)]
    assert len(given) == 20
    assert set(given) <= set(asked)


def answered(toy: Deployment) -> int:
    with toy.ledger.read() as tx:
        return label_requests.standing(tx, MODEL).answered


def job_runs(story: Story, page: Page, job: AdaptationJob) -> None:
    page.goto(page.url.split("#", maxsplit=1)[0] + f"#/adaptations?job={job.id}")
    expect(page.locator(".step.now")).to_have_text("Labels")
    lease = story.run(job)
    expect(page.locator(".step.now")).to_have_text("Candidate")
    expect(page.get_by_role("progressbar", name="Training")).to_have_attribute("aria-valuenow", "50")
    with story.toy.ledger.begin() as tx:
        jobs.set_progress(tx, lease, {"stage": "gate", "step": 1, "of": 2, "eta_s": 3.0})
    expect(page.locator(".step.now")).to_have_text("Gate")
    story.publish(lease)
    expect(page.locator(".steps")).to_contain_text("Promoted")


def gate_is_shown(page: Page) -> None:
    gate = page.get_by_role("region", name="The gate's checks")
    expect(gate).to_contain_text("Nothing forgotten: movie")
    expect(gate).to_contain_text("Better on the new domain: tweets")
    expect(gate.locator("tbody .badge.good")).to_have_count(2)
    rivals = page.get_by_role("region", name="Rivals on the selection labels")
    expect(rivals.locator("tbody tr")).to_have_count(4)
    heat = page.get_by_role("region", name="Accuracy by version and domain")
    expect(heat.locator("tr.present")).to_contain_text("Version 2")
    expect(heat.locator("td.heat-cell")).to_have_count(4)


def step_back(page: Page) -> None:
    page.locator("#nav-versions").click()
    expect(page.locator(".lineage-row")).to_have_count(2)
    page.locator("#roll-back").click()
    box = page.get_by_role("dialog")
    expect(box).to_contain_text("Version 1 becomes the champion again")
    expect(box).to_contain_text("Version 2 is marked as rolled back")
    page.keyboard.press("Escape")
    expect(box).to_have_count(0)
    page.locator("#roll-back").click()
    box.get_by_label("Why").fill("tweets are answered worse")
    box.get_by_role("button", name="Roll back to version 1").click()


def test_hold_release_and_promote(story: Story, browser: Browser) -> None:
    toy = story.toy
    ids = story.traffic(20, tweets=True)
    story.publish(story.run(story.drift(ids)), promoted=False)
    with toy.running() as api, visiting(browser, api.url) as visit:
        page = sign_in(visit, new_key(toy, api, "ada", *ALL))
        visit.go("versions")
        page.locator("#hold").click()
        page.get_by_role("dialog").get_by_role("button", name="Hold").click()
        expect(page.locator(".notice.warn")).to_contain_text("This model is held")
        assert aliases(toy)["pinned"] == 1
        page.locator("#release").click()
        page.get_by_role("dialog").get_by_role("button", name="Release").click()
        eventually(lambda: "pinned" not in aliases(toy), "the release")
        page.locator("#version-2").click()
        page.locator("#promote").click()
        act = page.get_by_role("dialog").get_by_role("button", name="Promote")
        expect(act).to_be_disabled()
        page.get_by_role("dialog").get_by_role("checkbox").check()
        act.click()
        api.wait_for(2, MODEL)
        page.locator("#compare-1").check()
        page.locator("#compare-2").check()
        expect(page.get_by_role("region", name="Two versions side by side")).to_contain_text(
            "40 negative, 44 positive"
        )


def aliases(toy: Deployment) -> dict[str, int]:
    with toy.ledger.read() as tx:
        return versions.get_aliases(tx, MODEL)


def test_a_decision_on_old_knowledge_is_refused_and_told(story: Story, browser: Browser) -> None:
    """Somebody else promotes while the dialog is open."""
    toy = story.toy
    story.publish(story.run(story.drift(story.traffic(20))))
    with toy.running() as api, visiting(browser, api.url) as visit:
        page = sign_in(visit, new_key(toy, api, "ada", *ALL))
        page.goto(f"{api.url}/console/#/versions?version=1")
        page.locator("#promote").click()
        toy.promote(1, MODEL)
        toy.promote(2, MODEL)
        visit.allow("412")
        page.get_by_role("dialog").get_by_role("button", name="Promote").click()
        expect(page.locator(".toast.bad")).to_contain_text("Expected generation")
        assert aliases(toy)["champion"] == 2


def test_who_may_only_read_sees_no_buttons_and_is_told(story: Story, browser: Browser) -> None:
    toy = story.toy
    story.drift(story.traffic(20, tweets=True))
    with toy.running() as api, visiting(browser, api.url) as visit:
        page = sign_in(visit, new_key(toy, api, "guest", "read"))
        expect(page.locator(".state .badge").first).to_have_text("Adapting")
        visit.go("drift")
        expect(page.locator(".small-multiples")).to_be_visible()
        assert page.locator("#adapt, #acknowledge").count() == 0
        expect(page.locator("#page")).to_contain_text("needs a key with the role operate")
        visit.go("versions")
        expect(page.locator("#page")).to_contain_text("This page needs a key with the role operate")


def test_who_only_labels_goes_straight_to_the_labels(story: Story, browser: Browser) -> None:
    toy = story.toy
    ids = story.traffic(20, tweets=True)
    story.ask(story.drift(ids), ids)
    with toy.running() as api, visiting(browser, api.url) as visit:
        page = sign_in(visit, new_key(toy, api, "annotator", "feedback"))
        expect(page.locator("#subject")).to_be_visible()
        for _ in range(2):
            page.locator(".class").first.click()
        eventually(lambda: answered(toy) == 2, "two answers")


def test_a_wrong_key_is_told_and_signing_out_forgets_it(story: Story, browser: Browser) -> None:
    toy = story.toy
    with toy.running() as api, visiting(browser, api.url) as visit:
        page = visit.page
        page.goto(f"{api.url}/console/")
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#key-error")).to_contain_text("not known")
        sign_in(visit, new_key(toy, api, "ada", *ALL))
        page.reload()
        expect(page.locator("#page h1")).to_have_text("Overview")
        page.locator("#sign-out").click()
        expect(page.get_by_label("API key")).to_be_visible()
        assert page.evaluate("sessionStorage.length + document.cookie.length") == 0


def test_a_text_is_never_markup(story: Story, browser: Browser) -> None:
    toy = story.toy
    ids = story.traffic(3, tweets=True, says="<img src=x onerror=alert(1)><b>bold</b>")
    story.ask(story.drift(ids), ids)
    with toy.running() as api, visiting(browser, api.url) as visit:
        page = sign_in(visit, new_key(toy, api, "ada", *ALL))
        visit.go("drift")
        expect(page.locator(".text").first).to_contain_text("<b>bold</b>")
        visit.go("labels")
        expect(page.locator("#subject")).to_contain_text("<img src=x onerror=alert(1)>")
        assert page.locator("main img, main b").count() == 0
