"""What a trial goes by: the unseen answers beside those that were given, and the labels of both as they arrive."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, RowMapping, exists, func, select

from trimtab.ledger.label_requests import AT_RANDOM
from trimtab.ledger.schema import feedback, label_requests, predictions
from trimtab.trial import Trial


@dataclass(frozen=True)
class Judged:
    """A labelled prediction of the trial's time.

    by_challenger: Whether the version on trial answered it. right: Whether the answer was right. shadow_right: Whether
    the unseen answer beside it was; None where there is none.
    """

    by_challenger: bool
    right: bool
    shadow_right: bool | None


def answer_pairs(tx: Connection, trial: Trial) -> dict[tuple[str, str], int]:
    """{(label of the champion, unseen label of the version on trial): predictions} since the trial began."""
    columns = (predictions.c.label, predictions.c.shadow_label)
    query = select(*columns, func.count()).where(
        *_of(trial, trial.first_seq), predictions.c.version == trial.champion, _shadowed(trial)
    )
    return {(label, shadow): int(n) for label, shadow, n in tx.execute(query.group_by(*columns))}


def n_answers(tx: Connection, trial: Trial) -> int:
    """Predictions that the version on trial answered since the stage began."""
    query = select(func.count()).where(*_of(trial, trial.from_seq), predictions.c.version == trial.version)
    return int(tx.execute(query).scalar_one())


def judged(tx: Connection, trial: Trial) -> list[Judged]:
    """Labelled predictions of champion and challenger since the trial began, by the time of their newest label.

    Answers to requests that were not drawn at random are left out: where a label is wanted because the two disagree,
    the loser is not worse everywhere.
    """
    newest = (feedback.c.observed_at.desc(), feedback.c.label, feedback.c.annotator)
    rank = func.row_number().over(partition_by=feedback.c.seq, order_by=newest).label("rank")
    chosen = exists().where(
        label_requests.c.seq == predictions.c.seq, label_requests.c.reason.not_in(AT_RANDOM)
    )
    columns = (
        predictions.c.seq, predictions.c.version, predictions.c.label.label("answered"),
        predictions.c.shadow_version, predictions.c.shadow_label, feedback.c.label.label("truth"),
        feedback.c.received_at, rank,
    )  # fmt: skip
    either = predictions.c.version.in_((trial.champion, trial.version))
    found = select(*columns).join_from(predictions, feedback, feedback.c.seq == predictions.c.seq)
    labelled = found.where(*_of(trial, trial.first_seq), either, ~chosen).subquery()
    rows = tx.execute(
        select(labelled).where(labelled.c.rank == 1).order_by(labelled.c.received_at, labelled.c.seq)
    ).mappings()
    return [_judged(row, trial.version) for row in rows]


def _judged(row: RowMapping, challenger: int) -> Judged:
    by_challenger, shadowed = row["version"] == challenger, row["shadow_version"] == challenger
    return Judged(
        by_challenger=by_challenger,
        right=row["answered"] == row["truth"],
        shadow_right=row["shadow_label"] == row["truth"] if shadowed and not by_challenger else None,
    )


def _of(trial: Trial, after_seq: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return predictions.c.model == trial.model, predictions.c.seq > after_seq


def _shadowed(trial: Trial) -> ColumnElement[bool]:
    return predictions.c.shadow_version == trial.version
