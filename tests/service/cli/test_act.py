"""Commands that act: init from the user's own file, adapt, promote, rollback, verify."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest

from service.valkey import ValkeyServer
from tests.fixtures.calls import Outcome, Trimtab
from tests.fixtures.classifiers import build_classifier
from tests.fixtures.deployment import Deployment
from tests.fixtures.tiny_base import build_tiny_base
from tests.fixtures.toy_texts import toy_rows
from trimtab.ledger import Ledger, examples, models, versions
from trimtab.ledger.given import given_rows

THREE = {"good": "good great love fun", "bad": "bad poor hate boring", "so-so": "works yes win cheap"}


@pytest.fixture
def home(tmp_path: Path, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new home whose Redis is the session's."""
    monkeypatch.setenv("TRIMTAB_REDIS__URL", valkey.url)
    monkeypatch.setenv("TRIMTAB_DEVICE", "cpu")
    return tmp_path / "home"


@pytest.fixture
def act(toy: Deployment, trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch) -> Trimtab:
    """`trimtab` on a home with model `toy`: version 1 previous, 2 champion."""
    toy.create_model()
    toy.add_version(1)
    toy.add_version(2)
    monkeypatch.setenv("TRIMTAB_REDIS__URL", toy.settings.redis_url)

    def call(*arguments: object) -> Outcome:
        return trimtab("--home", toy.settings.home, *arguments)

    return call


def three_classes(path: Path, n: int = 240) -> Path:
    """A CSV of three classes that a tiny base can learn."""
    rng = random.Random(3)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        for i in range(n):
            label = sorted(THREE)[i % 3]
            writer.writerow((" ".join([*rng.choices(THREE[label].split(), k=5), f"{i}"]), label))
    return path


def test_init_on_ones_own_csv_with_three_classes(
    trimtab: Trimtab, home: Path, tmp_path: Path, tiny_base_dir: Path
) -> None:
    data = three_classes(tmp_path / "own.csv")
    made = trimtab("--home", home, "init", "own", "--base", tiny_base_dir, "--data", data, "--domain", "shop")
    assert (made.code, made.err) == (0, "")
    assert "own: version 1 serves." in made.out
    for stage in ("loading", "training", "references", "evaluating"):
        assert f"own: {stage}" in made.out
    ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
    with ledger.read() as tx:
        assert models.get_model(tx, "own").labels == ("bad", "good", "so-so")
        assert versions.get_aliases(tx, "own") == {"champion": 1, "baseline": 1}
        assert examples.domains(tx, "own", "reference") == ["shop"]
    ledger.close()
    assert trimtab("--home", home, "verify", "own", "--build").code == 0
    again = trimtab("--home", home, "init", "own", "--base", tiny_base_dir, "--data", data)
    assert again.code == 2
    assert "already a model named 'own'" in again.err


def test_init_on_json_lines_keeps_the_order_of_labels_and_reports_bad_lines(
    trimtab: Trimtab, home: Path, tmp_path: Path, tiny_base_dir: Path
) -> None:
    rows = [json.dumps({"text": row.text, "label": row.label}) for row in toy_rows("film", 200)]
    data = tmp_path / "own.jsonl"
    data.write_text("\n".join([*rows[:3], "{broken", *rows[3:]]), encoding="utf-8")
    order = ("--base", tiny_base_dir, "--data", data, "--labels", "positive, negative", "--max-train", 40)
    refused = trimtab("--home", home, "init", "own", *order)
    assert refused.code == 2
    assert refused.err.startswith(f"trimtab: {data}, line 4: not valid JSON")
    assert not home.exists()  # nothing is half-done
    made = trimtab("--home", home, "init", "own", *order, "--skip-bad")
    assert made.code == 0
    assert "left out line 4: not valid JSON" in made.out
    assert "40 train" in made.out
    ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
    with ledger.read() as tx:
        assert models.get_model(tx, "own").labels == ("positive", "negative")
    ledger.close()


def test_a_missing_base_model_is_told(trimtab: Trimtab, home: Path, tmp_path: Path) -> None:
    data = three_classes(tmp_path / "own.csv")
    outcome = trimtab("--home", home, "init", "own", "--base", tmp_path / "absent", "--data", data)
    assert outcome.code == 2
    assert "there is no such directory" in outcome.err
    (tmp_path / "empty").mkdir()
    empty = trimtab("--home", home, "init", "own", "--base", tmp_path / "empty", "--data", data)
    assert empty.code == 2
    assert f"base model {tmp_path / 'empty'}" in empty.err
    assert "Traceback" not in outcome.err + empty.err


def test_a_checkpoint_is_adopted_without_data(trimtab: Trimtab, home: Path, tmp_path: Path) -> None:
    directory = build_classifier("bert", tmp_path / "classifier")
    made = trimtab("--home", home, "init", "own", "--from-checkpoint", directory)
    assert (made.code, made.err) == (0, "")
    assert "drift alarms are off (state collecting)" in made.out
    assert "no version is promoted by itself until gate labels exist" in made.out
    assert trimtab("--home", home, "verify", "own", "--build").code == 0
    ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
    with ledger.read() as tx:
        assert models.get_model(tx, "own").labels == ("bad", "fine", "good")
    ledger.close()


def test_a_checkpoint_is_adopted_with_data(trimtab: Trimtab, home: Path, tmp_path: Path) -> None:
    directory = build_classifier("bert", tmp_path / "classifier", id2label={0: "bad", 1: "so-so", 2: "good"})
    data = three_classes(tmp_path / "own.csv")
    made = trimtab("--home", home, "init", "own", "--from-checkpoint", directory, "--data", data)
    assert (made.code, made.err) == (0, "")
    assert "Balanced accuracy on the gate part" in made.out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "give either --base with --data, or --from-checkpoint"),
        (("--base", "x", "--from-checkpoint", "."), "give either --base with --data, or --from-checkpoint"),
        (("--base", "x"), "--base needs --data"),
    ],
)
def test_init_needs_one_beginning(trimtab: Trimtab, home: Path, options: tuple[str, ...], told: str) -> None:
    outcome = trimtab("--home", home, "init", "own", *options)
    assert outcome.code == 2
    assert told in " ".join(outcome.err.replace("│", " ").split())
    assert not home.exists()


