"""Every table of the ledger. Migrations lead here: a test compares what they build with what stands below."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

from trimtab.ledger.columns import CleanText, Float32Array, Sequence64

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

models = Table(
    "models",
    metadata,
    Column("name", CleanText, primary_key=True),
    Column("labels", JSON, nullable=False),
    Column("base", CleanText, nullable=False),
    Column("base_digest", CleanText, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("model", CleanText, ForeignKey("models.name"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64)),
    Column("parent", Integer),
    Column("state", String(32), nullable=False),
    Column("reason", CleanText, nullable=False),
    Column("job_id", String(64)),
    Column("manifest", JSON, nullable=False),
    Column("gate", JSON(none_as_null=True)),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("model", "job_id"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("model", CleanText, primary_key=True),
    Column("alias", CleanText, primary_key=True),
    Column("n", Integer, nullable=False),
    ForeignKeyConstraint(["model", "n"], ["versions.model", "versions.n"]),
)

# A version on real traffic before it serves: unseen, then for a share of the clients.
trials = Table(
    "trials",
    metadata,
    Column("model", CleanText, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("champion", Integer, nullable=False),
    Column("job_id", String(64)),
    Column("stage", String(16), nullable=False),
    Column("share", Double, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("from_seq", BigInteger, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("stage_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("reason", CleanText, nullable=False),
    Column("evidence", JSON, nullable=False),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.n"]),
    Index(
        "uq_trials_open", "model", unique=True, sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)  # fmt: skip

_IN_FLIGHT = text("status IN ('queued', 'waiting_for_labels', 'running', 'on_trial')")

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("model", CleanText, ForeignKey("models.name"), nullable=False),
    Column("status", String(32), nullable=False),
    Column("cause", JSON, nullable=False),
    Column("domain", CleanText, nullable=False),
    Column("window_from_seq", BigInteger, nullable=False),
    Column("window_until_seq", BigInteger),
    Column("labels_until", Double),
    Column("worked_s", Double, nullable=False, server_default="0"),
    Column("plan", JSON(none_as_null=True)),
    Column("progress", JSON(none_as_null=True)),
    Column("missing", JSON(none_as_null=True)),
    Column("deadline_at", Double),
    Column("verdict", JSON(none_as_null=True)),
    Column("version", Integer),
    Column("reason", CleanText, nullable=False),
    Column("lease_owner", CleanText),
    Column("lease_token", BigInteger, nullable=False),
    Column("lease_expires_at", Double),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Index(None, "model", "created_at"),
    Index(
        "uq_jobs_in_flight", "model", unique=True, sqlite_where=_IN_FLIGHT, postgresql_where=_IN_FLIGHT
    ),  # at most one job in flight a model
)

predictions = Table(
    "predictions",
    metadata,
    Column("seq", Sequence64, primary_key=True, autoincrement=True),
    Column("prediction_id", CleanText, nullable=False, unique=True),
    Column("model", CleanText, nullable=False),
    Column("version", Integer, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("text", CleanText),
    Column("key", CleanText, nullable=False),
    Column("part", String(16), nullable=False),
    Column("label", CleanText, nullable=False),
    Column("score", Double, nullable=False),
    Column("domain", CleanText),
    Column("group_key", CleanText),
    Column("client", CleanText, nullable=False),
    Column("observed_at", Double, nullable=False),
    Column("features", Float32Array, nullable=False),
    # What a version on trial would have answered; NULL where none was asked.
    Column("shadow_version", Integer),
    Column("shadow_label", CleanText),
    Column("shadow_score", Double),
    Index(None, "model", "version", "seq"),
    Index(None, "model", "seq"),
    Index(None, "observed_at"),
    Index(None, "client"),
    sqlite_autoincrement=True,  # a sequence number is never given twice, even after rows were deleted
)

# How many predictions were ever ingested: unlike the rows, the count outlives retention.
prediction_counts = Table(
    "prediction_counts",
    metadata,
    Column("model", CleanText, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("n", BigInteger, nullable=False),
)

blocks = Table(
    "blocks",
    metadata,
    Column("block_id", CleanText, primary_key=True),
    Column("stream_id", CleanText, nullable=False),
    Column("replica", CleanText, nullable=False),
    Column("n_samples", Integer, nullable=False),
    Column("ingested_at", Double, nullable=False),
    Index(None, "ingested_at"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("prediction_id", CleanText, primary_key=True),
    Column("annotator", CleanText, primary_key=True),
    Column("label", CleanText, nullable=False),
    Column("observed_at", Double, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("client", CleanText, nullable=False),
    # NULL while the prediction is not known yet; else the prediction that this label was joined to.
    Column(
        "seq", BigInteger().with_variant(Integer, "sqlite"), ForeignKey("predictions.seq", ondelete="CASCADE")
    ),
    Index(None, "seq"),
    Index(None, "client", "received_at"),  # quotas count what a client said lately
)

_STANDING = text("job_id IS NULL")

# What to label next: texts that a job, or a domain's gate set, asks labels for. A request goes with its prediction.
label_requests = Table(
    "label_requests",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("model", CleanText, nullable=False),
    Column("job_id", String(64)),
    Column(
        "seq",
        BigInteger().with_variant(Integer, "sqlite"),
        ForeignKey("predictions.seq", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("key", CleanText, nullable=False),
    Column("part", String(16), nullable=False),
    Column("reason", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("leased_by", CleanText),
    Column("leased_until", Double),
    Column("settled_by", CleanText),
    Column("settled_at", Double),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("gate_set", CleanText),
    UniqueConstraint("job_id", "key"),
    Index(
        "uq_label_requests_standing",
        "model",
        "key",
        unique=True,
        sqlite_where=_STANDING,
        postgresql_where=_STANDING,
    ),
    Index(None, "model", "state"),
    Index(None, "seq"),
)

examples = Table(
    "examples",
    metadata,
    Column("id", Sequence64, primary_key=True, autoincrement=True),
    Column("model", CleanText, ForeignKey("models.name"), nullable=False),
    Column("domain", CleanText, nullable=False),
    Column("role", String(16), nullable=False),
    Column("text", CleanText, nullable=False),
    Column("label", CleanText),
    Column("key", CleanText, nullable=False),
    Column("logits", Float32Array),
    Column("version", Integer, nullable=False),
    Column("job_id", String(64)),
    Column("probation", Boolean, nullable=False),
    Column("priority", BigInteger, nullable=False),
    Column("source", CleanText, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("prediction_id", CleanText),
    Column("client", CleanText),
    Column("label_source", String(16)),
    Column("core", Integer),
    Column("retired_by", Integer),
    UniqueConstraint("model", "role", "key"),
    sqlite_autoincrement=True,
)

# Whether the version under which a gate example was first accepted answered it rightly: so it need not be loaded.
gate_bits = Table(
    "gate_bits",
    metadata,
    Column("model", CleanText, ForeignKey("models.name"), primary_key=True),
    Column("domain", CleanText, primary_key=True),
    Column("key", CleanText, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("right", Boolean, nullable=False),
)

# Every use of a gate set by a job: a set that decided often says less each time.
gate_history = Table(
    "gate_history",
    metadata,
    Column("model", CleanText, ForeignKey("models.name"), primary_key=True),
    Column("domain", CleanText, primary_key=True),
    Column("job_id", String(64), primary_key=True),
    Column("n", Integer, nullable=False),
    Column("used_at", Double, nullable=False),
)

# Stretches of the traffic that nothing is learnt from: poisoned, or learnt by a version that was rolled back.
quarantined_windows = Table(
    "quarantined_windows",
    metadata,
    Column("id", Sequence64, primary_key=True, autoincrement=True),
    Column("model", CleanText, ForeignKey("models.name"), nullable=False),
    Column("from_seq", BigInteger, nullable=False),
    Column("to_seq", BigInteger, nullable=False),
    Column("version", Integer),
    Column("job_id", String(64)),
    Column("reason", CleanText, nullable=False),
    Column("at", Double, nullable=False),
    Index(None, "model"),
    sqlite_autoincrement=True,
)

# What was forgotten on demand, for as long as a late block or a running job may still bring it back.
forgotten = Table(
    "forgotten",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("name", CleanText, primary_key=True),
    Column("at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
)

drift_reports = Table(
    "drift_reports",
    metadata,
    Column("seq", Sequence64, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("model", CleanText, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("body", CleanText, nullable=False),
    Column("job_id", String(64)),
    Index(None, "model", "seq"),
    sqlite_autoincrement=True,
)

monitor_state = Table(
    "monitor_state",
    metadata,
    Column("model", CleanText, primary_key=True),
    Column("body", CleanText, nullable=False),
    Column("saved_at", Double, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("seq", Sequence64, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("kind", CleanText, nullable=False),
    Column("model", CleanText),
    Column("actor", CleanText, nullable=False),
    Column("detail", JSON, nullable=False),
    sqlite_autoincrement=True,
)

replicas = Table(
    "replicas",
    metadata,
    Column("replica", CleanText, primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("url", CleanText, nullable=False),
    Column("serving", JSON, nullable=False),
    Column("generations", JSON, nullable=False),
    Column("refused", JSON, nullable=False),
    Column("reported_at", Double, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("name", CleanText, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("roles", JSON, nullable=False),
    Column("client", CleanText, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
)

leases = Table(
    "leases",
    metadata,
    Column("name", CleanText, primary_key=True),
    Column("owner", CleanText, nullable=False),
    Column("expires_at", Double, nullable=False),
)
