"""Orders as they stand, read back from the database: what refunds, audit and explanation price.

A :class:`Book` holds some orders with their lines, what of each line has been refunded, and what
each line has paid so far. Pricing what remains and subtracting what was paid gives the difference
to post; the same subtraction, done by the audit, must give zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import psycopg
from sqlalchemy.orm import Session

from distrib.commission.engine import Ints, Lines, Result
from distrib.commission.pricing import price
from distrib.db import cursor
from distrib.referrals.credit import LEVELS, read_uplines


@dataclass(frozen=True, slots=True)
class BookOrder:
    """An order of the book; its lines are ``first_line`` and the ``lines - 1`` that follow."""

    id: int
    shop: str
    external_id: str
    plan_version: int | None
    available_on: date
    effective_at: datetime
    first_line: int
    lines: int


@dataclass(slots=True)
class Book:
    """Orders and their lines as columns.

    :param refunds: how many refunds each order has had.
    :param quantity: units ordered; ``net`` what the line cost, in minor units.
    :param left: units not refunded; ``remaining`` money not refunded.
    :param paid: what the line has paid to each level so far. Shape (lines, 3).
    """

    orders: list[BookOrder]
    upline: Ints
    refunds: list[int]
    owner: Ints
    line_no: Ints
    sku: list[str]
    category: list[str | None]
    quantity: Ints
    net: Ints
    left: Ints
    remaining: Ints
    paid: Ints

    def lines_of(self, order: int) -> slice:
        """The lines of the book's order number ``order``."""
        entry = self.orders[order]
        return slice(entry.first_line, entry.first_line + entry.lines)

    def price(self, session: Session, brand_id: int, lines: Ints, base: Ints) -> Result:
        """What some lines pay on ``base``, each under the plan version of its order."""
        return price(
            session,
            brand_id=brand_id,
            plan_versions=[order.plan_version for order in self.orders],
            lines=Lines(
                self.owner[lines],
                [self.sku[i] for i in lines],
                [self.category[i] for i in lines],
                base,
            ),
            uplines=self.upline,
        )


# LATERAL, kept apart by LIMIT or OFFSET: one look into one index for each order, whatever the
# planner believes of the tables
_ORDERS = """
SELECT o.id, o.shop, o.external_id, o.plan_version_id, o.available_on, o.effective_at,
       o.distributor_id,
       (SELECT count(*) FROM refund r WHERE r.brand_id = %(brand)s AND r.order_id = o.id)
FROM unnest(%(ids)s::bigint[]) i (id)
CROSS JOIN LATERAL (
    SELECT * FROM orders x WHERE x.brand_id = %(brand)s AND x.id = i.id LIMIT 1) o
ORDER BY o.id
"""

REFUNDS_OF = """unnest(%(ids)s::bigint[]) j (id)
    CROSS JOIN LATERAL (
        SELECT * FROM refund x WHERE x.brand_id = %(brand)s AND x.order_id = j.id OFFSET 0) f"""
"""SQL: the refunds ``f`` of the orders ``ids``."""

REFUND_LINES_OF = f"""{REFUNDS_OF}
    CROSS JOIN LATERAL (
        SELECT * FROM refund_line y
        WHERE y.brand_id = %(brand)s AND y.refund_id = f.id OFFSET 0) x"""
"""SQL: and their lines ``x``."""

_LINES = f"""
SELECT l.order_id, l.line_no, l.sku, l.category, l.quantity, l.quantity * l.unit_price - l.discount,
       coalesce(r.quantity, 0), coalesce(r.amount, 0)
FROM unnest(%(ids)s::bigint[]) i (id)
CROSS JOIN LATERAL (
    SELECT * FROM order_line y WHERE y.brand_id = %(brand)s AND y.order_id = i.id OFFSET 0) l
LEFT JOIN (
    SELECT f.order_id, x.line_no, sum(x.quantity)::bigint AS quantity,
           sum(x.amount)::bigint AS amount
    FROM {REFUND_LINES_OF}
    GROUP BY 1, 2) r ON r.order_id = l.order_id AND r.line_no = l.line_no
ORDER BY l.order_id, l.line_no
"""

_PAID = f"""
SELECT c.order_id, c.line_no, c.level, sum(c.amount)::bigint
FROM (
    SELECT unnest(%(ids)s::bigint[])
    UNION ALL SELECT f.id FROM {REFUNDS_OF}) s (id)
CROSS JOIN LATERAL (
    SELECT * FROM commission x WHERE x.brand_id = %(brand)s AND x.source_id = s.id OFFSET 0) c
GROUP BY 1, 2, 3
"""


def open_book(session: Session, *, brand_id: int, order_ids: Sequence[int]) -> Book:
    """Read orders by id, with all that has happened to them."""
    cur = cursor(session)
    scope = {"brand": brand_id, "ids": list(order_ids)}
    cur.execute(_ORDERS, scope)
    heads = cur.fetchall()
    number = {head[0]: n for n, head in enumerate(heads)}
    upline = read_uplines(
        cur, brand_id=brand_id, distributors=[head[6] for head in heads], at=[h[5] for h in heads]
    )
    cur.execute(_LINES, scope)
    lines = cur.fetchall()
    owner = np.array([number[line[0]] for line in lines], np.int64)
    counts = np.bincount(owner, minlength=len(heads)).tolist()
    first = (np.cumsum(counts) - counts).tolist() if heads else []
    quantity, net, returned, refunded = (
        np.array([line[column] for line in lines], np.int64) for column in (4, 5, 6, 7)
    )
    line_no = np.array([line[1] for line in lines], np.int64)
    return Book(
        orders=[
            BookOrder(
                id=head[0],
                shop=head[1],
                external_id=head[2],
                plan_version=head[3],
                available_on=head[4],
                effective_at=head[5],
                first_line=first[n],
                lines=counts[n],
            )
            for n, head in enumerate(heads)
        ],
        upline=upline,
        refunds=[head[7] for head in heads],
        owner=owner,
        line_no=line_no,
        sku=[line[2] for line in lines],
        category=[line[3] for line in lines],
        quantity=quantity,
        net=net,
        left=quantity - returned,
        remaining=net - refunded,
        paid=_read_paid(cur, scope, number, first, counts),
    )


def _read_paid(
    cur: psycopg.Cursor[Any],
    scope: dict[str, Any],
    number: dict[int, int],
    first: list[int],
    counts: list[int],
) -> Ints:
    """What each line has paid each level. Lines of an order are numbered from 1 without a gap."""
    paid = np.zeros((sum(counts), LEVELS), np.int64)
    cur.execute(_PAID, scope)
    for order_id, line_no, level, amount in cur:
        if not 0 < line_no <= counts[number[order_id]]:
            continue  # a commission on no line: the audit tells of it
        paid[first[number[order_id]] + line_no - 1, level - 1] = amount
    return paid
