"""Shapes of requests and answers. Requests of operators and parameters refuse unknown members; other requests of
clients ignore them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

# Names that become keys of tables and labels of metrics: short, printable, no control characters.
Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Alias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
NDJSON = "application/x-ndjson"
Text = Annotated[str, StringConstraints(min_length=1)]
Version = Annotated[int, Field(ge=1, lt=2**31)] | Alias


def _as_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, AfterValidator(_as_utc)]


class _Order(BaseModel):
    """What is refused when it holds something unknown."""

    model_config = ConfigDict(extra="forbid")


class Item(BaseModel):
    """One text with what the client knows of it."""

    text: Text
    id: Identifier | None = Field(None, description="the client's own id; it comes back as `item_id`")
    domain: Name | None = None
    group: Name | None = Field(
        None, description="what belongs together (a review, an article) and is never split"
    )


class Parameters(_Order):
    """How to answer. A name that is not known is refused: it was meant to change something."""

    top_k: int | None = Field(None, ge=1, description="only this many scores; implies scores")
    include: list[Literal["scores", "embedding"]] = Field(default_factory=list, alias="return")
    truncate: bool = Field(True, description="cut a text that is too long; else it is refused")
    timeout_ms: int | None = Field(None, ge=1, description="a shorter deadline than the configured one")
    sample: bool = Field(
        True, description="false: a probe or comparison, no traffic; the monitor does not see it"
    )

    @model_validator(mode="before")
    @classmethod
    def _known_only(cls, given: Any) -> Any:
        known = {field.alias or name for name, field in cls.model_fields.items()}
        unknown = sorted(set(given) - known) if isinstance(given, dict) else []
        if unknown:
            raise ValueError(
                f"there is no parameter {', '.join(unknown)}: known are {', '.join(sorted(known))}"
            )
        return given


class PredictRequest(BaseModel):
    """Texts to classify."""

    model: Name | None = Field(None, description="may be left out where there is one model only")
    inputs: Text | Item | list[Text | Item]
    version: Version | None = Field(
        None,
        description="a loaded version's number or alias; default the champion, or for its share the one on trial",
    )
    parameters: Parameters = Parameters()

    def items(self) -> list[Item]:
        """The inputs, as items."""
        inputs = self.inputs if isinstance(self.inputs, list) else [self.inputs]
        return [Item(text=each) if isinstance(each, str) else each for each in inputs]


PREDICT_EXAMPLES = {
    "one text": {"value": {"inputs": "What a film!"}},
    "several, with what is known of them": {
        "value": {
            "model": "reviews",
            "inputs": ["What a film!", {"text": "Never again.", "id": "row-2", "domain": "chat"}],
            "version": "champion",
            "parameters": {"top_k": 2, "return": ["scores"]},
        }
    },
}


class PredictedItem(BaseModel):
    """The answer to one item."""

    id: str = Field(description="names the prediction in feedback")
    label: str
    score: float
    scores: dict[str, float] | None = None
    embedding: list[float] | None = None
    item_id: str | None = None


class PredictAnswer(BaseModel):
    """The answer to a request: every item by the same version."""

    id: str
    model: str
    model_version: int
    adapter_digest: str
    generation: int
    predictions: list[PredictedItem]


class Feedback(BaseModel):
    """A true label of a prediction."""

    prediction_id: Identifier
    label: Name
    annotator: Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    observed_at: Moment | None = Field(None, description="epoch seconds or ISO 8601; default now")


class RejectedFeedback(BaseModel):
    """An item that was not taken."""

    index: int
    reason: str


class FeedbackAnswer(BaseModel):
    """What became of the items: accepted + duplicates + rejected = all; accepted = joined + pending."""

    accepted: int
    joined: int
    pending: int
    duplicates: int
    rejected: list[RejectedFeedback]


class LabelAnswer(BaseModel):
    """What becomes of a label request: exactly one of the three."""

    label: Name | None = None
    skip: Literal[True] | None = None
    undo: Literal[True] | None = Field(None, description="takes your own answer or skip back")
    annotator: Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        if sum(each is not None for each in (self.label, self.skip, self.undo)) != 1:
            raise ValueError('send one of {"label": ...}, {"skip": true}, {"undo": true}')
        return self


class LabelRequestInfo(BaseModel):
    """A text to label, and where it stands."""

    id: str
    model: str
    prediction_id: str
    text: str
    labels: list[str] = Field(description="one of these is the answer")
    reason: str = Field(description="random, gate, disagreement, uncertain, confident or rare")
    domain: str | None = None
    state: str = Field(description="open, answered, skipped, expired or closed")
    label: str | None = None
    created_at: float
    expires_at: float
    leased_until: float | None = None


class Estimate(BaseModel):
    """Accuracy on the window by the answers to random requests, with its 95 % interval."""

    accuracy: float
    low: float
    high: float
    n: int


class LabelRequestList(BaseModel):
    """What to label next, and how far the asking is: `answered` of `wanted`."""

    requests: list[LabelRequestInfo]
    open: int
    answered: int
    wanted: int
    estimate: Estimate | None = None


class ModelInfo(BaseModel):
    """One model as this replica serves it."""

    name: str
    labels: list[str]
    champion: int
    previous: int | None = None
    challenger: int | None = None
    baseline: int | None = None
    versions: list[int] = Field(description="loaded versions: each can be asked for by its number")
    generation: int
    base: str


class ModelList(BaseModel):
    """Every model that this replica serves."""

    models: list[ModelInfo]


class Arm(BaseModel):
    """A statistic with its calibrated threshold."""

    name: str
    statistic: float
    threshold: float


class DriftReference(BaseModel):
    """What traffic is compared with."""

    version: int
    domains: list[str]


class WatchInfo(BaseModel):
    """A new version on probation: what its labels say against what the gate promised."""

    version: int
    n_events: int
    of_events: int
    n_labels: int
    accuracy: float | None
    promised: float | None
    statistic: float
    threshold: float
    broken: str


class DriftStatus(BaseModel):
    """Where a model stands with its inputs."""

    model: str
    state: str
    kind: str | None = None
    severity: int
    since: float
    events_seen: int
    alarms_total: int
    arms: list[Arm]
    reference: DriftReference
    watch: WatchInfo | None = None
    detail: str


class ReportList(BaseModel):
    """Drift reports, newest first."""

    reports: list[dict[str, Any]]


class AliasOrder(_Order):
    """Where an alias shall point."""

    version: int = Field(ge=1, lt=2**31)
    reason: str = Field("", max_length=500)
    force: bool = Field(False, description="also to a version that was rejected or quarantined")


class ClassOrder(_Order):
    """A class that is to be declared."""

    label: str = Field(min_length=1, max_length=100)


class ClassList(BaseModel):
    """A model's classes."""

    model: str
    labels: list[str] = Field(description="what feedback may say")
    taught: list[str] = Field(description="what the champion can answer, in the order of its logits")


