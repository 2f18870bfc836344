"""The engine against a plain oracle: fractions, one line and one level at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distrib.commission.engine import Lines, Result, compute
from distrib.commission.plan import Plan, read_plan
from distrib.money import MAX_AMOUNT, PPM, Rounding, format_rate
from tests.commission.oracle import Row, price_line

# -- random plans, lines and uplines --------------------------------------------------------------

SKUS = ["a", "b", "c", "d", "tea"]
CATEGORIES = ["tea", "cups", "maps", "a"]


@st.composite
def rates(draw: st.DrawFn) -> list[str]:
    chosen: list[str] = []
    left = PPM
    for _ in range(draw(st.integers(1, 3))):
        ppm = draw(
            st.one_of(
                st.sampled_from([0, 1, 15_000, 100_000, 125_000, 333_333, 500_000, PPM]),
                st.integers(0, PPM),
            )
        )
        ppm = min(ppm, left)
        left -= ppm
        chosen.append(format_rate(ppm))
    return chosen


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    rules: list[dict[str, Any]] = []
    for kind, names in (("sku", SKUS), ("category", CATEGORIES)):
        free: list[str] = draw(st.permutations(names))
        while draw(st.booleans()) and free:
            count = draw(st.integers(1, len(free)))
            taken, free = free[:count], free[count:]
            rules.append({"match": {kind: taken}, "rates": draw(rates())})
    if not rules or draw(st.booleans()):
        rules.append({"rates": draw(rates())})
    return {
        "rounding": str(draw(st.sampled_from(Rounding))),
        "rules": draw(st.permutations(rules)),
    }


BASES = st.one_of(
    st.sampled_from([0, 1, 2, 3, 5, 10, 50, 100, 150, 250, 9_999, 10_000, MAX_AMOUNT]),
    st.integers(0, 10_000),
    st.integers(0, MAX_AMOUNT),
)
UPLINES = st.tuples(*[st.sampled_from([0, 0, 7, 8, 9])] * 3)
LINES = st.lists(
    st.tuples(
        st.sampled_from([*SKUS, "z"]), st.none() | st.sampled_from([*CATEGORIES, "z"]), BASES
    ),
    max_size=6,
)
ORDERS = st.lists(st.tuples(UPLINES, LINES), max_size=6)
Orders = list[tuple[tuple[int, ...], list[tuple[str, str | None, int]]]]


def engine(plan: Plan, orders: Orders) -> Result:
    """The engine's answer to some orders at once."""
    lines = [(n, *line) for n, (_, each) in enumerate(orders) for line in each]
    return compute(
        plan,
        Lines(
            np.array([line[0] for line in lines], np.int64),
            [line[1] for line in lines],
            [line[2] for line in lines],
            np.array([line[3] for line in lines], np.int64),
        ),
        np.array([upline for upline, _ in orders], np.int64).reshape(len(orders), 3),
    )


def rows(result: Result) -> list[Row]:
    """A result as plain rows."""
    return list(
        zip(result.rule.tolist(), result.rate_ppm.tolist(), result.amount.tolist(), strict=True)
    )


@given(documents(), ORDERS)
@settings(max_examples=200)
def test_the_engine_says_what_the_oracle_says(document: dict[str, Any], orders: Orders) -> None:
    plan = read_plan(document, levels=3)
    assert rows(engine(plan, orders)) == [
        price_line(document, sku, category, base, upline)
        for upline, lines in orders
        for sku, category, base in lines
    ]


@given(documents(), ORDERS)
def test_a_batch_is_its_orders_one_by_one(document: dict[str, Any], orders: Orders) -> None:
    plan = read_plan(document, levels=3)
    one_by_one = [row for order in orders for row in rows(engine(plan, [order]))]
    line_by_line = [
        row
        for upline, lines in orders
        for line in lines
        for row in rows(engine(plan, [(upline, [line])]))
    ]
    assert rows(engine(plan, orders)) == one_by_one == line_by_line


@given(documents(), st.sampled_from(SKUS), BASES, BASES)
def test_more_never_pays_less(document: dict[str, Any], sku: str, one: int, other: int) -> None:
    plan = read_plan(document, levels=3)
    smaller, larger = sorted((one, other))
    result = engine(plan, [((7, 8, 9), [(sku, None, smaller), (sku, None, larger)])])
    assert (result.amount[0] <= result.amount[1]).all()
    assert (result.amount <= np.array([[smaller], [larger]])).all()
    assert (result.amount >= 0).all()


