"""Browsers of readers, drafts of labels, predictions that clients were given, and states of labels."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"


def upgrade() -> None:
    """Add empty tables, and the state of labels, which labels of a former version do not have."""
    op.add_column("label_checks", sa.Column("state", sa.String, nullable=False, server_default=""))
    op.create_table(
        "readers",
        sa.Column("token", sa.String, primary_key=True),
        sa.Column("tag", sa.String, nullable=False, unique=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_table(
        "drafts",
        sa.Column("client", sa.String, primary_key=True),
        sa.Column("image", sa.String, primary_key=True),
        sa.Column("file", sa.String, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("updated", sa.Float, nullable=False),
    )
    op.create_table(
        "predictions",
        sa.Column("image", sa.String, primary_key=True),
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
