"""Gate history: who answered a gate example rightly first, how often a gate set was used, windows not to learn from."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "gate_bits",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("right", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_gate_bits_model_models")),
        sa.PrimaryKeyConstraint("model", "domain", "key", name=op.f("pk_gate_bits")),
    )
    op.create_table(
        "gate_history",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_gate_history_model_models")),
        sa.PrimaryKeyConstraint("model", "domain", "job_id", name=op.f("pk_gate_history")),
    )
    op.create_table(
        "quarantined_windows",
        sa.Column("id", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("from_seq", sa.BigInteger(), nullable=False),
        sa.Column("to_seq", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_quarantined_windows_model_models")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantined_windows")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_quarantined_windows_model"), "quarantined_windows", ["model"], unique=False)


def downgrade() -> None:
    for table in ("quarantined_windows", "gate_history", "gate_bits"):
        op.drop_table(table)
