"""The command line, called as a person calls it, on the database of the test worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from click.testing import CliRunner

from distrib.brands.tables import Brand
from distrib.cli import main
from distrib.cli.desk import Desk
from distrib.config import Settings
from distrib.db import Database, make_engine
from tests import factories

_TEMPLATE = "distrib_template"


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What it printed for a program."""
        return json.loads(self.out)


class Cli:
    """Calls commands."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(self, *arguments: object, stdin: str | bytes | None = None) -> Said:
        """Call one, whatever comes of it."""
        result = CliRunner().invoke(
            main, [str(each) for each in arguments], input=stdin, obj=Desk(self.settings)
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    def well(self, *arguments: object, stdin: str | bytes | None = None) -> str:
        """Call one that must go well; what it printed."""
        said = self(*arguments, stdin=stdin)
        assert said.code == 0, said
        return said.out

    def document(self, *arguments: object) -> Any:
        """Call one with ``--json``; what it said."""
        said = self(*arguments, "--json")
        assert said.code == 0, said
        return said.document


@pytest.fixture
def cli(settings: Settings) -> Cli:
    """The command line."""
    return Cli(settings)


@pytest.fixture
def slug(db: Database, brand: Brand) -> str:
    """The slug of a brand with a plan, and with Ann under Bo under Cy."""
    factories.chain(db, brand)
    return brand.slug


@pytest.fixture
def ripe(db: Database, brand: Brand, slug: str) -> str:
    """A brand with commission that is past its hold."""
    factories.take(db, brand, factories.order("O1", 10_000), factories.order("O2", 33_333))
    factories.give_back(db, brand, factories.refund("R1", "O2", (1, 1)))
    return slug


@pytest.fixture
def apart(settings: Settings, worker_id: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings with a database, a queue and a Redis database of their own, for real workers."""
    name = f"distrib_apart_{worker_id}"
    plain = settings.database_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{_TEMPLATE}"')
    number = 8 + sum(map(ord, worker_id)) % 8
    found = replace(
        settings,
        database_url=settings.database_url.replace(f"/distrib_{worker_id}", f"/{name}"),
        redis_url=settings.redis_url.replace("db=0", f"db={number}"),
        data_dir=tmp_path,
        queue=f"apart-{worker_id}",
        lease_seconds=2,
        chunk_payouts=2,
    )
    assert found.database_url != settings.database_url
    with redis.from_url(found.redis_url) as connection:
        connection.flushdb()
    yield found
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture
def apart_db(apart: Settings) -> Iterator[Database]:
    """The database of ``apart``."""
    engine = make_engine(apart.database_url, pool_size=2)
    yield Database(engine)
    engine.dispose()
