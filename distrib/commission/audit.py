"""Checks of orders, refunds and commissions: everything is computed again and compared."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from distrib import clock
from distrib.audit import Check, Finding, find_rows
from distrib.brands.tables import Brand
from distrib.commission import facts_audit
from distrib.commission.book import REFUND_LINES_OF, Book, open_book
from distrib.commission.goods import Left
from distrib.commission.plan_document import document_hash
from distrib.commission.simulation_audit import simulation_gives_what_was_posted
from distrib.commission.tables import PlanVersion
from distrib.db import cursor
from distrib.ledger.chart import TransferCode
from distrib.money import MAX_AMOUNT
from distrib.orders.document import LineIn, OrderIn, content_hash

CHUNK = 10_000
"""Orders that the recomputation holds in memory at once."""

_RETURNS = f"""
SELECT f.order_id, f.id, x.line_no, least(f.refunded_at, f.recorded_at), x.quantity,
       x.amount
FROM {REFUND_LINES_OF}
ORDER BY f.order_id, f.no, x.line_no
"""

_PAID = """
SELECT c.order_id, c.source_id, c.line_no, c.level, c.distributor_id, c.rule_no, c.rate_ppm, c.base,
       c.amount, c.earned_on
FROM unnest(%(ids)s::bigint[]) s (id)
CROSS JOIN LATERAL (
    SELECT * FROM commission x WHERE x.brand_id = %(brand)s AND x.source_id = s.id OFFSET 0) c
