"""The history of one image is looked up, not searched for in the whole ledger."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """An index of the ledger by image."""
    op.create_index("ix_ledger_image", "ledger", ["image"], if_not_exists=True)
