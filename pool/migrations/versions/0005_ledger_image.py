"""The history of one image is looked up, not searched for in the whole ledger."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """An index of the ledger by image."""
    op.create_index("ix_ledger_image", "ledger", ["image"])