"""

Row = tuple[Any, ...]


def commissions_equal_the_engine(session: Session, brand_id: int) -> Iterator[Finding]:
    """Each commission is what the engine answers for the stored order, plan version and tree: at
    the order, and again at each of its refunds for what then remained."""
    last = 0
    while True:
        order_ids = list(
            session.scalars(
                text(
                    "SELECT id FROM orders WHERE brand_id = :brand_id AND id > :last"
                    " ORDER BY id LIMIT :chunk"
                ),
                {"brand_id": brand_id, "last": last, "chunk": CHUNK},
            )
        )
        if not order_ids:
            return
        yield from _compare_chunk(session, brand_id, order_ids)
        last = order_ids[-1]


def _compare_chunk(session: Session, brand_id: int, order_ids: list[int]) -> Iterator[Finding]:
    book = open_book(session, brand_id=brand_id, order_ids=order_ids)
    cur = cursor(session)
    cur.execute(_RETURNS, {"brand": brand_id, "ids": order_ids})
    number = {order.id: n for n, order in enumerate(book.orders)}
    refunds: dict[int, dict[int, list[tuple[int, int, int]]]] = {}
    zone = clock.zone(session.scalars(select(Brand.time_zone).where(Brand.id == brand_id)).one())
    days = {order.id: order.effective_at.astimezone(zone).date() for order in book.orders}
    for order_id, refund_id, line_no, at, units, amount in cur.fetchall():
        days[refund_id] = at.astimezone(zone).date()
        line = book.orders[number[order_id]].first_line + line_no - 1
        refunds.setdefault(order_id, {}).setdefault(refund_id, []).append((line, units, amount))
    expected = {key: (*row, days[key[0]]) for key, row in _replay(session, brand_id, book, refunds)}
    sources = [*order_ids, *(refund for each in refunds.values() for refund in each)]
    cur.execute(_PAID, {"brand": brand_id, "ids": sources})
    names = ("order_id", "distributor_id", "rule_no", "rate_ppm", "base", "amount", "earned_on")
    for order_id, source, line_no, level, *rest in cur.fetchall():
        found = (order_id, *rest)
        wanted = expected.pop((source, line_no, level), None)
        if found != wanted:
            yield Finding(
                "commission.engine",
                f"commission {source}/{line_no}/{level} is"
                f" {dict(zip(names, found, strict=True))}, the engine says"
                f" {dict(zip(names, wanted, strict=True)) if wanted else 'nothing'}",
                {"source_id": source, "line_no": line_no, "level": level, "order_id": order_id},
            )
    for (source, line_no, level), wanted in expected.items():
        yield Finding(
            "commission.engine",
            f"commission {source}/{line_no}/{level} is missing, the engine says"
            f" {dict(zip(names, wanted, strict=True))}",
            {"source_id": source, "line_no": line_no, "level": level, "order_id": wanted[0]},
        )


def _replay(
    session: Session,
    brand_id: int,
    book: Book,
    refunds: dict[int, dict[int, list[tuple[int, int, int]]]],
) -> Iterator[tuple[Row, Row]]:
    """What the engine says, event by event: (source, line, level) → the row it should be.

    Round 0 is the orders; round k is the k-th refund of each order that has so many.
    """
    paid = np.zeros_like(book.paid)
    quantity, money = book.goods.quantity.copy(), book.goods.net.copy()
    queues = {order.id: list(refunds.get(order.id, {}).items()) for order in book.orders}
    current: list[tuple[int, int]] = [(n, order.id) for n, order in enumerate(book.orders)]
    sold = True  # the first round is the orders themselves
    while current:
        spans = [book.lines_of(n) for n, _ in current]
        lines = np.concatenate([np.arange(s.start, s.stop) for s in spans])
        source = np.repeat(np.arange(len(current)), [s.stop - s.start for s in spans])
        # where more came back than there was, another check says so; here it is all
        left = Left(np.maximum(quantity[lines], 0), np.clip(money[lines], 0, MAX_AMOUNT))
        before = None if sold else paid[lines]
        result = book.price(session, brand_id, lines, left, paid=before)
        sold = False
        difference = result.amount - paid[lines]
        paid[lines] = result.amount
        for i, level in zip(*(axis.tolist() for axis in np.nonzero(difference)), strict=True):
            order, source_id = current[source[i]]
            line = lines[i]
            yield (
                (source_id, int(book.line_no[line]), level + 1),
                (
                    book.orders[order].id,
                    int(book.upline[order, level]),
                    int(result.rule[i, level]),
                    int(result.rate_ppm[i, level]),
                    int(result.base[i, level]),
                    int(difference[i, level]),
                ),
            )
        following = []
        for order, _ in current:
            queue = queues[book.orders[order].id]
            if queue:
                refund_id, backs = queue.pop(0)
                for line, units, amount in backs:
                    quantity[line] -= units
                    money[line] -= amount
                following.append((order, refund_id))
        current = following


def orders_have_their_plan(session: Session, brand_id: int) -> Iterator[Finding]:
    """Each order has lines, and the plan version that was in force at its time."""
    yield from find_rows(
        session,
        "commission.plan",
        "order {id}, {lines} lines: priced under version {plan_version_id}, in force {in_force}",
        """
        SELECT * FROM (
            SELECT o.id, o.plan_version_id,
                (SELECT v.id FROM plan_version v
                 WHERE v.brand_id = o.brand_id AND v.effective_from <= o.effective_at
                 ORDER BY v.effective_from DESC LIMIT 1) AS in_force,
                coalesce(l.lines, 0) AS lines, coalesce(l.last, 0) AS last
            FROM orders o LEFT JOIN (
                SELECT order_id, count(*) AS lines, max(line_no) AS last FROM order_line
                WHERE brand_id = :brand_id GROUP BY 1) l ON l.order_id = o.id
            WHERE o.brand_id = :brand_id) found
        WHERE plan_version_id IS DISTINCT FROM in_force OR lines = 0 OR lines <> last
        """,
        {"brand_id": brand_id},
    )


def plan_documents_are_intact(session: Session, brand_id: int) -> Iterator[Finding]:
    """Each published document is the one that was hashed when it was published."""
    for version in session.scalars(select(PlanVersion).where(PlanVersion.brand_id == brand_id)):
        if document_hash(version.document) != version.content_hash:
            yield Finding(
                "commission.plan_document",
                f"plan version {version.number} is not the document that was published",
                {"plan_version_id": version.id},
            )


def refunds_never_exceed(session: Session, brand_id: int) -> Iterator[Finding]:
    """No line gave back more units or money than it had."""
    yield from find_rows(
        session,
        "commission.refunds",
        "order {order_id} line {line_no}: {returned} of {quantity} units and {refunded} of {net}"
        " came back",
        """
        SELECT r.*, l.quantity, l.quantity * l.unit_price - l.discount AS net
        FROM (SELECT f.order_id, x.line_no, sum(x.quantity) AS returned, sum(x.amount) AS refunded
              FROM refund f
              JOIN refund_line x ON x.brand_id = f.brand_id AND x.refund_id = f.id
              WHERE f.brand_id = :brand_id GROUP BY 1, 2) r
        LEFT JOIN order_line l ON l.brand_id = :brand_id AND l.order_id = r.order_id
             AND l.line_no = r.line_no
        WHERE l.line_no IS NULL OR r.returned > l.quantity
           OR r.refunded > l.quantity * l.unit_price - l.discount
        """,
        {"brand_id": brand_id},
    )


def reversals_never_exceed(session: Session, brand_id: int) -> Iterator[Finding]:
    """No order line took back from a level more than it had paid."""
    yield from find_rows(
        session,
        "commission.reversals",
        "order {order_id} line {line_no} level {level}: reversed {by} more than was paid",
        """
        SELECT order_id, line_no, level, -sum(amount) AS by FROM commission
        WHERE brand_id = :brand_id GROUP BY 1, 2, 3 HAVING sum(amount) < 0
        """,
        {"brand_id": brand_id},
    )


_CODES = ", ".join(
    str(int(code))
    for code in (
        TransferCode.ACCRUE,
        TransferCode.ACCRUE_AVAILABLE,
        TransferCode.REVERSE,
        TransferCode.CLAW_BACK,
    )
)

EARNED = f"""
    SELECT posting_id, greatest(debit_account, credit_account) >> 4 AS distributor_id, asset,
           sum(CASE WHEN code IN ({int(TransferCode.REVERSE)}, {int(TransferCode.CLAW_BACK)})
                    THEN -amount ELSE amount END) AS amount
    FROM transfer WHERE brand_id = :brand_id AND code IN ({_CODES})
    GROUP BY 1, 2, 3
