"""A backup is one moment, whole or not there; restored it is the same deployment, and a damaged one changes nothing."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fixtures.deployment import Deployment, deployment
from trimtab.adapter import WEIGHTS
from trimtab.backup import read_contents, read_key, restore_backup, write_backup
from trimtab.errors import AdapterRefused, DataError, LedgerUnavailable, TrimtabError
from trimtab.ledger import Ledger, events, keys, models, versions
from trimtab.ledger.archive import LedgerNotEmpty
from trimtab.store import AdapterStore


@pytest.fixture
def toy(tmp_path: Path, tiny_base_dir: Path) -> Iterator[Deployment]:
    """A deployment with model `toy`: version 1 previous, 2 champion."""
    with deployment(tmp_path / "old", tiny_base_dir, "redis://localhost:1") as made:
        made.create_model()
        made.add_version(1)
        made.add_version(2)
        made.add_key("app", "predict")
        yield made


@dataclass(frozen=True)
class Target:
    """An empty place."""

    home: Path
    ledger: Ledger
    store: AdapterStore


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.system)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    """The backup comes from SQLite; it goes into either database."""
    home = tmp_path / "new"
    home.mkdir()
    url = f"sqlite:///{home}/ledger.db"
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        url = server.url(server.create_database())
    ledger = Ledger(url)
    yield Target(home, ledger, AdapterStore((home / "store").as_uri()))
    ledger.close()


@pytest.fixture
def file(toy: Deployment, tmp_path: Path) -> Path:
    write_backup(tmp_path / "backup.zip", toy.ledger, toy.store, _keys(toy))
    return tmp_path / "backup.zip"


def _keys(toy: Deployment) -> dict[str, bytes]:
    return {"verify": toy.settings.public_key_path.read_bytes()}


def without(file: Path, left_out: str, **added: bytes) -> None:
    """Write the zip file anew without a member, or with another content of it."""
    whole = file.rename(file.with_suffix(".whole"))
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(file, "w") as target:
        for name in source.namelist():
            if left_out not in name:
                target.writestr(name, source.read(name))
        for content in added.values():
            target.writestr(left_out, content)


def is_empty(target: Target) -> bool:
    target.ledger.migrate()
    with target.ledger.read() as tx:
        return models.list_models(tx) == [] and events.list_events(tx) == []


def test_what_it_holds_can_be_read(toy: Deployment, file: Path) -> None:
    contents = read_contents(file)
    assert contents.rows["models"] == 1
    assert contents.rows["versions"] == len(contents.versions) == 2
    assert (contents.missing, contents.bases, contents.keys) == ((), (str(toy.base_dir),), ("verify",))
    assert read_key(file, "verify") == _keys(toy)["verify"]
    with pytest.raises(DataError, match=r"signing\.pem"):
        read_key(file, "signing")


def test_only_its_owner_may_read_it(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_backup_that_cannot_be_written_leaves_nothing(toy: Deployment, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no-such-directory"):
        write_backup(tmp_path / "no-such-directory" / "b.zip", toy.ledger, toy.store, {})
    shutil.rmtree(toy.settings.home / "store")
    (toy.settings.home / "store").write_text("not a directory")
    with pytest.raises(TrimtabError):
        write_backup(tmp_path / "b.zip", toy.ledger, toy.store, {})
    assert not list(tmp_path.glob("*b.zip*"))


def test_restored_it_is_the_same(toy: Deployment, file: Path, target: Target) -> None:
    restore_backup(file, target.ledger, target.store)
    with toy.ledger.read() as old, target.ledger.read() as new:
        assert models.list_models(new) == models.list_models(old)
        assert versions.list_versions(new, "toy") == versions.list_versions(old, "toy")
        assert versions.get_aliases(new, "toy") == {"champion": 2, "previous": 1}
        assert events.list_events(new) == events.list_events(old)
        assert keys.live_keys(new).keys() == keys.live_keys(old).keys()
    for digest in read_contents(file).versions:
        assert target.store.get(digest) == toy.store.get(digest)


def test_there_and_back_again_is_the_same(
    toy: Deployment, file: Path, target: Target, tmp_path: Path
) -> None:
    """SQLite to the other database to SQLite."""
    restore_backup(file, target.ledger, target.store)
    again = write_backup(tmp_path / "again.zip", target.ledger, target.store, _keys(toy))
    home = Ledger(f"sqlite:///{tmp_path}/home.db")
    restore_backup(tmp_path / "again.zip", home, toy.store)
    last = write_backup(tmp_path / "last.zip", home, toy.store, _keys(toy))
    home.close()
    first = read_contents(file)
    assert first.rows == again.rows == last.rows
    assert first.versions == again.versions == last.versions
    for table in first.rows:
        member = f"ledger/{table}.jsonl"
        assert zipfile.ZipFile(file).read(member) == zipfile.ZipFile(tmp_path / "last.zip").read(member)


def test_a_ledger_with_rows_is_not_touched(toy: Deployment, file: Path) -> None:
    with toy.ledger.read() as tx:
        before = events.list_events(tx)
    with pytest.raises(LedgerNotEmpty):
        restore_backup(file, toy.ledger, toy.store)
    with toy.ledger.read() as tx:
        assert events.list_events(tx) == before


def test_a_migrated_but_empty_ledger_will_do(file: Path, target: Target) -> None:
    target.ledger.migrate()
    restore_backup(file, target.ledger, target.store)
    assert not is_empty(target)


@pytest.mark.parametrize("member", ["backup.json", "ledger/versions.jsonl", WEIGHTS, "keys/verify.pem"])
def test_a_damaged_backup_changes_nothing(file: Path, target: Target, member: str) -> None:
    without(file, member)
    with pytest.raises(DataError):
        restore_backup(file, target.ledger, target.store)
    assert is_empty(target)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_cut_off_file_is_told(file: Path, target: Target, keep: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match="no backup, or only a part of one"):
        restore_backup(file, target.ledger, target.store)
    assert is_empty(target)


def test_a_changed_weight_is_refused(file: Path, target: Target) -> None:
    digest = read_contents(file).versions[0]
    without(file, f"store/{digest}/{WEIGHTS}", changed=b"other weights")
    with pytest.raises(AdapterRefused):
        restore_backup(file, target.ledger, target.store)
    assert is_empty(target)


def test_a_backup_of_another_release_is_told(file: Path, target: Target) -> None:
    contents = json.loads(zipfile.ZipFile(file).read("backup.json"))
    newer = contents | {"rows": contents["rows"] | {"future_table": 0}}
    without(file, "backup.json", changed=json.dumps(newer).encode())
    with pytest.raises(DataError, match="future_table"):
        restore_backup(file, target.ledger, target.store)
    file.with_suffix(".whole").replace(file)
    without(file, "backup.json", changed=json.dumps(contents | {"revision": "9999"}).encode())
    with pytest.raises(LedgerUnavailable, match="newer release"):
        restore_backup(file, target.ledger, target.store)
    assert is_empty(target)


def test_a_version_that_the_store_lost_is_named(toy: Deployment, tmp_path: Path, target: Target) -> None:
    with toy.ledger.read() as tx:
        lost = versions.get_version(tx, "toy", 1).digest
    assert lost is not None
    toy.store.delete(lost)
    contents = write_backup(tmp_path / "b.zip", toy.ledger, toy.store, _keys(toy))
    assert contents.missing == (lost,)
    restore_backup(tmp_path / "b.zip", target.ledger, target.store)
    assert set(target.store.digests()) == set(contents.versions)
