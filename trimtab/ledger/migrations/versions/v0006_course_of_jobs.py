"""What a job reads and how long it was worked on: the same for every worker that takes it over."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("window_until_seq", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("labels_until", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("worked_s", sa.Double(), nullable=False, server_default="0"))


def downgrade() -> None:
    for name in ("worked_s", "labels_until", "window_until_seq"):
        op.drop_column("jobs", name)
