"""Label requests as Label Studio's tasks, and what its webhook says of them.

The labelling interface that fits every model takes the labels from the task:
`<View><Text name="text" value="$text"/><Choices name="label" toName="text" value="$labels"/></View>`.
Formats: labelstud.io/guide/task_format and labelstud.io/guide/webhook_reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from trimtab.ledger.label_requests import LabelRequest

ACTIONS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")
RequestId = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[0-9a-f]+$")]


class Choice(BaseModel):
    """A label that may be chosen."""

    value: str


class TaskData(BaseModel):
    """What the labelling interface may show; `request_id` brings the answer home."""

    text: str
    labels: list[Choice]
    request_id: str
    prediction_id: str
    model: str


class Task(BaseModel):
    """A task as Label Studio imports it; without the prediction, which would anchor who labels."""

    data: TaskData
    meta: dict[str, Any]


class SentData(BaseModel):
    """Of a task's data, what we sent."""

    request_id: RequestId


class SentTask(BaseModel):
    """The task that was annotated."""

    data: SentData


class ChosenValue(BaseModel):
    """What was chosen in one control; other kinds of controls have none."""

    choices: list[str] = Field(default_factory=list, max_length=1000)


class Result(BaseModel):
    """The result of one control of the labelling interface."""

    type: str = ""
    value: ChosenValue = ChosenValue()


class Person(BaseModel):
    """Who annotated, where it is not just a number."""

    id: int


class Annotation(BaseModel):
    """An annotation; `was_cancelled`: the task was skipped."""

    result: list[Result] = Field(default_factory=list, max_length=1000)
    was_cancelled: bool = False
    completed_by: int | Person | None = None

    @property
    def person(self) -> str:
        """Number of the annotator in Label Studio; "" when it is not said."""
        by = self.completed_by
        return "" if by is None else str(by.id if isinstance(by, Person) else by)

    @property
    def chosen(self) -> list[str]:
        """Everything chosen in all controls."""
        return [choice for each in self.result for choice in each.value.choices]


class Webhook(BaseModel):
    """What Label Studio sends when something happened; only annotations concern us."""

    action: str = Field(max_length=64)
    annotation: Annotation | None = None
    task: SentTask | None = None


class WebhookAnswer(BaseModel):
    """What became of it."""

    outcome: Literal["answered", "skipped", "ignored"]
    reason: str | None = None


def task_of(request: LabelRequest, labels: Sequence[str]) -> Task:
    """The request as a task."""
    return Task(
        data=TaskData(
            text=request.text,
            labels=[Choice(value=label) for label in labels],
            request_id=request.id,
            prediction_id=request.prediction_id,
            model=request.model,
        ),
        meta={
            "reason": request.reason,
            "domain": request.domain,
            "created_at": request.created_at,
            "expires_at": request.expires_at,
        },
    )
