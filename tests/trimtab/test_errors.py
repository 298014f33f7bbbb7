"""Errors: the tree in the docstring is the tree in the code, and the class docstring is the default message."""

from __future__ import annotations

import inspect

import pytest

from trimtab import errors

ALL = [
    item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, errors.TrimtabError)
]


@pytest.mark.parametrize("error", ALL)
def test_every_error_is_drawn_and_has_a_default_message(error: type[errors.TrimtabError]) -> None:
    assert error.__name__ in (errors.__doc__ or "")
    assert str(error()) == (error.__doc__ or "").strip().splitlines()[0]
    assert str(error("this exactly")) == "this exactly"
