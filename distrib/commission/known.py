"""What is known of orders, and calling the engine with it under one plan. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from distrib.commission.earners import ENDLESS
from distrib.commission.engine import Lines, Orders, Result, compute
from distrib.commission.goods import Goods, Left, base_of
from distrib.commission.plan import MAX_LEVELS, Plan

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of orders, by column; see :class:`distrib.commission.engine.Orders`.

    :param plan: the version of each order, None where none was in force: pays nothing.
    """

    plan: Sequence[int | None]
    at: Sequence[datetime]
    channel: Sequence[str | None]
    upline: Ints
    first: Bools
    rank: Ints
    volume: Ints
    room: Ints
    marks: Ints | None = field(default=None, kw_only=True)

    def orders(self, plan: Plan) -> Orders:
        """What the engine needs of it for this plan."""
        timed = bool(plan.campaigns) or plan.matcher.by_time
        return Orders(
            upline=self.upline,
            channel=self.channel,
            at=microseconds(self.at) if timed else None,
            first=self.first,
            rank=self.rank,
            volume=self.volume,
            room=self.room if plan.uses_room else None,
            marks=self.marks,
        )


def nothing_known(count: int) -> tuple[Bools, Ints, Ints, Ints]:
    """First, rank, volume and room of orders of which no plan asks."""
    shape = (count, MAX_LEVELS)
    return (
        np.zeros(count, bool),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
        np.full(shape, ENDLESS),
    )


def microseconds(instants: Sequence[datetime]) -> Ints:
    """Since 1970."""
    made = []
    for instant in instants:
        since = instant - _EPOCH
        made.append((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)
    return np.array(made, np.int64)


def price_by(
    plan: Plan, known: Known, owner: Ints, goods: Goods, left: Left, *, trace: bool = False
) -> Result:
    """What the lines pay under one plan."""
    caps = plan.caps
    cap_base = None
    if caps.order is not None and caps.order_base is not plan.base:
        cap_base = base_of(caps.order_base, (), goods, left)
    lines = Lines(
        order=owner,
        sku=goods.sku,
        category=goods.category,
        base=base_of(plan.base, plan.includes, goods, left),
        quantity=left.quantity,
        cap_base=cap_base,
        net=left.net,
    )
    return compute(plan, lines, known.orders(plan), trace=trace)
