"""Servers, databases and a brand to measure on; medians and printing."""

from __future__ import annotations

import contextlib
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from distrib import ids, schema
from distrib.brands.service import create_brand
from distrib.brands.tables import Brand
from distrib.bulk import write_rows
from distrib.commission.service import publish_plan
from distrib.config import Settings
from distrib.db import Database, cursor, make_engine
from distrib.embedded import attach
from distrib.orders.document import LineIn, OrderIn
from distrib.tree.tables import Distributor, Sponsorship

START = datetime(2026, 1, 1, tzinfo=UTC)
PLAN: dict[str, Any] = {
    "name": "bench",
    "rules": [
        {"rates": ["10%", "5%", "2%"]},
        {"match": {"category": ["books", "music"]}, "rates": ["4%", "2%", "1%"]},
        {"match": {"sku": ["SKU-7"]}, "rates": ["0%"]},
    ],
}


@dataclass
class Bench:
    """Servers with the product's default settings (durable), and databases on them."""

    url: str
    redis_url: str
    folder: Path
    count: Iterator[int]

    def settings(self, name: str) -> Settings:
        """Settings for the database of that name."""
        head, _, query = self.url.partition("?")
        url = f"{head.rpartition('/')[0]}/{name}?{query}"
        return Settings(database_url=url, redis_url=self.redis_url, data_dir=self.folder)

    @contextlib.contextmanager
    def database(self, template: str | None = None) -> Iterator[tuple[Database, Settings, str]]:
        """A fresh database, empty or a copy of ``template``; dropped at the end."""
        name = f"bench_{next(self.count)}"
        plain = self.url.replace("+psycopg", "")
        with psycopg.connect(plain, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {template or 'template1'}")
        settings = self.settings(name)
        engine = make_engine(settings.database_url)
        try:
            if template is None:
                schema.upgrade(engine)
            yield Database(engine), settings, name
        finally:
            engine.dispose()
            with psycopg.connect(plain, autocommit=True) as admin:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def servers() -> Iterator[Bench]:
    """Embedded servers of this run alone."""
    with tempfile.TemporaryDirectory(prefix="distrib-bench-") as home:
        folder = Path(home)
        folder.chmod(0o755)
        with attach(folder / "data") as up:
            yield Bench(up.database_url, up.redis_url, folder, itertools.count())


def make_brand(
    database: Database, distributors: int, *, seed: int = 1, plan: dict[str, Any] = PLAN
) -> Brand:
    """A brand with a random tree of distributors ``D0`` … and a plan of three levels."""
    chance = random.Random(seed)
    with database.transaction() as session:
        brand = create_brand(session, slug="bench", name="Bench", currency="CNY", jurisdiction="SG")
        numbers = ids.take(distributors)
        write_rows(
            cursor(session),
            Distributor,
            {
                "brand_id": brand.id,
                "id": numbers,
                "external_id": [f"D{i}" for i in range(distributors)],
                "code": [f"C{i}" for i in range(distributors)],
                "name": [f"distributor {i}" for i in range(distributors)],
                "joined_at": START,
                "created_at": START,
            },
            distributors,
        )
        sponsors = [None, *(numbers[chance.randrange(i)] for i in range(1, distributors))]
        write_rows(
            cursor(session),
            Sponsorship,
            {
                "brand_id": brand.id,
                "distributor_id": numbers,
                "valid_from": START,
                "sponsor_id": sponsors,
            },
            distributors,
        )
        publish_plan(
            session, brand=brand, document=plan, effective_from=START, published_by="bench"
        )
    return brand


def make_orders(
    count: int, distributors: int, *, lines: int = 2, prefix: str = "O", seed: int = 2
) -> Iterator[OrderIn]:
    """Orders of two lines each, spread over the distributors and over a hundred days."""
    chance = random.Random(seed)
    step = timedelta(days=100) / count
    categories = ("books", "music", "tea", None)
    for i in range(count):
        yield OrderIn(
            shop="bench",
            external_id=f"{prefix}{i}",
            placed_at=START + i * step,
            currency="CNY",
            buyer=f"U{chance.randrange(count)}",
            distributor=f"D{chance.randrange(distributors)}",
            lines=tuple(
                LineIn(
                    sku=f"SKU-{chance.randrange(500)}",
                    category=categories[chance.randrange(4)],
                    quantity=chance.randrange(1, 5),
                    unit_price=chance.randrange(500, 100_000),
                    discount=chance.randrange(0, 500),
                )
                for _ in range(lines)
            ),
        )


FULL: dict[str, Any] = {
    "name": "everything",
    "ranks": ["silver", "gold"],
    "eligibility": {"active": True},
    "unfilled": "roll_up",
    "caps": {"order": "20%", "distributor_day": "5000.00", "distributor_month": "50000.00"},
    "bonuses": [{"kind": "first_order", "rates": ["1%"]}],
    "rules": [
        {"rates": [{"tiers": [{"rate": "8%"}, {"above": "5000.00", "rate": "10%"}]}, "5%", "2%"]},
        {"match": {"rank": ["gold"]}, "rates": ["12%", "6%", "3%"]},
        {"match": {"category": ["books", "music"]}, "rates": ["4%", "2%", "1%"]},
        {"match": {"sku": ["SKU-7"]}, "rates": ["0%"]},
    ],
}
"""A plan that asks for ranks, standing, volumes, room and first orders."""


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def interleave(
    runs: int, ours: Callable[[], float], bare: Callable[[], float]
) -> tuple[float, float, list[float]]:
    """Run both in turn; medians, and the ratio ours / bare of each pair."""
    pairs = [(ours(), bare()) for _ in range(runs)]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        [a / b for a, b in pairs],
    )


def show(title: str, figures: dict[str, str], ratio: float, aim: str) -> None:
    """Print one benchmark's result."""
    print(f"\n{title}")
    for name, value in figures.items():
        print(f"  {name:<46} {value:>18}")
    print(f"  {'ratio':<46} {ratio:>18.2f}   (aim: {aim})", flush=True)