@given(documents(), st.sampled_from(SKUS), BASES)
def test_levels_together_pay_no_more_than_the_line_and_their_rounding(
    document: dict[str, Any], sku: str, base: int
) -> None:
    result = engine(read_plan(document, levels=3), [((7, 8, 9), [(sku, None, base)])])
    slack = 0 if document["rounding"] == "down" else 1  # each level rounds by itself
    assert int(result.amount.sum()) <= base + slack


# -- bounds ---------------------------------------------------------------------------------------

ALL = read_plan({"rules": [{"rates": ["100%"]}]}, levels=3)


def test_the_largest_base_at_the_largest_rate() -> None:
    assert engine(ALL, [((7, 0, 0), [("a", None, MAX_AMOUNT)])]).amount.tolist() == [
        [MAX_AMOUNT, 0, 0]
    ]


@pytest.mark.parametrize("base", [-1, MAX_AMOUNT + 1])
def test_a_base_outside_the_bounds_is_refused(base: int) -> None:
    with pytest.raises(ValueError, match="outside 0 to 9000000000000"):
        engine(ALL, [((7, 0, 0), [("a", None, 5), ("a", None, base)])])


def test_no_lines_pay_nothing() -> None:
    result = engine(ALL, [])
    assert (result.rule.shape, result.rate_ppm.shape, result.amount.shape) == ((0,), (0, 3), (0, 3))


# -- worked examples, to the fen ------------------------------------------------------------------


@pytest.mark.parametrize(
    "rounding, shares, base, paid",
    [
        # ¥100.00 at 10 %, 5 %, 2 %
        ("half_up", ["10%", "5%", "2%"], 10_000, [1_000, 500, 200]),
        # ¥99.99: 9.999, 4.9995, 1.9998 yuan
        ("down", ["10%", "5%", "2%"], 9_999, [999, 499, 199]),
        ("half_up", ["10%", "5%", "2%"], 9_999, [1_000, 500, 200]),
        # ¥0.05 at 10 %: half a fen exactly
        ("down", ["10%"], 5, [0, 0, 0]),
        ("half_up", ["10%"], 5, [1, 0, 0]),
        ("half_even", ["10%"], 5, [0, 0, 0]),
        # ¥0.15 at 10 %: one and a half
        ("down", ["10%"], 15, [1, 0, 0]),
        ("half_up", ["10%"], 15, [2, 0, 0]),
        ("half_even", ["10%"], 15, [2, 0, 0]),
        # ¥0.25: two and a half
        ("half_up", ["10%"], 25, [3, 0, 0]),
        ("half_even", ["10%"], 25, [2, 0, 0]),
        # just above and just below a half
        ("half_even", ["10.0001%"], 25, [3, 0, 0]),
        ("half_up", ["9.9999%"], 25, [2, 0, 0]),
        # a third is no percentage: 33.3333 % of ¥3.00 is 0.999999
        ("down", ["33.3333%"], 300, [99, 0, 0]),
        ("half_up", ["33.3333%"], 300, [100, 0, 0]),
        # everything, and nothing
        ("half_even", ["50%", "30%", "20%"], 12_345, [6_172, 3_704, 2_469]),
        ("half_up", ["50%", "30%", "20%"], 12_345, [6_173, 3_704, 2_469]),
        ("half_up", ["0%", "0.0001%"], 499_999, [0, 0, 0]),
        ("half_up", ["0%", "0.0001%"], 500_000, [0, 1, 0]),
        ("half_up", ["10%", "5%", "2%"], 0, [0, 0, 0]),
    ],
)
def test_worked_examples(rounding: str, shares: list[str], base: int, paid: list[int]) -> None:
    plan = read_plan({"rounding": rounding, "rules": [{"rates": shares}]}, levels=3)
    assert engine(plan, [((7, 8, 9), [("a", None, base)])]).amount.tolist() == [paid]


@pytest.mark.parametrize(
    "upline, paid",
    [
        ((7, 8, 9), [1_000, 500, 200]),
        ((7, 8, 0), [1_000, 500, 0]),
        ((7, 0, 0), [1_000, 0, 0]),
        ((0, 0, 0), [0, 0, 0]),
    ],
)
def test_an_empty_level_gets_nothing(upline: tuple[int, ...], paid: list[int]) -> None:
    plan = read_plan({"rules": [{"rates": ["10%", "5%", "2%"]}]}, levels=3)
    result = engine(plan, [(upline, [("a", None, 10_000)])])
    assert result.amount.tolist() == [paid]
    assert result.rate_ppm.tolist() == [[100_000, 50_000, 20_000]], "the rate is the rule's"
