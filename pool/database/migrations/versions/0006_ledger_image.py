"""Index that finds the history of one image without scanning the whole ledger."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Index the ledger by image."""
    op.create_index("ix_ledger_image", "ledger", ["image"], if_not_exists=True)
