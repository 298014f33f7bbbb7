"""Peers in environments of their own below `.bench/peers`: made on request, never a dependency of this project."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drift.workers import THREADS

# One environment each: alibi-detect wants numpy below 2, river wants a newer one.
REQUIREMENTS = {
    "alibi-detect": ("alibi-detect==0.13.0",),
    "evidently": ("evidently==0.7.23", "pandas<3"),
    "river": ("river==0.26.1",),
}
INSTALL_S = 900.0
SIDE = Path(__file__).with_name("peer_side.py")


class Peer:
    """A running peer: questions and answers by lines of JSON."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self._process, self._directory = process, directory

    def ask(self, act: str, arrays: dict[str, Any] | None = None, **more: Any) -> Any:
        """The answer to one question. Raises EOFError when the peer has failed; what it said is on the console."""
        question = {"act": act} | more
        if arrays is not None:
            np.savez(self._directory / "arrays.npz", **arrays)
            question["file"] = "arrays.npz"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise EOFError(f"the peer ended at {act!r}")
        return json.loads(line)


def install(name: str, cached: Path) -> Path | None:
    """The python of a peer's environment; None when it does not install (pip's last words are on the console)."""
    home = (cached / "peers" / name).absolute()
    python, done = home / "bin" / "python", home / "installed"
    if done.exists():
        return python
    print(f"  installing {name} into an environment of its own", flush=True)
    venv.create(home, with_pip=True, clear=True)
    argv = [str(python), "-m", "pip", "install", "-q", *REQUIREMENTS[name]]
    free = {key: value for key, value in os.environ.items() if key != "PIP_CONSTRAINT"}
    try:
        pip = subprocess.run(argv, env=free, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        print(f"  {name}: not installed within {INSTALL_S:.0f} s", flush=True)
        return None
    if pip.returncode:
        print(f"  {name} does not install: {pip.stderr.strip()[-300:]}", flush=True)
        return None
    done.touch()
    return python


@contextmanager
def running(name: str, cached: Path) -> Iterator[Peer | None]:
    """A peer, installed first where need be; None when it does not install."""
    python = install(name, cached)
    if python is None:
        yield None
        return
    # -P: the folder of the script holds modules of ours that are called like theirs
    argv = [str(python), "-P", str(SIDE), name]
    with tempfile.TemporaryDirectory() as directory, served([*argv, directory], Path(directory)) as peer:
        yield peer


@contextmanager
def served(argv: list[str], directory: Path) -> Iterator[Peer]:
    """A process that answers lines. Leaving closes its input, which ends it."""
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, text=True, env=os.environ | THREADS, stdin=pipe, stdout=pipe) as process:
        yield Peer(process, directory)
