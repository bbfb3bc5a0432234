"""The first schema: `pool.database.schema` creates it whole, so there is nothing to do."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing: databases of this revision were created with it."""
