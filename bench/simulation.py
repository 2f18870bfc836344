"""Simulating a plan on past orders, against COPY of those orders and their lines out of the
database: the least that anything which looks at each of them must do."""

from __future__ import annotations

import itertools
import resource
import statistics
from copy import deepcopy
from datetime import date
from typing import Any

from bench.common import PLAN, Bench, interleave, make_brand, make_orders, show, timed
from distrib.brands.tables import Brand
from distrib.commission.intake import take_orders
from distrib.commission.simulation import candidate_of_document, simulate_plan
from distrib.db import Database, cursor

DISTRIBUTORS = 5_000
FIRST, LAST = date(2026, 1, 1), date(2026, 4, 30)
CHUNK = 5_000

# the database holds these orders and no others
TABLES = ("orders", "order_line")


def fill(database: Database, brand: Brand, count: int) -> None:
    """Take the orders."""
    orders = make_orders(count, DISTRIBUTORS)
    while chunk := list(itertools.islice(orders, CHUNK)):
        with database.transaction() as session:
            take_orders(session, brand=brand, orders=chunk)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")


def copy_out(database: Database) -> float:
    """COPY the orders and their lines out, as text, to this process."""
    with database.transaction() as session:
        cur = cursor(session)

        def work() -> None:
            for table in TABLES:
                with cur.copy(f"COPY {table} TO STDOUT") as copy:
                    for _ in copy:
                        pass

        return timed(work)


def copy_nowhere(database: Database) -> float:
    """The same without anybody who reads it."""
    with database.transaction() as session:
        cur = cursor(session)

        def work() -> None:
            for table in TABLES:
                cur.execute(f"COPY {table} TO '/dev/null'")

        return timed(work)


def peak() -> int:
    """The most memory that this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def run(bench: Bench, count: int = 100_000, runs: int = 5) -> None:
    """Measure a simulation of ``count`` orders."""
    with bench.database() as (database, _, _):
        brand = make_brand(database, DISTRIBUTORS)
        fill(database, brand, count)
        document: dict[str, Any] = deepcopy(PLAN)
        document["rules"][0]["rates"] = ["12%", "4%", "2%"]
        nowhere: list[float] = []
        before = peak()

        def simulate() -> None:
            with database.snapshot() as session:
                tried = candidate_of_document(session, brand=brand, document=document)
                report = simulate_plan(
                    session, brand=brand, candidate=tried, first=FIRST, last=LAST
                )
            if report.orders != count or not report.differing:
                raise RuntimeError(f"{report.orders} of {count} orders were simulated")

        def bare() -> float:
            nowhere.append(copy_nowhere(database))
            return copy_out(database)

        mine, theirs, ratios = interleave(runs, lambda: timed(simulate), bare)
    least = statistics.median(nowhere)
    show(
        f"simulation of {count:,} past orders",
        {
            "simulate, beside what was paid": f"{mine:.2f} s",
            "COPY of the same orders out, as text": f"{theirs:.2f} s",
            "of this the server's work alone": f"{least:.2f} s ({mine / least:.1f}×)",
            "orders per second": f"{count / mine:,.0f}",
            "memory it needed more": f"{peak() - before} MiB",
        },
        statistics.median(ratios),
        "at most 3",
    )
