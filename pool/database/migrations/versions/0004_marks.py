"""Decisions of a lead on single images (next, held out), and scores of models on held-out images."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add empty tables."""
    op.create_table(
        "marks",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("image", sa.String, nullable=False, unique=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("client", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_table(
        "validations",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("image", sa.String, primary_key=True),
        sa.Column("scores", sa.JSON, nullable=False),
    )