class RollbackOrder(_Order):
    """Step back from the champion."""

    to: int | None = Field(None, ge=1, lt=2**31, description="default the previous champion")
    reason: str = Field("", max_length=500)


class AdaptOrder(_Order):
    """Adapt now."""

    reason: str = Field("", max_length=500)
    domain: Name | None = Field(
        None, description="the new domain's name; default what most of the window names"
    )
    from_seq: int | None = Field(None, ge=0, lt=2**63, description="first sample of the window")


class Generation(BaseModel):
    """What is served now, by the ledger."""

    model: str
    generation: int
    aliases: dict[str, int]


class JobInfo(BaseModel):
    """One adaptation job."""

    id: str
    model: str
    status: str
    meaning: str
    cause: dict[str, Any]
    domain: str
    window_from_seq: int
    missing: dict[str, int] | None = None
    deadline_at: float | None = None
    plan: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    verdict: dict[str, Any] | None = None
    version: int | None = None
    gate: dict[str, Any] | None = None
    reason: str
    attempts: int
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None


class ForgottenInfo(BaseModel):
    """How many rows went; examples by role (memory, gate, selection, reference)."""

    predictions: int
    feedback: int
    label_requests: int
    examples: dict[str, int]


class JobList(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobInfo]


class ReplicaInfo(BaseModel):
    """What a replica said last."""

    replica: str
    pid: int
    url: str
    serving: dict[str, Any]
    generations: dict[str, int]
    refused: dict[str, Any]
    reported_at: float
    age_s: float


class ReplicaList(BaseModel):
    """Every replica that reported."""

    replicas: list[ReplicaInfo]


class EventInfo(BaseModel):
    """Something that happened."""

    seq: int
    at: float
    kind: str
    model: str | None
    actor: str
    detail: dict[str, Any]


class EventList(BaseModel):
    """Events, oldest first; ask again with `after` = the last `seq`."""

    events: list[EventInfo]
