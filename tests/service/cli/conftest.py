"""The command line as a person calls it: arguments in, exit code and output out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from service.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a call came to."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Trimtab = Callable[..., Outcome]


@pytest.fixture
def trimtab(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Trimtab:
    """Calls `trimtab` in this process."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["trimtab", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return call
