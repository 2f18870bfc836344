"""Calling the engine for orders that may fall under different plan versions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sqlalchemy.orm import Session

from distrib.commission.engine import Ints, Lines, Result, compute
from distrib.commission.service import compiled_plan


def price(
    session: Session,
    *,
    brand_id: int,
    plan_versions: Sequence[int | None],
    lines: Lines,
    uplines: Ints,
) -> Result:
    """What the lines pay, each order under its own plan version.

    :param plan_versions: the version of each order; None where none was in force: pays nothing.
    :param uplines: levels 1 to 3 of each order. Shape (orders, 3).
    """
    versions = set(plan_versions)
    if len(versions) == 1 and None not in versions:
        plan = compiled_plan(session, brand_id=brand_id, version_id=versions.pop() or 0)
        return compute(plan, lines, uplines)
    count = len(lines.base)
    rule, rate = np.zeros(count, np.int64), np.zeros((count, 3), np.int64)
    amount = np.zeros((count, 3), np.int64)
    of_order = np.array([version or 0 for version in plan_versions], np.int64)
    of_line = of_order[lines.order]
    for version in versions - {None}:
        mine = np.nonzero(of_line == version)[0].tolist()
        plan = compiled_plan(session, brand_id=brand_id, version_id=version or 0)
        part = compute(
            plan,
            Lines(
                lines.order[mine],
                [lines.sku[i] for i in mine],
                [lines.category[i] for i in mine],
                lines.base[mine],
            ),
            uplines,
        )
        rule[mine], rate[mine], amount[mine] = part.rule, part.rate_ppm, part.amount
    return Result(rule, rate, amount)
