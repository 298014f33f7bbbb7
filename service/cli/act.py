"""Commands that change something by hand: init, adapt, rebase, promote, rollback, verify."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.entry import open_ledger, settings_of
from service.cli.look import AsJson, Name
from service.cli.show import console, print_json, step_progress

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from trimtab.adapter import AdapterManifest
    from trimtab.datafiles import Row, RowsFile
    from trimtab.ledger import Ledger
    from trimtab.ledger.given import Given
    from trimtab.ledger.versions import Version
    from trimtab.settings import Settings
    from workers.first import FirstVersion

Reason = Annotated[str, typer.Option(help="Why; kept with the event.")]
ACTOR = "command line"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (init, adapt, rebase, promote, rollback, verify):
        app.command()(command)


def init(  # noqa: PLR0917  # typer reads options from parameters
    ctx: typer.Context,
    name: Name,
    base: Annotated[str | None, typer.Option(help="Hugging Face encoder: a directory or a hub id.")] = None,
    data: Annotated[Path | None, typer.Option(help="JSON Lines or CSV with text and label.")] = None,
    from_checkpoint: Annotated[
        Path | None, typer.Option(help="A fine-tuned sequence classifier, adopted as it is.", file_okay=False)
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Labels in the order of the outputs, with commas.")
    ] = None,
    domain: Annotated[str | None, typer.Option(help="Domain of the rows that name none.")] = None,
    max_train: Annotated[int, typer.Option(help="Rows trained on at most.", min=16)] = 1_500,
    skip_bad: Annotated[bool, typer.Option(help="Leave bad lines out and report them.")] = False,
    seed: Annotated[int | None, typer.Option(help="Else TRIMTAB_TRAINING__SEED.")] = None,
) -> None:
    """Make version 1: train it on labelled data, or adopt a fine-tuned checkpoint; a running `up` serves it."""
    from trimtab.datafiles import require_classes

    if (base is None) == (from_checkpoint is None):
        raise typer.BadParameter("give either --base with --data, or --from-checkpoint (data optional)")
    if base is not None and data is None:
        raise typer.BadParameter("--base needs --data: labelled rows to train on")
    settings = settings_of(ctx)
    if seed is not None:
        settings = settings.model_copy(
            update={"training": settings.training.model_copy(update={"seed": seed})}
        )
    wanted = [label.strip() for label in labels.split(",") if label.strip()] if labels else None
    rows: list[Row] = []
    if data is not None:
        file = read_data(data, wanted, skip_bad=skip_bad)
        wanted = list(require_classes(file, wanted)) if base else wanted
        rows = [replace(row, domain=row.domain or domain) for row in file.rows]
    made = _first_version(
        settings, name, base or str(from_checkpoint), rows, wanted, max_train, train=bool(base)
    )
    _hint(settings, name)
    console.print(_told(name, made), highlight=False, soft_wrap=True)


def read_data(data: Path, labels: Sequence[str] | None, *, skip_bad: bool) -> RowsFile:
    """A data file; lines that are left out are told. Raises DataError."""
    from trimtab.datafiles import load_rows

    file = load_rows(data, labels=labels, skip_bad=skip_bad)
    for bad in file.skipped:
        console.print(f"left out line {bad.line}: {bad.reason}", highlight=False, soft_wrap=True)
    return file


def adapt(  # noqa: PLR0917  # typer reads options from parameters
    ctx: typer.Context,
    name: Name,
    domain: Annotated[
        str, typer.Option(help="Name of the new domain (else what most of the window names).")
    ] = "",
    from_seq: Annotated[
        int | None, typer.Option(help="First sample of the window (else where it changed).", min=0)
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Labelled rows to adapt to (JSON Lines or CSV), instead of the traffic."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="The one remedy to try (else what the plan says).")
    ] = None,
    reason: Reason = "by hand",
    as_json: AsJson = False,
) -> None:
    """Open an adaptation job now: it trains as soon as the labels it needs are there."""
    from service.adapting import open_adaptation, tell_workers
    from workers.app import configure, nudge

    settings = settings_of(ctx)
    cause = {"kind": "manual", "actor": ACTOR, "reason": reason} | _asked_for(method)
    with open_ledger(settings) as ledger, ledger.begin() as tx:
        given, said = ([], "") if data is None else _given(tx, name, data)
        job = open_adaptation(
            tx, settings, name, cause=cause, domain=domain or said, from_seq=from_seq, given=given
        )
    configure(settings)
    tell_workers(nudge, job)
    if as_json:
        print_json(job)
    else:
        console.print(f"{name}: job {job.id} is {job.status}.", highlight=False)


def _asked_for(method: str | None) -> dict[str, str]:
    from workers.plan import JUDGES

    if method is None:
        return {}
    if method not in JUDGES:
        raise typer.BadParameter(f"{method!r} is none of {', '.join(JUDGES)}", param_hint="--method")
    return {"method": method}


def _given(tx: Connection, name: str, data: Path) -> tuple[list[Given], str]:
    """The rows of a file with the model's labels, and the domain that most of them name. Raises DataError."""
    from trimtab.ledger.given import Given
    from trimtab.ledger.models import get_model

    file = read_data(data, get_model(tx, name).labels, skip_bad=False)
    said = Counter(row.domain for row in file.rows if row.domain)
    usual = max(sorted(said), key=lambda each: said[each]) if 2 * said.total() > len(file.rows) else ""
    return [Given(row.text, row.label, row.group) for row in file.rows], usual


