"""Labelled images that are handed out once more, and digests of labels."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add an empty table; labels of a former version have no digest, so that none is taken for a copy."""
    op.create_table(
        "reopened",
        sa.Column("image", sa.String, primary_key=True),
        sa.Column("client", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.add_column("label_checks", sa.Column("digest", sa.String, nullable=False, server_default=""))
    op.create_index("ix_label_checks_digest", "label_checks", ["digest"])
