"""`python -m benchmarks.console`: the console in a real Chromium over the real demo, from sign-in to the way back.

The exit code is 0 only if every step held, the browser complained of nothing and called nobody else.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser

from benchmarks.console.pictures import Album
from benchmarks.console.stage import Stage, set_up, take_name
from benchmarks.console.tour import Tour, reopened, require
from benchmarks.console.traffic import Traffic
from service.client import ApiClient
from service.demo.machine import start_machine
from tests.fixtures.browsers import running_chromium, visiting

HOST = "trimtab-demo"  # whose name the pictures show


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tour; returns the exit code."""
    arguments = _parse(argv)
    if arguments.images:
        take_name(HOST)
        arguments.images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="trimtab-tour-") as folder:
        stage = set_up(Path(folder), seed=arguments.seed)
        try:
            with running_chromium() as browser:
                _tour(stage, browser, Album(arguments.images))
                _reopen(stage, browser)
        except AssertionError as failure:
            print(f"FAILED {failure}")
            return 1
    print("Every step held; no complaint of the browser, no request to anybody else.")
    return 0


def _tour(stage: Stage, browser: Browser, album: Album) -> None:
    with (
        _up(stage) as url,
        Traffic(url, stage.application) as traffic,
        ApiClient(url, key=stage.operator) as client,
        visiting(browser, url) as visit,
    ):
        Tour(stage, visit, traffic, client, album).run()


def _reopen(stage: Stage, browser: Browser) -> None:
    with _up(stage) as url, visiting(browser, url) as visit:
        reopened(visit, stage.operator)
    print("held  the home opens again with its model")


@contextmanager
def _up(stage: Stage) -> Iterator[str]:
    """`trimtab up` on the stage's home; it must stop in order."""
    machine = start_machine(stage.settings)
    try:
        yield machine.running.url
    finally:
        ended, left = machine.stop(), machine.left_over()
    require(ended == 0 and not left, f"`trimtab up` ended with {ended}, and left {left}")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make console-tour", description=__doc__)
    parser.add_argument("--images", type=Path, help="write pictures of every page into this folder")
    parser.add_argument("--seed", type=int, default=1, help="which rows are used for what")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
