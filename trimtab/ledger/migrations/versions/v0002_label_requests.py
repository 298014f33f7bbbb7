"""Label requests, and an index by which quotas of feedback are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "label_requests",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("seq", _SEQUENCE, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("part", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("leased_by", sa.Text(), nullable=True),
        sa.Column("leased_until", sa.Double(), nullable=True),
        sa.Column("settled_by", sa.Text(), nullable=True),
        sa.Column("settled_at", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["seq"],
            ["predictions.seq"],
            name=op.f("fk_label_requests_seq_predictions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_requests")),
        sa.UniqueConstraint("job_id", "key", name=op.f("uq_label_requests_job_id_key")),
    )
    op.create_index(op.f("ix_label_requests_model_state"), "label_requests", ["model", "state"])
    op.create_index(op.f("ix_label_requests_seq"), "label_requests", ["seq"])
    op.create_index(op.f("ix_feedback_client_received_at"), "feedback", ["client", "received_at"])
    op.drop_index(op.f("ix_feedback_client"), "feedback")


def downgrade() -> None:
    op.create_index(op.f("ix_feedback_client"), "feedback", ["client"])
    op.drop_index(op.f("ix_feedback_client_received_at"), "feedback")
    op.drop_table("label_requests")
