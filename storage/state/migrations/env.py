"""What Alembic runs to bring a state up to date; the connection, and its transaction, are given by who asks for it."""

from __future__ import annotations

from alembic import context

from butlerql.storage.state.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
