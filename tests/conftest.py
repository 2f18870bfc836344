"""One real PostgreSQL and one real Valkey for the run; a database of its own for each worker.

Tests commit for real and clean up nothing: each makes its own brand, and a brand is a tenant that
no other test sees.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy import Engine

from distrib import schema
from distrib.brands.tables import Brand
from distrib.config import Settings, database_url
from distrib.db import Database, make_engine
from distrib.embedded import attach, stop
from tests import factories

hypothesis_settings.register_profile(
    "default",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    print_blob=True,
)
hypothesis_settings.load_profile("default")

_SERVERS = "DISTRIB_TEST_SERVERS"  # "<postgresql url of the template's server> <redis url>"
_TEMPLATE = "distrib_template"
_stack = contextlib.ExitStack()


def _with_database(url: str, name: str) -> str:
    head, _, query = url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def _recreate(url: str, name: str, template: str = "template1") -> str:
    with psycopg.connect(_plain(url), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return _with_database(url, name)


def pytest_configure(config: pytest.Config) -> None:
    """In the controlling process: start the servers and prepare the template database."""
    if hasattr(config, "workerinput") or _SERVERS in os.environ:
        return
    url, redis_url = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
    if not url or not redis_url:
        # durability is what the kill tests of the servers prove, on servers of their own
        os.environ["DISTRIB_EMBEDDED_PG_OPTIONS"] = "-c fsync=off -c full_page_writes=off"
        home = _stack.enter_context(tempfile.TemporaryDirectory(prefix="distrib-test-"))
        Path(home).chmod(0o755)
        _stack.callback(stop, Path(home) / "data")
        servers = _stack.enter_context(attach(Path(home) / "data"))
        del os.environ["DISTRIB_EMBEDDED_PG_OPTIONS"]
        url, redis_url = servers.database_url, servers.redis_url
    url = database_url(url)
    engine = make_engine(_recreate(url, _TEMPLATE))
    schema.upgrade(engine)
    engine.dispose()
    os.environ[_SERVERS] = f"{url} {redis_url}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers that this run started."""
    if not hasattr(config, "workerinput"):
        os.environ.pop(_SERVERS, None)
        _stack.close()


@pytest.fixture(scope="session")
def settings(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of this test worker: a database of its own, copied from the template."""
    url, redis_url = os.environ[_SERVERS].split(" ")
    return Settings(
        database_url=_recreate(url, f"distrib_{worker_id}", _TEMPLATE),
        redis_url=redis_url,
        data_dir=tmp_path_factory.mktemp("data"),
        queue=f"test-{worker_id}",
        chunk_orders=50,
        chunk_payouts=7,
    )


@pytest.fixture(scope="session")
def db(settings: Settings) -> Iterator[Database]:
    """The worker's database. What a test commits stays; it lives in the test's own brand."""
    engine = make_engine(settings.database_url, pool_size=20)
    yield Database(engine)
    engine.dispose()


@pytest.fixture
def scratch(settings: Settings) -> Iterator[Engine]:
    """An empty database beside the worker's."""
    name = "scratch_" + settings.database_url.rpartition("/distrib_")[2].partition("?")[0]
    url = settings.database_url.replace("/distrib_", "/scratch_")
    admin = settings.database_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}"')
        engine = make_engine(url)
        yield engine
        engine.dispose()
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def brand(db: Database) -> Brand:
    """A new brand: CNY, Asia/Shanghai, three levels, 15 days of hold, minimum payout 1.00."""
    return factories.brand(db)
