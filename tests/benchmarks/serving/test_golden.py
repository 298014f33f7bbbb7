"""What counts as an answer of a version: it agrees with itself, and with that version's golden answer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from benchmarks.serving.golden import PURE, Golden
from benchmarks.serving.probes import apart
from benchmarks.serving.purity_client import judge, request_of

GOLDEN = Golden(
    texts=("a", "b", "c"),
    labels=("no", "yes"),
    digests={1: "d1", 2: "d2"},
    rows={
        1: np.array([[0.1, 0.9], [0.4, 0.6], [0.5, 0.5]], dtype=np.float32),
        2: np.array([[0.2, 0.8], [0.7, 0.3], [0.505, 0.495]], dtype=np.float32),
    },
)


def answer_of(
    version: int, numbers: list[int], *, shift: float = 0.0
) -> tuple[dict[str, str], dict[str, Any]]:
    """Headers and body as the API answers."""
    rows = GOLDEN.rows[version][numbers]
    predictions = [{"scores": {"no": float(row[0]) + shift, "yes": float(row[1]) - shift}} for row in rows]
    digest = GOLDEN.digests[version]
    body = {"model_version": version, "adapter_digest": digest, "predictions": predictions}
    return {"x-model-version": str(version), "x-adapter-digest": digest}, body


@pytest.mark.parametrize("version", [1, 2])
def test_a_versions_own_answer_is_pure(version: int) -> None:
    named, difference = judge(GOLDEN, [2, 0], *answer_of(version, [2, 0]))
    assert named == version
    assert difference <= PURE


def test_a_difference_is_seen() -> None:
    named, difference = judge(GOLDEN, [0, 1], *answer_of(1, [0, 1], shift=3e-4))
    assert named == 1
    assert difference == pytest.approx(3e-4, rel=1e-3)


def test_the_answer_of_another_version_under_this_ones_name_is_seen() -> None:
    headers, _ = answer_of(1, [1])
    _, body = answer_of(2, [1])
    body |= {"model_version": 1, "adapter_digest": "d1"}
    named, difference = judge(GOLDEN, [1], headers, body)
    assert named == 1
    assert difference == pytest.approx(0.3)


def test_items_that_changed_places_are_seen() -> None:
    _, difference = judge(GOLDEN, [0, 1], *answer_of(1, [1, 0]))
    assert difference > PURE


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"x-model-version": "2"}},
        {"headers": {"x-adapter-digest": "d2"}},
        {"body": {"adapter_digest": "d2"}},
        {"body": {"model_version": 3}},
        {"body": {"predictions": []}},
    ],
    ids=str,
)
def test_an_answer_that_contradicts_itself_names_no_version(change: dict[str, dict[str, Any]]) -> None:
    headers, body = answer_of(1, [0])
    named, difference = judge(GOLDEN, [0], headers | change.get("headers", {}), body | change.get("body", {}))
    assert (named, difference) == (-1, float("inf"))


def test_a_version_that_nobody_made_is_infinitely_far() -> None:
    assert GOLDEN.difference(9, [0], GOLDEN.rows[1][:1]) == float("inf")


def test_the_golden_answers_survive_the_way_to_a_client() -> None:
    again = Golden.from_json(json.loads(json.dumps(GOLDEN.to_json())))
    assert (again.texts, again.labels, again.digests) == (GOLDEN.texts, GOLDEN.labels, GOLDEN.digests)
    assert all((again.rows[n] == GOLDEN.rows[n]).all() for n in (1, 2))


def test_a_probe_tells_every_two_versions_apart() -> None:
    rows = {**GOLDEN.rows, 3: GOLDEN.rows[2] + np.float32(0.01)}
    assert apart(GOLDEN.rows) == pytest.approx([0.1, 0.3, 0.005], abs=1e-6)
    assert apart(rows) == pytest.approx([0.01, 0.01, 0.005], abs=1e-6)


def test_a_request_is_whole() -> None:
    head, _, body = request_of("toy", ["ü", "b"]).partition(b"\r\n\r\n")
    assert json.loads(body)["inputs"] == ["ü", "b"]
    assert f"Content-Length: {len(body)}".encode() in head
