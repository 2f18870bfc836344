"""Alembic's entry: works on the connection it is given, or on the configured database."""

from alembic import context
from sqlalchemy import Connection

from distrib.config import settings
from distrib.db import make_engine
from distrib.schema import metadata


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with settings() as found:
        engine = make_engine(found.database_url)
        with engine.connect() as opened:
            run(opened)
        engine.dispose()
