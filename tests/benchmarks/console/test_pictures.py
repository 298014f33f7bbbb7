"""Pictures of a real page in three looks, and a palette that keeps what is seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

from benchmarks.console.pictures import N_COLOURS, Album, most_frequent, shrink
from tests.fixtures.browsers import DESK, running_chromium, visiting
from tests.fixtures.deployment import Deployment
from trimtab.settings import AuthSettings


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as started:
        yield started


@pytest.mark.system
def test_a_page_in_three_looks(keyed: Deployment, browser: Browser, tmp_path: Path) -> None:
    keyed.settings = keyed.settings.model_copy(update={"auth": AuthSettings(mode="off")})
    with keyed.running() as api, visiting(browser, api.url) as visit:
        visit.go("overview")
        Album(tmp_path).take(visit.page, "overview")
        assert visit.page.viewport_size == DESK
        assert visit.page.locator("html").get_attribute("data-theme") == "light"
    light, dark, phone = (
        opened(tmp_path / f"console-overview-{look}.png") for look in ("light", "dark", "phone")
    )
    assert light.shape[1] == dark.shape[1] == DESK["width"] > phone.shape[1]
    assert dark.mean() < 60
    assert light.mean() > 200
    assert phone.mean() > 200


def test_without_a_folder_nothing_is_taken(browser: Browser) -> None:
    with browser.new_context() as context:
        Album(None).take(context.new_page(), "overview")  # would wait for a page of the console for ever


def test_large_areas_keep_their_colour_and_edges_nearly(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    drawn = np.full((300, 400, 3), (245, 246, 248), dtype=np.uint8)
    drawn[100:200] = (21, 27, 35)
    drawn[10:60, 10:60] = rng.integers(0, 256, (50, 50, 3))
    Image.fromarray(drawn).save(tmp_path / "page.png")
    before = (tmp_path / "page.png").stat().st_size
    shrink(tmp_path / "page.png")
    kept = opened(tmp_path / "page.png")
    assert (np.abs(kept[100:200].astype(int) - (21, 27, 35)) <= 4).all()
    assert (np.abs(kept[250:].astype(int) - (245, 246, 248)) <= 4).all()
    assert len(np.unique(kept.reshape(-1, 3), axis=0)) <= N_COLOURS
    assert (tmp_path / "page.png").stat().st_size < before


def test_the_commonest_colours_come_first() -> None:
    drawn = np.zeros((10, 10, 3), dtype=np.uint8)
    drawn[:6] = (9, 8, 7)
    drawn[0, 0] = (1, 1, 1)
    assert most_frequent(Image.fromarray(drawn), 2) == [9, 8, 7, 0, 0, 0]
    assert most_frequent(Image.fromarray(drawn), 5) == [9, 8, 7, 0, 0, 0, 1, 1, 1]


def opened(file: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))
