"""The engine alone: lines a second, against one bare NumPy multiply and divide of the same size,
which is the least that any exact computation of the amounts must do. A plain plan, and one of fifty
rules that uses everything the rule language has but tiers."""

from __future__ import annotations

import random
import statistics
from typing import Any

import numpy as np

from bench.common import PLAN, interleave, show, timed
from distrib.commission.engine import Lines, Orders, compute
from distrib.commission.plan_document import read_plan
from distrib.money import PPM

FIFTY: dict[str, Any] = {
    "ranks": ["silver", "gold", "diamond"],
    "upline_base": "residual",
    "rounding_step": "order",
    "caps": {"order": "25%", "line": "500.00", "distributor_day": "100000.00"},
    "bonuses": [
        {"kind": "first_order", "rates": ["1%"]},
        {
            "kind": "campaign",
            "from": "2026-11-11T00:00:00+08:00",
            "to": "2026-11-12T00:00:00+08:00",
            "multiplier": "1.2",
        },
    ],
    "rules": [
        {"rates": ["10%", "5%", "2%"]},
        {"match": {"rank": ["gold"]}, "rates": ["12%", "6%", "3%"]},
        {"match": {"rank": ["diamond"]}, "rates": ["13%", "7%", "3%"]},
        {"match": {"category": ["books", "music"]}, "rates": ["4%", "2%", "1%"]},
        {"match": {"category": ["tea"], "channel": ["wechat"]}, "rates": ["8%", "4%"]},
        {"match": {"category": ["tea"], "channel": ["store"]}, "rates": [{"per_unit": "1.00"}]},
        {"match": {"first_order": True}, "rates": ["15%", "5%"]},
        *(
            {"match": {"sku": [f"SKU-{n}"]}, "rates": [f"{n % 9}.5%", f"{n % 5}%", "1%"]}
            for n in range(43)
        ),
    ],
}


def run(lines: int = 1_000_000, runs: int = 5) -> None:
    """Measure ``lines`` order lines of three levels."""
    chance = random.Random(3)
    orders = lines // 2
    generator = np.random.default_rng(4)
    columns = Lines(
        order=np.repeat(np.arange(orders), 2),
        sku=[f"SKU-{chance.randrange(500)}" for _ in range(lines)],
        category=[("books", "music", "tea", None)[chance.randrange(4)] for _ in range(lines)],
        base=generator.integers(0, 1_000_000, lines),
        quantity=generator.integers(1, 9, lines),
    )
    upline = generator.integers(0, 5_000, (orders, 3))
    shape = (orders, 3)
    told = Orders(
        upline=upline,
        channel=[("wechat", "store", "web", None)[chance.randrange(4)] for _ in range(orders)],
        at=generator.integers(1_790_000_000_000_000, 1_800_000_000_000_000, orders),
        first=generator.integers(0, 10, orders) == 0,
        rank=generator.integers(0, 4, shape),
        room=generator.integers(0, 10_000_000, shape),
    )
    rates = np.array([100_000, 50_000, 20_000], np.int64)
    for name, document, orders_told in (
        ("three plain rules", PLAN, Orders(upline)),
        ("fifty rules, ranks, caps, bonuses", FIFTY, told),
    ):
        plan = read_plan(document, levels=3)

        def ours(plan: Any = plan, orders_told: Orders = orders_told) -> float:
            return timed(lambda: compute(plan, columns, orders_told))

        mine, theirs, ratios = interleave(
            runs, ours, lambda: timed(lambda: (columns.base[:, None] * rates) // PPM)
        )
        show(
            f"engine, {lines:,} lines of three levels, {name}",
            {
                "lines per second": f"{lines / mine:,.0f}",
                "bare multiply and divide, lines per second": f"{lines / theirs:,.0f}",
            },
            statistics.median(ratios),
            "at least 1,000,000 lines a second",
        )
