"""`trimtab keys`: who may call the API, and what for."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.entry import open_ledger, settings_of
from service.cli.look import AsJson
from service.cli.show import ago, console, print_json, print_table

app = typer.Typer(help="API keys.", no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the key.")],
    roles: Annotated[
        str, typer.Option(help="Of predict, feedback, read, operate; with commas.")
    ] = "predict,feedback",
    client: Annotated[str, typer.Option(help="Name that samples carry (else the key's name).")] = "",
) -> None:
    """Make a key. It is shown once and kept nowhere."""
    from trimtab.ledger.keys import add_key

    wanted = [role.strip() for role in roles.split(",") if role.strip()]
    with open_ledger(settings_of(ctx), create=True) as ledger, ledger.begin() as tx:
        plain = add_key(tx, name, wanted, client)
    console.print(plain, highlight=False, soft_wrap=True)


@app.command(name="list")
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Every key, without its secret."""
    from trimtab.ledger.keys import list_keys

    with open_ledger(settings_of(ctx)) as ledger, ledger.read() as tx:
        keys = list_keys(tx)
    if as_json:
        print_json(keys)
        return
    cells = [
        (key.name, ", ".join(sorted(key.roles)), key.client, ago(key.created_at), ago(key.revoked_at))
        for key in keys
    ]
    print_table("API keys", ("name", "roles", "client", "made", "revoked"), cells, empty="No key yet.")


@app.command()
def revoke(ctx: typer.Context, name: Annotated[str, typer.Argument(help="Name of the key.")]) -> None:
    """Make a key worthless from now on."""
    from trimtab.ledger.keys import revoke_key

    with open_ledger(settings_of(ctx)) as ledger, ledger.begin() as tx:
        revoke_key(tx, name)
    console.print(f"{name} is revoked.", highlight=False)
