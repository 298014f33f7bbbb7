"""`trimtab labels`: take predictions out to be labelled, and bring the labels back."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.entry import open_ledger, settings_of
from service.cli.look import Name
from trimtab.errors import DataError

if TYPE_CHECKING:
    from trimtab.ledger.feedback import FeedbackItem

app = typer.Typer(help="Labels by file.", no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def export(
    ctx: typer.Context,
    name: Name,
    out: Annotated[Path | None, typer.Option(help="JSON Lines file (else standard output).")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1)] = 1_000,
) -> None:
    """Predictions that have no label yet: prediction_id, text, predicted; add `label` and import the file."""
    from trimtab.ledger.models import get_model
    from trimtab.ledger.samples import unlabelled_rows

    with open_ledger(settings_of(ctx)) as ledger, ledger.read() as tx:
        get_model(tx, name)
        rows = unlabelled_rows(tx, name, 0, limit)
    lines = [
        json.dumps(
            {"prediction_id": row.prediction_id, "text": row.text, "predicted": row.label}, ensure_ascii=False
        )
        for row in rows
    ]
    content = "".join(line + "\n" for line in lines)
    if out is None:
        sys.stdout.write(content)
    else:
        out.write_text(content, encoding="utf-8")


@app.command(name="import")
def import_(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON Lines of prediction_id and label, optional annotator.")],
) -> None:
    """Record labels as feedback; all or nothing."""
    from trimtab.ledger.feedback import record_feedback

    items = read_labels(file)
    with open_ledger(settings_of(ctx)) as ledger, ledger.begin() as tx:
        outcome = record_feedback(tx, items)
    counts = f"{outcome.joined} joined, {outcome.pending} pending, {outcome.duplicates} known already"
    sys.stdout.write(f"{outcome.accepted} accepted ({counts}), {len(outcome.rejected)} rejected\n")
    for index, reason in outcome.rejected:
        sys.stdout.write(f"  {items[index].prediction_id}: {reason}\n")
    if outcome.rejected:
        raise typer.Exit(1)


def read_labels(file: Path) -> list[FeedbackItem]:
    """The items of a label file. Raises DataError with file, line, reason and what would be right."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{file}: not valid UTF-8: save the file as UTF-8") from None
    return [_item(file, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _item(file: Path, number: int, line: str) -> FeedbackItem:
    from trimtab.ledger.feedback import FeedbackItem

    expected = 'write {"prediction_id": "...", "label": "..."}'
    try:
        values: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{file}, line {number}: not valid JSON ({error.msg}): {expected}") from None
    members = values if isinstance(values, dict) else {}
    strings = {name: members.get(name, "") for name in ("prediction_id", "label", "annotator")}
    for name, value in strings.items():
        if not isinstance(value, str) or (name != "annotator" and not value):
            raise DataError(f"{file}, line {number}: {name} is not a string or missing: {expected}")
    return FeedbackItem(**strings, client="import")
