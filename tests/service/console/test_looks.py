"""How the console looks and reads: accessible, on a desk and on a phone, light and dark, and where nothing is yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from service.valkey import ValkeyServer
from tests.fixtures.browsers import findings, running_chromium, visiting
from tests.fixtures.console_story import Story
from tests.fixtures.deployment import Deployment, RunningApi, deployment, flushed
from trimtab.settings import AuthSettings

pytestmark = [pytest.mark.system, pytest.mark.slow]
PAGES = ("overview", "drift", "adaptations", "versions", "labels", "events")
RATIOS = [0.3, 0.42, 0.35, 0.5, 0.41, 0.38, 0.45, 0.4, 0.36, 0.5, 0.44, 0.7, 1.2, 1.9, 2.6, 3.1]
# What each page has when it is drawn.
DRAWN = {
    "overview": ".metrics .metric",
    "drift": ".multiple",
    "adaptations": ".scale",
    "versions": ".lineage-row",
    "labels": "#subject",
    "events": ".event",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as started:
        yield started


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path, valkey: ValkeyServer
) -> Iterator[RunningApi]:
    """After a promotion, a rejection and with a third job that waits for labels."""
    with deployment(tmp_path_factory.mktemp("told"), tiny_base_dir, flushed(valkey.url)) as toy:
        story = Story(toy)
        story.begin()
        story.traffic(900, minutes_ago=30)
        ids = story.traffic(600, tweets=True, minutes_ago=3)
        story.checks(RATIOS, minutes_ago=2)
        story.publish(story.run(story.drift(ids)))
        story.traffic(120, version=2, tweets=True)
        story.publish(story.run(story.drift(ids)), 3, parent=2, promoted=False)
        story.ask(story.drift(ids), ids[:30])
        with toy.running() as api:
            api.predict(["A quietly moving film.", "Never again."])
            yield api


@pytest.mark.parametrize(
    ("phone", "dark"), [(False, False), (False, True), (True, False)], ids=["light", "dark", "phone"]
)
def test_every_page_is_accessible_and_fits(
    told: RunningApi, browser: Browser, phone: bool, dark: bool
) -> None:
    with visiting(browser, told.url, phone=phone, dark=dark) as visit:
        done = told.http.get("/admin/v1/jobs", params={"status": "promoted"}).json()["jobs"][0]
        for name in PAGES:
            visit.go(f"{name}?job={done['id']}" if name == "adaptations" else name)
            visit.page.locator(DRAWN[name]).first.wait_for()
            assert findings(visit.page) == [], name
            width = visit.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert width[0] <= width[1], f"{name} scrolls sideways"


def test_remedies_have_names_for_people(told: RunningApi, browser: Browser) -> None:
    names = ["lora@0.8", "known:3", "self_training", "champion", "a_new_one"]
    said = "names => import('/console/js/words.js').then(words => names.map(words.remedyOf))"
    with visiting(browser, told.url) as visit:
        visit.go("adaptations")
        assert visit.page.evaluate(said, names) == [
            "LoRA, 80 % of the step", "Version 3", "Self-training", "Version in use", "A new one",
        ]  # fmt: skip


def test_the_reader_chooses_light_or_dark(told: RunningApi, browser: Browser) -> None:
    with visiting(browser, told.url, dark=True) as visit:
        visit.go("drift")
        root = visit.page.locator("html")
        expect(root).to_have_attribute("data-theme", "dark")
        visit.page.get_by_role("button", name="Light colours").click()
        expect(root).to_have_attribute("data-theme", "light")
        visit.page.reload()
        expect(root).to_have_attribute("data-theme", "light")


def test_dialogs_are_accessible(told: RunningApi, browser: Browser) -> None:
    with visiting(browser, told.url) as visit:
        visit.go("versions")
        for action in ("#roll-back", "#hold"):
            visit.page.locator(action).click()
            expect(visit.page.get_by_role("dialog")).to_be_visible()
            assert findings(visit.page) == [], action
            visit.page.keyboard.press("Escape")
            expect(visit.page.get_by_role("dialog")).to_have_count(0)


def test_a_page_is_reached_by_keyboard(told: RunningApi, browser: Browser) -> None:
    with visiting(browser, told.url) as visit:
        visit.go("overview")
        visit.page.locator("#nav-versions").focus()
        visit.page.keyboard.press("Enter")
        expect(visit.page.locator("#page h1")).to_have_text("Versions")
        expect(visit.page.locator("#nav-versions")).to_have_attribute("aria-current", "page")
        visit.page.go_back()
        expect(visit.page.locator("#page h1")).to_have_text("Overview")


def test_what_is_not_there_yet_says_what_to_do(toy: Deployment, browser: Browser) -> None:
    with toy.running(ready=False) as api, visiting(browser, api.url) as visit:
        visit.go("overview")
        expect(visit.page.locator("#page")).to_contain_text("trimtab init NAME")
        toy.create_model()
        toy.add_version(1)
        expect(visit.page.locator(".metric").first).to_contain_text("Version in use")
        hints = {
            "overview": "No traffic in the last hour",
            "drift": "see that trimtab monitor runs",
            "adaptations": "You can open one by hand",
            "labels": "trimtab labels import",
        }
        for name, hint in hints.items():
            visit.go(name)
            expect(visit.page.locator("#page")).to_contain_text(hint)
            assert findings(visit.page) == [], name


def test_a_model_that_cannot_be_served_is_named_with_its_reason(toy: Deployment, browser: Browser) -> None:
    """There is a model: "no model yet" would send the reader the wrong way."""
    toy.create_model()
    files = toy.files_of(toy.add_version(1))
    files.rename(files.with_name("elsewhere"))
    with toy.running(ready=False) as api, visiting(browser, api.url) as visit:
        visit.go("overview")
        expect(visit.page.locator("#page h1")).to_have_text("No model is served yet")
        expect(visit.page.locator(".notice.warn")).to_contain_text("toy: champion 1:")
        assert findings(visit.page) == []
        files.with_name("elsewhere").rename(files)
        expect(visit.page.locator(".metric").first).to_contain_text("Version in use", timeout=30_000)


def test_signing_in_is_accessible(
    tmp_path: Path, tiny_base_dir: Path, valkey: ValkeyServer, browser: Browser
) -> None:
    keyed = deployment(tmp_path, tiny_base_dir, flushed(valkey.url), auth=AuthSettings(mode="keys"))
    with keyed as toy, toy.running(ready=False) as api, visiting(browser, api.url) as visit:
        visit.page.goto(f"{api.url}/console")
        visit.page.get_by_label("API key").wait_for()
        assert findings(visit.page) == []
