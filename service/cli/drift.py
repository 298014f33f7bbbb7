"""`trimtab drift`: how a model stands with its inputs, what the monitor's promise is worth, an operator's answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.completion import drift_words, model_names
from service.cli.drift_page import Standing, show_brief, show_page, state_line, to_do
from service.cli.entry import open_ledger, settings_of
from service.cli.show import console, plain, print_json, print_table, step_progress
from service.cli.watch import View, Watch, present

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from monitoring.selftest import SelfTest
    from trimtab.features import References
    from trimtab.settings import Settings

HISTORY = 60  # checks that a line of history shows
ACTOR = "command line"
Words = Annotated[
    str,
    typer.Argument(
        metavar="[selftest|acknowledge] NAME", help="What to do, and the model.", autocompletion=drift_words
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(drift)


def drift(  # noqa: PLR0917  # typer reads options from parameters
    ctx: typer.Context,
    first: Words,
    second: Annotated[str | None, typer.Argument(metavar="", hidden=True, autocompletion=model_names)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a page.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Also arms, features, examples and checks.")] = False,
    limit: Annotated[int, typer.Option(help="Checks that --full and --json list.", min=1, max=10_000)] = 10,
    watch: Watch = False,
    runs: Annotated[int, typer.Option(help="selftest: fresh splits of the reference.", min=20)] = 200,
    run_length: Annotated[
        float, typer.Option(help="selftest: events between two allowed false alarms.", min=100)
    ] = 10_000,
) -> None:
    """How a model stands with its inputs; `selftest NAME` counts false alarms, `acknowledge NAME` accepts a drift."""
    settings = settings_of(ctx)
    if second is None:
        present(lambda: _look(settings, first, limit, full=full), as_json=as_json, watch=watch)
    elif first == "selftest":
        _selftest(settings, second, runs, run_length, as_json=as_json)
    elif first == "acknowledge":
        _acknowledge(settings, second, as_json=as_json)
    else:
        raise typer.BadParameter(f"{first!r} is neither selftest nor acknowledge")


def _look(settings: Settings, name: str, limit: int, *, full: bool) -> View:
    standing = _standing(settings, name, max(limit, HISTORY))
    state = replace(standing.state, log_m=())
    listed = [replace(report, evidence=None) for report in standing.reports[:limit]]
    page = partial(show_page, standing, limit) if full else partial(show_brief, standing)
    return View(
        document={"state": plain(state), "reports": listed, "alarm": standing.alarm},
        show=page,
        facts=(state_line(state), to_do(standing)),
    )


def _standing(settings: Settings, name: str, n_reports: int) -> Standing:
    """What the ledger says; an alarm of a version that no longer serves is history, no news."""
    from service.drift_view import full_report
    from trimtab.drift import MonitorState
    from trimtab.ledger.jobs import in_flight
    from trimtab.ledger.models import get_model
    from trimtab.ledger.reports import list_reports, load_state
    from trimtab.ledger.versions import get_aliases

    with open_ledger(settings) as ledger, ledger.read() as tx:
        get_model(tx, name)
        champion = get_aliases(tx, name).get("champion")
        reports = list_reports(tx, name, n_reports)
        newest = next((report for report in reports if report.evidence), None)
        current = newest is not None and champion in {None, newest.version}
        return Standing(
            state=load_state(tx, name) or MonitorState(model=name),
            champion=champion,
            reports=tuple(reports),
            alarm=full_report(tx, newest) if newest is not None and current else None,
            job=in_flight(tx, name),
        )


def _acknowledge(settings: Settings, name: str, *, as_json: bool) -> None:
    from trimtab.ledger.jobs import in_flight
    from trimtab.ledger.models import get_model
    from trimtab.ledger.reports import acknowledge

    with open_ledger(settings) as ledger, ledger.begin() as tx:
        get_model(tx, name)
        state, job = acknowledge(tx, name, ACTOR), in_flight(tx, name)
    if as_json:
        print_json(replace(state, log_m=()))
        return
    console.print(
        f"{name}: {state.state}. {state.detail} {state.state.meaning}", highlight=False, soft_wrap=True
    )
    if job is not None:
        stays = f"Its job {job.id[:8]} stays {job.status}: `trimtab jobs cancel {job.id[:8]}` ends it."
        console.print(stays, highlight=False, soft_wrap=True)


def _selftest(settings: Settings, name: str, runs: int, run_length: float, *, as_json: bool) -> None:
    """Exit code 1 when some reference broke the promise."""
    with open_ledger(settings) as ledger, ledger.read() as tx:
        references = _references(tx, settings, name)
    tell_selftests(
        name, _run_selftests(settings, references, runs, run_length, quiet=as_json), as_json=as_json
    )


def tell_selftests(name: str, found: dict[str, SelfTest], *, as_json: bool) -> None:
    """By domain; raises typer.Exit with code 1 when a promise is broken."""
    if as_json:
        print_json(found)
    else:
        _show_selftests(name, found)
    if not all(each.held for each in found.values()):
        raise typer.Exit(1)


def _references(tx: Connection, settings: Settings, name: str) -> References:
    """Of the champion, verified."""
    from monitoring.baselines import load_references
    from trimtab.adapter import load_public_key
    from trimtab.errors import VersionNotFound
    from trimtab.ledger.models import get_model
    from trimtab.ledger.versions import get_aliases, get_version
    from trimtab.store import AdapterStore

    get_model(tx, name)
    champion = get_aliases(tx, name).get("champion")
    digest = get_version(tx, name, champion).digest if champion else None
    if digest is None:
        raise VersionNotFound(f"{name} has no version that serves")
    return load_references(
        AdapterStore(settings.store_url), load_public_key(settings.public_key_path), digest
    )


def _run_selftests(
    settings: Settings, references: References, runs: int, run_length: float, *, quiet: bool
) -> dict[str, SelfTest]:
    """One of each domain whose reference is large enough; raises InvalidInput when none is."""
    from monitoring.selftest import selftest
    from monitoring.station import windows_of
    from trimtab.errors import InvalidInput

    windows = windows_of(settings.drift)
    needed = 2 * windows.short
    found: dict[str, SelfTest] = {}
    for domain, rows in sorted(references.rows.items()):
        if len(rows) < needed:
            if not quiet:
                console.print(f"{domain}: {len(rows)} reference rows, {needed} are needed.", highlight=False)
            continue
        with nullcontext(_silent) if quiet else step_progress(domain) as report:
            found[domain] = selftest(
                rows,
                windows,
                ordered=domain in references.ordered,
                run_length_events=run_length,
                runs=runs,
                progress=partial(report, "splits"),
            )
    if not found:
        raise InvalidInput(f"no reference has {needed} rows: half of them must fill a short window")
    return found


def _silent(stage: str, step: int, of: int) -> None:
    """Progress that nobody looks at."""


def _show_selftests(name: str, found: dict[str, SelfTest]) -> None:
    budget = max(test.budget_events for test in found.values())
    title = f"{name}: false alarms without drift, one allowed in {budget:,.0f} events"
    columns = (
        "reference",
        "promise",
        "alarms",
        "allowed",
        "runs",
        "events a run",
        "of budget",
        "stretch",
        "by arm",
    )
    print_table(title, columns, [_cells(*each) for each in found.items()], empty="No reference.")
    for domain, test in found.items():
        rows = [(f"{point.events:,}", f"{point.share:.3f}", f"{point.promised:.3f}") for point in test.curve]
        print_table(f"{domain}: first alarms", ("within events", "share of runs", "promised"), rows, empty="")


def _cells(domain: str, test: SelfTest) -> Sequence[Any]:
    return (
        domain,
        "held" if test.held else "BROKEN",
        test.alarms,
        f"{test.expected:.1f} ({test.low} to {test.high})",
        test.runs,
        f"{test.events:,}",
        f"{test.realised_per_budget:.2f}",
        test.block_length,
        ", ".join(f"{arm} {n}" for arm, n in test.arms.items()),
    )
