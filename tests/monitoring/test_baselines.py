"""Baselines: verified before they are read, calibrated once, cached by content."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from monitoring import baselines as module
from monitoring.baselines import MIN_ROWS, Baselines, calibration_key, usable_rows
from monitoring.calibration import MAX_ROWS
from tests.fixtures.references import N_FEATURES, traffic, version_with_references
from trimtab.adapter import create_keys, digest_of, load_private_key, load_public_key
from trimtab.errors import AdapterRefused, DigestMismatch, VersionNotFound
from trimtab.features import Floats
from trimtab.store import AdapterStore

WINDOW, CHECKS = 60, 200.0


class Shelf:
    """A store with versions, and baselines opened on it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        create_keys(home / "private.pem", home / "public.pem")
        self.store = AdapterStore((home / "store").as_uri())
        self.opened: list[Baselines] = []

    def put(self, rows: dict[str, Floats]) -> str:
        return self.store.put(version_with_references(load_private_key(self.home / "private.pem"), rows))

    def open(self) -> Baselines:
        key = load_public_key(self.home / "public.pem")
        self.opened.append(Baselines(self.store, key, self.home / "cache", window=WINDOW, checks=CHECKS))
        return self.opened[-1]

    def cached(self) -> list[Path]:
        return sorted((self.home / "cache").glob("*"))


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    for each in made.opened:
        each.close()


def test_is_safe_at_first_and_calibrated_soon(shelf: Shelf) -> None:
    digest = shelf.put({"b": traffic(80, 1.0, 1), "a": traffic(120, 0.0, 2)})
    opened = shelf.open()
    opened.of(1, digest)
    opened.wait_until_calibrated(60.0)
    baseline = opened.of(1, digest)
    assert baseline.calibrated
    assert baseline.known.names == ("a", "b")
    assert len(baseline.features) == N_FEATURES
    assert baseline.thresholds[1].energy > baseline.thresholds[0].energy  # fewer rows, more noise


def test_a_calibration_is_made_once(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = shelf.put({"a": traffic(80, 0.0, 1)})
    first = shelf.open()
    first.of(1, digest)
    first.wait_until_calibrated(60.0)
    monkeypatch.delattr(module, "calibrate")  # a second calibration would now fail
    second = shelf.open()
    second.of(1, digest)
    second.wait_until_calibrated(60.0)
    assert second.of(1, digest).thresholds == first.of(1, digest).thresholds
    assert len(shelf.cached()) == 1


def test_a_broken_cache_file_is_replaced(shelf: Shelf) -> None:
    digest = shelf.put({"a": traffic(80, 0.0, 1)})
    (shelf.home / "cache").mkdir()
    key = calibration_key(traffic(80, 0.0, 1), WINDOW, CHECKS)
    (shelf.home / "cache" / f"calibration-{key}.json").write_text("{")
    opened = shelf.open()
    opened.of(1, digest)
    opened.wait_until_calibrated(60.0)
    assert opened.of(1, digest).calibrated
    assert json.loads(shelf.cached()[0].read_text())["calibrated"] is True


def test_a_flipped_byte_is_refused(shelf: Shelf) -> None:
    digest = shelf.put({"a": traffic(80, 0.0, 1)})
    path = shelf.home / "store" / "adapters" / digest / "references.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DigestMismatch):
        shelf.open().of(1, digest)


def test_a_version_that_is_not_there_can_be_asked_for_again(shelf: Shelf) -> None:
    files = version_with_references(load_private_key(shelf.home / "private.pem"), {"a": traffic(80, 0.0, 1)})
    opened = shelf.open()
    with pytest.raises(VersionNotFound):
        opened.of(1, digest_of(files))
    shelf.store.put(files)
    assert opened.of(1, digest_of(files)).version == 1


def test_too_small_references_are_left_out_or_refused(shelf: Shelf) -> None:
    mixed = shelf.put({"a": traffic(80, 0.0, 1), "tiny": traffic(MIN_ROWS - 1, 0.0, 2)})
    tiny = shelf.put({"tiny": traffic(MIN_ROWS - 1, 0.0, 2)})
    opened = shelf.open()
    assert opened.of(1, mixed).known.names == ("a",)
    with pytest.raises(AdapterRefused, match=f"at least {MIN_ROWS} rows"):
        opened.of(1, tiny)


def test_large_references_are_thinned() -> None:
    rows = np.zeros((MAX_ROWS + 1, 1), np.float32)
    assert len(usable_rows({"a": rows})["a"]) == MAX_ROWS


def test_the_cache_key_depends_on_everything_that_thresholds_depend_on() -> None:
    rows = traffic(60, 0.0, 1)
    keys = {
        calibration_key(rows, 60, 200.0),
        calibration_key(rows, 61, 200.0),
        calibration_key(rows, 60, 201.0),
        calibration_key(rows[:-1], 60, 200.0),
        calibration_key(rows.reshape(-1, N_FEATURES // 2), 60, 200.0),
    }
    assert len(keys) == 5
