"""Label requests: texts that a job asks labels for, leased to whoever looks, so that two people do not collide.

A request without a job is a domain's gate set's (trimtab.ledger.gate_labels).

A request goes with its prediction when retention or deletion takes it. Ids are random, and requests are given out in
their order: after any number of answers the reasons are mixed as they were asked for.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, delete, exists, func, or_, select, update

from trimtab.errors import InvalidInput, LabelRequestNotFound, LabelRequestTaken
from trimtab.jobs import JobStatus
from trimtab.ledger.batches import in_batches
from trimtab.ledger.clock import db_now, now
from trimtab.ledger.feedback import FeedbackItem, newest_labels, record_feedback
from trimtab.ledger.schema import feedback, jobs, predictions
from trimtab.ledger.schema import label_requests as table
from trimtab.ledger.upsert import insert_into


class RequestState(StrEnum):
    """Where a request stands."""

    OPEN = "open"
    ANSWERED = "answered"
    SKIPPED = "skipped"
    EXPIRED = "expired"  # nobody answered in time
    CLOSED = "closed"  # its job ended, or needs no more


LAPSED = (RequestState.EXPIRED, RequestState.CLOSED)  # nobody answered, nobody skipped
_ASKS_ON = and_(jobs.c.status == JobStatus.HELD, jobs.c.missing.is_not(None))


class Reason(StrEnum):
    """Why this text: the first two are drawn at random, and only they say how good the model is on the window."""

    RANDOM = "random"
    GATE = "gate"  # at random, for the part that the gate judges by
    DISAGREEMENT = "disagreement"  # two versions answered it differently
    UNCERTAIN = "uncertain"
    CONFIDENT = "confident"
    RARE = "rare"  # predicted to be of a class that lacks labels


AT_RANDOM = (Reason.RANDOM, Reason.GATE)


@dataclass(frozen=True)
class Labeller:
    """Who labels: a key, or one of the people who share it. What the key itself holds is for all of them."""

    client: str
    annotator: str = ""

    @property
    def name(self) -> str:
        return f"{self.client}/{self.annotator}" if self.annotator else self.client


@dataclass(frozen=True, kw_only=True)
class NewRequest:
    """A text to ask for: the prediction's sequence number, its text's key and part, and why."""

    seq: int
    key: str
    part: str
    reason: Reason


@dataclass(frozen=True, kw_only=True)
class LabelRequest:
    """A request with its text; times are epoch seconds by the database's clock, `settled_by` answered or skipped it."""

    id: str
    model: str
    job_id: str | None
    gate_set: str | None
    seq: int
    key: str
    part: str
    reason: Reason
    state: RequestState
    prediction_id: str
    text: str
    domain: str | None
    leased_by: str | None
    leased_until: float | None
    settled_by: str | None
    settled_at: float | None
    created_at: float
    expires_at: float


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far the asking of a model's present job is.

    Attributes:
        open, answered: Requests of the job.
        wanted: Labels that the job wants in all: answered ones and those still missing.
        right, judged: Of the answers to random requests, how many the model had answered rightly; and all of them.
    """

    open: int = 0
    answered: int = 0
    wanted: int = 0
    right: int = 0
    judged: int = 0


def ask(
    tx: Connection,
    model: str,
    job_id: str | None,
    requests: Iterable[NewRequest],
    *,
    expires_at: float,
    gate_set: str | None = None,
) -> int:
    """Open requests of a job, or without one of a gate set; returns how many more are open.

    A text is asked for once, but a job asks again for what nobody answered in time.
    """
    common = {"model": model, "job_id": job_id, "gate_set": gate_set, "expires_at": expires_at}
    common |= {"state": RequestState.OPEN, "created_at": now(tx)}
    rows = [{"id": uuid.uuid4().hex, **vars(each), **common} for each in requests]
    statement, theirs = insert_into(tx, table), table.c.model == model
    lapsed = or_(*(table.c.state == state for state in LAPSED))
    renewed = {name: statement.excluded[name] for name in ("state", "created_at", "expires_at", "reason")}
    again = statement.on_conflict_do_update(
        index_elements=["job_id", "key"], set_=renewed | {"settled_at": None}, where=lapsed
    )
    before = _count(tx, theirs, table.c.state == RequestState.OPEN)
    for batch in in_batches(rows):
        tx.execute(statement.on_conflict_do_nothing() if job_id is None else again, batch)
    return _count(tx, theirs, table.c.state == RequestState.OPEN) - before


def lease_requests(
    tx: Connection, model: str | None, who: Labeller, *, limit: int, lease_s: float
) -> list[LabelRequest]:
    """Open requests that nobody else holds, those that the holder has first; with `lease_s` 0 they are only shown."""
    free = or_(table.c.leased_until.is_(None), table.c.leased_until < db_now(), table.c.leased_by == who.name)
    query = _with_text().where(_open(), free)
    if model is not None:
        query = query.where(table.c.model == model)
    own = and_(table.c.leased_by == who.name, table.c.leased_until >= db_now())
    found = tx.execute(query.order_by(func.coalesce(own, False).desc(), table.c.id).limit(limit)).mappings()
    requests = [_request(row) for row in found]
    if lease_s <= 0:
        return requests
    ids = [request.id for request in requests]
    taken = {"leased_by": who.name, "leased_until": db_now() + lease_s}
    for batch in in_batches(ids):
        tx.execute(update(table).where(table.c.id.in_(batch)).values(**taken))
    return [get_request(tx, each) for each in ids]


def get_request(tx: Connection, request_id: str) -> LabelRequest:
    """Raises LabelRequestNotFound, also when its text is kept no longer."""
    row = tx.execute(_with_text().where(table.c.id == request_id)).mappings().one_or_none()
    if row is None:
        raise LabelRequestNotFound
    return _request(row)


def answer(tx: Connection, request_id: str, label: str, who: Labeller) -> LabelRequest:
    """Record the label as feedback on the prediction. The same person may change it; a late one counts, too.

    Raises:
        LabelRequestNotFound.
        LabelRequestTaken: somebody else holds or settled it.
        InvalidInput: the model has no such label.
    """
    request = _mine(tx, request_id, who)
    item = FeedbackItem(
        prediction_id=request.prediction_id, label=label, annotator=who.name, client=who.client
    )
    outcome = record_feedback(tx, [item])
    if outcome.rejected:
        raise InvalidInput(outcome.rejected[0][1])
    return _settle(tx, request_id, RequestState.ANSWERED, who)


def skip(tx: Connection, request_id: str, who: Labeller) -> LabelRequest:
    """Leave it unanswered; another text is asked for instead. Raises LabelRequestNotFound, LabelRequestTaken."""
    _take_back(tx, _mine(tx, request_id, who))
    return _settle(tx, request_id, RequestState.SKIPPED, who)


def undo(tx: Connection, request_id: str, who: Labeller, *, lease_s: float) -> LabelRequest:
    """Open again what the holder answered or skipped, and lease it to them; the answer is deleted.

    Raises LabelRequestNotFound, LabelRequestTaken.
    """
    request = _mine(tx, request_id, who)
    _take_back(tx, request)
    opened = {"state": RequestState.OPEN, "settled_by": None, "settled_at": None}
    leased = {"leased_by": who.name, "leased_until": db_now() + lease_s}
    tx.execute(update(table).where(table.c.id == request_id).values(**opened, **leased))
    return get_request(tx, request_id)


def settle_open(tx: Connection) -> int:
    """Take note of what happened beside the open requests; returns how many are no longer open.

    A label that came another way answers a request, time expires it, and the end of its job closes it unless that was
    held and asks on.
    """
    known = select(feedback.c.client).where(feedback.c.seq == table.c.seq).limit(1).scalar_subquery()
    answered = _end(
        tx, RequestState.ANSWERED, exists().where(feedback.c.seq == table.c.seq), settled_by=known
    )
    expired = _end(tx, RequestState.EXPIRED, table.c.expires_at < db_now())
    ended = exists().where(jobs.c.id == table.c.job_id, jobs.c.finished_at.is_not(None), ~_ASKS_ON)
    return answered + expired + _end(tx, RequestState.CLOSED, ended)


def close(tx: Connection, job_id: str) -> int:
    """Close what is open of a job that needs no more labels; returns how many."""
    return _end(tx, RequestState.CLOSED, table.c.job_id == job_id)


def standing(tx: Connection, model: str) -> Standing:
    """Of the model's job that has not ended, or was held and asks on; without one, of its gate sets' requests."""
    job = tx.execute(
        select(jobs.c.id, jobs.c.missing, jobs.c.window_from_seq)
        .where(jobs.c.model == model, or_(jobs.c.finished_at.is_(None), _ASKS_ON))
        .order_by(jobs.c.created_at.desc())
    ).first()
    if job is None:
        n_standing = _count(tx, table.c.model == model, table.c.job_id.is_(None), _open())
        return Standing(open=n_standing, wanted=n_standing)
    n_open = _count(tx, table.c.job_id == job.id, _open())
    answered = _count(tx, table.c.job_id == job.id, table.c.state == RequestState.ANSWERED)
    missing = sum(n for part, n in (job.missing or {}).items() if ":" not in part)
    right, judged = judgement(tx, model, job.id, job.window_from_seq)
    wanted = answered + max(n_open, missing)
    return Standing(open=n_open, answered=answered, wanted=wanted, right=right, judged=judged)


def judgement(tx: Connection, model: str, job_id: str, from_seq: int) -> tuple[int, int]:
    """(right, all) of the answers to the job's random requests: an unbiased look at the window's accuracy."""
    newest = newest_labels(model, from_seq)
    query = select(newest.c.label == newest.c.predicted).join_from(
        table, newest, and_(newest.c.seq == table.c.seq, newest.c.rank == 1)
    )
    asked = (
        table.c.job_id == job_id,
        table.c.reason.in_(AT_RANDOM),
        table.c.state == RequestState.ANSWERED,
    )
    right = [bool(each) for each in tx.execute(query.where(*asked)).scalars()]
    return sum(right), len(right)


def open_by_part(tx: Connection, job_id: str) -> dict[str, int]:
    """How many requests of a job are open, by part."""
    query = select(table.c.part, func.count()).where(table.c.job_id == job_id, _open())
    return {part: int(n) for part, n in tx.execute(query.group_by(table.c.part))}


def open_by_reason(tx: Connection) -> dict[tuple[str, str], tuple[int, float]]:
    """(model, reason) -> how many requests are open, and the age of the oldest in seconds."""
    columns = (
        table.c.model,
        table.c.reason,
        func.count().label("n"),
        func.min(table.c.created_at).label("since"),
    )
    rows = tx.execute(select(*columns).where(_open()).group_by(table.c.model, table.c.reason)).all()
    moment = now(tx)
    return {(row.model, row.reason): (int(row.n), max(0.0, moment - row.since)) for row in rows}


def asked(tx: Connection, job_id: str) -> dict[str, RequestState]:
    """Key of every text that the job has asked for, and where its request stands."""
    rows = tx.execute(select(table.c.key, table.c.state).where(table.c.job_id == job_id))
    return {row.key: RequestState(row.state) for row in rows}


def jobs_that_ask(tx: Connection) -> list[str]:
    """Ids of the jobs that have open requests."""
    of_jobs = (_open(), table.c.job_id.is_not(None))
    return [str(job_id) for job_id in tx.execute(select(table.c.job_id).where(*of_jobs).distinct()).scalars()]


def forget(tx: Connection, client: str) -> int:
    """Delete the requests that a client settled, and end its leases; returns how many went.

    The labels themselves go with `samples.forget`, and a forgotten prediction takes its requests along.
    """
    free = {"leased_by": None, "leased_until": None}
    tx.execute(update(table).where(_of_client(table.c.leased_by, client)).values(**free))
    return tx.execute(delete(table).where(_of_client(table.c.settled_by, client))).rowcount


_COLUMNS = [*table.c, predictions.c.prediction_id, predictions.c.text, predictions.c.domain]


def _with_text() -> Any:
    """Requests whose text is kept."""
    joined = select(*_COLUMNS).join_from(table, predictions, predictions.c.seq == table.c.seq)
    return joined.where(predictions.c.text.is_not(None))


def _of_client(column: Any, client: str) -> ColumnElement[bool]:
    return or_(column == client, column.startswith(f"{client}/", autoescape=True))


def _open() -> ColumnElement[bool]:
    return and_(table.c.state == RequestState.OPEN, table.c.expires_at >= db_now())


def _mine(tx: Connection, request_id: str, who: Labeller) -> LabelRequest:
    """The request, unless somebody else holds it or has settled it."""
    request = get_request(tx, request_id)
    held = request.leased_until is not None and request.leased_until >= now(tx)
    if held and request.leased_by not in {who.name, who.client}:
        raise LabelRequestTaken("Somebody else is looking at this text: take another one.")
    if request.settled_by is not None and request.settled_by != who.name:
        raise LabelRequestTaken(f"Somebody else has {request.state} this text.")
    return request


def _take_back(tx: Connection, request: LabelRequest) -> None:
    if request.state is RequestState.ANSWERED:
        said = (
            feedback.c.prediction_id == request.prediction_id,
            feedback.c.annotator == request.settled_by,
        )
        tx.execute(delete(feedback).where(*said))


def _settle(tx: Connection, request_id: str, state: RequestState, who: Labeller) -> LabelRequest:
    settled = {"state": state, "settled_by": who.name, "settled_at": db_now()}
    free = {"leased_by": None, "leased_until": None}
    tx.execute(update(table).where(table.c.id == request_id).values(**settled, **free))
    return get_request(tx, request_id)


def _end(tx: Connection, state: RequestState, *conditions: ColumnElement[bool], **values: Any) -> int:
    free = {"leased_by": None, "leased_until": None}
    ended = update(table).where(table.c.state == RequestState.OPEN, *conditions)
    return tx.execute(ended.values(state=state, settled_at=db_now(), **free, **values)).rowcount


def _count(tx: Connection, *conditions: ColumnElement[bool]) -> int:
    return int(tx.execute(select(func.count()).select_from(table).where(*conditions)).scalar_one())


def _request(row: RowMapping) -> LabelRequest:
    values: dict[str, Any] = dict(row)
    values |= {"reason": Reason(row["reason"]), "state": RequestState(row["state"])}
    return LabelRequest(**values)
