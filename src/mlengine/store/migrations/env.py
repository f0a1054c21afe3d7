"""Alembic's entry: runs the migrations on the connection that `upgrade` was given."""

from __future__ import annotations

from alembic import context

from mlengine.store import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    transactional_ddl=True,  # SQLite can, once the driver does not commit behind our back
)
context.run_migrations()