def test_one_class_is_refused(trimtab: Trimtab, home: Path, tmp_path: Path, tiny_base_dir: Path) -> None:
    data = tmp_path / "own.jsonl"
    data.write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "x"}\n', encoding="utf-8")
    outcome = trimtab("--home", home, "init", "own", "--base", tiny_base_dir, "--data", data)
    assert outcome.code == 2
    assert "only one label (x)" in outcome.err


def test_promote_and_rollback_move_the_champion(act: Trimtab, toy: Deployment) -> None:
    back = act("rollback", "toy", "--reason", "worse")
    assert (back.code, back.out) == (0, "toy: version 1 is champion again.\n")
    nothing = act("rollback", "toy")
    assert nothing.code == 1
    assert "no previous version" in nothing.err
    assert act("promote", "toy", 2).out == "toy: version 2 is champion (generation 4).\n"
    with toy.ledger.read() as tx:
        assert versions.get_aliases(tx, "toy") == {"champion": 2, "previous": 1}
    assert act("promote", "toy", 9).code == 2


def test_a_running_api_follows_at_once(act: Trimtab, toy: Deployment) -> None:
    with toy.running(poll_s=600.0) as api:
        api.wait_for(2)
        assert act("rollback", "toy").code == 0
        api.wait_for(1)  # by the hint: the next poll is ten minutes away


def test_adapt_opens_a_job_that_waits_for_labels(act: Trimtab) -> None:
    job = act("adapt", "toy", "--reason", "new shop", "--domain", "shop", "--json").document
    assert (job["status"], job["domain"]) == ("waiting_for_labels", "shop")
    assert job["cause"] == {"kind": "manual", "actor": "command line", "reason": "new shop"}
    assert job["missing"]["gate"] > 0
    twice = act("adapt", "toy")
    assert twice.code == 1
    assert "waiting_for_labels" in twice.err


def test_adapt_takes_a_file_instead_of_the_traffic(act: Trimtab, toy: Deployment, tmp_path: Path) -> None:
    with toy.ledger.read() as tx:
        labels = models.get_model(tx, "toy").labels
    rows = [{"text": f"a text {i}", "label": labels[i % 2], "domain": "shop"} for i in range(40)]
    data = tmp_path / "own.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    job = act("adapt", "toy", "--data", data, "--method", "head", "--json").document
    assert (job["status"], job["domain"], job["cause"]["method"]) == ("queued", "shop", "head")
    with toy.ledger.read() as tx:
        assert [row.text for row in given_rows(tx, "toy")] == [row["text"] for row in rows]


def test_adapt_refuses_unknown_methods_and_labels(act: Trimtab, tmp_path: Path) -> None:
    unknown = act("adapt", "toy", "--method", "magic")
    assert unknown.code == 2
    assert "prior, temperature, centre" in " ".join(unknown.err.replace("│", " ").split())
    data = tmp_path / "own.jsonl"
    data.write_text('{"text": "a", "label": "strange"}\n', encoding="utf-8")
    refused = act("adapt", "toy", "--data", data)
    assert refused.code == 2
    assert "unknown label 'strange'" in refused.err
    assert act("jobs", "--json").document in ([], {"jobs": []})


def test_rebase_moves_a_model_to_another_base(
    trimtab: Trimtab, home: Path, tmp_path: Path, tiny_base_dir: Path
) -> None:
    data, other = three_classes(tmp_path / "own.csv"), build_tiny_base(tmp_path / "other", seed=5)
    assert trimtab("--home", home, "init", "own", "--base", tiny_base_dir, "--data", data).code == 0
    same = trimtab("--home", home, "rebase", "own", "--base", tiny_base_dir)
    assert same.code == 2
    assert "stands on already" in same.err
    moved = trimtab("--home", home, "rebase", "own", "--base", other, "--epochs", 1)
    assert moved.code in {0, 1}  # what the gate says is not the point here
    assert "balanced accuracy" in moved.out
    ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
    with ledger.read() as tx:
        found = [version for version in versions.list_versions(tx, "own") if version.has_files]
    ledger.close()
    assert [version.manifest["base"]["name"] for version in found] == [str(tiny_base_dir), str(other)]


def test_verify_finds_a_flipped_byte(act: Trimtab, toy: Deployment) -> None:
    assert act("verify", "toy").out.count("signature and digests hold") == 2
    assert act("verify", "toy", 2, "--build").code == 0
    with toy.ledger.read() as tx:
        digest = versions.get_version(tx, "toy", 2).digest
    assert digest is not None
    weights = toy.files_of(digest) / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    outcome = act("verify", "toy", "--json")
    assert outcome.code == 1
    good, bad = outcome.document
    assert (good["version"], good["ok"]) == (1, True)
    assert (bad["version"], bad["ok"]) == (2, False)
    assert "adapter_model.safetensors: content differs" in bad["verdict"]


def test_a_version_that_is_not_in_the_store_is_refused(act: Trimtab, toy: Deployment) -> None:
    with toy.ledger.read() as tx:
        digest = versions.get_version(tx, "toy", 1).digest
    assert digest is not None
    (toy.files_of(digest) / "manifest.json").unlink()
    outcome = act("verify", "toy", 1)
    assert outcome.code == 1
    assert "refused: the store has no version" in outcome.out
