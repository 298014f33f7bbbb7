"""API keys are shown once, and labels travel by file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fixtures.calls import Outcome, Trimtab
from tests.fixtures.ledgers import LABELS, block, filled_model, sample
from trimtab.ledger import Ledger, feedback, keys, samples


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    made.migrate()
    return made


@pytest.fixture
def call(trimtab: Trimtab, tmp_path: Path) -> Trimtab:
    def at_home(*arguments: object) -> Outcome:
        return trimtab("--home", tmp_path, *arguments)

    return at_home


def test_a_key_is_shown_once_and_works_until_it_is_revoked(call: Trimtab, ledger: Ledger) -> None:
    plain = call("keys", "add", "shop", "--roles", "predict, read", "--client", "shop-a").out.strip()
    with ledger.read() as tx:
        found = keys.find_key(tx, plain)
    assert found is not None
    assert (found.roles, found.client) == (frozenset({"predict", "read"}), "shop-a")
    listed = call("keys", "list", "--json")
    assert [key["name"] for key in listed.document] == ["shop"]
    assert plain not in listed.out + call("keys", "list").out
    assert call("keys", "revoke", "shop").code == 0
    with ledger.read() as tx:
        assert keys.find_key(tx, plain) is None
    ledger.close()


def test_wrong_roles_and_names_are_told(call: Trimtab, tmp_path: Path) -> None:
    assert "name at least one of predict" in call("keys", "add", "x", "--roles", "fly").err
    assert call("keys", "add", "x").code == 0
    assert call("keys", "add", "x").code == 2
    assert "no key named 'y'" in call("keys", "revoke", "y").err


def test_labels_go_out_and_come_back(call: Trimtab, ledger: Ledger, tmp_path: Path) -> None:
    with ledger.begin() as tx:
        filled_model(tx)
        samples.ingest(tx, [block("b", [sample(i) for i in range(3)])])
    file = tmp_path / "labels.jsonl"
    assert call("labels", "export", "sentiment", "--out", file).code == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert rows[0] == {"prediction_id": "p0", "text": "text number 0", "predicted": "pos"}
    file.write_text("\n".join(json.dumps(row | {"label": LABELS[0]}) for row in rows))
    assert call("labels", "import", file).out.startswith("3 accepted (3 joined")
    with ledger.read() as tx:
        assert [row.label for row in feedback.labelled(tx, "sentiment")] == [LABELS[0]] * 3
    assert call("labels", "export", "sentiment").out == ""  # all have labels now
    ledger.close()


def test_bad_label_files_are_told_with_the_line(call: Trimtab, ledger: Ledger, tmp_path: Path) -> None:
    with ledger.begin() as tx:
        filled_model(tx)
        samples.ingest(tx, [block("b", [sample(1)])])
    ledger.close()
    file = tmp_path / "labels.jsonl"
    for line, reason in {
        "{": "not valid JSON",
        "[]": "prediction_id",
        '{"prediction_id": "p1"}': "label",
    }.items():
        file.write_text(f'{{"prediction_id": "p1", "label": "pos"}}\n{line}\n')
        outcome = call("labels", "import", file)
        assert outcome.code == 2
        assert f"{file}, line 2: {reason}" in outcome.err
    file.write_text('{"prediction_id": "p1", "label": "unheard"}\n')
    outcome = call("labels", "import", file)
    assert outcome.code == 1
    assert "p1: unknown label 'unheard'" in outcome.out
    assert call("labels", "import", tmp_path / "absent").code == 2
    file.write_bytes(b"\xff\n")
    assert "not valid UTF-8" in call("labels", "import", file).err
