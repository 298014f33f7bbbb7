"""Baselines: verified before they are read, calibrated once, cached by content."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from monitoring import baselines as module
from monitoring.baselines import MIN_ROWS, Baselines, calibration_key, load_references
from monitoring.detector import Windows
from monitoring.mixture import know_domains
from tests.fixtures.references import N_FEATURES, labelled, traffic, version_with_references
from trimtab.adapter import create_keys, digest_of, load_private_key, load_public_key
from trimtab.errors import AdapterRefused, DigestMismatch, VersionNotFound
from trimtab.features import Floats, References
from trimtab.store import AdapterStore

WINDOWS, CHECKS = Windows(block=10, short=60, long=120), 200.0


class Shelf:
    """A store with versions, and baselines opened on it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        create_keys(home / "private.pem", home / "public.pem")
        self.store = AdapterStore((home / "store").as_uri())
        self.opened: list[Baselines] = []

    def put(self, rows: dict[str, Floats] | References) -> str:
        return self.store.put(version_with_references(load_private_key(self.home / "private.pem"), rows))

    def open(self) -> Baselines:
        key = load_public_key(self.home / "public.pem")
        self.opened.append(Baselines(self.store, key, self.home / "cache", windows=WINDOWS, checks=CHECKS))
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
    assert baseline.thresholds[1].short.value > baseline.thresholds[0].short.value  # fewer rows, more noise


def test_a_calibration_is_made_once(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = shelf.put({"a": traffic(80, 0.0, 1)})
    first = shelf.open()
    first.of(1, digest)
    first.wait_until_calibrated(60.0)
    monkeypatch.delattr(module, "calibrate")  # a second calibration would now fail
    second = shelf.open()
    assert second.of(
        1, digest
    ).calibrated  # at once: a restart looks with the thresholds it looked with before
    assert second.of(1, digest).thresholds == first.of(1, digest).thresholds
    assert len(shelf.cached()) == 1


def test_a_broken_cache_file_is_replaced(shelf: Shelf) -> None:
    digest = shelf.put({"a": traffic(80, 0.0, 1)})
    (shelf.home / "cache").mkdir()
    rows = traffic(80, 0.0, 1)
    key = calibration_key(rows, know_domains({"a": rows}).edges, WINDOWS, CHECKS, ordered=False)
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


def test_labels_and_order_come_with_the_rows(shelf: Shelf) -> None:
    references = labelled({"a": traffic(80, 0.0, 1)}, ordered=frozenset("a"), anchors=("a",))
    digest = shelf.put(references)
    baseline = shelf.open().of(1, digest)
    assert baseline.ordered
    assert baseline.references.keys == references.keys
    assert np.array_equal(baseline.references.truth["a"], references.truth["a"])
    key = load_public_key(shelf.home / "public.pem")
    assert load_references(shelf.store, key, digest).anchors == ("a",)


def test_a_dependent_reference_is_calibrated_by_stretches_if_it_has_an_order(shelf: Shelf) -> None:
    sessions = np.repeat(traffic(60, 0.0, 1), 10, axis=0) + 0.1 * traffic(600, 0.0, 2)
    for ordered, longer in ((frozenset[str](), False), (frozenset("a"), True)):
        digest = shelf.put(labelled({"a": sessions}, ordered=ordered))
        opened = shelf.open()
        opened.of(1, digest)
        opened.wait_until_calibrated(60.0)
        assert (opened.of(1, digest).thresholds[0].block_length > 1) is longer


def test_the_cache_key_depends_on_everything_that_thresholds_depend_on() -> None:
    rows, edges = traffic(60, 0.0, 1), know_domains({"a": traffic(60, 0.0, 1)}).edges
    keys = {
        calibration_key(rows, edges, WINDOWS, 200.0, ordered=False),
        calibration_key(rows, edges, WINDOWS, 200.0, ordered=True),
        calibration_key(rows, edges, Windows(block=10, short=70, long=140), 200.0, ordered=False),
        calibration_key(rows, edges, WINDOWS, 201.0, ordered=False),
        calibration_key(rows, edges + 1, WINDOWS, 200.0, ordered=False),
        calibration_key(rows[:-1], edges, WINDOWS, 200.0, ordered=False),
        calibration_key(rows.reshape(-1, N_FEATURES // 2), edges, WINDOWS, 200.0, ordered=False),
    }
    assert len(keys) == 7
