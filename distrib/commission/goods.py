"""What of an order line earns commission. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distrib.commission.plan import Base
from distrib.money import Rounding, round_ratio

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Goods:
    """Order lines as they were sold, as columns; money in minor units of the whole line.

    :param cost: -1 where it is not known; ``income`` likewise.
    """

    sku: Sequence[str]
    category: Sequence[str | None]
    quantity: Ints
    gross: Ints
    net: Ints
    shipping: Ints
    tax: Ints
    other_paid: Ints
    cost: Ints
    income: Ints

    def take(self, lines: Ints) -> Goods:
        """Some of the lines."""
        chosen = lines.tolist()
        return Goods(
            [self.sku[i] for i in chosen],
            [self.category[i] for i in chosen],
            *(
                column[lines]
                for column in (
                    *(self.quantity, self.gross, self.net, self.shipping, self.tax),
                    *(self.other_paid, self.cost, self.income),
                )
            ),
        )


@dataclass(frozen=True, slots=True)
class Left:
    """What of each line has not been refunded: units, and money of its net."""

    quantity: Ints
    net: Ints


def base_of(kind: Base, includes: Collection[str], goods: Goods, left: Left) -> Ints:
    """What each line earns on, of what is left of it.

    A line of which a part came back keeps that part of its base that is left of its net (of a line
    that cost nothing: of its units), rounded half up; of a line that came back whole nothing is
    left. A line that does not say its cost or income has no margin and no income.
    """
    if kind is Base.NET and not includes:
        return left.net
    match kind:
        case Base.GROSS:
            base = goods.gross
        case Base.NET:
            base = goods.net
        case Base.PAID:
            base = goods.net - goods.other_paid
        case Base.MARGIN:
            base = np.where(goods.cost < 0, 0, np.maximum(goods.net - goods.cost, 0))
        case Base.INCOME:
            base = np.maximum(goods.income, 0)
    if "shipping" in includes:
        base = base + goods.shipping
    if "tax" in includes:
        base = base + goods.tax
    of_units = goods.net == 0
    whole = np.where(of_units, goods.quantity, goods.net)
    rest = np.where(of_units, left.quantity, left.net)
    partly = np.flatnonzero(rest != whole)
    if len(partly):
        base = base.copy()
        for i in partly.tolist():  # in integers of any size: the product can pass 64 bits
            base[i] = round_ratio(int(base[i]) * int(rest[i]), int(whole[i]), Rounding.HALF_UP)
    return base
