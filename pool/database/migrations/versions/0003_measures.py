"""Scores of an image other than its entropy: foreground, entropies of classes."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add a table, filled when a model is next applied."""
    op.create_table(
        "measures",
        sa.Column("source", sa.String, primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("image", sa.String, primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
    )
