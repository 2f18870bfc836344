"""The audit names what is wrong with batches: approvals, attempts, files, tax, money on its way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from distrib import clock
from distrib.config import Settings
from distrib.db import Database
from distrib.settlement import payouts
from distrib.settlement.audit import audit_brand
from distrib.settlement.running import run_batch
from distrib.settlement.withholding import set_tax_regime
from tests import factories
from tests.doubles.stripe import StripeDouble
from tests.settlement.paying_world import World, stripe_settings


@dataclass(frozen=True)
class Corruption:
    """A statement that makes the database say something untrue, and the check that must say so."""

    name: str
    statement: str
    found_by: str


HERE = "brand_id = :b"
NO = "no = (SELECT no FROM payout WHERE brand_id = :b AND batch_id = {batch} AND state = '{state}')"
STRIPE = "(SELECT id FROM settlement_batch WHERE brand_id = :b AND number = 1)"
BANK = "(SELECT id FROM settlement_batch WHERE brand_id = :b AND number = 2)"
PENDING = "(SELECT id FROM settlement_batch WHERE brand_id = :b AND number = 3)"

CORRUPTIONS = [
    Corruption(
        "an approval is gone",
        f"DELETE FROM batch_approval WHERE {HERE} AND batch_id = {STRIPE}",
        "settlement.approvals",
    ),
    Corruption(
        "approved by its maker",
        f"UPDATE batch_approval SET approved_by = ' MAKER' WHERE {HERE} AND batch_id = {BANK}",
        "settlement.approvals",
    ),
    Corruption(
        "approved as something else",
        f"UPDATE batch_approval SET content_hash = '' WHERE {HERE} AND batch_id = {BANK}",
        "settlement.approvals",
    ),
    Corruption(
        "the total of a file",
        f"UPDATE batch_file SET total = total + 1 WHERE {HERE}",
        "settlement.file",
    ),
    Corruption(
        "a call in two files",
        "INSERT INTO batch_file SELECT brand_id, batch_id, 2, name, sha256, payouts, total, calls,"
        f" created_at FROM batch_file WHERE {HERE} AND batch_id = {BANK}",
        "settlement.file",
    ),
    Corruption(
        "more tax than was computed",
        f"UPDATE payout SET tax = tax + 1 WHERE {HERE} AND batch_id = {STRIPE} AND state = 'paid'",
        "settlement.tax",
    ),
    Corruption(
        "from what the tax was computed",
        f"UPDATE payout_tax SET month_gross = month_gross + 100000 WHERE {HERE}",
        "settlement.tax",
    ),
    Corruption(
        "the method of an approved payout",
        f"UPDATE payout SET method_id = 7 WHERE {HERE} AND batch_id = {STRIPE}",
        "settlement.batch",
    ),
    Corruption(
        "paid by two attempts",
        "INSERT INTO payout_attempt (brand_id, batch_id, no, attempt, request_no, call_no,"
        " created_at, state) SELECT brand_id, batch_id, no, 9, 'x', call_no, created_at, 'paid'"
        f" FROM payout_attempt WHERE {HERE} AND batch_id = {BANK}",
        "settlement.payout",
    ),
    Corruption(
        "a failure that is said to be paid",
        f"UPDATE payout SET state = 'paid' WHERE {HERE} AND batch_id = {STRIPE}"
        " AND state = 'failed'",
        "settlement.paid",
    ),
    Corruption(
        "a return that is forgotten",
        f"UPDATE payout SET state = 'paid' WHERE {HERE} AND batch_id = {STRIPE}"
        " AND state = 'returned'",
        "settlement.reserved",
    ),
    Corruption(
        "money on its way that nobody knows of",
        f"DELETE FROM payout_attempt WHERE {HERE} AND batch_id = {PENDING}"
        " AND no = (SELECT min(no) FROM payout_attempt"
        f"  WHERE {HERE} AND batch_id = {PENDING} AND state = 'pending')",
        "settlement.payout",
    ),
    Corruption(
        "sent and not in clearing",
        f"DELETE FROM transfer WHERE {HERE} AND code = 8 AND seq = 1",
        "settlement.payout_clearing",
    ),
    Corruption(
        "tax that was given back and is still withheld",
        f"DELETE FROM transfer WHERE {HERE} AND code = 13",
        "settlement.tax_withheld",
    ),
]


@pytest.fixture(scope="module")
def double() -> Iterator[StripeDouble]:
    with StripeDouble() as found:
        found.balance["cny"] = 10**9
        found.refusals["acct_bea"] = (400, {"code": "account_invalid", "message": "No"})
        yield found


@pytest.fixture(scope="module")
def world(
    db: Database,
    settings: Settings,
    double: StripeDouble,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """Batch 1 by Stripe with tax, one payout failed and one come back; 2 by file; 3 pending."""
    brand = factories.brand(db, levels=1)
    folder: Path = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        found = World(db, brand, stripe_settings(settings, brand, double, folder, patch), double)
        found.earn("big", 5_000_000)
        with clock.travel(found.now), db.transaction() as session:
            set_tax_regime(session, brand=brand, year=2026, regime="cn_labour", set_by="boss")
        found.start()
        found.work()
        found.do(payouts.return_payout, no=found.no("cat"), returned_by="f", reason="bank")
        for number, provider in ((2, "bank-file"), (3, "bank")):
            found.earn(f"more-{number}", 20_000)
            found.draw_up(provider)
            found.approve(number)
            found.do(run_batch, chunk_payouts=3, number=number)
            found.work()
        assert [found.state(n) for n in (1, 2, 3)] == ["partly_failed", "settled", "paying"]
        assert found.findings() == []
        yield found


@pytest.mark.parametrize("corruption", [pytest.param(each, id=each.name) for each in CORRUPTIONS])
def test_the_audit_names_it(world: World, corruption: Corruption) -> None:
    with world.db.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        if "'x'" in corruption.statement:
            session.execute(
                text("ALTER TABLE payout_attempt DROP CONSTRAINT ck_payout_attempt_request_no")
            )
        changed = session.execute(text(corruption.statement), {"b": world.brand.id})
        assert changed.rowcount != 0, "the corruption hit nothing"  # type: ignore[attr-defined]
        found = {each.check for each in audit_brand(session, brand_id=world.brand.id)}
        session.rollback()
    assert corruption.found_by in found
