"""Screenshots of a page in three looks, small enough for a repository."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from playwright.sync_api import Page, ViewportSize

from tests.fixtures.browsers import DESK, PHONE

N_COLOURS, N_EXACT = 224, 64
MOST_SCREENS = 3
_MARK = "document.querySelector('#page').firstElementChild.dataset.drawn = 'before'"
_AT_REST = "() => document.fonts.ready.then(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))"  # noqa: E501


@dataclass(frozen=True)
class Look:
    """A name, the size of the window, and what the system asks for."""

    name: str
    size: ViewportSize
    scheme: Literal["light", "dark"]


DARK, PHONE_LOOK, LIGHT = (
    Look("dark", DESK, "dark"),
    Look("phone", PHONE, "light"),
    Look("light", DESK, "light"),
)


@dataclass(frozen=True)
class Album:
    """Where pictures go; nowhere when `folder` is None."""

    folder: Path | None

    def take(self, page: Page, name: str) -> None:
        """This page as it is now, dark, light and on a phone; it looks light on a desk before and after."""
        if self.folder is None:
            return
        for look in (DARK, LIGHT):
            self._in_look(page, look, name)
        page.set_viewport_size(PHONE_LOOK.size)
        self._keep(page, f"console-{name}-{PHONE_LOOK.name}.png")
        page.set_viewport_size(DESK)

    def _in_look(self, page: Page, look: Look, name: str) -> None:
        change_scheme(page, look.scheme)
        self._keep(page, f"console-{name}-{look.name}.png")

    def _keep(self, page: Page, file: str) -> None:
        assert self.folder is not None
        photograph(page, self.folder / file)
        shrink(self.folder / file)


def change_scheme(page: Page, scheme: Literal["light", "dark"]) -> None:
    """What the system asks for; returns when the page is drawn anew in it."""
    page.evaluate(_MARK)
    page.emulate_media(color_scheme=scheme)
    page.locator("#page > [data-drawn]").wait_for(state="detached")


def photograph(page: Page, file: Path) -> None:
    """The page as if the window were as high as it, or `MOST_SCREENS` screens, with its bars where they belong."""
    size = page.viewport_size
    assert size is not None
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size(
        {"width": size["width"], "height": min(max(height, size["height"]), MOST_SCREENS * size["height"])}
    )
    page.evaluate(_AT_REST)
    page.screenshot(path=file)
    page.set_viewport_size(size)


def shrink(file: Path) -> None:
    """Colours by a palette: those of the large areas as they are, near ones for the edges of the letters."""
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    exact = most_frequent(picture, N_EXACT)
    near = picture.quantize(N_COLOURS - N_EXACT, Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*exact, *near][: 3 * N_COLOURS])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(file, optimize=True)


def most_frequent(picture: Image.Image, n: int) -> list[int]:
    """The n commonest colours of an RGB picture, the commonest first: 3 n numbers."""
    colours, counts = np.unique(np.asarray(picture).reshape(-1, 3), axis=0, return_counts=True)
    found: list[int] = colours[np.argsort(-counts, kind="stable")[:n]].ravel().tolist()
    return found
