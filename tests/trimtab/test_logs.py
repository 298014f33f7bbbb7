"""Log lines are JSON objects with context."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from trimtab.logs import set_up_logs


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    set_up_logs("api", stream=stream)
    yield stream
    root.handlers[:], root.level = handlers, level


def test_a_line_has_time_level_process_message_and_extras(lines: io.StringIO) -> None:
    logging.getLogger("trimtab.x").info("swapped %s", "toy", extra={"version": 3, "generation": 7})
    line = json.loads(lines.getvalue())
    assert line["time"].endswith("Z")
    assert line["level"] == "info"
    assert line["process"] == "api"
    assert (line["logger"], line["message"], line["version"]) == ("trimtab.x", "swapped toy", 3)


def test_an_exception_is_one_line(lines: io.StringIO) -> None:
    try:
        raise ValueError("odd\nthing")
    except ValueError:
        logging.getLogger("x").exception("failed")
    assert lines.getvalue().count("\n") == 1
    assert "ValueError: odd" in json.loads(lines.getvalue())["exception"]


def test_setting_up_twice_does_not_double_lines(lines: io.StringIO) -> None:
    set_up_logs("api", stream=lines)
    logging.getLogger("x").warning("once")
    assert lines.getvalue().count("once") == 1


def test_requests_of_clients_do_not_drown_the_rest(lines: io.StringIO) -> None:
    logging.getLogger("httpx").info("GET /")
    assert lines.getvalue() == ""