def rebase(
    ctx: typer.Context,
    name: Name,
    base: Annotated[str, typer.Option(help="The other Hugging Face encoder: a directory or a hub id.")],
    epochs: Annotated[int, typer.Option(help="Over the memory.", min=1)] = 3,
) -> None:
    """Move a model to another base: train its memory there, and serve it if it is no worse on any gate set."""
    import torch

    from workers.rebase import rebase as move
    from workers.workshop import open_workshop

    settings = settings_of(ctx)
    torch.set_num_threads(settings.training.threads)
    with open_ledger(settings), open_workshop(settings) as shop, step_progress(name) as report:
        found = move(shop, model=name, base_name=_base_name(base), epochs=epochs, report=report)
    for domain, (before, after) in found.scores.items():
        told = f"balanced accuracy {before.balanced_accuracy:.3f} to {after.balanced_accuracy:.3f}"
        console.print(f"{domain}: {told} (n = {after.n})", highlight=False)
    ended = f"{name}: version {found.version}: {found.status}: {found.reason}"
    console.print(ended, highlight=False, soft_wrap=True)
    _hint(settings, name)
    raise typer.Exit(0 if found.status in {"promoted", "on_trial"} else 1)


def promote(
    ctx: typer.Context,
    name: Name,
    version: Annotated[int, typer.Argument(help="The version that is to serve.", min=1)],
    reason: Reason = "by hand",
    force: Annotated[bool, typer.Option(help="Also a rejected or quarantined version.")] = False,
) -> None:
    """Make a version champion; the one before is kept as `previous`."""
    from trimtab.ledger.versions import promote as promote_version

    settings = settings_of(ctx)
    with open_ledger(settings) as ledger, ledger.begin() as tx:
        generation = promote_version(tx, name, version, actor=ACTOR, reason=reason, force=force)
    _hint(settings, name)
    console.print(f"{name}: version {version} is champion (generation {generation}).", highlight=False)


def rollback(
    ctx: typer.Context,
    name: Name,
    to: Annotated[int | None, typer.Option(help="Version to go back to (else `previous`).", min=1)] = None,
    reason: Reason = "by hand",
) -> None:
    """Step back to the version before; what the model learnt since is forgotten."""
    from trimtab.ledger.versions import rollback as roll_back

    settings = settings_of(ctx)
    with open_ledger(settings) as ledger, ledger.begin() as tx:
        version = roll_back(tx, name, actor=ACTOR, reason=reason, to=to)
    _hint(settings, name)
    console.print(f"{name}: version {version} is champion again.", highlight=False)


