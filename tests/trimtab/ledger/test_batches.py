from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trimtab.ledger.batches import in_batches


@given(st.lists(st.integers()), st.integers(1, 10))
def test_batches_are_the_items_in_order(items: list[int], size: int):
    batches = list(in_batches(items, size))
    assert [item for batch in batches for item in batch] == items
    assert all(0 < len(batch) <= size for batch in batches)
