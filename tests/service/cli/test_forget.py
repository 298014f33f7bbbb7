"""`trimtab forget` as a person and as a program call it."""

from __future__ import annotations

import pytest

from tests.fixtures.calls import Trimtab
from tests.fixtures.deployment import Deployment
from tests.fixtures.ledgers import block, sample
from trimtab.ledger import examples, samples
from trimtab.ledger.examples import Example


@pytest.fixture
def home(toy: Deployment) -> Deployment:
    """Three predictions, two by ada; one of their texts is in memory."""
    toy.create_model()
    sent = [sample(n, model="toy", client="ada" if n < 3 else "bob") for n in (1, 2, 3)]
    kept = Example(model="toy", domain="d", role="memory", text="text number 1", key="k")
    with toy.ledger.begin() as tx:
        samples.ingest(tx, [block("b", sent)])
        examples.add_examples(tx, [kept])
    return toy


def test_a_client_is_forgotten_and_it_is_said_what_went(home: Deployment, trimtab: Trimtab) -> None:
    done = trimtab("--home", home.settings.home, "forget", "--client", "ada", "--json")
    assert (done.code, done.document["predictions"], done.document["examples"]) == (0, 2, {"memory": 1})
    with home.ledger.read() as tx:
        assert [row.prediction_id for row in samples.window_rows(tx, "toy", 0, 10)] == ["p3"]
    again = trimtab("--home", home.settings.home, "forget", "--client", "ada")
    assert again.code == 0
    assert "Nothing of it is kept." in again.out


def test_one_prediction_is_forgotten_and_backups_are_named_as_a_limit(
    home: Deployment, trimtab: Trimtab
) -> None:
    done = trimtab("--home", home.settings.home, "forget", "--id", "p1")
    assert done.code == 0
    assert "memory examples" in done.out
    assert "Backups still hold it" in done.out


@pytest.mark.parametrize("named", [(), ("--id", "p1", "--client", "ada")])
def test_exactly_one_is_named(home: Deployment, trimtab: Trimtab, named: tuple[str, ...]) -> None:
    done = trimtab("--home", home.settings.home, "forget", *named)
    assert (done.code, done.err.strip()) == (2, "trimtab: name either --id or --client")
