"""The operator's evening over the real demo: every step waits for what the console itself says, without a reload."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Locator, Page, expect

from benchmarks.console.pictures import Album
from benchmarks.console.stage import OPERATOR, Stage, labels_by
from benchmarks.console.traffic import Traffic, label_late
from service.client import ApiClient
from service.demo.budget import SOURCE
from service.demo.story import FEEDBACK, MODEL, RATE_TRAINING
from tests.fixtures.browsers import Visit

TARGET = "tweets"
FEW = 0.08  # share of the tweets that is labelled before anybody is asked: too few to adapt on
N_CALM = 1200  # movie reviews before the tweets: the page has a past to show
N_LABELS = 20
PATIENT_MS, SOON_MS, CALM_MS, DRIFT_MS, JOB_MS = 15_000, 60_000, 180_000, 120_000, 420_000
ENDED = re.compile("Promoted|Rejected|Held|Failed|Cancelled|Timed out")


class StepFailed(AssertionError):
    """A step of the tour did not come out as it must."""


def require(held: bool, what: str) -> None:
    """Raises StepFailed."""
    if not held:
        raise StepFailed(what)


@dataclass
class Tour:
    """One visit of a machine that has traffic; the steps are called in their order."""

    stage: Stage
    visit: Visit
    traffic: Traffic
    client: ApiClient
    album: Album
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def page(self) -> Page:
        return self.visit.page

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step, and how long it took."""
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started
        print(f"held  {name} ({self.seconds[name]:.1f} s)", flush=True)

    def run(self) -> None:
        """Everything. Raises AssertionError (Playwright's own, or StepFailed) where something does not hold."""
        expect.set_options(timeout=PATIENT_MS)
        self.sign_in()
        self.movies_are_on_course()
        self.tweets_drift()
        self.twenty_labels()
        self.job_is_promoted()
        self.version_is_there()
        self.way_back()
        require(not self.traffic.failures, f"predictions failed: {self.traffic.failures[:3]}")
        require(self.page.evaluate("window.sameDocument") is True, "the page was loaded anew")

    def sign_in(self) -> None:
        with self.step("sign in with a key"):
            self.page.goto(f"{self.visit.url}/console/")
            self.page.get_by_label("API key").fill(self.stage.operator)
            self.page.get_by_role("button", name="Sign in").click()
            expect(self.page.locator("#page h1")).to_have_text("Overview")
            expect(self.page.locator("#live")).to_have_text("Live")
            self.page.evaluate("window.sameDocument = true")

    def movies_are_on_course(self) -> None:
        with self.step("movie reviews: on course"):
            self.traffic.send(self.stage.rows[SOURCE].stream, labelled=FEEDBACK)
            expect(self.page.locator(".state .badge").first).to_have_text("On course", timeout=CALM_MS)
            self.until(lambda: self.traffic.answered(SOURCE) >= N_CALM, "movie reviews", within_ms=CALM_MS)
            expect(self.page.locator(".state .badge").first).to_have_text("On course")

    def tweets_drift(self) -> None:
        """The page says so while it is open."""
        self.open("drift", "Drift")
        with self.step("tweets: the drift appears"):
            self.traffic.send(self.stage.rows[TARGET].stream, labelled=FEW)
            badge = self.page.locator(".standing .badge")
            expect(badge).to_have_text(re.compile("Drifting|Adapting"), timeout=DRIFT_MS)
            print(f"      after {self.traffic.answered(TARGET)} tweets")
            expect(badge).to_have_text("Adapting", timeout=SOON_MS)
            self.traffic.label(0.0)
            expect(self.page.locator(".multiple")).not_to_have_count(0)
            expect(self.page.locator(".text").first).to_be_visible()
        self.open("overview", "Overview")
        expect(self.page.get_by_role("link", name="Give labels")).to_be_visible(timeout=SOON_MS)
        self.album.take(self.page, "overview")

    def twenty_labels(self) -> None:
        """By keyboard, each as the data has it."""
        with self.step(f"{N_LABELS} labels by keyboard"):
            self.page.get_by_role("link", name="Give labels").click()
            truth = {row.text: row.label for row in self.stage.rows[TARGET].stream}
            subject = self.page.locator("#subject")
            subject.wait_for(timeout=SOON_MS)
            for given in range(N_LABELS):
                if given == N_LABELS // 2:
                    self.album.take(self.page, "labels")
                self.label(subject, truth)
            self.until(lambda: self.labels_shown() >= N_LABELS, "the labels on the page")
            expect(self.page.locator(".toast.bad")).to_have_count(0)
            self.until(lambda: labels_by(self.stage.settings, OPERATOR) == N_LABELS, "labels in the ledger")

    def labels_shown(self) -> int:
        """As the page counts; others may have answered requests, too."""
        shown = re.search(r"(\d+) of \d+ labels given", self.page.locator("#labelling").inner_text())
        return int(shown.group(1)) if shown else 0

    def label(self, subject: Locator, truth: dict[str, str]) -> None:
        text = subject.text_content() or ""
        require(text in truth, f"a text that nobody sent: {text!r}")
        classes = self.page.locator(".class span").all_text_contents()
        self.page.keyboard.press(str(1 + classes.index(truth[text])))
        expect(subject).not_to_have_text(text)

    def job_is_promoted(self) -> None:
        """With the labels of the traffic so far, which come all at once."""
        self.open("drift", "Drift")
        self.album.take(self.page, "drift")
        self.open("adaptations", "Adaptations")
        with self.step("the job runs"):
            expect(self.page.locator(".step.now")).to_have_text("Labels")
            sent = [each for each in self.traffic.sent if each.row.domain == TARGET]
            print(f"      {label_late(self.client, sent)} labels of the traffic come")
            self.traffic.label(FEEDBACK)
            self.traffic.rate = RATE_TRAINING
            expect(self.page.locator(".step.now")).to_have_text(re.compile("Candidate|Gate"), timeout=CALM_MS)
            expect(self.page.get_by_role("progressbar").first).to_be_visible(timeout=SOON_MS)
        with self.step("it is promoted"):
            expect(self.page.locator(".steps")).to_contain_text(ENDED, timeout=JOB_MS)
            expect(self.page.locator(".steps")).to_contain_text("Promoted")
            self.gate_is_shown()
        self.album.take(self.page, "adaptations")

    def gate_is_shown(self) -> None:
        gate = self.page.get_by_role("region", name="The gate's checks")
        expect(gate).to_contain_text(f"Nothing forgotten: {SOURCE}")
        expect(gate).to_contain_text(f"Better on the new domain: {TARGET}")
        expect(gate.locator("tbody .badge.bad")).to_have_count(0)
        rivals = self.page.get_by_role("region", name="Rivals on the selection labels")
        expect(rivals.locator("tbody tr")).not_to_have_count(0)
        heat = self.page.get_by_role("region", name="Accuracy by version and domain")
        expect(heat.locator("tr.present")).to_contain_text("Version 2")

    def version_is_there(self) -> None:
        self.open("versions", "Versions")
        with self.step("version 2 is in use"):
            expect(self.page.locator(".lineage-row")).to_have_count(2)
            expect(self.page.locator(".lead").first).to_contain_text("Version 2 is in use")
            self.until(lambda: self.newest_version() == 2, "answers by version 2")
        self.album.take(self.page, "versions")

    def way_back(self) -> None:
        with self.step("rolled back to version 1"):
            self.page.locator("#roll-back").click()
            dialog = self.page.get_by_role("dialog")
            expect(dialog).to_contain_text("Version 1 becomes the champion again")
            dialog.get_by_label("Why").fill("the tour shows the way back")
            dialog.get_by_role("button", name="Roll back to version 1").click()
            expect(self.page.locator(".lead").first).to_contain_text("Version 1 is in use", timeout=SOON_MS)
            self.until(lambda: self.newest_version() == 1, "answers by version 1")
            listed = self.client.call("GET", f"/admin/v1/models/{MODEL}/versions")
            require(listed["aliases"]["champion"] == 1, f"the ledger says {listed['aliases']}")
        self.open("events", "Events")
        expect(self.page.locator(".event").first).to_contain_text("Stepped back from version 2 to 1")
        expect(self.page.locator(".event").first).to_contain_text(f"by {OPERATOR}")
        self.album.take(self.page, "events")

    def open(self, name: str, title: str) -> None:
        """A page, by its link."""
        self.page.locator(f"#nav-{name}").click()
        expect(self.page.locator("#page h1")).to_have_text(title)

    def newest_version(self) -> int:
        answer = self.traffic.sent[-1].answer
        return answer.version if answer else 0

    def until(self, holds: Callable[[], bool], what: str, *, within_ms: int = SOON_MS) -> None:
        """Waits for something outside the page. Raises StepFailed."""
        deadline = time.monotonic() + within_ms / 1000
        while not holds():
            require(time.monotonic() < deadline, f"{what}: not in time")
            self.page.wait_for_timeout(100)


def reopened(visit: Visit, key: str) -> None:
    """A home that was closed shows its model again, with the version that was in use."""
    page = visit.page
    page.goto(f"{visit.url}/console/")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#page h1")).to_have_text("Overview", timeout=SOON_MS)
    expect(page.locator(".metric").first).to_contain_text("Version in use")
    expect(page.locator(".metric .metric-value").first).to_have_text("1")
