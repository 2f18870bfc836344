"""What an amount was computed from, whole and by itself: it replays to the same cent. Pure.

A trace holds the plan version's document and everything the engine was told of the order, so that
whoever has the trace and this package can compute the amounts again, without a database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from distrib.commission.earners import ENDLESS
from distrib.commission.engine import Result
from distrib.commission.goods import Goods, Left
from distrib.commission.known import Known, price_by
from distrib.commission.plan import Plan
from distrib.commission.plan_document import read_plan

_COLUMNS = (
    *("quantity", "gross", "net", "shipping", "tax", "other_paid", "cost", "income"),
)  # fmt: skip


def make_trace(
    plan: Plan, document: Mapping[str, Any], known: Known, goods: Goods, left: Left
) -> dict[str, Any]:
    """The trace of one order, as a JSON document.

    :param document: what the plan was read from.
    :param left: what of each line was not refunded.
    """
    room = known.room[0].tolist()
    return {
        "plan": {
            "document": dict(document),
            "levels": plan.levels,
            "currency": plan.currency,
            "channel_levels": plan.channel_levels,
            "people": plan.people,
        },
        "order": {
            "at": known.at[0].isoformat(),
            "channel": known.channel[0],
            "earners": known.upline[0].tolist(),
            "first_order": bool(known.first[0]),
            "ranks": known.rank[0].tolist(),
            "volumes": known.volume[0].tolist(),
            "open_milestones": 0 if known.marks is None else int(known.marks[0]),
            "room": [None if each >= ENDLESS else each for each in room],
        },
        "lines": [
            {"sku": goods.sku[i], "category": goods.category[i]}
            | {name: int(getattr(goods, name)[i]) for name in _COLUMNS}
            | {"quantity_left": int(left.quantity[i]), "net_left": int(left.net[i])}
            for i in range(len(goods.sku))
        ],
    }


def replay(trace: Mapping[str, Any]) -> Result:
    """Compute the amounts of a trace again, by the engine, with its stages.

    :raises PlanInvalid: when the trace's plan is none.
    :raises KeyError: when something is missing from the trace.
    """
    given, order, lines = trace["plan"], trace["order"], trace["lines"]
    plan = replace(
        read_plan(given["document"], levels=given["levels"], currency=given["currency"]),
        channel_levels=given["channel_levels"],
        people=given["people"],
    )

    def level(name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([[ENDLESS if each is None else each for each in order[name]]], np.int64)

    def column(name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([line[name] for line in lines], np.int64)

    known = Known(
        plan=[1],
        at=[datetime.fromisoformat(order["at"])],
        channel=[order["channel"]],
        upline=level("earners"),
        first=np.array([order["first_order"]], bool),
        rank=level("ranks"),
        volume=level("volumes"),
        room=level("room"),
        marks=np.array([order["open_milestones"]], np.int64),
    )
    goods = Goods(
        [line["sku"] for line in lines],
        [line["category"] for line in lines],
        *(column(name) for name in _COLUMNS),
    )
    left = Left(column("quantity_left"), column("net_left"))
    return price_by(plan, known, np.zeros(len(lines), np.int64), goods, left, trace=True)
