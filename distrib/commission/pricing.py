"""Calling the engine for orders that may fall under different plan versions."""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from distrib.commission.engine import Result
from distrib.commission.goods import Goods, Left
from distrib.commission.known import Known, price_by
from distrib.commission.plan import MAX_LEVELS
from distrib.commission.service import compiled_plan

Ints = np.ndarray[Any, np.dtype[np.int64]]


def price(
    session: Session,
    *,
    brand_id: int,
    known: Known,
    owner: Ints,
    goods: Goods,
    left: Left,
    trace: bool = False,
) -> Result:
    """What the lines pay, each order under its own plan version.

    :param owner: the order of each line: a row of ``known``.
    :param left: what of each line has not been refunded.
    """
    versions = set(known.plan)
    if len(versions) == 1 and None not in versions:
        plan = compiled_plan(session, brand_id=brand_id, version_id=versions.pop() or 0)
        return price_by(plan, known, owner, goods, left, trace=trace)
    shape = (len(owner), MAX_LEVELS)
    rule, base, rate, amount = (np.zeros(shape, np.int64) for _ in range(4))
    stages: dict[str, Ints] = {}
    of_order = np.array([version or 0 for version in known.plan], np.int64)
    of_line = of_order[owner]
    for version in versions - {None}:
        mine = np.flatnonzero(of_line == version)
        plan = compiled_plan(session, brand_id=brand_id, version_id=version or 0)
        part = price_by(
            plan,
            known,
            owner[mine],
            goods.take(mine),
            Left(left.quantity[mine], left.net[mine]),
            trace=trace,
        )
        rule[mine], base[mine] = part.rule, part.base
        rate[mine], amount[mine] = part.rate_ppm, part.amount
        for name, column in part.stages.items():
            stages.setdefault(name, np.zeros(shape, np.int64))[mine] = column
    return Result(rule, base, rate, amount, stages)