"""
"""SQL: what the ledger says each posting gave each distributor."""


def transfers_equal_commissions(session: Session, brand_id: int) -> Iterator[Finding]:
    """What the ledger gave a distributor for an order or refund is the sum of its commissions."""
    yield from find_rows(
        session,
        "commission.ledger",
        "source {source_id}, distributor {distributor_id}: commissions {computed}, ledger {posted}",
        f"""
        SELECT coalesce(c.source_id, t.posting_id) AS source_id,
               coalesce(c.distributor_id, t.distributor_id) AS distributor_id,
               c.amount AS computed, t.amount AS posted
        FROM (SELECT source_id, distributor_id, sum(amount) AS amount FROM commission
              WHERE brand_id = :brand_id GROUP BY 1, 2 HAVING sum(amount) <> 0) c
        FULL JOIN ({EARNED}) t
             ON t.posting_id = c.source_id AND t.distributor_id = c.distributor_id
        WHERE c.amount IS DISTINCT FROM t.amount
        """,
        {"brand_id": brand_id},
    )


def no_refund_waits_in_vain(session: Session, brand_id: int) -> Iterator[Finding]:
    """A refund waits only for an order that is not here."""
    yield from find_rows(
        session,
        "commission.waiting",
        "refund {external_id} waits for order {order_external_id}, which is here: {problem}",
        """
        SELECT w.external_id, w.order_external_id, coalesce(w.problem, 'not applied') AS problem
        FROM waiting_refund w
        JOIN orders o ON o.brand_id = w.brand_id AND o.shop = w.shop
             AND o.external_id = w.order_external_id
        WHERE w.brand_id = :brand_id
        ORDER BY w.received_at, w.external_id
        """,
        {"brand_id": brand_id},
    )


_AS_STORED = """
SELECT o.id, o.content_hash, o.shop, o.external_id, o.placed_at, o.currency, o.buyer,
       CASE WHEN o.referral_code IS NULL AND o.referral <> 'none' THEN d.external_id END,
       o.referral_code, e.external_id, o.channel,
       l.sku, l.quantity, l.unit_price, l.category, l.discount, l.shipping, l.tax,
       l.other_paid, l.cost, l.income
