"""Label requests without a job: for a domain's gate set, as long as it is worn or small."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_STANDING = sa.text("job_id IS NULL")


def upgrade() -> None:
    with op.batch_alter_table("label_requests") as table:
        table.alter_column("job_id", existing_type=sa.String(length=64), nullable=True)
        table.add_column(sa.Column("gate_set", sa.Text(), nullable=True))
    op.create_index(
        "uq_label_requests_standing",
        "label_requests",
        ["model", "key"],
        unique=True,
        sqlite_where=_STANDING,
        postgresql_where=_STANDING,
    )


def downgrade() -> None:
    op.execute("DELETE FROM label_requests WHERE job_id IS NULL")
    op.drop_index("uq_label_requests_standing", "label_requests")
    with op.batch_alter_table("label_requests") as table:
        table.drop_column("gate_set")
        table.alter_column("job_id", existing_type=sa.String(length=64), nullable=False)
