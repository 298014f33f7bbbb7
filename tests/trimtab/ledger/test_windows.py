"""Predictions as the monitor reads them."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import Connection

from tests.fixtures.ledgers import block, filled_model, sample
from trimtab.ledger import samples
from trimtab.ledger.windows import PredictionWindow, newest_rows, rows_after

MODEL = "sentiment"


@pytest.fixture(autouse=True)
def _model(tx: Connection) -> None:
    filled_model(tx)


def ingest(tx: Connection, *numbers: int, **changes: object) -> None:
    name = f"block {sorted(numbers)} {sorted(changes.items(), key=str)}"
    samples.ingest(tx, [block(name, [sample(number, **changes) for number in numbers])])


def after(tx: Connection, seq: int, limit: int = 10) -> PredictionWindow:
    return rows_after(tx, MODEL, 1, seq, limit, n_features=2)


def newest(tx: Connection, n: int, after_seq: int, until_seq: int) -> tuple[str, ...]:
    window = newest_rows(tx, MODEL, 1, n, 2, after_seq=after_seq, until_seq=until_seq)
    return window.prediction_ids


def test_the_oldest_after_a_sequence_number_of_one_version_in_order(tx: Connection) -> None:
    ingest(tx, 1, 2)
    ingest(tx, 3, version=2)
    ingest(tx, 4, client="ada", domain="tweets", label="neg")
    ingest(tx, 5, model="another")
    seen = after(tx, 1)
    assert seen.seqs.tolist() == [2, 4]
    assert seen.features.tolist() == [[2.0, 0.5], [4.0, 0.5]]
    assert (seen.labels, seen.clients, seen.domains) == (
        ("pos", "neg"),
        ("anonymous", "ada"),
        (None, "tweets"),
    )
    assert seen.observed_at.tolist() == [1_000_002.0, 1_000_004.0]
    assert after(tx, 0, limit=2).prediction_ids == ("p1", "p2")
    assert after(tx, 2, limit=2).prediction_ids == ("p4",)


def test_chunks_are_the_whole_and_nothing_twice(tx: Connection) -> None:
    ingest(tx, *range(1, 24))
    at, read = 0, list[str]()
    while len(chunk := after(tx, at, limit=5)):
        read += chunk.prediction_ids
        at = int(chunk.seqs[-1])
    assert read == [f"p{n}" for n in range(1, 24)]


def test_the_newest_up_to_a_sequence_number_oldest_first(tx: Connection) -> None:
    ingest(tx, *range(1, 10))
    assert newest(tx, 3, after_seq=0, until_seq=7) == ("p5", "p6", "p7")
    assert newest(tx, 3, after_seq=5, until_seq=7) == ("p6", "p7")
    assert newest(tx, 3, after_seq=7, until_seq=7) == ()


def test_rows_with_other_features_are_left_out(tx: Connection) -> None:
    ingest(tx, 1, 2)
    ingest(tx, 3, features=(1.0, 2.0, 3.0))
    ingest(tx, 4, features=())
    ingest(tx, 5)
    assert after(tx, 0).prediction_ids == ("p1", "p2", "p5")
    assert newest(tx, 2, after_seq=0, until_seq=4) == ("p1", "p2")


def test_nothing_is_an_empty_window_of_the_right_width(tx: Connection) -> None:
    assert len(after(tx, 0)) == 0
    assert after(tx, 0).features.shape == (0, 2)


def test_a_cut_cuts_everything_alike(tx: Connection) -> None:
    ingest(tx, *range(1, 7))
    whole, part = after(tx, 0), after(tx, 0).cut(2, 4)
    assert part.prediction_ids == ("p3", "p4")
    for name in vars(whole):
        assert list(map(str, getattr(part, name))) == list(map(str, getattr(whole, name)[2:4])), name


def test_features_come_back_bit_for_bit(tx: Connection) -> None:
    features = np.random.default_rng(0).normal(size=40).astype(np.float32)
    ingest(tx, 1, features=tuple(features.tolist()))
    assert np.array_equal(rows_after(tx, MODEL, 1, 0, 1, n_features=40).features[0], features)
