"""Prints of images, and the copies among them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add tables, filled when the images are next read."""
    op.create_table(
        "prints",
        sa.Column("image", sa.String, primary_key=True),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("pixels", sa.String, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("compared", sa.Boolean, nullable=False, index=True),
    )
    op.create_table(
        "copies",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("image", sa.String, nullable=False, unique=True),
        sa.Column("original", sa.String, nullable=False, index=True),
        sa.Column("distance", sa.Integer, nullable=False),
        sa.Column("exact", sa.Boolean, nullable=False),
        sqlite_autoincrement=True,
    )
