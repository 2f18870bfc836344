"""The audit: silent about a busy brand, and it names every deliberate corruption."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.audit import Finding
from distrib.brands.tables import Brand
from distrib.commission import audit as commission_audit
from distrib.commission import service as commission_service
from distrib.config import Settings
from distrib.db import Database
from distrib.ledger.service import fold
from distrib.orders.document import LineIn
from distrib.settlement.audit import CHECKS, audit_brand
from distrib.settlement.batch import cancel_batch
from distrib.tree.service import move_distributor, suspend_distributor
from tests import factories
from tests.factories import NOON, days, draw_up, give_back, ids_of, order, refund, settle, take


@dataclass(frozen=True)
class Busy:
    """A brand in the middle of its business, and ids to corrupt by."""

    brand: Brand
    names: dict[str, Any]


def audit(session: Session, brand: Brand) -> list[Finding]:
    return list(audit_brand(session, brand_id=brand.id))


@pytest.fixture(scope="module")
def busy(db: Database, settings: Settings) -> Busy:
    """A bit of everything: two plan versions and two trees; refunds before their order, after it
    and after its payout; a settled batch, a cancelled one and an open draft; postings folded and
    not."""
    brand = factories.brand(db)
    factories.plan(db, brand, plan_document=factories.document(tea=["12.5%", "1%"]))
    who = factories.trio(db, brand) | factories.enrol(
        db, brand, {"dan": None, "eli": "dan", "fay": "eli", "gus": "ann"}
    )
    lines = [LineIn("a", 4, 2_500), LineIn("b", 3, 333, "tea", discount=9, tax=12)]
    give_back(db, brand, refund("early", "o-5", (1, 1)), refund("in vain", "o-99", (1, 1)))
    for n, name in enumerate(["ann", "bo", "cy", "eli", "fay", "gus", "ann", "gus"]):
        placed = NOON + days(n)
        ids_of(take(db, brand, order(f"o-{n}", lines=lines, distributor=name, placed_at=placed)))
    ids_of(take(db, brand, order("nobody's", 5_000, distributor=None, placed_at=NOON + days(8))))
    small = order("small", 300, distributor="dan", placed_at=NOON + days(1))
    ids_of(take(db, brand, small, now=NOON + days(8)))
    back = [
        refund("r-0", "o-0", (1, 1), (2, 0, 100)),
        refund("r-3", "o-3"),
        refund("r-6", "o-6", (2, 3)),
    ]
    ids_of(give_back(db, brand, *back, now=NOON + days(9)))
    # the tree and the plan change
    later = NOON + days(10)
    with clock.travel(later), db.transaction() as session:
        move_distributor(session, brand_id=brand.id, distributor="ann", sponsor="fay", at=later)
        suspend_distributor(session, brand_id=brand.id, distributor="dan")
    factories.plan(db, brand, "8%", "4%", "3%", effective_from=later + days(1))
    for n, name in enumerate(["ann", "bo", "gus"]):
        one = order(f"p-{n}", lines=lines, distributor=name, placed_at=later + days(n))
        ids_of(take(db, brand, one))
    # a batch that is called off, one that is paid, what happens after it, and a draft
    draw_up(db, brand, date(2026, 3, 17), NOON + days(17))
    with db.transaction() as session:
        cancel_batch(session, brand_id=brand.id, number=1)
    settle(db, settings, brand, date(2026, 3, 18), NOON + days(18))
    ids_of(give_back(db, brand, refund("r-late", "o-0"), now=NOON + days(19)))
    ids_of(take(db, brand, order("late", 9_999, placed_at=NOON), now=NOON + days(19)))
    with db.transaction() as session:
        fold(session, brand_id=brand.id, postings=9)
    draw_up(db, brand, date(2026, 3, 21), NOON + days(21))
    ids_of(give_back(db, brand, refund("r-p", "p-0", (1, 2)), now=NOON + days(22)))
    names: dict[str, Any] = {"brand": brand.id, **who}
    with db.transaction() as session:
        for table, key in (("orders", "external_id"), ("refund", "external_id")):
            names |= {
                f"{row[0]}": row[1]
                for row in session.execute(
                    text(f"SELECT {key}, id FROM {table} WHERE brand_id = :id"), {"id": brand.id}
                )
            }
        for row in session.execute(
            text("SELECT number, id FROM settlement_batch WHERE brand_id = :id"), {"id": brand.id}
        ):
            names[f"batch-{row[0]}"] = row[1]
    return Busy(brand, names)


def test_a_busy_brand_is_clean(db: Database, busy: Busy) -> None:
    seen: list[Any] = []
    with db.snapshot() as session:
        found = list(audit_brand(session, brand_id=busy.brand.id, on_check=seen.append))
    assert found == []
    assert seen == CHECKS
    assert all(check.__doc__ for check in CHECKS)


def test_a_busy_brand_is_busy(db: Database, busy: Busy) -> None:
    """The checks have something to look at: no table is empty, all sorts of state are there."""
    with db.snapshot() as session:
        for table in (
            "orders", "order_line", "refund", "refund_line", "waiting_refund", "commission",
            "transfer", "balance", "unfolded_posting", "open_item", "maturation", "payout",
            "payout_attempt", "settlement_batch", "plan_version", "sponsorship",
        ):  # fmt: skip
            count = session.scalar(
                text(f"SELECT count(*) FROM {table} WHERE brand_id = :id"), {"id": busy.brand.id}
            )
            assert count, table
        codes = session.scalars(
            text("SELECT DISTINCT code FROM transfer WHERE brand_id = :id"), {"id": busy.brand.id}
        )
        assert set(codes) == {1, 2, 3, 4, 5, 6, 7, 8, 9}
        states = session.scalars(
            text("SELECT DISTINCT state FROM payout WHERE brand_id = :id"), {"id": busy.brand.id}
        )
        assert set(states) == {"reserved", "paid", "cancelled"}
        debts = session.scalar(
            text("SELECT count(*) FROM open_item WHERE amount < 0 AND brand_id = :id"),
            {"id": busy.brand.id},
        )
        assert debts


@dataclass(frozen=True)
class Corruption:
    """SQL that corrupts some rows, and the checks that must be among those that find it."""

    name: str
    statement: str
    found_by: tuple[str, ...]


HERE = "brand_id = :brand"

CORRUPTIONS = [
    # -- transfers
    Corruption(
        "the amount of a transfer",
        f"UPDATE transfer SET amount = amount + 1 WHERE {HERE} AND posting_id = :o0 AND seq = 1",
        ("commission.ledger", "settlement.items"),
    ),
    Corruption(
        "the amount of a folded transfer",
        f"UPDATE transfer SET amount = amount + 1 WHERE {HERE} AND seq = 1 AND posting_id ="
        f" (SELECT min(posting_id) FROM transfer WHERE {HERE} AND code = 1)",
        ("ledger.balances", "commission.ledger"),
    ),
    Corruption(
        "a transfer is gone",
        f"DELETE FROM transfer WHERE {HERE} AND posting_id = :o1 AND seq = 2",
        ("commission.ledger", "settlement.items"),
    ),
    Corruption(
        "a whole posting is gone",
        f"DELETE FROM transfer WHERE {HERE} AND posting_id = :o1",
        ("commission.ledger", "settlement.items"),
    ),
    Corruption(
        "a transfer twice, under another posting",
        "INSERT INTO transfer SELECT brand_id, :new, seq, code, debit_account, credit_account,"
        f" amount, asset, posted_at FROM transfer WHERE {HERE} AND posting_id = :o1",
        ("commission.ledger", "settlement.items", "ledger.balances"),
    ),
    Corruption(
        "a maturation twice, under another posting",
        "INSERT INTO transfer SELECT brand_id, :new, seq, code, debit_account, credit_account,"
        f" amount, asset, posted_at FROM transfer WHERE {HERE} AND code = 3 LIMIT 1",
        ("settlement.held", "settlement.available"),
    ),
    Corruption(
        "a confirmation twice, under another posting",
        "INSERT INTO transfer SELECT brand_id, :new, seq, code, debit_account, credit_account,"
        f" amount, asset, posted_at FROM transfer WHERE {HERE} AND code = 9 LIMIT 1",
        ("settlement.paid", "settlement.payout_clearing", "ledger.overdrawn"),
    ),
    Corruption(
        "a transfer to somebody else",
        f"UPDATE transfer SET credit_account = :dan * 16 + 8 WHERE {HERE} AND posting_id = :o0"
        " AND seq = 1",
        ("commission.ledger", "settlement.items"),
    ),
    Corruption(
        "a code that nobody knows",
        f"UPDATE transfer SET code = 15 WHERE {HERE} AND posting_id = :o0 AND seq = 1",
        ("ledger.chart",),
    ),
    Corruption(
        "a code that moves other accounts",
        f"UPDATE transfer SET code = 2 WHERE {HERE} AND posting_id = :o0 AND seq = 1",
        ("ledger.chart",),
    ),
    Corruption(
        "between two owners",
        "UPDATE transfer SET credit_account = :dan * 16 + 9"
        f" WHERE {HERE} AND code = 3 AND debit_account = :ann * 16 + 8",
        ("ledger.chart",),
    ),
    Corruption(
        "an overdrawn account",
        "INSERT INTO transfer SELECT brand_id, :new, 1, 4, :cy * 16 + 8, :cy * 16 + 12, 10000000,"
        f" asset, posted_at FROM transfer WHERE {HERE} LIMIT 1",
        ("ledger.overdrawn",),
    ),
    Corruption(
        "another currency",
        f"UPDATE transfer SET asset = 'USD' WHERE {HERE} AND posting_id = :o0 AND seq = 1",
        ("settlement.held", "ledger.balances"),
    ),
    # -- balances
    Corruption(
        "a balance",
        f"UPDATE balance SET credits = credits + 1 WHERE {HERE} AND account ="
        f" (SELECT max(account) FROM balance WHERE {HERE})",
        ("ledger.balances",),
    ),
    Corruption(
        "a balance is gone",
        f"DELETE FROM balance WHERE {HERE} AND account = (SELECT max(account) FROM balance"
        f" WHERE {HERE})",
        ("ledger.balances",),
    ),
    Corruption(
        "a balance of nobody",
        "INSERT INTO balance VALUES (:brand, :new * 16 + 9, 'CNY', 0, 5)",
        ("ledger.balances",),
    ),
    Corruption(
        "a posting that will never be folded",
        f"DELETE FROM unfolded_posting WHERE {HERE} AND posting_id ="
        f" (SELECT max(posting_id) FROM unfolded_posting WHERE {HERE})",
        ("ledger.balances",),
    ),
    Corruption(
        "a posting that will be folded twice",
        "INSERT INTO unfolded_posting SELECT brand_id, min(posting_id) FROM transfer"
        f" WHERE {HERE} GROUP BY brand_id",
        ("ledger.balances",),
    ),
    Corruption(
        "a posting to fold that is not there",
        "INSERT INTO unfolded_posting VALUES (:brand, :new)",
        ("ledger.queue",),
    ),
    # -- commissions
    Corruption(
        "the amount of a commission",
        f"UPDATE commission SET amount = amount + 1 WHERE {HERE} AND source_id = :o0"
        " AND line_no = 1 AND level = 1",
        ("commission.engine", "commission.ledger"),
    ),
    Corruption(
        "the distributor of a commission",
        f"UPDATE commission SET distributor_id = :dan WHERE {HERE} AND source_id = :o0"
        " AND line_no = 1 AND level = 1",
        ("commission.engine", "commission.ledger"),
    ),
    Corruption(
        "the rate of a commission",
        f"UPDATE commission SET rate_ppm = rate_ppm + 1 WHERE {HERE} AND source_id = :o0"
        " AND line_no = 1 AND level = 1",
        ("commission.engine",),
    ),
    Corruption(
        "the rule of a commission",
        f"UPDATE commission SET rule_no = 2 WHERE {HERE} AND source_id = :o0 AND line_no = 1"
        " AND level = 1",
        ("commission.engine",),
    ),
    Corruption(
        "the base of a commission",
        f"UPDATE commission SET base = base + 1 WHERE {HERE} AND source_id = :o0"
        " AND line_no = 1 AND level = 1",
        ("commission.engine",),
    ),
    Corruption(
        "the day of a commission",
        f"UPDATE commission SET earned_on = earned_on - 1 WHERE {HERE} AND source_id = :o0"
        " AND line_no = 1 AND level = 1",
        ("commission.",),
    ),
    Corruption(
        "the day of a reversal",
        f"UPDATE commission SET earned_on = earned_on - 1 WHERE {HERE} AND source_id = :r0"
        " AND line_no = 1 AND level = 1",
        ("commission.",),
    ),
    Corruption(
        "a commission is gone",
        f"DELETE FROM commission WHERE {HERE} AND source_id = :o0 AND line_no = 1 AND level = 1",
        ("commission.engine", "commission.ledger"),
    ),
    Corruption(
        "all of an order's commissions are gone",
        f"DELETE FROM commission WHERE {HERE} AND source_id = :o0",
        ("commission.engine", "commission.ledger"),
    ),
    Corruption(
        "a commission more",
        "INSERT INTO commission SELECT brand_id, source_id, line_no, 3, order_id, :dan, rule_no,"
        f" rate_ppm, base, amount, earned_on FROM commission WHERE {HERE} AND source_id = :o1"
        " AND line_no = 1 AND level = 1",
        ("commission.engine", "commission.ledger"),
    ),
    Corruption(
        "a commission of nothing",
        "INSERT INTO commission SELECT brand_id, :new, line_no, level, order_id, distributor_id,"
        f" rule_no, rate_ppm, base, amount, earned_on FROM commission WHERE {HERE}"
        " AND source_id = :o1",
        ("commission.ledger",),
    ),
    Corruption(
        "two commissions of nothing that cancel out",
        "INSERT INTO commission SELECT brand_id, :new, n, level, order_id, distributor_id, rule_no,"
        " rate_ppm, base, CASE n WHEN 1 THEN amount ELSE -amount END, earned_on FROM commission"
        f" CROSS JOIN (VALUES (1), (2)) v (n) WHERE {HERE} AND source_id = :o1 AND line_no = 1"
        " AND level = 1",
        ("commission.",),
    ),
    Corruption(
        "a reversal that is larger than what was paid",
        f"UPDATE commission SET amount = amount - 100000 WHERE {HERE} AND source_id = :r0"
        " AND line_no = 1 AND level = 1",
        ("commission.engine", "commission.reversals"),
    ),
    Corruption(
        "a commission of the version in force",
        f"UPDATE commission SET amount = amount + 1 WHERE {HERE} AND source_id = :p1"
        " AND line_no = 1 AND level = 1",
        ("commission.simulation", "commission.engine"),
    ),
    # -- orders
    Corruption(
        "the price of an order line",
        f"UPDATE order_line SET unit_price = unit_price + 1 WHERE {HERE} AND order_id = :o0"
        " AND line_no = 1",
        ("commission.engine",),
    ),
    Corruption(
        "the discount of an order line",
        f"UPDATE order_line SET discount = discount + 1 WHERE {HERE} AND order_id = :o0"
        " AND line_no = 2",
        ("commission.engine",),
    ),
    Corruption(
        "the category of an order line",
        f"UPDATE order_line SET category = NULL WHERE {HERE} AND order_id = :o0 AND line_no = 2",
        ("commission.engine",),
    ),
    Corruption(
        "an order line is gone",
        f"DELETE FROM order_line WHERE {HERE} AND order_id = :nobodys",
        ("commission.plan",),
    ),
    Corruption(
        "a line of an order that earned is gone",
        f"DELETE FROM order_line WHERE {HERE} AND order_id = :o1 AND line_no = 1",
        ("commission.plan",),
    ),
    Corruption(
        "the first line of the last order is gone",
        f"DELETE FROM order_line WHERE {HERE} AND order_id = :o7 AND line_no = 1",
        ("commission.plan",),
    ),
    Corruption(
        "a commission on a line that the order has not",
        f"UPDATE commission SET line_no = 9 WHERE {HERE} AND source_id = :late",
        ("commission.engine",),
    ),
    Corruption(
        "who referred an order",
        f"UPDATE orders SET distributor_id = :cy WHERE {HERE} AND id = :o0",
        ("commission.engine",),
    ),
    Corruption(
        "the plan version of an order",
        f"UPDATE orders SET plan_version_id = NULL WHERE {HERE} AND id = :o0",
        ("commission.plan", "commission.engine"),
    ),
    Corruption(
        "the time of an order",
        f"UPDATE orders SET effective_at = effective_at + interval '12 days' WHERE {HERE}"
        " AND id = :o0",
        ("commission.plan", "commission.engine"),
    ),
    Corruption(
        "an order is gone",
        f"DELETE FROM orders WHERE {HERE} AND id = :o0",
        ("commission.",),
    ),
    Corruption(
        "an order and its lines are gone",
        f"WITH lines AS (DELETE FROM order_line WHERE {HERE} AND order_id = :o1)"
        f" DELETE FROM orders WHERE {HERE} AND id = :o1",
        ("commission.",),
    ),
    Corruption(
        "an order that earned nothing is changed",
        f"UPDATE order_line SET unit_price = unit_price * 2 WHERE {HERE} AND order_id = :nobodys",
        ("commission.",),
    ),
    Corruption(
        "the tax of an order",
        f"UPDATE order_line SET tax = tax + 1 WHERE {HERE} AND order_id = :o0 AND line_no = 2",
        ("commission.",),
    ),
    Corruption(
        "the buyer of an order",
        f"UPDATE orders SET buyer = 'eve' WHERE {HERE} AND id = :o0",
        ("commission.",),
    ),
    # -- refunds
    Corruption(
        "more money back than the line cost",
        f"UPDATE refund_line SET amount = 10001 WHERE {HERE} AND refund_id = :r3 AND line_no = 1",
        ("commission.refunds",),
    ),
    Corruption(
        "more units back than the line had",
        f"UPDATE refund_line SET quantity = 5 WHERE {HERE} AND refund_id = :r0 AND line_no = 1",
        ("commission.refunds",),
    ),
    Corruption(
        "less money back",
        f"UPDATE refund_line SET amount = amount - 500 WHERE {HERE} AND refund_id = :r0"
        " AND line_no = 1",
        ("commission.engine",),
    ),
    Corruption(
        "a line of a refund is gone",
        f"DELETE FROM refund_line WHERE {HERE} AND refund_id = :r0 AND line_no = 1",
        ("commission.engine",),
    ),
    Corruption(
        "a refund of a line that the order has not",
        f"UPDATE refund_line SET line_no = 9 WHERE {HERE} AND refund_id = :rp",
        ("commission.refunds",),
    ),
    Corruption(
        "all lines of a refund are gone",
        f"DELETE FROM refund_line WHERE {HERE} AND refund_id = :r3",
        ("commission.",),
    ),
    Corruption(
        "a refund is gone",
        f"WITH lines AS (DELETE FROM refund_line WHERE {HERE} AND refund_id = :r3)"
        f" DELETE FROM refund WHERE {HERE} AND id = :r3",
        ("commission.",),
    ),
    Corruption(
        "a refund of another order",
        f"UPDATE refund SET order_id = :o1 WHERE {HERE} AND id = :r3",
        ("commission.engine",),
    ),
    Corruption(
        "a refund that waits for an order which is here",
        f"UPDATE waiting_refund SET order_external_id = 'o-1' WHERE {HERE}",
        ("commission.waiting",),
    ),
    # -- the tree and the plan
    Corruption(
        "a sponsor",
        f"UPDATE sponsorship SET sponsor_id = :dan WHERE {HERE} AND distributor_id = :bo",
        ("commission.engine",),
    ),
    Corruption(
        "the time of a move",
        f"UPDATE sponsorship SET valid_from = valid_from - interval '10 days' WHERE {HERE}"
        " AND distributor_id = :ann AND valid_to IS NULL",
        ("tree.chains_are_whole",),
    ),
    Corruption(
        "the time of a move, both edges",
        "UPDATE sponsorship SET valid_from = valid_from - CASE WHEN valid_to IS NULL THEN"
        " interval '5 days' ELSE interval '0' END, valid_to = valid_to - interval '5 days'"
        f" WHERE {HERE} AND distributor_id = :ann",
        ("commission.engine",),
    ),
    Corruption(
        "a distributor is gone",
        f"DELETE FROM distributor WHERE {HERE} AND id = :cy",
        ("tree.both_ends_exist",),
    ),
    Corruption(
        "a cycle",
        f"UPDATE sponsorship SET sponsor_id = :fay WHERE {HERE} AND distributor_id = :dan",
        ("tree.never_a_cycle",),
    ),
    Corruption(
        "a plan document",
        "UPDATE plan_version SET document = jsonb_set(document, '{rules,0,rates,0}', '\"11%\"')"
        f" WHERE {HERE} AND number = 1",
        ("commission.plan_document",),
    ),
    Corruption(
        "a plan document that is none",
        f"UPDATE plan_version SET document = '{{}}' WHERE {HERE} AND number = 1",
        ("commission.plan_document",),
    ),
    Corruption(
        "the time of a plan version",
        f"UPDATE plan_version SET effective_from = effective_from - interval '8 days' WHERE {HERE}"
        " AND number = 2",
        ("commission.plan",),
    ),
    Corruption(
        "a plan version is gone",
        f"DELETE FROM plan_version WHERE {HERE} AND number = 1",
        ("commission.plan",),
    ),
    # -- open items and payouts
    Corruption(
        "an open item is gone",
        f"DELETE FROM open_item WHERE {HERE} AND distributor_id = :ann AND posting_id = :p0",
        ("settlement.items", "settlement.held"),
    ),
    Corruption(
        "an open item is worth more",
        f"UPDATE open_item SET amount = amount + 1 WHERE {HERE} AND distributor_id = :ann"
        " AND posting_id = :p0",
        ("settlement.items", "settlement.held"),
    ),
    Corruption(
        "an open item of nothing",
        "INSERT INTO open_item VALUES (:brand, :ann, :new, 'CNY', 5, '2026-03-16', false)",
        ("settlement.items", "settlement.available"),
    ),
    Corruption(
        "an open item that was paid",
        "INSERT INTO open_item SELECT brand_id, :ann, :o0, 'CNY', amount, '2026-03-16', false"
        f" FROM commission WHERE {HERE} AND source_id = :o0 AND distributor_id = :ann LIMIT 1",
        ("settlement.items",),
    ),
    Corruption(
        "an open item that waits for ever",
        f"UPDATE open_item SET available_on = available_on + 400 WHERE {HERE} AND posting_id = :p2"
        " AND distributor_id = :gus",
        ("settlement.",),
    ),
    Corruption(
        "an item in a second payout",
        "UPDATE payout SET postings = postings || :o0, amounts = amounts || 1000, amount = amount"
        f" + 1000 WHERE {HERE} AND batch_id = :batch3 AND distributor_id = :ann",
        ("settlement.items", "settlement.reserved", "settlement.batch"),
    ),
    Corruption(
        "an item twice in one payout",
        "UPDATE payout SET postings = postings || postings[1], amounts = amounts || amounts[1]"
        f" WHERE {HERE} AND batch_id = :batch2 AND distributor_id = :ann",
        ("settlement.items", "settlement.payout"),
    ),
    Corruption(
        "the amount of a payout",
        f"UPDATE payout SET amount = amount + 1 WHERE {HERE} AND batch_id = :batch2 AND no = 1",
        ("settlement.payout", "settlement.batch", "settlement.paid"),
    ),
    Corruption(
        "a payout to somebody else",
        f"UPDATE payout SET distributor_id = :dan WHERE {HERE} AND batch_id = :batch2 AND no = 1",
        ("settlement.batch", "settlement.paid", "settlement.items"),
    ),
    Corruption(
        "a payout is gone",
        f"DELETE FROM payout WHERE {HERE} AND batch_id = :batch2 AND no = 1",
        ("settlement.batch", "settlement.items", "settlement.paid"),
    ),
    Corruption(
        "a payout of a called-off batch comes back",
        f"UPDATE payout SET state = 'reserved' WHERE {HERE} AND batch_id = :batch1 AND no = 1",
        ("settlement.items", "settlement.reserved"),
    ),
    Corruption(
        "the total of a batch",
        f"UPDATE settlement_batch SET total = total + 1 WHERE {HERE} AND number = 2",
        ("settlement.batch",),
    ),
    Corruption(
        "the count of a batch",
        f"UPDATE settlement_batch SET payouts = payouts + 1 WHERE {HERE} AND number = 3",
        ("settlement.batch",),
    ),
    Corruption(
        "the content of a batch as approved",
        f"UPDATE settlement_batch SET content_hash = '' WHERE {HERE} AND number = 2",
        ("settlement.batch",),
    ),
    Corruption(
        "a payout below the minimum",
        f"UPDATE settlement_batch SET minimum_payout = 100000000 WHERE {HERE} AND number = 2",
        ("settlement.payout",),
    ),
    Corruption(
        "paid without an attempt",
        f"UPDATE payout SET state = 'paid' WHERE {HERE} AND batch_id = :batch3 AND no = 1",
        ("settlement.payout", "settlement.reserved", "settlement.paid", "settlement.batch"),
    ),
    Corruption(
        "settled without being paid",
        f"UPDATE settlement_batch SET state = 'settled', approved_at = created_at WHERE {HERE}"
        " AND number = 3",
        ("settlement.batch",),
    ),
    Corruption(
        "an attempt is gone",
        f"DELETE FROM payout_attempt WHERE {HERE} AND batch_id = :batch2 AND no = 1",
        ("settlement.payout",),
    ),
    Corruption(
        "an attempt that failed of a payout that is paid",
        f"UPDATE payout_attempt SET state = 'failed' WHERE {HERE} AND batch_id = :batch2"
        " AND no = 1",
        ("settlement.payout",),
    ),
    Corruption(
        "a day that matured and is forgotten",
        "UPDATE brand SET matured_through = matured_through - 5 WHERE id = :brand",
        ("settlement.held", "settlement.available"),
    ),
    Corruption(
        "a maturation that is forgotten",
        f"UPDATE maturation SET posted_at = NULL WHERE {HERE} AND through = (SELECT max(through)"
        f" FROM maturation WHERE {HERE})",
        ("settlement.",),
    ),
    Corruption(
        "a job that failed",
        "UPDATE job SET state = 'failed', error = 'no' WHERE brand_id = :brand",
        ("settlement.jobs",),
    ),
]


@pytest.mark.parametrize("corruption", [pytest.param(each, id=each.name) for each in CORRUPTIONS])
def test_the_audit_names_it(
    db: Database, busy: Busy, corruption: Corruption, monkeypatch: pytest.MonkeyPatch
) -> None:
    # an audit is run by a process that has compiled no plan yet
    monkeypatch.setattr(commission_service, "_compiled", {})
    names = {key.replace("-", "").replace("'", ""): value for key, value in busy.names.items()}
    names["new"] = ids.new()
    used = {key: value for key, value in names.items() if f":{key}" in corruption.statement}
    with db.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        changed = session.execute(text(corruption.statement), used)
        assert changed.rowcount != 0, "the corruption hit nothing"  # type: ignore[attr-defined]
        found = audit(session, busy.brand)
        session.rollback()
    names_of_checks = {each.check for each in found}
    for expected in corruption.found_by:
        assert any(name.startswith(expected) for name in names_of_checks), names_of_checks
    assert all(each.detail for each in found)


def test_other_brands_are_not_blamed(db: Database, busy: Busy) -> None:
    other = factories.brand(db)
    factories.chain(db, other)
    ids_of(take(db, other, order("o-1", 5_000)))
    with db.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(
            text("UPDATE transfer SET amount = amount + 1 WHERE brand_id = :id"),
            {"id": busy.brand.id},
        )
        assert audit(session, busy.brand) != []
        assert audit(session, other) == []
        session.rollback()


def test_more_orders_than_the_audit_holds_at_once(
    db: Database, brand: Brand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recomputation goes chunk by chunk and misses none."""
    monkeypatch.setattr(commission_audit, "CHUNK", 3)
    factories.chain(db, brand)
    taken = ids_of(take(db, brand, *(order(f"o-{n}", 1_000) for n in range(10))))
    ids_of(give_back(db, brand, *(refund("r", f"o-{n}", (1, 0, 77)) for n in range(10))))
    with db.transaction() as session:
        assert audit(session, brand) == []
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(
            text("UPDATE order_line SET unit_price = 500 WHERE brand_id = :id"), {"id": brand.id}
        )
        found = [each for each in audit(session, brand) if each.check == "commission.engine"]
        assert {each.row["order_id"] for each in found} == set(taken)
        session.rollback()
