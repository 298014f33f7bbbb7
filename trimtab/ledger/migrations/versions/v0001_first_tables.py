"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_IN_FLIGHT = sa.text("status IN ('queued', 'waiting_for_labels', 'running')")


def upgrade() -> None:
    _api_keys()
    _blocks()
    _drift_reports()
    _events()
    _leases()
    _models()
    _monitor_state()
    _prediction_counts()
    _predictions()
    _replicas()
    _examples()
    _feedback()
    _jobs()
    _versions()
    _aliases()


def downgrade() -> None:
    for table in (
        "aliases",
        "versions",
        "jobs",
        "feedback",
        "examples",
        "replicas",
        "predictions",
        "prediction_counts",
        "monitor_state",
        "models",
        "leases",
        "events",
        "drift_reports",
        "blocks",
        "api_keys",
    ):
        op.drop_table(table)


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )


def _blocks() -> None:
    op.create_table(
        "blocks",
        sa.Column("block_id", sa.Text(), nullable=False),
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.Column("replica", sa.Text(), nullable=False),
        sa.Column("n_samples", sa.Integer(), nullable=False),
        sa.Column("ingested_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("block_id", name=op.f("pk_blocks")),
    )
    op.create_index(op.f("ix_blocks_ingested_at"), "blocks", ["ingested_at"], unique=False)


def _drift_reports() -> None:
    op.create_table(
        "drift_reports",
        sa.Column("seq", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_drift_reports")),
        sa.UniqueConstraint("id", name=op.f("uq_drift_reports_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_drift_reports_model_seq"), "drift_reports", ["model", "seq"], unique=False)


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("seq", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )


def _models() -> None:
    op.create_table(
        "models",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("base_digest", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_models")),
    )


def _monitor_state() -> None:
    op.create_table(
        "monitor_state",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_monitor_state")),
    )


def _prediction_counts() -> None:
    op.create_table(
        "prediction_counts",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model", "version", name=op.f("pk_prediction_counts")),
    )


def _predictions() -> None:
    op.create_table(
        "predictions",
        sa.Column("seq", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("part", sa.String(length=16), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=True),
        sa.Column("group_key", sa.Text(), nullable=True),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("observed_at", sa.Double(), nullable=False),
        sa.Column("features", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_predictions")),
        sa.UniqueConstraint("prediction_id", name=op.f("uq_predictions_prediction_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_predictions_client"), "predictions", ["client"], unique=False)
    op.create_index(op.f("ix_predictions_model_seq"), "predictions", ["model", "seq"], unique=False)
    op.create_index(
        op.f("ix_predictions_model_version_seq"), "predictions", ["model", "version", "seq"], unique=False
    )
    op.create_index(op.f("ix_predictions_observed_at"), "predictions", ["observed_at"], unique=False)


def _replicas() -> None:
    op.create_table(
        "replicas",
        sa.Column("replica", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("serving", sa.JSON(), nullable=False),
        sa.Column("generations", sa.JSON(), nullable=False),
        sa.Column("refused", sa.JSON(), nullable=False),
        sa.Column("reported_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("replica", name=op.f("pk_replicas")),
    )


def _examples() -> None:
    op.create_table(
        "examples",
        sa.Column("id", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("logits", sa.LargeBinary(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("probation", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_examples_model_models")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_examples")),
        sa.UniqueConstraint("model", "role", "key", name=op.f("uq_examples_model_role_key")),
        sqlite_autoincrement=True,
    )


def _feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.Column("annotator", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("observed_at", sa.Double(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("seq", _SEQUENCE, nullable=True),
        sa.ForeignKeyConstraint(
            ["seq"], ["predictions.seq"], name=op.f("fk_feedback_seq_predictions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("prediction_id", "annotator", name=op.f("pk_feedback")),
    )
    op.create_index(op.f("ix_feedback_client"), "feedback", ["client"], unique=False)
    op.create_index(op.f("ix_feedback_seq"), "feedback", ["seq"], unique=False)


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("cause", sa.JSON(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("window_from_seq", sa.BigInteger(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=True),
        sa.Column("progress", sa.JSON(), nullable=True),
        sa.Column("missing", sa.JSON(), nullable=True),
        sa.Column("deadline_at", sa.Double(), nullable=True),
        sa.Column("verdict", sa.JSON(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_token", sa.BigInteger(), nullable=False),
        sa.Column("lease_expires_at", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_jobs_model_models")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_model_created_at"), "jobs", ["model", "created_at"], unique=False)
    op.create_index(
        "uq_jobs_in_flight",
        "jobs",
        ["model"],
        unique=True,
        sqlite_where=_IN_FLIGHT,
        postgresql_where=_IN_FLIGHT,
    )


def _versions() -> None:
    op.create_table(
        "versions",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("parent", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("gate", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_versions_model_models")),
        sa.PrimaryKeyConstraint("model", "n", name=op.f("pk_versions")),
        sa.UniqueConstraint("model", "job_id", name=op.f("uq_versions_model_job_id")),
    )


def _aliases() -> None:
    op.create_table(
        "aliases",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model", "n"], ["versions.model", "versions.n"], name=op.f("fk_aliases_model_n_versions")
        ),
        sa.PrimaryKeyConstraint("model", "alias", name=op.f("pk_aliases")),
    )
