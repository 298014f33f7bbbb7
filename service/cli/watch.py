"""`--watch`: what a command shows, again whenever it changes, until Ctrl-C."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from service.cli.show import console, plain, print_json

INTERVAL_S = 2.0
Watch = Annotated[
    bool,
    typer.Option("--watch", help="Go on showing it, until Ctrl-C; elsewhere than on a terminal: changes."),
]


@dataclass(frozen=True, kw_only=True)
class View:
    """What a command shows.

    Attributes:
        document: What `--json` prints.
        show: Prints it for people.
        facts: It in lines without ages, so that a line is new only when something happened.
    """

    document: Any
    show: Callable[[], None]
    facts: tuple[str, ...]


def present(read: Callable[[], View], *, as_json: bool, watch: bool) -> None:
    """Show what `read` finds: once, or again whenever it changed until the person stops it."""
    if watch:
        try:
            _follow(read, as_json=as_json)
        except KeyboardInterrupt:
            return
    elif as_json:
        print_json(read().document)
    else:
        read().show()


def _follow(read: Callable[[], View], *, as_json: bool) -> None:
    if console.is_terminal and not as_json:
        _live(read)
    known: tuple[str, ...] | None = None
    while True:
        view = read()
        if view.facts != known:
            _tell(view, known or (), as_json=as_json)
        known = view.facts
        time.sleep(INTERVAL_S)


def _tell(view: View, known: tuple[str, ...], *, as_json: bool) -> None:
    """One JSON document a line, or the lines that were not there before."""
    new = [line for line in view.facts if line not in known]
    lines = [json.dumps(plain(view.document), ensure_ascii=False)] if as_json else new
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _live(read: Callable[[], View]) -> None:
    # A console of its own: what is printed to one that is live is drawn above the live part.
    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            with console.capture() as printed:
                read().show()
            live.update(Text.from_ansi(printed.get()), refresh=True)
            time.sleep(INTERVAL_S)
