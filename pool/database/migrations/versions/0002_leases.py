"""Leases on hand-outs; skips, the pool's clock, images placed on a map later, labels of a training."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add tables and columns, and close the hand-outs made before leases existed; nothing is lost."""
    with op.batch_alter_table("handouts") as table:
        table.add_column(sa.Column("expires", sa.Float, nullable=False, server_default="0"))
        table.add_column(sa.Column("ended", sa.Float))
        table.add_column(sa.Column("outcome", sa.String))
        table.add_column(sa.Column("selection", sa.JSON, nullable=False, server_default="{}"))
    op.execute("UPDATE handouts SET expires = created, ended = created, outcome = 'expired'")
    op.create_index(
        "one_open_handout",
        "handouts",
        ["image"],
        unique=True,
        sqlite_where=sa.text("ended IS NULL"),
        postgresql_where=sa.text("ended IS NULL"),
    )
    with op.batch_alter_table("trainings") as table:
        table.add_column(sa.Column("labelled", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "skips",
        sa.Column("image", sa.String, primary_key=True),
        sa.Column("client", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_table(
        "clock",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("now", sa.Float, nullable=False),
    )
    op.create_table(
        "placed",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("layout", sa.Integer, nullable=False),
        sa.Column("image", sa.String, nullable=False),
        sa.Column("mark", sa.String, nullable=False),
        sa.Column("point", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_placed_layout", "placed", ["layout"])