FROM orders o
JOIN order_line l ON l.brand_id = o.brand_id AND l.order_id = o.id
LEFT JOIN distributor d ON d.brand_id = o.brand_id
     AND d.id = CASE WHEN o.referral = 'self' THEN o.referrer_id ELSE o.distributor_id END
LEFT JOIN distributor e ON e.brand_id = o.brand_id AND e.id = o.buyer_distributor_id
WHERE o.brand_id = %(brand)s ORDER BY o.id, l.line_no
"""


def orders_are_what_came(session: Session, brand_id: int) -> Iterator[Finding]:
    """Each order, with its lines, is the document that was hashed when it came in."""
    # a cursor in the server: the whole of the orders need not fit into memory
    connection = cursor(session).connection
    with connection.cursor(name="orders_as_stored") as rows:
        rows.itersize = CHUNK
        rows.execute(_AS_STORED, {"brand": brand_id})
        for (order_id, digest, *head), lines in groupby(rows, key=lambda row: row[:11]):
            shop, external_id, placed_at, currency, buyer, *credit = head
            distributor, code, buyer_distributor, channel = credit
            order = OrderIn(
                shop=shop,
                external_id=external_id,
                placed_at=placed_at,
                currency=currency,
                buyer=buyer,
                distributor=distributor,
                code=code,
                buyer_distributor=buyer_distributor,
                channel=channel,
                lines=tuple(LineIn(*line[11:]) for line in lines),
            )
            if content_hash(order) != bytes(digest):
                yield Finding(
                    "commission.order",
                    f"order {order_id} ({external_id}) is not what came in",
                    {"order_id": order_id},
                )


def nothing_hangs_in_the_air(session: Session, brand_id: int) -> Iterator[Finding]:
    """Lines, refunds and commissions belong to orders that are there; refunds are numbered without
    a gap and have lines."""
    yield from find_rows(
        session,
        "commission.whole",
        "{what} {id}: {wrong}",
        """
        SELECT 'order line of' AS what, l.order_id AS id, 'there is no such order' AS wrong
        FROM order_line l
        LEFT JOIN orders o ON o.brand_id = l.brand_id AND o.id = l.order_id
        WHERE l.brand_id = :brand_id AND o.id IS NULL
        UNION ALL
        SELECT 'commission of', c.source_id, 'there is no such order, refund or line'
        FROM commission c
        LEFT JOIN order_line l ON l.brand_id = c.brand_id AND l.order_id = c.order_id
             AND l.line_no = c.line_no
        LEFT JOIN orders o ON o.brand_id = c.brand_id AND o.id = c.source_id
        LEFT JOIN refund r ON r.brand_id = c.brand_id AND r.id = c.source_id
        WHERE c.brand_id = :brand_id
          AND (l.line_no IS NULL OR (o.id IS NULL AND r.id IS NULL))
        UNION ALL
        SELECT 'refunds of order', r.order_id, 'some are missing, or have no order or no lines'
        FROM refund r
        LEFT JOIN orders o ON o.brand_id = r.brand_id AND o.id = r.order_id
        LEFT JOIN (SELECT refund_id, count(*) AS lines FROM refund_line
                   WHERE brand_id = :brand_id GROUP BY 1) x ON x.refund_id = r.id
        WHERE r.brand_id = :brand_id
        GROUP BY r.order_id
        HAVING count(*) <> max(r.no) OR count(o.id) <> count(*) OR count(x.lines) <> count(*)
        """,
        {"brand_id": brand_id},
    )


CHECKS: list[Check] = [
    orders_are_what_came,
    nothing_hangs_in_the_air,
    orders_have_their_plan,
    plan_documents_are_intact,
    commissions_equal_the_engine,
    transfers_equal_commissions,
    refunds_never_exceed,
    reversals_never_exceed,
    no_refund_waits_in_vain,
    *facts_audit.CHECKS,
    simulation_gives_what_was_posted,
]
