"""The database ends a connection in the middle of an order; processes that take the same orders."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from distrib.brands.tables import Brand
from distrib.commission import intake
from distrib.commission.intake import take_orders
from distrib.commission.outcome import Status
from distrib.config import Settings
from distrib.db import Database, make_engine
from tests.races.process import Nest
from tests.races.world import findings, order, rows, take, value, wait_until

TABLES = ("orders", "order_line", "commission", "transfer", "unfolded_posting", "open_item")


@pytest.fixture
def own(settings: Settings) -> Iterator[Database]:
    """A database object whose connections may be ended."""
    engine = make_engine(settings.database_url, pool_size=4)
    yield Database(engine)
    engine.dispose()


def _terminate(db: Database, pid: int) -> None:
    with db.engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


def _count(db: Database, brand: Brand) -> dict[str, int]:
    return {
        table: value(db, f"SELECT count(*) FROM {table} WHERE brand_id = :b", b=brand.id)
        for table in TABLES
    }


STEPS = ("read_credits", "price", "write_orders", "write_commissions")


@pytest.mark.parametrize("case", [(step, count) for step in STEPS for count in (1, 300)], ids=str)
def test_the_connection_ends_in_the_middle_of_taking_orders(
    db: Database,
    own: Database,
    shop: Brand,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[str, int],
) -> None:
    """After ``step`` the backend is gone. Nothing is half written, and doing it again succeeds."""
    step, count = case
    chunk = [order("d5") for _ in range(count)]
    original: Callable[..., Any] = getattr(intake, step)
    pids: list[int] = []

    def work(session: Session) -> None:
        pids.append(session.scalars(text("SELECT pg_backend_pid()")).one())
        take_orders(session, brand=shop, orders=chunk)

    def then_end(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        _terminate(db, pids[-1])
        return result

    monkeypatch.setattr(intake, step, then_end)
    with pytest.raises((psycopg.OperationalError, DBAPIError)), own.transaction() as session:
        work(session)
    monkeypatch.undo()
    assert _count(db, shop) == dict.fromkeys(TABLES, 0)
    assert {each.status for each in take(own, shop, *chunk)} == {Status.ACCEPTED}
    assert _count(db, shop)["orders"] == count
    assert findings(db, shop) == []


def test_the_connection_ends_before_the_commit(db: Database, own: Database, shop: Brand) -> None:
    one = order("d5")

    def take_and_end() -> None:
        with own.transaction() as session:
            pid = session.scalars(text("SELECT pg_backend_pid()")).one()
            take_orders(session, brand=shop, orders=[one])
            _terminate(db, pid)

    with pytest.raises(DBAPIError):
        take_and_end()
    assert _count(db, shop) == dict.fromkeys(TABLES, 0)
    assert [each.status for each in take(own, shop, one)] == [Status.ACCEPTED]
    assert findings(db, shop) == []


def test_a_restart_of_the_server_costs_one_request(
    db: Database, own: Database, shop: Brand
) -> None:
    """All connections of the pool are gone at once; the first to notice throws them all away."""
    pids = []
    sessions = [Session(own.engine) for _ in range(4)]
    for session in sessions:
        pids.append(session.scalars(text("SELECT pg_backend_pid()")).one())
    for session in sessions:
        session.close()
    for pid in pids:
        _terminate(db, pid)
    failed = 0
    for _ in range(6):
        try:
            take(own, shop, order("d5"))
        except (psycopg.OperationalError, DBAPIError):
            failed += 1
    assert failed <= 1
    assert findings(db, shop) == []


def test_three_processes_take_the_same_orders(
    db: Database, settings: Settings, shop: Brand, nest: Nest, tmp_path: Path
) -> None:
    """Each in an order of its own; each order is accepted by one of them, and is the same order
    to all."""
    names = [f"shared-{n}" for n in range(40)]
    chance = random.Random(11)
    results = [tmp_path / f"{n}.json" for n in range(3)]
    for result in results:
        nest.take(
            settings,
            tmp_path / "log",
            brand_id=shop.id,
            names=chance.sample(names, len(names)),
            result=result,
        )
    wait_until(lambda: all(result.exists() for result in results), "all have taken the orders")
    found = [entry for result in results for entry in json.loads(result.read_text())]
    assert Counter(status for _, status, _ in found) == {"accepted": 40, "duplicate": 80}
    recorded = rows(db, "SELECT external_id, id FROM orders WHERE brand_id = :b", b=shop.id)
    assert {(name, order_id) for name, _, order_id in found} == {tuple(row) for row in recorded}
    assert findings(db, shop) == []
