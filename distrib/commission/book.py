"""Orders as they stand, read back from the database: what refunds, audit and explanation price.

A :class:`Book` holds some orders with their lines, what of each line has been refunded, and what
each line has paid so far. Pricing what remains and subtracting what was paid gives the difference
to post; the same subtraction, done by the audit, must give zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np
import psycopg
from sqlalchemy.orm import Session

from distrib.commission.engine import Result
from distrib.commission.facts import as_computed
from distrib.commission.goods import Goods, Left
from distrib.commission.known import Known, nothing_known
from distrib.commission.pricing import price
from distrib.db import cursor
from distrib.referrals.credit import LEVELS, read_uplines

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class BookOrder:
    """An order of the book; its lines are ``first_line`` and the ``lines - 1`` that follow."""

    id: int
    shop: str
    external_id: str
    plan_version: int | None
    available_on: date
    effective_at: datetime
    credited: int | None
    first_line: int
    lines: int


@dataclass(slots=True)
class Book:
    """Orders and their lines as columns.

    :param known: what the engine is told of the orders.
    :param asked: which orders' plans were told more than the tree.
    :param refunds: how many refunds each order has had.
    :param left: units and money of each line that are not refunded.
    :param paid: what the line has paid to each level so far. Shape (lines, 3).
    """

    orders: list[BookOrder]
    known: Known
    asked: Bools
    refunds: list[int]
    owner: Ints
    line_no: Ints
    goods: Goods
    left: Left
    paid: Ints

    @property
    def upline(self) -> Ints:
        """Who earns at each level of each order, 0 for nobody. Shape (orders, 3)."""
        return self.known.upline

    def lines_of(self, order: int) -> slice:
        """The lines of the book's order number ``order``."""
        entry = self.orders[order]
        return slice(entry.first_line, entry.first_line + entry.lines)

    def known_after(self, lines: Ints, paid: Ints | None) -> Known:
        """What the engine is told; see ``paid`` of :meth:`price`."""
        if paid is None:
            return self.known
        most = np.zeros_like(self.known.room)
        np.add.at(most, self.owner[lines], paid)
        return replace(self.known, room=np.minimum(self.known.room, most))

    def price(
        self,
        session: Session,
        brand_id: int,
        lines: Ints,
        left: Left,
        *,
        paid: Ints | None = None,
        trace: bool = False,
    ) -> Result:
        """What some lines pay, each under the plan version of its order, when ``left`` of them is
        not refunded. All lines of an order go together: caps and rounding may look at all.

        :param paid: what the lines paid before. What a refund frees under a distributor's cap may
            have gone to another order, so nobody gets more of an order than before. None for an
            order that has paid nothing yet.
        """
        return price(
            session,
            brand_id=brand_id,
            known=self.known_after(lines, paid),
            owner=self.owner[lines],
            goods=self.goods.take(lines),
            left=left,
            trace=trace,
        )


# LATERAL, kept apart by LIMIT or OFFSET: one look into one index for each order, whatever the
# planner believes of the tables
_ORDERS = """
SELECT o.id, o.shop, o.external_id, o.plan_version_id, o.available_on, o.effective_at,
       o.distributor_id, o.channel,
       (SELECT count(*) FROM refund r WHERE r.brand_id = %(brand)s AND r.order_id = o.id),
       f.first, f.earner1, f.earner2, f.earner3, f.rank1, f.rank2, f.rank3,
       f.volume1, f.volume2, f.volume3, f.room1, f.room2, f.room3, f.marks
FROM unnest(%(ids)s::bigint[]) i (id)
CROSS JOIN LATERAL (
    SELECT * FROM orders x WHERE x.brand_id = %(brand)s AND x.id = i.id LIMIT 1) o
LEFT JOIN LATERAL (
    SELECT * FROM order_facts x WHERE x.brand_id = %(brand)s AND x.order_id = i.id LIMIT 1) f
    ON true
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
SELECT l.order_id, l.line_no, l.sku, l.category, l.quantity, l.quantity * l.unit_price,
       l.quantity * l.unit_price - l.discount, l.shipping, l.tax, l.other_paid,
       coalesce(l.cost, -1), coalesce(l.income, -1),
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
    known, asked = _read_known(cur, brand_id, heads)
    cur.execute(_LINES, scope)
    lines = cur.fetchall()
    owner = np.array([number[line[0]] for line in lines], np.int64)
    counts = np.bincount(owner, minlength=len(heads)).tolist()
    first = (np.cumsum(counts) - counts).tolist() if heads else []
    line_no, quantity, gross, net, shipping, tax, other_paid, cost, income, returned, refunded = (
        np.array([line[column] for line in lines], np.int64) for column in (1, *range(4, 14))
    )
    return Book(
        orders=[
            BookOrder(
                id=head[0],
                shop=head[1],
                external_id=head[2],
                plan_version=head[3],
                available_on=head[4],
                effective_at=head[5],
                credited=head[6],
                first_line=first[n],
                lines=counts[n],
            )
            for n, head in enumerate(heads)
        ],
        known=known,
        asked=asked,
        refunds=[head[8] for head in heads],
        owner=owner,
        line_no=line_no,
        goods=Goods(
            sku=[line[2] for line in lines],
            category=[line[3] for line in lines],
            quantity=quantity,
            gross=gross,
            net=net,
            shipping=shipping,
            tax=tax,
            other_paid=other_paid,
            cost=cost,
            income=income,
        ),
        left=Left(quantity - returned, net - refunded),
        paid=_read_paid(cur, scope, number, first, counts),
    )


def _read_known(
    cur: psycopg.Cursor[Any], brand_id: int, heads: list[tuple[Any, ...]]
) -> tuple[Known, Bools]:
    """What is known of orders: as it was kept with them, or else as the tree says."""
    asked = np.array([head[9] is not None for head in heads], bool)
    first, rank, volume, room = nothing_known(len(heads))
    marks = np.zeros(len(heads), np.int64)
    upline = read_uplines(
        cur, brand_id=brand_id, distributors=[head[6] for head in heads], at=[h[5] for h in heads]
    )
    for n in np.flatnonzero(asked).tolist():
        kept = heads[n]
        first[n] = kept[9]
        upline[n], rank[n], volume[n] = kept[10:13], kept[13:16], kept[16:19]
        room[n] = as_computed(np.array(kept[19:22], np.int64))
        marks[n] = kept[22]
    known = Known(
        plan=[head[3] for head in heads],
        at=[head[5] for head in heads],
        channel=[head[7] for head in heads],
        upline=upline,
        first=first,
        rank=rank,
        volume=volume,
        room=room,
        marks=marks,
    )
    return known, asked


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
