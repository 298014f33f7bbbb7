"""Backup, restore into an empty home and serve from it; collect; doctor as a person calls it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from sqlalchemy import update

from service.home import own_home
from tests.fixtures.calls import Trimtab
from tests.fixtures.deployment import Deployment
from trimtab.adapter import create_keys
from trimtab.ledger import Ledger
from trimtab.ledger.schema import versions as version_table
from trimtab.settings import RedisSettings, Settings
from trimtab.store import AdapterStore


@pytest.fixture
def saved(toy: Deployment, trimtab: Trimtab, tmp_path: Path) -> Path:
    """A backup of model `toy` (version 1 previous, 2 champion), with both keys."""
    toy.create_model()
    toy.add_version(1)
    toy.add_version(2)
    file = tmp_path / "saved.zip"
    done = trimtab("--home", toy.settings.home, "backup", file, "--with-private-key")
    assert (done.code, done.err) == (0, "")
    assert str(toy.base_dir) in "".join(done.out.split())
    return file


def moved(toy: Deployment, home: Path) -> Deployment:
    """The same deployment in another home."""
    settings = Settings(
        home=home, redis=RedisSettings(url=toy.settings.redis_url), server=toy.settings.server, device="cpu"
    )
    return Deployment(
        settings,
        toy.base_dir,
        toy.base,
        Ledger(settings.ledger_url),
        AdapterStore(settings.store_url),
        toy.key,
    )


def test_an_empty_home_serves_what_was_restored(
    saved: Path, toy: Deployment, trimtab: Trimtab, tmp_path: Path
) -> None:
    home = tmp_path / "elsewhere"
    with toy.running() as api:
        before = api.predict(["good film", "bad plot"]).json()
    done = trimtab("--home", home, "restore", saved, "--json")
    assert (done.code, done.err) == (0, "")
    assert done.document["rows"]["versions"] == 2
    assert stat.S_IMODE((home / "keys/signing.pem").stat().st_mode) == 0o600
    with moved(toy, home).running() as api:
        after = api.predict(["good film", "bad plot"]).json()
    assert after["adapter_digest"] == before["adapter_digest"]
    assert [each["label"] for each in after["predictions"]] == [
        each["label"] for each in before["predictions"]
    ]
    assert [each["score"] for each in after["predictions"]] == [
        each["score"] for each in before["predictions"]
    ]
    assert trimtab("--home", home, "verify", "toy").code == 0


def test_a_home_with_rows_or_other_keys_is_left_alone(
    saved: Path, toy: Deployment, trimtab: Trimtab, tmp_path: Path
) -> None:
    again = trimtab("--home", toy.settings.home, "restore", saved)
    assert again.code == 1
    assert "restore into an empty one" in again.err
    other = tmp_path / "other"
    create_keys(other / "keys/signing.pem", other / "keys/verify.pem")
    refused = trimtab("--home", other, "restore", saved)
    assert refused.code == 2
    assert "another key" in refused.err
    assert not (other / "ledger.db").exists()


def test_a_running_home_is_left_alone(saved: Path, trimtab: Trimtab, tmp_path: Path) -> None:
    with own_home(tmp_path / "busy"):
        refused = trimtab("--home", tmp_path / "busy", "restore", saved)
    assert refused.code == 2
    assert "already runs" in refused.err


def test_the_private_key_is_left_out_unless_asked_for(
    toy: Deployment, trimtab: Trimtab, tmp_path: Path
) -> None:
    toy.create_model()
    done = trimtab("--home", toy.settings.home, "backup", tmp_path / "b.zip", "--json")
    assert done.document["keys"] == ["verify"]
    assert trimtab("--home", tmp_path / "new", "restore", tmp_path / "b.zip").code == 0
    assert not (tmp_path / "new/keys/signing.pem").exists()


def test_no_backup_is_used_wrongly(trimtab: Trimtab, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("no zip")
    refused = trimtab("--home", tmp_path / "new", "restore", tmp_path / "x.zip")
    assert (refused.code, "no backup" in refused.err) == (2, True)
    missing = trimtab("--home", tmp_path / "new", "restore", tmp_path / "y.zip")
    assert (missing.code, "No such file" in missing.err) == (2, True)


def test_collect_says_what_would_go_and_does_it(
    toy: Deployment, trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.create_model()
    digests = {n: toy.add_version(n) for n in range(1, 5)}
    with toy.ledger.begin() as tx:
        tx.execute(update(version_table).values(created_at=1e9))
    monkeypatch.setenv("TRIMTAB_STORE__KEEP_VERSIONS", "0")
    planned = trimtab("--home", toy.settings.home, "collect", "--dry-run", "--json").document
    assert [each["version"] for each in planned["versions"]] == [1, 2]
    assert toy.store.has(digests[1])
    done = trimtab("--home", toy.settings.home, "collect")
    assert (done.code, "2 digests left the store" in done.out) == (0, True)
    assert {n for n, digest in digests.items() if toy.store.has(digest)} == {3, 4}
    assert trimtab("--home", toy.settings.home, "verify", "toy").code == 0
    refused = trimtab("--home", toy.settings.home, "promote", "toy", "1", "--force")
    assert (refused.code, "no files any more" in refused.err) == (1, True)


def test_doctor_is_a_table_a_document_and_an_exit_code(
    saved: Path, toy: Deployment, trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRIMTAB_REDIS__URL", toy.settings.redis_url)
    well = trimtab("--home", toy.settings.home, "doctor")
    assert well.code == 0
    assert "0 failed" in well.out
    nothing = trimtab("--home", tmp_path / "nothing", "doctor", "--json")
    assert (nothing.code, nothing.document["ok"]) == (1, False)
    assert not (tmp_path / "nothing").exists()
