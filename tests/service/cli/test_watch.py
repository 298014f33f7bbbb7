"""`--watch`: a line a change where no terminal is, a page on one, and Ctrl-C is a good end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from service.cli import watch
from service.cli.show import console
from service.cli.watch import View, present
from tests.fixtures.deployment import Deployment


def views(*facts: tuple[str, ...]) -> Callable[[], View]:
    """Found one after the other; then the person presses Ctrl-C."""
    left = iter(facts)

    def read() -> View:
        try:
            found = next(left)
        except StopIteration:
            raise KeyboardInterrupt from None
        return View(document={"facts": found}, show=lambda: console.print(*found), facts=found)

    return read


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "INTERVAL_S", 0.0)


CHANGES = (("a", "b"), ("a", "b"), ("a", "c"), ("a",), ("a", "b"))


def test_each_change_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    present(views(*CHANGES), as_json=False, watch=True)
    assert capfd.readouterr().out.split() == ["a", "b", "c", "b"]


def test_with_json_each_change_is_a_document_on_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    present(views(*CHANGES), as_json=True, watch=True)
    documents = [json.loads(line)["facts"] for line in capfd.readouterr().out.splitlines()]
    assert documents == [["a", "b"], ["a", "c"], ["a"], ["a", "b"]]


def test_without_watch_it_is_shown_once(capfd: pytest.CaptureFixture[str]) -> None:
    present(views(("a", "b"), ("c",)), as_json=False, watch=False)
    assert capfd.readouterr().out == "a b\n"


@pytest.fixture
def process(toy: Deployment) -> Iterator[Callable[..., subprocess.Popen[Any]]]:
    """`trimtab` in a process of its own on a home with a model."""
    toy.create_model()
    started: list[subprocess.Popen[Any]] = []

    def start(*arguments: str, out: int) -> subprocess.Popen[Any]:
        command = [sys.executable, "-m", "service.cli", "--home", str(toy.settings.home), *arguments]
        # Whoever runs the tests in the background ignores Ctrl-C, and a child would inherit that.
        heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        started.append(subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, preexec_fn=heard))  # noqa: PLW1509
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.communicate()


Start = Callable[..., "subprocess.Popen[Any]"]


@pytest.mark.parametrize(
    "words",
    [("status",), ("versions", "toy"), ("jobs",), ("events",), ("drift", "toy")],
    ids=lambda words: words[0],
)
def test_a_command_is_drawn_on_a_terminal_until_ctrl_c(process: Start, words: tuple[str, ...]) -> None:
    master, slave = pty.openpty()
    running = process(*words, "--watch", out=slave)
    os.close(slave)
    seen = b""
    while b"toy" not in seen and b"yet" not in seen:
        seen += os.read(master, 4096)
    running.send_signal(signal.SIGINT)
    while True:
        try:
            if not (more := os.read(master, 4096)):
                break
            seen += more
        except OSError:  # how Linux says that the other side is closed
            break
    os.close(master)
    assert (running.wait(30), running.stderr and running.stderr.read()) == (0, b"")
    assert b"\x1b[?1049h" in seen  # a screen of its own
    assert b"\x1b[?1049l" in seen  # which is left


def test_in_a_pipe_changes_come_as_they_happen(process: Start, toy: Deployment) -> None:
    running = process("status", "--watch", out=subprocess.PIPE)
    assert running.stdout is not None
    lines = iter(running.stdout.readline, b"")
    assert next(lines) == b"not running\n"
    assert next(lines) == b"toy: nothing serves  drift collecting\n"
    toy.add_version(1)
    assert next(lines) == b"toy: version 1 serves  drift collecting\n"
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == 0
