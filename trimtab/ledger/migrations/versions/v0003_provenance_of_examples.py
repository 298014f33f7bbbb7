"""Where an example came from, its place in the herded core, who retired it; and what was forgotten on demand."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NEW = (
    ("prediction_id", sa.Text()),
    ("client", sa.Text()),
    ("label_source", sa.String(length=16)),
    ("core", sa.Integer()),
    ("retired_by", sa.Integer()),
)


def upgrade() -> None:
    for name, kind in _NEW:
        op.add_column("examples", sa.Column(name, kind, nullable=True))
    op.create_table(
        "forgotten",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_forgotten")),
    )


def downgrade() -> None:
    op.drop_table("forgotten")
    for name, _ in reversed(_NEW):
        op.drop_column("examples", name)
