"""Writing orders, their lines and what was known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from distrib.brands.tables import Brand
from distrib.bulk import Writer, write_rows
from distrib.commission.facts import Facts, as_recorded
from distrib.commission.goods import Goods
from distrib.commission.tables import MilestoneReached, OrderFacts
from distrib.orders.document import OrderIn
from distrib.orders.tables import Order, OrderLine
from distrib.referrals.credit import Credit

Ints = np.ndarray[Any, np.dtype[np.int64]]
Days = np.ndarray[Any, np.dtype[np.datetime64]]


@dataclass(frozen=True, slots=True)
class New:
    """An order that will be recorded."""

    id: int
    order: OrderIn
    credit: Credit
    digest: bytes
    effective_at: datetime


def _referral(order: OrderIn) -> str:
    if order.buyer_distributor:
        return "self"
    return "direct" if order.distributor else "code" if order.code else "none"


def write_orders(
    out: Writer,
    *,
    brand: Brand,
    new: Sequence[New],
    credited: Sequence[int | None],
    available: Days,
    now: datetime,
) -> None:
    """Write the orders: in one order everywhere, so that two transactions that take the same
    orders wait for each other, and are no deadlock."""
    rows = sorted(range(len(new)), key=lambda n: (new[n].order.shop, new[n].order.external_id))
    chosen = [new[n] for n in rows]
    write_rows(
        out,
        Order,
        {
            "brand_id": brand.id,
            "id": [each.id for each in chosen],
            "shop": [each.order.shop for each in chosen],
            "external_id": [each.order.external_id for each in chosen],
            "content_hash": [each.digest for each in chosen],
            "currency": brand.currency,
            "buyer": [each.order.buyer for each in chosen],
            "referral": [_referral(each.order) for each in chosen],
            "referral_code": [each.order.code for each in chosen],
            "distributor_id": [credited[n] for n in rows],
            "buyer_distributor_id": [each.credit.buyer for each in chosen],
            "referrer_id": [each.credit.named if each.credit.buyer else None for each in chosen],
            "channel": [each.order.channel for each in chosen],
            "plan_version_id": [each.credit.plan_version for each in chosen],
            "placed_at": [each.order.placed_at for each in chosen],
            "effective_at": [each.effective_at for each in chosen],
            "recorded_at": now,
            "available_on": available[rows],
        },
        len(new),
    )


def write_lines(
    out: Writer, *, brand: Brand, new: Sequence[New], order_ids: Ints, line_no: Ints, goods: Goods
) -> None:
    """Write the lines, in the sequence of ``goods``."""
    lines = [line for each in new for line in each.order.lines]
    write_rows(
        out,
        OrderLine,
        {
            "brand_id": brand.id,
            "order_id": order_ids,
            "line_no": line_no,
            "sku": list(goods.sku),
            "category": list(goods.category),
            "quantity": goods.quantity,
            "unit_price": [line.unit_price for line in lines],
            "discount": goods.gross - goods.net,
            "shipping": goods.shipping,
            "tax": goods.tax,
            "other_paid": goods.other_paid,
            "cost": [line.cost for line in lines],
            "income": [line.income for line in lines],
        },
        len(lines),
    )


def write_facts(out: Writer, *, brand: Brand, order_ids: Ints, facts: Facts, room: Ints) -> None:
    """Write what plans were told, of the orders whose plan asked."""
    mine = np.flatnonzero(facts.asked)
    levels = {
        f"{name}{level + 1}": column[mine, level]
        for name, column in (
            ("earner", facts.told.upline),
            ("rank", facts.told.rank),
            ("volume", facts.told.volume),
            ("room", as_recorded(room)),
        )
        for level in range(column.shape[1])
    }
    write_rows(
        out,
        OrderFacts,
        {
            "brand_id": brand.id,
            "order_id": order_ids[mine],
            "first": facts.first[mine],
            "marks": facts.told.marks[mine],
            **levels,
        },
        len(mine),
    )


def write_milestones(out: Writer, *, brand: Brand, order_ids: Ints, facts: Facts) -> None:
    """Write which orders reached which marks."""
    crossed = facts.told.crossed
    write_rows(
        out,
        MilestoneReached,
        {
            "brand_id": brand.id,
            "distributor_id": [facts.credited[n] for n, _ in crossed],
            "month": [facts.sales[n].day.replace(day=1) for n, _ in crossed],
            "mark": [mark for _, mark in crossed],
            "order_id": [int(order_ids[n]) for n, _ in crossed],
        },
        len(crossed),
    )
