"""Bulk intake: a CSV file of orders to posted commissions and folded balances, against COPY of
the same final rows into the same tables (same constraints, indexes and triggers)."""

from __future__ import annotations

import csv
import io
import statistics
from pathlib import Path
from typing import Any

from bench.common import PLAN, Bench, interleave, make_brand, make_orders, show, timed
from distrib.commission.import_orders import import_orders
from distrib.db import Database, cursor
from distrib.ledger.service import fold
from distrib.money import format_amount
from distrib.orders.sources.mapping_file import load_mapping

TABLES = (
    *("orders", "order_line", "order_facts", "commission", "transfer", "open_item", "balance"),
    *("distributor_day", "customer"),
)
DISTRIBUTORS = 5_000
COLUMNS = (
    "order",
    "placed_at",
    "buyer",
    "distributor",
    "sku",
    "category",
    "quantity",
    "unit_price",
    "discount",
)


def write_csv(path: Path, count: int) -> None:
    """The orders as a file of the standard mapping, one row a line."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for order in make_orders(count, DISTRIBUTORS):
            for line in order.lines:
                writer.writerow(
                    (
                        order.external_id,
                        order.placed_at.isoformat(),
                        order.buyer,
                        order.distributor,
                        line.sku,
                        line.category or "",
                        line.quantity,
                        format_amount(line.unit_price, "CNY", grouped=False),
                        format_amount(line.discount, "CNY", grouped=False),
                    )
                )


def dump(database: Database) -> dict[str, bytes]:
    """All rows of the tables, in COPY's binary format."""
    rows = {}
    with database.transaction() as session:
        for table in TABLES:
            buffer = io.BytesIO()
            with cursor(session).copy(f"COPY {table} TO STDOUT (FORMAT BINARY)") as copy:
                for block in copy:
                    buffer.write(block)
            rows[table] = buffer.getvalue()
    return rows


def count_rows(database: Database) -> int:
    """Rows in all the tables."""
    with database.transaction() as session:
        cur = cursor(session)
        total = 0
        for table in TABLES:
            found = cur.execute(f"SELECT count(*) FROM {table}").fetchone()
            total += found[0] if found else 0
    return total


def load(database: Database, rows: dict[str, bytes]) -> None:
    """COPY the rows back, in one transaction."""
    with database.transaction() as session:
        for table, content in rows.items():
            with cursor(session).copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy:
                for start in range(0, len(content), 1 << 20):
                    copy.write(content[start : start + (1 << 20)])


def run(bench: Bench, count: int, runs: int, *, plan: dict[str, Any] = PLAN) -> tuple[float, float]:
    """Measure ``count`` orders; returns our microseconds a final row, and those of COPY."""
    path = bench.folder / f"orders-{count}.csv"
    write_csv(path, count)
    mapping = load_mapping("standard")
    with bench.database() as (start, _, template):
        brand = make_brand(start, DISTRIBUTORS, plan=plan)
        start.engine.dispose()
        rows: dict[str, bytes] = {}
        totals: list[int] = []

        def ours() -> float:
            with bench.database(template) as (database, _, _):

                def work() -> None:
                    report = import_orders(
                        database,
                        brand=brand,
                        paths=[path],
                        mapping=mapping,
                        rejects_path=bench.folder / "rejects.csv",
                    )
                    if report.orders.accepted != count:
                        raise RuntimeError(f"{report.orders} of {count} orders were taken")
                    while True:
                        with database.transaction() as session:
                            if not fold(session, brand_id=brand.id):
                                break

                seconds = timed(work)
                if not rows:
                    rows.update(dump(database))
                    totals.append(count_rows(database))
            return seconds

        def bare() -> float:
            with bench.database(template) as (database, _, _):
                return timed(lambda: load(database, rows))

        mine, theirs, ratios = interleave(runs, ours, bare)
    price = mine / totals[0] * 1e6
    show(
        f"bulk intake, {count:,} orders ({totals[0]:,} final rows), plan {plan['name']!r}",
        {
            "import to posted commissions and balances": f"{mine:.2f} s",
            "COPY of the same rows": f"{theirs:.2f} s",
            "orders per second": f"{count / mine:,.0f}",
            "price of a row": f"{price:.2f} µs",
        },
        statistics.median(ratios),
        "at most 3",
    )
    return price, theirs / totals[0] * 1e6
