"""`trimtab labels`: take texts out to be labelled, and bring the labels back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.entry import open_ledger, settings_of
from service.cli.look import Name
from trimtab.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from service.label_files import Given
    from trimtab.ledger.feedback import FeedbackOutcome
    from trimtab.ledger.label_requests import LabelRequest
    from trimtab.ledger.samples import PredictionRow

ACTOR = "command line"
CLIENT = "file"
LEASE_S = 86_400.0  # nobody else is given an exported request for so long
app = typer.Typer(help="Labels by file.", no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def export(
    ctx: typer.Context,
    name: Name,
    out: Annotated[Path | None, typer.Option(help="File (else standard output).")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1)] = 1_000,
    format_: Annotated[
        str, typer.Option("--format", help="native (JSON Lines), csv or label-studio.", metavar="FORMAT")
    ] = "native",
) -> None:
    """What a waiting job asks labels for, else predictions without a label; fill in `label`, import the file.

    Requests are held for a day, so that nobody else labels them meanwhile. What was predicted is left out: it sways.
    """
    from service.label_files import Format, written
    from trimtab.ledger.models import get_model

    if format_ not in set(Format):
        raise InvalidInput(f"--format {format_}: use one of {', '.join(Format)}")
    with open_ledger(settings_of(ctx)) as ledger, ledger.begin() as tx:
        labels = get_model(tx, name).labels
        content = written(_to_label(tx, name, limit), labels, Format(format_))
    if out is None:
        sys.stdout.write(content)
    else:
        out.write_text(content, encoding="utf-8")


@app.command(name="import")
def import_(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="What was exported, with labels; or Label Studio's JSON export.")
    ],
) -> None:
    """Record labels as feedback, and answer the requests that they are about; a file that cannot be read changes
    nothing."""
    from service.label_files import read_labels

    given = read_labels(file)
    with open_ledger(settings_of(ctx)) as ledger, ledger.begin() as tx:
        answered, refused, others = _answer(tx, given)
        outcome = _as_feedback(tx, others)
    refused += [f"{others[i].prediction_id}: {reason}" for i, reason in outcome.rejected]
    counts = f"{outcome.joined} joined, {outcome.pending} pending, {answered} requests answered"
    sys.stdout.write(
        f"{outcome.accepted + answered} accepted ({counts}), {outcome.duplicates} known already, "
        f"{len(refused)} rejected\n"
    )
    for reason in refused:
        sys.stdout.write(f"  {reason}\n")
    if refused:
        raise typer.Exit(1)


def _to_label(tx: Connection, name: str, limit: int) -> Sequence[LabelRequest | PredictionRow]:
    from trimtab.ledger.label_requests import Labeller, lease_requests
    from trimtab.ledger.samples import unlabelled_rows

    requests = lease_requests(tx, name, Labeller(CLIENT), limit=limit, lease_s=LEASE_S)
    return requests or unlabelled_rows(tx, name, 0, limit)


@app.command()
def add(
    ctx: typer.Context,
    name: Name,
    label: Annotated[str, typer.Argument(help="The class that feedback may name from now on.")],
) -> None:
    """Declare a new class: once 8 texts of it are labelled, the next adaptation teaches it."""
    from trimtab.ledger.models import declare_label

    with open_ledger(settings_of(ctx)) as ledger, ledger.begin() as tx:
        row = declare_label(tx, name, label, actor=ACTOR)
    sys.stdout.write(
        f"{name}: feedback may say {', '.join(row.labels)}; {label!r} is answered once it is taught\n"
    )


def _answer(tx: Connection, given: list[Given]) -> tuple[int, list[str], list[Given]]:
    """How many requests were answered, why others were not, and the labels that are about no request (any more)."""
    from trimtab.ledger.label_requests import Labeller, answer

    answered, refused, others = 0, [], []
    for each in given:
        try:
            if each.request_id:
                answer(tx, each.request_id, each.label or "", Labeller(CLIENT, each.annotator))
                answered += 1
            else:
                others.append(each)
        except NotFound as error:
            if each.prediction_id:
                others.append(each)
            else:
                refused.append(f"{each.request_id}: {error}")
        except (Conflict, InvalidInput) as error:
            refused.append(f"{each.request_id}: {error}")
    return answered, refused, others


def _as_feedback(tx: Connection, given: list[Given]) -> FeedbackOutcome:
    from trimtab.ledger.feedback import FeedbackItem, record_feedback

    items = [
        FeedbackItem(
            prediction_id=each.prediction_id,
            label=each.label or "",
            annotator=each.annotator,
            observed_at=each.observed_at.timestamp() if each.observed_at else None,
            client=CLIENT,
        )
        for each in given
    ]
    return record_feedback(tx, items)
