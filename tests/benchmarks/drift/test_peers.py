"""The line protocol with a peer's process, against the real script."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.drift.peer_side import serve
from benchmarks.drift.peers import REQUIREMENTS, SIDE, Peer, install, served


def test_a_peer_that_is_not_installed_ends_and_that_is_said(tmp_path: Path) -> None:
    with served([sys.executable, "-P", str(SIDE), "river", str(tmp_path)], tmp_path) as peer:
        assert isinstance(peer, Peer)
        with pytest.raises(EOFError, match="ended at 'cost'"):
            peer.ask("cost", {"rows": np.zeros((10, 1))}, detector="ADWIN")


def test_arrays_and_answers_travel(tmp_path: Path) -> None:
    """An echo in the language of the protocol: any program that answers lines is a peer."""
    echo = "import sys, json, numpy as np\nfor line in sys.stdin:\n asked = json.loads(line)\n"
    echo += f" rows = np.load({str(tmp_path)!r} + '/' + asked['file'])['rows']\n"
    echo += " print(json.dumps([asked['act'], asked['more'], float(rows.sum())]), flush=True)\n"
    with served([sys.executable, "-c", echo], tmp_path) as peer:
        assert peer.ask("sum", {"rows": np.arange(4.0)}, more=1) == ["sum", 1, 6.0]
        assert peer.ask("again", {"rows": np.ones(2)}, more=2) == ["again", 2, 2.0]


def test_an_environment_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    for name in REQUIREMENTS:
        home = tmp_path / "peers" / name
        home.mkdir(parents=True)
        (home / "installed").touch()
        assert install(name, tmp_path) == home / "bin" / "python"


def test_every_requirement_is_pinned() -> None:
    assert all(any("==" in each for each in wanted) for wanted in REQUIREMENTS.values())


def test_the_script_asks_the_package_that_it_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", reference=np.zeros((5, 2)))
    question = json.dumps({"act": "reference", "file": "arrays.npz"})
    with pytest.raises(ModuleNotFoundError, match="alibi_detect"):
        serve("alibi-detect", tmp_path, [question], io.StringIO())
