"""First schema, which `pool.database.schema` creates in full."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Do nothing: databases of this revision were created with it."""
