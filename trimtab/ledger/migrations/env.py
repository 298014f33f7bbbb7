"""Alembic's entry: migrations run on the connection, and in the transaction, that the caller opened."""

from alembic import context

from trimtab.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
