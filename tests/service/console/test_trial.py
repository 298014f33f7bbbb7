"""A trial in a real browser: seen on every page that it concerns, on its way, and ended by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.fixtures.browsers import findings, running_chromium, visiting
from tests.fixtures.deployment import Deployment, eventually
from trimtab.ledger import trials, versions
from trimtab.trial import Stage, Trial

pytestmark = [pytest.mark.system, pytest.mark.slow]
EVIDENCE = {
    "n": 120, "of": 200, "disagreement": 0.04, "explained_disagreement": 0.15, "gained": 9, "lost": 2,
    "shares_away": 0.02, "n_labels": 31, "statistic": 0.7, "threshold": 60.0, "accuracy": 0.9,
    "champion_accuracy": 0.8,
}  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as started:
        yield started


@pytest.fixture
def canary(toy: Deployment) -> tuple[Deployment, Trial]:
    toy.create_model()
    toy.add_version(1)
    trial = toy.try_version(2, share=0.05)
    with toy.ledger.begin() as tx:
        trials.observe(tx, trial, reason="120 of 200 answers", evidence=EVIDENCE)
    return toy, trial


def test_how_it_stands_and_how_it_is_ended(canary: tuple[Deployment, Trial], browser: Browser) -> None:
    toy, trial = canary
    with toy.running() as api, visiting(browser, api.url) as visit:
        page = visit.page
        visit.go("overview")
        expect(page.locator(".notice")).to_contain_text(
            "Version 2 is on trial. It answers 5 % of the clients"
        )
        page.get_by_role("link", name="How it stands").click()
        card = page.locator(".card", has_text="Trial on real traffic")
        for said in (
            "120 of 200",
            "4.0 %; 15.0 % are explained",
            "90.0 %; the champion 80.0 %",
            "For a share",
        ):
            expect(card).to_contain_text(said)
        assert findings(page) == []
        toy.advance(trial, 0.25)
        expect(card).to_contain_text("25 %")  # without a reload
        visit.go("events")
        expect(page.locator(".event").first).to_contain_text(
            "Version 2, on trial, answers 25 % of the clients"
        )
        visit.go("versions?version=2")
        page.locator("#end-trial").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Nobody is answered by version 2 any more")
        dialog.get_by_role("button", name="End its trial").click()
        expect(page.locator("#toasts, .toast").first).to_contain_text("The trial is ended")
        expect(page.locator("#end-trial")).to_have_count(0)
        with toy.ledger.read() as tx:
            assert versions.get_aliases(tx, "toy") == {"champion": 1}
        eventually(lambda: api.serving.routing.table.routes["toy"].trial is None, "the end of the trial here")
        toy.end(trial, Stage.ABANDONED)
        expect(card).to_contain_text("Broken off")
