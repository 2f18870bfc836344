"""Query plans: what is planned on empty tables is right when they are full.

A connection keeps its plans, also those of the checks of foreign keys. Were an index on another
column as good as the primary key while a table is empty, each check would read the whole brand
soon after. See docs/adr/0004-generic-plans.md.
"""

from __future__ import annotations

from sqlalchemy import Engine, text

from distrib import schema
from distrib.db import Database
from tests import factories
from tests.factories import order

SMALL = {"api_key", "maturation", "plan_draft", "plan_version", "settlement_batch"}
"""Tables with a handful of rows a brand."""

_BEGINNING_WITH_BRAND = text(
    """
    SELECT c.relname, i.relname FROM pg_index x
    JOIN pg_class c ON c.oid = x.indrelid
    JOIN pg_class i ON i.oid = x.indexrelid
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[0] AND a.attname = 'brand_id'
    WHERE NOT x.indisprimary AND x.indpred IS NULL
    """
)


def test_only_keys_begin_with_the_brand(db: Database) -> None:
    with db.transaction() as session:
        found = {(table, index) for table, index in session.execute(_BEGINNING_WITH_BRAND)}
    # the end of a sponsorship shares two columns with the key, which is enough
    assert {(table, index) for table, index in found if table not in SMALL} == {
        ("sponsorship", "uq_sponsorship_end")
    }


def test_no_index_is_read_through(scratch: Engine) -> None:
    schema.upgrade(scratch)
    untouched = Database(scratch)
    orders, rows = 200, 6  # an order of two lines has six commissions
    brand = factories.brand(untouched)
    factories.plan(untouched, brand)
    for number in range(orders):
        name, sponsor = f"d{number}", f"d{number - 1}" if number else None
        factories.enrol(untouched, brand, {name: sponsor})
        factories.take(untouched, brand, order(f"o-{number}", 100, 200, distributor=name))
        factories.give_back(untouched, brand, factories.refund("r", f"o-{number}", (1, 0, 10)))
    with untouched.transaction() as session:
        session.execute(text("SELECT pg_stat_force_next_flush()"))
    with untouched.transaction() as session:
        read = session.execute(
            text("SELECT indexrelname, idx_scan, idx_tup_read FROM pg_stat_user_indexes")
        ).all()
    scanned = {name: (scans, found) for name, scans, found in read if scans >= orders}
    assert {"pk_orders", "pk_distributor", "pk_order_line"} <= scanned.keys()
    assert {name: each for name, each in scanned.items() if each[1] > rows * each[0]} == {}
