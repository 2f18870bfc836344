"""Settlement of many payees, from matured open items to a settled batch with its payment file,
against the bare INSERT … SELECT … GROUP BY statements that write the same rows."""

from __future__ import annotations

import statistics
import time

from sqlalchemy import text

from bench.common import Bench, interleave, make_brand, make_orders, show, timed
from distrib import jobs
from distrib.brands.tables import Brand
from distrib.commission.intake import take_orders
from distrib.config import Settings
from distrib.db import Database
from distrib.settlement.batch import (
    approve_batch,
    draw_up_batch,
    get_batch,
    mature_for_batch,
    submit_batch,
)
from distrib.settlement.paying import run_batch

# the rows a settlement leaves behind, each table by one statement; nothing locked, nothing
# checked, no steps, no workers, no file
_GROUPED = "SELECT distributor_id, sum(amount) AS amount FROM open_item GROUP BY distributor_id"
_BARE_PAYOUTS = """
INSERT INTO payout (brand_id, batch_id, no, distributor_id, amount, state, postings, amounts)
SELECT :brand, 1, row_number() OVER (), distributor_id, sum(amount), 'paid',
       array_agg(posting_id), array_agg(amount)
FROM open_item GROUP BY distributor_id HAVING sum(amount) >= 1
"""
_BARE = [
    """INSERT INTO settlement_batch (brand_id, id, number, cutoff, currency, minimum_payout,
       provider, state, payouts, total, content_hash, created_at, created_by)
       VALUES (:brand, 1, 1, now(), 'CNY', 1, 'bank-file', 'draft', 0, 0, '', now(), '')""",
    _BARE_PAYOUTS,
    """INSERT INTO payout_attempt (brand_id, batch_id, no, attempt, request_no, created_at, outcome)
       SELECT brand_id, batch_id, no, 1, batch_id::text || '-' || no::text || '-1', now(), 'paid'
       FROM payout""",
    *(
        f"""INSERT INTO transfer (brand_id, posting_id, seq, code, debit_account, credit_account,
            amount, asset, posted_at)
            SELECT :brand, {code}, row_number() OVER (), {code}, 8, distributor_id, amount, 'CNY',
            now() FROM ({_GROUPED}) g"""
        for code in (3, 6, 8, 9)
    ),
    "DELETE FROM open_item",
]


def settle(database: Database, settings: Settings, brand: Brand, payees: int) -> None:
    """The product's way, every step of it."""
    cutoff = mature_for_batch(database, brand=brand)
    with database.transaction() as session:
        draw_up_batch(session, brand=brand, cutoff=cutoff, created_by="bench")
    with database.transaction() as session:
        submit_batch(session, brand_id=brand.id, number=1, submitted_by="bench")
        approve_batch(session, brand_id=brand.id, number=1, approved_by="other", content_hash=None)
    with database.transaction() as session:
        run_batch(session, brand_id=brand.id, number=1, chunk_payouts=settings.chunk_payouts)
    jobs.run_all(database, settings)
    with database.transaction() as session:
        batch = get_batch(session, brand_id=brand.id, number=1)
        if batch.state != "settled" or batch.payouts != payees:
            raise RuntimeError(f"batch is {batch.state} with {batch.payouts} payouts")


def bare(database: Database, brand: Brand) -> float:
    """The same rows by bare statements. Returns the seconds of the one that groups the payouts."""
    grouped = 0.0
    with database.transaction() as session:
        for statement in _BARE:
            begin = time.perf_counter()
            session.execute(text(statement), {"brand": brand.id})
            if statement is _BARE_PAYOUTS:
                grouped = time.perf_counter() - begin
    return grouped


def run(bench: Bench, payees: int = 100_000, runs: int = 3) -> None:
    """Measure a batch of ``payees`` payouts."""
    with bench.database() as (start, _, template):
        brand = make_brand(start, payees)
        orders = [
            order.__class__(
                shop=order.shop,
                external_id=order.external_id,
                placed_at=order.placed_at,
                currency=order.currency,
                lines=order.lines,
                buyer=order.buyer,
                distributor=f"D{i % payees}",
            )
            for i, order in enumerate(make_orders(payees, payees, lines=1))
        ]
        for at in range(0, len(orders), 5_000):
            with start.transaction() as session:
                take_orders(session, brand=brand, orders=orders[at : at + 5_000])
        with start.transaction() as session:
            items, due = session.execute(
                text("SELECT count(*), count(DISTINCT distributor_id) FROM open_item")
            ).one()
        start.engine.dispose()
        grouped: list[float] = []

        def mine() -> float:
            with bench.database(template) as (database, settings, _):
                return timed(lambda: settle(database, settings, brand, due))

        def theirs() -> float:
            with bench.database(template) as (database, _, _):
                return timed(lambda: grouped.append(bare(database, brand)))

        ours, plain, ratios = interleave(runs, mine, theirs)
    one = statistics.median(grouped)
    show(
        f"settlement, {due:,} payees, {items:,} open items",
        {
            "mature, draw up, approve, pay, file": f"{ours:.2f} s",
            "bare grouped INSERTs of the same rows": f"{plain:.2f} s",
            "of these the payouts alone": f"{one:.2f} s ({ours / one:.1f}×)",
            "payees per second": f"{due / ours:,.0f}",
        },
        statistics.median(ratios),
        "at most 3",
    )
