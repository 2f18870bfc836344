"""Writing refunds, and posting the difference that they make."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from distrib import clock
from distrib.brands.tables import Brand
from distrib.bulk import write_rows
from distrib.commission.book import Book
from distrib.commission.counting import count_sales
from distrib.commission.goods import Left
from distrib.commission.posting import Changes, Sources, write_commissions
from distrib.commission.spreading import sums_of_levels
from distrib.db import cursor
from distrib.orders.document import RefundIn, content_hash
from distrib.orders.tables import Refund, RefundLine


@dataclass(frozen=True, slots=True)
class Return:
    """What one refund takes back of one line of the book."""

    line: int
    quantity: int
    amount: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A refund that is being recorded: the ``no``-th of the book's order ``order``."""

    id: int
    no: int
    refund: RefundIn
    order: int
    returns: list[Return]


def write_refunds(
    session: Session, brand: Brand, taken: list[Taken], book: Book, now: datetime
) -> None:
    """Write the refunds and their lines."""
    cur = cursor(session)
    write_rows(
        cur,
        Refund,
        {
            "brand_id": brand.id,
            "id": [each.id for each in taken],
            "order_id": [book.orders[each.order].id for each in taken],
            "no": [each.no for each in taken],
            "external_id": [each.refund.external_id for each in taken],
            "content_hash": [content_hash(each.refund) for each in taken],
            "reason": [each.refund.reason for each in taken],
            "refunded_at": [each.refund.refunded_at for each in taken],
            "recorded_at": now,
        },
        len(taken),
    )
    returns = [(each.id, back) for each in taken for back in each.returns]
    write_rows(
        cur,
        RefundLine,
        {
            "brand_id": brand.id,
            "refund_id": [refund_id for refund_id, _ in returns],
            "line_no": [int(book.line_no[back.line]) for _, back in returns],
            "quantity": [back.quantity for _, back in returns],
            "amount": [back.amount for _, back in returns],
        },
        len(returns),
    )


def post_difference(
    session: Session, brand: Brand, taken: list[Taken], book: Book, now: datetime
) -> None:
    """Price what remains of the orders, subtract what they have paid, post the rest."""
    zone = clock.zone(brand.time_zone)
    orders = [book.orders[each.order] for each in taken]
    spans = [book.lines_of(each.order) for each in taken]
    lines = np.concatenate([np.arange(span.start, span.stop) for span in spans])
    source = np.repeat(np.arange(len(taken)), [span.stop - span.start for span in spans])
    left = Left(book.left.quantity[lines], book.left.net[lines])
    result = book.price(session, brand.id, lines, left, paid=book.paid[lines])
    difference = result.amount - book.paid[lines]
    book.paid[lines] = result.amount
    days: Any = [min(e.refund.refunded_at, now).astimezone(zone).date() for e in taken]
    available = np.array([order.available_on for order in orders], "datetime64[D]")
    upline = book.upline[[each.order for each in taken]]
    matured_through, counts_sales = _present(session, brand)
    if counts_sales:
        count_sales(
            cursor(session),
            brand_id=brand.id,
            day=np.array(
                [order.effective_at.astimezone(zone).date() for order in orders], "datetime64[D]"
            ),
            credited=np.array([order.credited or 0 for order in orders], np.int64),
            orders=np.zeros(len(orders), np.int64),
            volume=np.array([-sum(back.amount for back in each.returns) for each in taken]),
            upline=upline,
            earned=sums_of_levels(difference, source, len(taken)),
        )
        _give_marks_back(session, brand, book, [each.order for each in taken])
    write_commissions(
        cursor(session),
        brand=brand,
        sources=Sources(
            id=np.array([each.id for each in taken], np.int64),
            order_id=np.array([order.id for order in orders], np.int64),
            upline=upline,
            earned_on=np.array(days, "datetime64[D]"),
            available_on=available,
            held=available > np.datetime64(matured_through, "D"),
        ),
        changes=Changes(
            source=source,
            line_no=book.line_no[lines],
            rule=result.rule,
            base=result.base,
            rate_ppm=result.rate_ppm,
            amount=difference,
        ),
        posted_at=now,
    )


_NO_LONGER_REACHED = text(
    """
    DELETE FROM milestone_reached m
    USING unnest(CAST(:orders AS bigint[]), CAST(:volumes AS bigint[])) g (id, volume)
    WHERE m.brand_id = :brand_id AND m.order_id = g.id AND m.mark > g.volume
    """
)


def _give_marks_back(session: Session, brand: Brand, book: Book, orders: list[int]) -> None:
    """A mark that an order no longer reaches can be reached again in its month."""
    marks = book.known.marks
    chosen = [n for n in orders if marks is not None and marks[n]]
    if not chosen:
        return
    volumes = [
        int(book.known.volume[n, 0]) + int(book.left.net[book.lines_of(n)].sum()) for n in chosen
    ]
    session.execute(
        _NO_LONGER_REACHED,
        {
            "brand_id": brand.id,
            "orders": [book.orders[n].id for n in chosen],
            "volumes": volumes,
        },
    )


def _present(session: Session, brand: Brand) -> tuple[date, bool]:
    """Through which day has matured, and whether sales are counted."""
    # read again: the brand at hand may have been loaded before the lock was
    row = session.execute(
        select(Brand.matured_through, Brand.counts_sales).where(Brand.id == brand.id)
    ).one()
    return row.matured_through, row.counts_sales
