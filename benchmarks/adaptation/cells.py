"""Results on disk, one JSON file a cell, with the files of the version that the next cell starts from beside it.

A cell whose digest is that of what it depends on is there and is not run again; any other content is replaced.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Result = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """A piece of the study: its place, such as "plan/tweets-amazon/seed-0", and all that its numbers depend on."""

    name: str
    depends: Mapping[str, Any]

    @property
    def digest(self) -> str:
        content = json.dumps(self.depends, sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Cells:
    """The cells of a directory; several processes may work on one."""

    directory: Path

    def result(self, cell: Cell) -> Result | None:
        """What was found; None where it is not there or was made from something else."""
        path = self._path(cell)
        if not path.exists():
            return None
        found: Result = json.loads(path.read_text(encoding="utf-8"))
        return found if found["digest"] == cell.digest else None

    def files(self, cell: Cell) -> dict[str, bytes]:
        """The version that the cell made."""
        return {path.name: path.read_bytes() for path in sorted(self._files(cell).iterdir())}

    def keep(self, cell: Cell, result: Result, files: Mapping[str, bytes]) -> Result:
        """Writes files first and the result last: a cell is there as a whole or not at all."""
        self._files(cell).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (self._files(cell) / name).write_bytes(content)
        path, found = self._path(cell), {"digest": cell.digest, "depends": dict(cell.depends)} | result
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(found, indent=1, default=str), encoding="utf-8")
        unfinished.replace(path)
        return found

    @contextmanager
    def alone(self, cell: Cell) -> Iterator[None]:
        """Nobody else makes this cell meanwhile; a process that dies gives it free."""
        lock = self.directory / "locks" / f"{cell.name.replace('/', '.')}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _path(self, cell: Cell) -> Path:
        return self.directory / "cells" / f"{cell.name}.json"

    def _files(self, cell: Cell) -> Path:
        return self.directory / "versions" / cell.name
