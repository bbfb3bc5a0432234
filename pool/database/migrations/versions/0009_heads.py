"""Instant heads: small models fitted after each label."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add an empty table: the first head is fitted by the next refresh."""
    op.create_table(
        "heads",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("features", sa.String, nullable=False),
        sa.Column("fingerprint", sa.String, nullable=False, unique=True),
        sa.Column("n_labels", sa.Integer, nullable=False),
        sa.Column("blob", sa.LargeBinary, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )
