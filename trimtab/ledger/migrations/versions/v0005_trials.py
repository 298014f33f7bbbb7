"""Trials: what a version on trial would have answered, how far it is, and a job that waits for its end."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_SHADOW: tuple[tuple[str, sa.types.TypeEngine[Any]], ...] = (
    ("shadow_version", sa.Integer()),
    ("shadow_label", sa.Text()),
    ("shadow_score", sa.Double()),
)
_OPEN = sa.text("ended_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "trials",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("champion", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("from_seq", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("stage_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model", "version"],
            ["versions.model", "versions.n"],
            name=op.f("fk_trials_model_version_versions"),
        ),
        sa.PrimaryKeyConstraint("model", "version", name=op.f("pk_trials")),
    )
    op.create_index(
        "uq_trials_open", "trials", ["model"], unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN
    )
    for name, kind in _SHADOW:
        op.add_column("predictions", sa.Column(name, kind, nullable=True))
    _one_in_flight("queued", "waiting_for_labels", "running", "on_trial")


def downgrade() -> None:
    op.execute("UPDATE jobs SET status = 'held', reason = 'its trial was undone' WHERE status = 'on_trial'")
    _one_in_flight("queued", "waiting_for_labels", "running")
    for name, _ in reversed(_SHADOW):
        op.drop_column("predictions", name)
    op.drop_table("trials")


def _one_in_flight(*statuses: str) -> None:
    """At most one job in flight a model: the index is made anew for these statuses."""
    listed = sa.text(f"status IN ({', '.join(repr(each) for each in statuses)})")
    op.drop_index("uq_jobs_in_flight", "jobs")
    op.create_index(
        "uq_jobs_in_flight", "jobs", ["model"], unique=True, sqlite_where=listed, postgresql_where=listed
    )
