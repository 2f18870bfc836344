"""The engine alone: lines a second, against one bare NumPy multiply and divide of the same size,
which is the least that any exact computation of the amounts must do."""

from __future__ import annotations

import random
import statistics

import numpy as np

from bench.common import PLAN, interleave, show, timed
from distrib.commission.engine import Lines, compute
from distrib.commission.plan import read_plan
from distrib.money import PPM


def run(lines: int = 1_000_000, runs: int = 7) -> None:
    """Measure ``lines`` order lines of three levels."""
    chance = random.Random(3)
    plan = read_plan(PLAN, levels=3)
    orders = lines // 2
    generator = np.random.default_rng(4)
    columns = Lines(
        order=np.repeat(np.arange(orders), 2),
        sku=[f"SKU-{chance.randrange(500)}" for _ in range(lines)],
        category=[("books", "music", "tea", None)[chance.randrange(4)] for _ in range(lines)],
        base=generator.integers(0, 1_000_000, lines),
    )
    uplines = generator.integers(0, 5_000, (orders, 3))
    rates = np.array([100_000, 50_000, 20_000], np.int64)
    mine, theirs, ratios = interleave(
        runs,
        lambda: timed(lambda: compute(plan, columns, uplines)),
        lambda: timed(lambda: (columns.base[:, None] * rates) // PPM),
    )
    show(
        f"engine, {lines:,} lines of three levels",
        {
            "lines per second": f"{lines / mine:,.0f}",
            "bare multiply and divide, lines per second": f"{lines / theirs:,.0f}",
        },
        statistics.median(ratios),
        "no aim; rule matching and rounding are the difference",
    )
