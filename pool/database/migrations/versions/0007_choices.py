"""Settings that a lead changes while the server runs."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add an empty table."""
    op.create_table(
        "choices",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("client", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
