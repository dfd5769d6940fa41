"""alembic's entry: the connection is handed over by `Storage.migrate`, already in a transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
