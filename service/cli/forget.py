"""`trimtab forget`: delete a prediction, a request or all of a client from the ledger."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.act import ACTOR
from service.cli.entry import open_ledger, settings_of
from service.cli.look import AsJson
from service.cli.show import console, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(forget)


def forget(
    ctx: typer.Context,
    prediction_id: Annotated[
        str | None, typer.Option("--id", help="Of a prediction, or of a request: all of its items.")
    ] = None,
    client: Annotated[str | None, typer.Option(help="Name of a key: all that it sent or said.")] = None,
    as_json: AsJson = False,
) -> None:
    """Delete samples with their labels, label requests and examples, in memory and gate sets, too."""
    from trimtab.errors import InvalidInput
    from trimtab.ledger.forget import forget as forget_now

    if (prediction_id is None) == (client is None):
        raise InvalidInput("name either --id or --client")
    with open_ledger(settings_of(ctx)) as ledger, ledger.begin() as tx:
        gone = forget_now(tx, prediction_id=prediction_id, client=client, actor=ACTOR)
    if as_json:
        print_json(gone)
        return
    rows = {"predictions": gone.predictions, "labels": gone.feedback, "label requests": gone.label_requests}
    rows |= {f"{role} examples": n for role, n in gone.examples.items()}
    print_table(
        "Forgotten",
        ("what", "number"),
        [(what, n) for what, n in rows.items() if n],
        empty="Nothing of it is kept.",
    )
    console.print("Backups still hold it, and versions that were trained on it.", highlight=False)
