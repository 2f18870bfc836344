"""All tables together, and bringing a database up to date."""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from distrib import jobs
from distrib.api import tables as api_tables
from distrib.brands import tables as brand_tables
from distrib.commission import simulation_tables
from distrib.commission import tables as commission_tables
from distrib.db import Base
from distrib.ledger import tables as ledger_tables
from distrib.orders import tables as order_tables
from distrib.settlement import book_tables
from distrib.settlement import tables as settlement_tables
from distrib.tree import tables as tree_tables

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"

TABLES = (
    jobs,
    api_tables,
    brand_tables,
    tree_tables,
    order_tables,
    commission_tables,
    simulation_tables,
    ledger_tables,
    settlement_tables,
    book_tables,
)
"""The modules that define tables; importing them fills :data:`metadata`."""

metadata = Base.metadata

_MIGRATION_LOCK = 0x64697374  # "dist": one process migrates at a time


def alembic_config() -> Config:
    """Alembic's configuration without a file."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest version; safe to call from several processes at once."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = alembic_config()
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
