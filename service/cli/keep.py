"""Commands that keep a deployment alive: doctor, backup, restore, collect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.entry import open_ledger, settings_of
from service.cli.look import AsJson
from service.cli.show import console, plain, print_json, print_table

if TYPE_CHECKING:
    from trimtab.backup import Contents
    from trimtab.collection import Collected
    from trimtab.ledger import Ledger
    from trimtab.settings import Settings
    from trimtab.store import AdapterStore


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (doctor, backup, restore, collect):
        app.command()(command)


def doctor(ctx: typer.Context, as_json: AsJson = False) -> None:
    """What is wrong before it hurts: addresses, versions, clocks, keys, disk, device; exit code 1 if a check failed."""
    from service.doctor import Verdict, examine

    checks = examine(settings_of(ctx))
    failed = sum(check.verdict is Verdict.FAIL for check in checks)
    if as_json:
        print_json({"ok": failed == 0, "checks": checks})
    else:
        cells = [(_MARKS[check.verdict], check.name, check.detail, check.advice) for check in checks]
        print_table("Doctor", ("", "check", "found", "do"), cells, empty="Nothing to check.")
        console.print(f"{len(checks)} checks, {failed} failed.", highlight=False)
    raise typer.Exit(1 if failed else 0)


def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="File to write, such as trimtab.zip.")],
    with_private_key: Annotated[
        bool, typer.Option(help="Also the key that signs versions: keep the file as safe as the key.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ledger, versions and the public key in one file, while everything runs. It holds texts of users."""
    from trimtab.backup import write_backup

    settings = settings_of(ctx)
    keys = {"verify": _key_bytes(settings.public_key_path)}
    if with_private_key:
        keys["signing"] = _key_bytes(settings.private_key_path)
    with _opened(settings) as (ledger, store):
        contents = write_backup(file, ledger, store, keys)
    _show_contents(f"{file}: written.", contents, as_json=as_json)


def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="File that `trimtab backup` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Put a backup into an empty ledger, of either database. Keys are written where there are none."""
    from service.home import own_home
    from trimtab.backup import read_contents, restore_backup

    settings = settings_of(ctx)
    with own_home(settings.home):
        for name in sorted(read_contents(file).keys):
            _put_key(settings, file, name)
        with _opened(settings, create=True) as (ledger, store):
            contents = restore_backup(file, ledger, store)
    _show_contents(f"{file}: restored.", contents, as_json=as_json)


def collect(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option(help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete the files of versions that no alias, gate set or retention keeps; their rows stay."""
    from trimtab.collection import collect as collect_now
    from trimtab.collection import plan_collection

    settings = settings_of(ctx)
    with _opened(settings) as (ledger, store):
        done = (plan_collection if dry_run else collect_now)(ledger, store, settings.store)
    if as_json:
        print_json(_gone(done))
        return
    cells = [
        (version.model, version.n, (version.digest or "")[:16], version.state) for version in done.versions
    ]
    title = "Would go" if dry_run else "Gone"
    print_table(title, ("model", "version", "digest", "was"), cells, empty="No version may go.")
    console.print(
        f"{len(done.digests)} digests {'would leave' if dry_run else 'left'} the store.", highlight=False
    )


_MARKS = {"ok": "[green]ok[/green]", "warn": "[yellow]warn[/yellow]", "fail": "[red]FAIL[/red]"}


@contextmanager
def _opened(settings: Settings, *, create: bool = False) -> Iterator[tuple[Ledger, AdapterStore]]:
    from trimtab.ledger import Ledger
    from trimtab.store import AdapterStore

    if create:
        ledger = Ledger(settings.ledger_url)
        try:
            yield ledger, AdapterStore(settings.store_url)
        finally:
            ledger.close()
        return
    with open_ledger(settings) as ledger:
        yield ledger, AdapterStore(settings.store_url)


def _key_bytes(path: Path) -> bytes:
    from trimtab.errors import SettingsError

    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"the key {path}: {error.strerror}") from None


def _put_key(settings: Settings, file: Path, name: str) -> None:
    """Write a key of the backup where there is none. Raises SettingsError when another one is there."""
    from trimtab.adapter import write_key
    from trimtab.backup import read_key
    from trimtab.errors import SettingsError

    path = settings.private_key_path if name == "signing" else settings.public_key_path
    pem = read_key(file, name)
    if not path.exists():
        write_key(path, pem, 0o600 if name == "signing" else 0o644)
    elif path.read_bytes() != pem:
        raise SettingsError(f"{path} is another key than the one in {file}: versions would not verify")


def _show_contents(said: str, contents: Contents, *, as_json: bool) -> None:
    if as_json:
        print_json(contents)
        return
    console.print(said, highlight=False, soft_wrap=True)
    cells = [(table, n) for table, n in contents.rows.items()]
    cells.append(("versions with files", len(contents.versions)))
    print_table(
        f"Trimtab {contents.trimtab}, schema {contents.revision}", ("what", "number"), cells, empty=""
    )
    for digest in contents.missing:
        console.print(f"[yellow]the store had no files of version {digest[:16]}[/yellow]")
    console.print(f"Not in it: the base models {', '.join(contents.bases) or '(none)'}.", highlight=False)


def _gone(done: Collected) -> dict[str, Any]:
    versions = [{"model": each.model, "version": each.n, "digest": each.digest} for each in done.versions]
    return {"versions": versions, "digests": plain(done.digests)}
