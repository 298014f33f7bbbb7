from __future__ import annotations

import math
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from trimtab.ledger import events
from trimtab.ledger.columns import MAX_INDEXED, indexable, storable, to_json


@given(st.text(st.characters()))
def test_storable_text_is_what_both_databases_hold(text: str):
    kept = storable(text)
    assert "\0" not in kept
    assert len(kept) == len(text)
    assert storable(kept) == kept
    kept.encode()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_other_text_is_kept_as_it_is(text: str):
    assert storable(text) == text


@given(st.text(st.characters()))
def test_a_name_in_an_index_is_short_and_stays_the_same(name: str):
    assert len(indexable(name)) <= MAX_INDEXED
    assert indexable(indexable(name)) == indexable(name)


def test_long_names_stay_different():
    assert indexable("a" * 200) == "a" * 200
    assert len({indexable("a" * n) for n in range(195, 300)}) == 105


def test_json_of_what_callers_have_at_hand():
    value = {"ks": np.float32(0.5), "n": np.int64(3), "frozen": MappingProxyType({"a": (1, 2)})}
    assert to_json(value) == '{"ks": 0.5, "n": 3, "frozen": {"a": [1, 2]}}'


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_no_json_are_refused(value: float):
    with pytest.raises(ValueError, match="JSON"):
        to_json({"value": value})


def test_things_that_are_no_json_are_refused():
    with pytest.raises(TypeError, match="set cannot be kept as JSON"):
        to_json({"value": {1, 2}})


def test_odd_characters_in_json_come_back(tx: Connection):
    events.record_event(tx, "odd", None, {"text": "NUL \0, lone \ud800, snow ☃"})
    assert events.list_events(tx)[0].detail == {"text": "NUL \0, lone \ud800, snow ☃"}
