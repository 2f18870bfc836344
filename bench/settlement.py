"""Settlement of many payees: gathering against the bare grouped INSERT of the same payouts, and
posting, payment file included, against COPY of the same rows into the same tables."""

from __future__ import annotations

import io
import resource
import statistics
from typing import Any

from sqlalchemy import text

from bench.common import Bench, interleave, make_brand, show, timed
from distrib import jobs
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database, cursor
from distrib.settlement import paying  # noqa: F401  # does the jobs, once imported
from distrib.settlement.batch import (
    approve_batch,
    draw_up_batch,
    get_batch,
    mature_for_batch,
    submit_batch,
)
from distrib.settlement.finishing import list_files
from distrib.settlement.running import run_batch

LINES = 3
"""Open items for each payee."""

_OPEN_ITEMS = text(
    """
    INSERT INTO open_item (brand_id, distributor_id, posting_id, asset, amount, available_on, held)
    SELECT d.brand_id, d.id, (row_number() OVER ())::bigint, 'CNY', 50 + (d.id % 997) + n * 7,
           '2026-01-01', false
    FROM distributor d CROSS JOIN generate_series(1, :lines) n ORDER BY n, d.id
    """
)

# what gathering writes, and nothing else: no lock, no judgement, no items taken away
_BARE = text(
    """
    INSERT INTO payout (brand_id, batch_id, no, distributor_id, amount, state, postings, amounts)
    SELECT brand_id, :batch, row_number() OVER (ORDER BY distributor_id), distributor_id,
           sum(amount), 'reserved', array_agg(posting_id ORDER BY posting_id),
           array_agg(amount ORDER BY posting_id)
    FROM open_item GROUP BY brand_id, distributor_id
    """
)

POSTED = {
    "payout": "payout",
    "payout_attempt": "payout_attempt",
    # without what gathering has reserved
    "transfer": "(SELECT * FROM transfer WHERE code <> 6)",
    "batch_posting": "(SELECT * FROM batch_posting WHERE code <> 6)",
}
"""The rows that paying writes: each payout anew (twice), an attempt and two transfers of each."""


def gather(database: Database, brand: Brand) -> None:
    """Everything from the open items to a draft that can be approved, its reservation posted."""
    cutoff = mature_for_batch(database, brand=brand)
    with database.transaction() as session:
        draw_up_batch(session, brand=brand, cutoff=cutoff, created_by="bench")


def approve(database: Database, brand: Brand) -> None:
    """Two people."""
    scope: dict[str, Any] = {"brand_id": brand.id, "number": 1}
    with database.transaction() as session:
        submit_batch(session, submitted_by="bench", **scope)
    with database.transaction() as session:
        approve_batch(session, approved_by="other", content_hash=None, **scope)


def pay(database: Database, settings: Settings, brand: Brand) -> None:
    """Attempts, both postings of each payout, the file, in one worker."""
    with database.transaction() as session:
        run_batch(session, brand_id=brand.id, number=1, chunk_payouts=settings.chunk_payouts)
    jobs.run_all(database, settings)
    with database.transaction() as session:
        batch = get_batch(session, brand_id=brand.id, number=1)
        if batch.state != "settled" or not list_files(session, batch=batch):
            raise RuntimeError(f"batch is {batch.state}")


def bare_gathering(database: Database, brand: Brand) -> None:
    """One statement."""
    with database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO settlement_batch (brand_id, id, number, cutoff, currency,"
                " minimum_payout, provider, state, payouts, total, content_hash, created_at,"
                " created_by) VALUES (:brand, 1, 1, now(), 'CNY', 1, 'bank-file', 'draft', 0, 0,"
                " '', now(), '')"
            ),
            {"brand": brand.id},
        )
        session.execute(_BARE, {"batch": 1})


def dump(database: Database) -> dict[str, bytes]:
    """The rows that posting has written, in COPY's binary format."""
    found = {}
    with database.transaction() as session:
        for table, source in POSTED.items():
            buffer = io.BytesIO()
            with cursor(session).copy(f"COPY {source} TO STDOUT (FORMAT BINARY)") as copy:
                for block in copy:
                    buffer.write(block)
            found[table] = buffer.getvalue()
    return found


def load(database: Database, rows: dict[str, bytes]) -> None:
    """The same rows into the same tables, in one transaction."""
    with database.transaction() as session:
        for table, content in rows.items():
            with cursor(session).copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy:
                for start in range(0, len(content), 1 << 20):
                    copy.write(content[start : start + (1 << 20)])


def _clear(database: Database) -> None:
    """Take away what posting wrote: COPY puts it back. Empty tables, as they were."""
    with database.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text(f"TRUNCATE {', '.join(POSTED)}, payout_tax"))


def _rss() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(bench: Bench, payees: int = 100_000, runs: int = 3) -> tuple[float, float]:
    """Measure a batch of ``payees`` payouts; returns microseconds a payee of both steps."""
    with bench.database() as (start, _, template):
        brand = make_brand(start, payees)
        with start.transaction() as session:
            session.execute(_OPEN_ITEMS, {"lines": LINES})
        with start.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE open_item, distributor"))
        start.engine.dispose()
        posting: list[float] = []
        copying: list[float] = []
        grown: list[float] = []

        def mine() -> float:
            with bench.database(template) as (database, settings, _):
                gathering = timed(lambda: gather(database, brand))
                approve(database, brand)
                before = _rss()
                posting.append(timed(lambda: pay(database, settings, brand)))
                grown.append(_rss() - before)
                rows = dump(database)
                _clear(database)
                copying.append(timed(lambda: load(database, rows)))
            return gathering

        def theirs() -> float:
            with bench.database(template) as (database, _, _):
                return timed(lambda: bare_gathering(database, brand))

        gathered, grouped, ratios = interleave(runs, mine, theirs)
    show(
        f"settlement, gathering {payees:,} payees of {payees * LINES:,} commission lines",
        {
            "judge, take, reserve, post, hash": f"{gathered:.2f} s",
            "bare grouped INSERT of the payouts": f"{grouped:.2f} s",
            "price of a payee": f"{gathered / payees * 1e6:.1f} µs",
        },
        statistics.median(ratios),
        "at most 3",
    )
    paid = statistics.median(posting)
    show(
        f"settlement, paying {payees:,} payees",
        {
            "attempts, postings, states, file; one worker": f"{paid:.2f} s",
            "COPY of payouts, attempts, transfers": f"{statistics.median(copying):.2f} s",
            "price of a payee": f"{paid / payees * 1e6:.1f} µs",
            "payees a second": f"{payees / paid:,.0f}",
            "memory of the worker grew by": f"{grown[0]:.0f} MiB",
        },
        statistics.median(mine / bare for mine, bare in zip(posting, copying, strict=True)),
        "at most 3",
    )
    return gathered / payees * 1e6, paid / payees * 1e6