def verify(
    ctx: typer.Context,
    name: Name,
    version: Annotated[int | None, typer.Argument(help="Else every version that has files.", min=1)] = None,
    as_json: AsJson = False,
    build: Annotated[
        bool, typer.Option(help="Also merge it and run its golden self-test (loads the base).")
    ] = False,
) -> None:
    """Check signature and digests of versions in the store; exit code 1 when one is refused."""
    settings = settings_of(ctx)
    with open_ledger(settings) as ledger:
        found = _versions(ledger, name, version)
    outcomes = [
        {"version": row.n, "digest": row.digest} | _verdict(settings, row, build=build) for row in found
    ]
    if as_json:
        print_json(outcomes)
    else:
        for outcome in outcomes:
            console.print(
                f"version {outcome['version']}: {outcome['verdict']}", highlight=False, soft_wrap=True
            )
    raise typer.Exit(0 if all(outcome["ok"] for outcome in outcomes) else 1)


def _first_version(
    settings: Settings,
    name: str,
    source: str,
    rows: Sequence[Row],
    labels: Sequence[str] | None,
    max_train: int,
    *,
    train: bool,
) -> FirstVersion:
    """Prepare the home, train or adopt with a progress bar, publish."""
    import torch

    from trimtab.adapter import create_keys
    from workers.first import adopt_checkpoint, create_first_version
    from workers.workshop import open_workshop

    torch.set_num_threads(settings.training.threads)
    settings.home.mkdir(parents=True, exist_ok=True)
    if settings.signing.private_key is None:
        create_keys(settings.private_key_path, settings.public_key_path)
    with open_ledger(settings, create=True), open_workshop(settings) as shop, step_progress(name) as report:
        common: dict[str, Any] = {
            "model": name, "rows": rows, "labels": labels, "max_train": max_train, "report": report,
        }  # fmt: skip
        if train:
            return create_first_version(shop, base_name=_base_name(source), **common)
        return adopt_checkpoint(shop, directory=_base_name(source), **common)


def _base_name(base: str) -> str:
    """A directory by its absolute path: other processes run elsewhere; a hub id as it is."""
    return str(Path(base).resolve()) if Path(base).is_dir() else base


def _told(name: str, made: FirstVersion) -> str:
    if not sum(made.n_rows.values()):
        return (
            f"{name}: version {made.version} serves. Without data there is no reference: drift alarms are off (state "
            "collecting), and no version is promoted by itself until gate labels exist."
        )
    counts = ", ".join(f"{n} {part}" for part, n in made.n_rows.items())
    return f"{name}: version {made.version} serves. Rows: {counts}. Balanced accuracy on the gate part: " + (
        f"{made.gate.balanced_accuracy:.3f} (n = {made.gate.n})" if made.gate.n else "no rows"
    )


def _versions(ledger: Ledger, name: str, version: int | None) -> list[Version]:
    from trimtab.ledger.models import get_model
    from trimtab.ledger.versions import get_version, list_versions

    with ledger.read() as tx:
        get_model(tx, name)
        rows = list_versions(tx, name) if version is None else [get_version(tx, name, version)]
    return [row for row in rows if row.has_files]


def _verdict(settings: Settings, version: Version, *, build: bool) -> dict[str, Any]:
    from trimtab import adapter
    from trimtab.errors import AdapterRefused, NotFound
    from trimtab.store import AdapterStore

    assert version.digest is not None  # noqa: S101  # narrowed by the caller
    key = adapter.load_public_key(settings.public_key_path)
    try:
        files = AdapterStore(settings.store_url).get(version.digest)
        manifest = adapter.verify(files, key, version.digest)
        checked = "signature and digests hold"
        if build:
            checked += f"; golden outputs within {_self_test(settings, files, manifest, version.digest):.1e}"
    except (AdapterRefused, NotFound) as error:
        return {"ok": False, "verdict": f"refused: {error}"}
    return {"ok": True, "verdict": checked}


def _self_test(settings: Settings, files: dict[str, bytes], manifest: AdapterManifest, digest: str) -> float:
    from trimtab.base import load_base
    from trimtab.bundle import build_bundle, self_test

    base = load_base(manifest.base.name, settings.device)
    return self_test(build_bundle(base, files, manifest=manifest, digest=digest), manifest.golden)


def _hint(settings: Settings, name: str) -> None:
    """Let replicas look now; without Redis they find out by polling."""
    import redis

    from service.hints import send_hint

    client = redis.Redis.from_url(settings.redis_url, socket_timeout=2.0)
    try:
        send_hint(client, name)
    finally:
        client.close()
