from __future__ import annotations

import pytest
from sqlalchemy import Connection

from trimtab.errors import AlreadyExists, GenerationMismatch, InvalidInput, ModelNotFound
from trimtab.ledger import events, models


def test_a_model_comes_back_as_it_was_created(tx: Connection):
    created = models.create_model(tx, "news", ["sport", "politics", "other"], "some/base", "abc")
    assert models.get_model(tx, "news") == created
    assert created.labels == ("sport", "politics", "other")  # the order of the logits
    assert (created.base, created.base_digest, created.generation) == ("some/base", "abc", 0)
    assert [event.kind for event in events.list_events(tx)] == ["model_created"]


def test_a_name_is_taken_once(tx: Connection):
    models.create_model(tx, "news", ["a", "b"], "base", "d")
    with pytest.raises(AlreadyExists, match="'news'"):
        models.create_model(tx, "news", ["x", "y"], "base", "d")
    assert models.get_model(tx, "news").labels == ("a", "b")


def test_an_unknown_model_is_named(tx: Connection):
    with pytest.raises(ModelNotFound, match="'nothing'"):
        models.get_model(tx, "nothing")
    with pytest.raises(ModelNotFound, match="'nothing'"):
        models.next_generation(tx, "nothing")


def test_models_are_listed_by_name_with_their_generations(tx: Connection):
    for name in ("b", "a"):
        models.create_model(tx, name, ["x", "y"], "base", "d")
    assert models.next_generation(tx, "b") == 1
    assert models.next_generation(tx, "b") == 2
    assert [model.name for model in models.list_models(tx)] == ["a", "b"]
    assert models.generations(tx) == {"a": 0, "b": 2}


def test_the_generation_is_compared_with_the_expected_one(tx: Connection):
    models.create_model(tx, "news", ["a", "b"], "base", "d")
    assert models.require_generation(tx, "news", None) == 0
    assert models.require_generation(tx, "news", 0) == 0
    with pytest.raises(GenerationMismatch, match="Expected generation 4 of 'news', but it is 0"):
        models.require_generation(tx, "news", 4)


@pytest.mark.parametrize(
    "name", ["", "bad name!", "../up", "-x", ".hidden", "a/b", "a" * 65, "caf\u00e9", "a\n"]
)
def test_a_name_that_cannot_stand_in_a_path_is_refused(tx: Connection, name: str):
    with pytest.raises(InvalidInput, match="model name"):
        models.create_model(tx, name, ["a", "b"], "base", "d")


def test_a_label_is_declared_behind_the_others(tx: Connection):
    models.create_model(tx, "news", ["sport", "politics"], "base", "d")
    assert models.declare_label(tx, "news", "other").labels == ("sport", "politics", "other")
    assert models.get_model(tx, "news").labels == ("sport", "politics", "other")
    assert {event.kind for event in events.list_events(tx)} == {"model_created", "label_declared"}


@pytest.mark.parametrize("label", ["", "  ", " x", "x" * 101, "a\nb", "a\x00", "\ud800"])
def test_a_label_that_cannot_be_read_is_refused(tx: Connection, label: str):
    models.create_model(tx, "news", ["sport", "politics"], "base", "d")
    with pytest.raises(InvalidInput, match="1 to 100 printable characters"):
        models.declare_label(tx, "news", label)
    assert models.get_model(tx, "news").labels == ("sport", "politics")


def test_a_label_is_declared_once_and_of_a_model_that_is_there(tx: Connection):
    models.create_model(tx, "news", ["sport", "politics"], "base", "d")
    with pytest.raises(AlreadyExists, match="a class 'sport' already"):
        models.declare_label(tx, "news", "sport")
    with pytest.raises(ModelNotFound, match="'nothing'"):
        models.declare_label(tx, "nothing", "x")
