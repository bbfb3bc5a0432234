"""Alembic's entry: runs revisions on the engine that `pool.database.migration` passes in."""

from alembic import context

from pool.database.schema import metadata

with context.config.attributes["engine"].connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
