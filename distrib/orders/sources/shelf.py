"""What can be cancelled: the lines of earlier orders, less what has come back of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from sqlalchemy.orm import Session

from distrib.db import cursor
from distrib.orders.sources.assembly import Cancellation


class Goods(NamedTuple):
    """What a cancellation that names no order is matched by."""

    buyer: str
    sku: str
    unit_price: int


class Back(NamedTuple):
    """What a refund took back of a line."""

    refunded_at: datetime
    number: str
    units: int
    money: int


@dataclass(slots=True)
class Stock:
    """An order's line, and the units and money of it that have not come back."""

    order: str
    placed_at: datetime
    line_no: int
    sku: str
    unit_price: int
    left: int
    money: int
    back: list[Back] = field(default_factory=list)

    def give(self, back: Back) -> None:
        """Let something come back."""
        self.left -= back.units
        self.money -= back.money
        self.back.append(back)

    def units(self, *, before: tuple[datetime, str] | None = None) -> int:
        """How many units can come back at their full price.

        :param before: the time and number of a refund; it and later ones are left out of account.
        """
        left, money = self.left, self.money
        if before is not None:
            later = [back for back in self.back if (back.refunded_at, back.number) >= before]
            left += sum(back.units for back in later)
            money += sum(back.money for back in later)
        return min(left, money // self.unit_price) if self.unit_price else left


class Recorded(NamedTuple):
    """What a recorded refund took back of some goods of an order."""

    order: str
    goods: Goods
    units: int
    money: int


@dataclass
class Shelf:
    """What can be cancelled, as the database has it.

    :param goods: orders that have them, each with its lines; the latest order first.
    :param orders: the lines of orders that cancellations name.
    :param recorded: cancellation → what its refunds took back, of whatever orders.
    :param own: cancellation → what its refunds took back of lines on the shelf.
    """

    goods: dict[Goods, list[list[Stock]]] = field(default_factory=dict)
    orders: dict[str, list[Stock]] = field(default_factory=dict)
    recorded: dict[str, list[Recorded]] = field(default_factory=dict)
    own: dict[str, list[tuple[Stock, Back]]] = field(default_factory=dict)


_COLUMNS = """
SELECT o.id, o.external_id, o.placed_at, o.buyer, l.line_no, l.sku, l.unit_price, l.quantity,
       l.quantity * l.unit_price - l.discount
FROM orders o JOIN order_line l ON l.brand_id = o.brand_id AND l.order_id = o.id
"""

# IS TRUE keeps the planner from joining: a hashed list costs the same whatever it believes of
# tables that an import has just filled
_GOODS = f"""{_COLUMNS}
WHERE o.brand_id = %(brand)s AND o.buyer = ANY(%(buyers)s::text[]) AND o.shop = %(shop)s
      AND ((o.buyer, l.sku, l.unit_price) IN (
          SELECT * FROM unnest(%(buyer)s::text[], %(sku)s::text[], %(unit_price)s::bigint[])
      )) IS TRUE
ORDER BY o.placed_at DESC, o.external_id DESC, l.line_no
"""

_NAMED = f"""{_COLUMNS}
WHERE o.brand_id = %(brand)s AND o.shop = %(shop)s AND o.external_id = ANY(%(orders)s::text[])
ORDER BY o.external_id, l.line_no
"""

_CAME_BACK = """
SELECT f.order_id, x.line_no, f.refunded_at, f.external_id, x.quantity, x.amount
FROM refund f JOIN refund_line x ON x.brand_id = f.brand_id AND x.refund_id = f.id
WHERE f.brand_id = %(brand)s AND f.order_id = ANY(%(ids)s::bigint[])
"""

_RECORDED = """
SELECT f.external_id, o.external_id, o.buyer, l.sku, l.unit_price, x.quantity, x.amount
FROM orders o
JOIN refund f ON f.brand_id = o.brand_id AND f.order_id = o.id
JOIN refund_line x ON x.brand_id = f.brand_id AND x.refund_id = f.id
JOIN order_line l ON l.brand_id = o.brand_id AND l.order_id = o.id AND l.line_no = x.line_no
WHERE o.brand_id = %(brand)s AND o.buyer = ANY(%(buyers)s::text[]) AND o.shop = %(shop)s
      AND f.external_id = ANY(%(numbers)s::text[])
"""


def read_shelf(
    session: Session, *, brand_id: int, shop: str, cancellations: Sequence[Cancellation]
) -> Shelf:
    """Read what the cancellations could be about."""
    cur = cursor(session)
    shelf = Shelf()
    goods: set[Goods] = set()
    named: set[str] = set()
    for each in cancellations:
        for row in each.rows:
            line = row.line
            if line.order is not None:
                named.add(line.order)
            elif each.buyer is not None and line.sku is not None and line.unit_price is not None:
                goods.add(Goods(each.buyer, line.sku, line.unit_price))
    scope: dict[str, Any] = {"brand": brand_id, "shop": shop, "orders": sorted(named)}
    scope["buyers"] = sorted({buyer for buyer, _, _ in goods})
    scope["numbers"] = [each.number for each in cancellations]
    wanted = sorted(goods)
    for n, column in enumerate(("buyer", "sku", "unit_price")):
        scope[column] = [each[n] for each in wanted]
    stocks: dict[tuple[int, int], Stock] = {}
    if goods:
        for order_id, buyer, stock in _stocks(cur, _GOODS, scope):
            stocks[order_id, stock.line_no] = stock
            orders = shelf.goods.setdefault(Goods(buyer, stock.sku, stock.unit_price), [])
            if not orders or orders[-1][0].order != stock.order:
                orders.append([])
            orders[-1].append(stock)
        _read_recorded(cur, scope, shelf)
    if named:
        for order_id, _, stock in _stocks(cur, _NAMED, scope):
            same = stocks.setdefault((order_id, stock.line_no), stock)
            shelf.orders.setdefault(stock.order, []).append(same)
    cur.execute(_CAME_BACK, scope | {"ids": list({order_id for order_id, _ in stocks})})
    for order_id, line_no, *back in cur:
        found = stocks.get((order_id, line_no))
        if found is not None:
            taken = Back(*back)
            found.give(taken)
            shelf.own.setdefault(taken.number, []).append((found, taken))
    return shelf


def _stocks(
    cur: psycopg.Cursor[Any], query: str, scope: dict[str, Any]
) -> Iterator[tuple[int, str, Stock]]:
    cur.execute(query, scope)
    for order_id, order, placed_at, buyer, line_no, sku, unit_price, quantity, net in cur:
        yield order_id, buyer, Stock(order, placed_at, line_no, sku, unit_price, quantity, net)


def _read_recorded(cur: psycopg.Cursor[Any], scope: dict[str, Any], shelf: Shelf) -> None:
    cur.execute(_RECORDED, scope)
    for number, order, buyer, sku, unit_price, units, amount in cur:
        goods = Goods(buyer, sku, unit_price)
        shelf.recorded.setdefault(number, []).append(Recorded(order, goods, units, amount))
