"""The engine: what each order line pays to each level. One pure function for every use.

Live intake, bulk intake, refunds, explanation and audit all call :func:`compute`; there is no
other place where a rule becomes an amount. It works on columns: one order and a million take the
same path. All numbers are 64-bit integers; a base times a rate fits (see
:data:`distrib.money.MAX_AMOUNT`), so every product and every rounding is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distrib.commission.plan import Plan
from distrib.money import MAX_AMOUNT, PPM, Rounding

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Lines:
    """Order lines as columns, one entry a line.

    :param order: which row of ``uplines`` the line's order has.
    :param base: what the line pays commission on, in minor units, 0 to ``MAX_AMOUNT``.
    """

    order: Ints
    sku: Sequence[str]
    category: Sequence[str | None]
    base: Ints


@dataclass(frozen=True, slots=True)
class Result:
    """What the lines pay. Row i is line i; column l is level l + 1.

    :param rule: number of the rule each line fell under, 0 for none. Shape (n,).
    :param rate_ppm: the rule's rates, in parts per million. Shape (n, 3).
    :param amount: minor units; zero where the level is empty or the rate is nothing. Shape (n, 3).
    """

    rule: Ints
    rate_ppm: Ints
    amount: Ints


def compute(plan: Plan, lines: Lines, uplines: Ints) -> Result:
    """Apply a plan to order lines.

    :param uplines: for each order, the distributor at level 1, 2 and 3, or 0. Shape (orders, 3).
    :raises ValueError: when a base is outside 0 to ``MAX_AMOUNT``: products would not be exact.
    """
    base = lines.base
    if len(base) and (int(base.min()) < 0 or int(base.max()) > MAX_AMOUNT):
        raise ValueError(f"a base is outside 0 to {MAX_AMOUNT}")
    rule = np.fromiter(
        map(plan.rule_for, lines.sku, lines.category), dtype=np.int64, count=len(base)
    )
    rate_ppm = plan.rates[rule]
    amount = _rounded(base[:, None] * rate_ppm, plan.rounding)
    amount[uplines[lines.order] == 0] = 0
    return Result(rule, rate_ppm, amount)


def _rounded(product: Ints, rounding: Rounding) -> Ints:
    """``product / PPM`` as :func:`distrib.money.round_ratio` defines it, for every element."""
    whole, rest = np.divmod(product, PPM)
    match rounding:
        case Rounding.DOWN:
            up = np.zeros_like(whole)
        case Rounding.HALF_UP:
            up = (2 * rest >= PPM).astype(np.int64)
        case Rounding.HALF_EVEN:
            up = ((2 * rest > PPM) | ((2 * rest == PPM) & (whole % 2 == 1))).astype(np.int64)
    result: Ints = whole + up
    return result
