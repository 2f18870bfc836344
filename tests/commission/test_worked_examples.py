"""What plans pay, to the fen: a table worked by hand.

Money is in minor units, written 19_99 for 19.99.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from tests.commission.worked import ANN, BO, CY, Document, Item, answer, case, difference, rates

TIERS: Document = {"tiers": [{"rate": "10%"}, {"above": "5000", "rate": "12%"}]}
FESTIVAL: Document = {
    "kind": "campaign",
    "from": "2026-11-11T00:00:00+08:00",  # 16:00 of the day before in UTC
    "to": "2026-11-12T00:00:00+08:00",
    "multiplier": "1.5",
}
WELCOME: Document = {"kind": "first_order", "rates": [{"per_order": "5.00"}]}
GOAL: Document = {"kind": "milestone", "month_volume": "5000", "amount": "50"}
HIGHER_GOAL: Document = {"kind": "milestone", "month_volume": "6000", "amount": "80"}

AMOUNTS = [
    # -- a percentage, rounded in the line --------------------------------------------------------
    case("19.99 x 5% down", rates("5%", rounding="down"), [19_99], [99]),
    case("19.99 x 5% half up", rates("5%"), [19_99], [1_00]),
    case("7 x 20% half up", rates("20%"), [7], [1]),
    case("half of 1 half even", rates("10%", rounding="half_even"), [5], [0]),
    case("one and a half half even", rates("10%", rounding="half_even"), [15], [2]),
    case("two and a half half even", rates("10%", rounding="half_even"), [25], [2]),
    case("three and a half half even", rates("10%", rounding="half_even"), [35], [4]),
    case("two and a half half up", rates("10%"), [25], [3]),
    case("two and a half down", rates("10%", rounding="down"), [25], [2]),
    case("just above a half half even", rates("10.0001%", rounding="half_even"), [25], [3]),
    case("just below a half half up", rates("9.9999%"), [25], [2]),
    case("a third of 3.00 down", rates("33.3333%", rounding="down"), [3_00], [99]),
    case("finest rate below a half", rates("0.0001%"), [499_999], [0]),
    case("finest rate at a half", rates("0.0001%"), [500_000], [1]),
    case("each level by itself", rates("50%", "30%", "20%"), [123_45], [61_73, 37_04, 24_69]),
    case(
        "each level by itself half even",
        rates("50%", "30%", "20%", rounding="half_even"),
        [123_45],  # 61.725, 37.035 and 24.69
        [61_72, 37_04, 24_69],
    ),
    case("each line by itself", rates("10%"), [33, 33, 34], [3], [3], [3]),
    case("nothing of nothing", rates("10%", "5%"), [0], [0]),
    # -- a percentage, rounded once an order ------------------------------------------------------
    case(
        "9.9 in all, 3.3 each", rates("10%", rounding_step="order"), [33, 33, 33], *([4], [3], [3])
    ),
    case(
        "10.0 in all, the largest remainder gets the unit",
        rates("10%", rounding_step="order"),
        [33, 33, 34],
        *([3], [3], [4]),
    ),
    case(
        "halves that line by line would all go up",
        rates("10%", rounding_step="order"),
        [5, 5, 5, 5],
        *([1], [1], [0], [0]),
    ),
    case(
        "1.5 and 1.0 half even",
        rates("10%", rounding_step="order", rounding="half_even"),
        [15, 10],
        *([1], [1]),
    ),
    case("1.5 and 1.0 half up", rates("10%", rounding_step="order"), [15, 10], [2], [1]),
    case(
        "lines under two rules are rounded together",
        {
            "rounding_step": "order",
            "rules": [{"rates": ["10%"]}, {"match": {"sku": ["b"]}, "rates": ["5%"]}],
        },
        [15, Item(30, "b")],
        *([2], [1]),
    ),
    # -- what levels 2 and 3 are a share of -------------------------------------------------------
    case("of the sale", rates("10%", "5%", "2%"), [100_00], [10_00, 5_00, 2_00]),
    case(
        "of the direct commission",
        rates("10%", "10%", "5%", upline_base="direct"),
        [1000_00],
        [100_00, 10_00, 5_00],
    ),
    case(
        "of the level below",
        rates("10%", "10%", "5%", upline_base="previous"),
        [1000_00],
        [100_00, 10_00, 50],
    ),
    case(
        "of what is left",
        rates("10%", "10%", "10%", upline_base="residual"),
        [1000_00],
        [100_00, 90_00, 81_00],
    ),
    case(
        "of the rounded commission",  # 4.5 is 5, half of which is 2.5; half of 4.5 would be 2.25
        rates("50%", "50%", upline_base="direct"),
        [9],
        [5, 3],
    ),
    case(
        "of a fixed commission",
        rates({"per_unit": "3.00"}, "10%", upline_base="direct"),
        [Item(100_00, quantity=2)],
        [6_00, 60],
    ),
    case(
        "nobody at level 2 does not lower level 3",
        rates("10%", "10%", "5%", upline_base="previous"),
        [1000_00],
        [100_00, 0, 50],
        upline=(ANN, 0, CY),
    ),
    case(
        "nobody at level 1 does not raise level 2",
        rates("10%", "10%", "10%", upline_base="residual"),
        [1000_00],
        [0, 90_00, 81_00],
        upline=(0, BO, CY),
    ),
    case("a pool of 40% by 50, 30, 20", rates("20%", "12%", "8%"), [100_00], [20_00, 12_00, 8_00]),
    # -- fixed amounts ----------------------------------------------------------------------------
    case("a unit", rates({"per_unit": "3.00"}), [Item(100_00, quantity=4)], [12_00]),
    case("a free line", rates({"per_unit": "3.00"}), [Item(0, quantity=4), 100_00], [0], [3_00]),
    case(
        "an order, divided by base",
        rates({"per_order": "5.00"}),
        [30_00, 10_00, 0],
        *([3_75], [1_25], [0]),
    ),
    case(
        "an order, with a remainder",
        rates({"per_order": "1.00"}),
        [20_00, 20_00, 20_00],
        *([34], [33], [33]),
    ),
    case(
        "an order and rule",
        {
            "rules": [
                {"rates": [{"per_order": "1.00"}]},
                {"match": {"sku": ["b"]}, "rates": [{"per_order": "2.00"}, {"per_unit": "0.50"}]},
            ]
        },
        [10_00, Item(10_00, "b"), Item(30_00, "b", quantity=3)],
        *([1_00], [50, 50], [1_50, 1_50]),
    ),
    case("never more than the order", rates({"per_order": "5.00"}), [3_00], [3_00]),
    case("percent and amount", rates("10%", {"per_order": "2.00"}), [50_00], [5_00, 2_00]),
    # -- tiers ------------------------------------------------------------------------------------
    case("marginal tiers 4000", rates(TIERS), [4000_00], [400_00]),
    case("marginal tiers 5000", rates(TIERS), [5000_00], [500_00]),
    case("marginal tiers 6000", rates(TIERS), [6000_00], [620_00]),
    case("across the edge", rates(TIERS), [1000_00], [110_00], volume=(4500_00, 0, 0)),
    case("from the edge on", rates(TIERS), [100_00], [12_00], volume=(5000_00, 0, 0)),
    case("volume after refunds", rates(TIERS), [100_00], [10_00], volume=(-20_00, 0, 0)),
    case("lines of an order", rates(TIERS), [3000_00, 3000_00], [310_00], [310_00]),
    case("lines rounded together", rates(TIERS), [5, 4], [1], [0]),  # 0.9 of a fen
    case(
        "tiers of level 2 by its own volume",
        rates("1%", TIERS),
        [100_00],
        [1_00, 12_00],
        volume=(0, 7000_00, 0),
    ),
    # -- ranks ------------------------------------------------------------------------------------
    case(
        "difference at 10, 20, 25",
        difference("10%", "20%", "25%"),
        [1000_00],
        [100_00, 100_00, 50_00],
        rank=(1, 2, 3),
    ),
    case(
        "difference at 15, 15, 20",
        difference("15%", "20%"),
        [1000_00],
        [150_00, 0, 50_00],
        rank=(1, 1, 2),
    ),
    case(
        "difference at 20, 10, 25: who stands above a higher rank gets nothing",
        difference("10%", "20%", "25%"),
        [1000_00],
        [200_00, 0, 50_00],
        rank=(2, 1, 3),
    ),
    case(
        "difference with nobody at level 1",
        difference("10%", "20%", "25%"),
        [1000_00],
        [0, 100_00, 100_00],
        rank=(3, 1, 2),
        upline=(0, BO, CY),
    ),
    case("no rank, then one", difference("10%", "15%"), [1000_00], [0, 150_00], rank=(0, 2, 0)),
    case(
        "difference in a plan of two levels",
        difference("10%", "20%"),
        [1000_00],
        [100_00, 0],
        rank=(1, 1, 2),
        levels=2,
    ),
    # -- caps -------------------------------------------------------------------------------------
    case(
        "list price 100, paid 10, half of what is paid",
        rates("10%", "5%", caps={"order": "50%"}),
        [Item(100_00, cap_base=10_00)],
        [3_33, 1_67],
    ),
    case(
        "line cap",
        rates("10%", "5%", caps={"line": "5"}),
        [100_00, 20_00],
        [3_33, 1_67],
        [2_00, 1_00],
    ),
    case("line cap just met", rates("10%", "5%", caps={"line": "15"}), [100_00], [10_00, 5_00]),
    case(
        "line cap, then order cap",
        rates("10%", caps={"line": "8", "order": "7%"}),
        [100_00, 100_00],
        *([7_00], [7_00]),
    ),
    case("order cap is rounded down", rates("50%", caps={"order": "33.3333%"}), [1_00], [33]),
    case(
        "order cap over lines and levels, with a remainder",
        rates("10%", "10%", caps={"order": "15%"}),
        [10, 10],
        *([1, 1], [1, 0]),
    ),
    case("room of the day", rates("10%", "5%"), [100_00], [4_00, 5_00], room=(4_00, 9_00, 0)),
    case("room over lines", rates("10%"), [100_00, 100_00], [2_50], [2_50], room=(5_00, 0, 0)),
    case("room used up", rates("10%", "5%"), [100_00], [0, 5_00], room=(0, 9_00, 0)),
    # -- campaigns and bonuses --------------------------------------------------------------------
    case(
        "campaign, its first instant",
        rates("10%", bonuses=[FESTIVAL]),
        [100_00],
        [15_00],
        at="2026-11-10T16:00",
    ),
    case(
        "campaign, just before",
        rates("10%", bonuses=[FESTIVAL]),
        [100_00],
        [10_00],
        at="2026-11-10T15:59:59.999999",
    ),
    case(
        "campaign, its end",
        rates("10%", bonuses=[FESTIVAL]),
        [100_00],
        [10_00],
        at="2026-11-11T16:00",
    ),
    case(
        "campaign of amounts",
        rates({"per_unit": "3.00"}, {"per_order": "1.00"}, bonuses=[FESTIVAL]),
        [Item(100_00, quantity=2)],
        [9_00, 1_50],
        at="2026-11-11",
    ),
    case(
        "campaign of tiers", rates(TIERS, bonuses=[FESTIVAL]), [6000_00], [930_00], at="2026-11-11"
    ),
    case(
        "campaign of ranks",
        difference("10%", "20%", bonuses=[FESTIVAL]),
        [100_00],
        [15_00, 15_00],
        rank=(1, 2, 0),
        at="2026-11-11",
    ),
    case(
        "campaign leaves bonuses alone",
        rates("10%", bonuses=[FESTIVAL, WELCOME]),
        [100_00],
        [20_00],
        first=True,
        at="2026-11-11",
    ),
    case("first order", rates("10%", bonuses=[WELCOME]), [100_00], [15_00], first=True),
    case("second order", rates("10%", bonuses=[WELCOME]), [100_00], [10_00]),
    case(
        "first order, a share to two levels",  # 0.5 and 1.5 fen, by line
        rates("0%", bonuses=[{"kind": "first_order", "rates": ["10%", "30%"]}]),
        [5, 5],
        *([1, 2], [1, 2]),
        first=True,
    ),
    case("first order under its cap", rates("10%", bonuses=[WELCOME]), [5_00], [5_00], first=True),
    case("goal reached", rates("10%", bonuses=[GOAL]), [100_00], [60_00], volume=(4900_00, 0, 0)),
    case(
        "goal short by a fen",
        rates("10%", bonuses=[GOAL]),
        [100_00],
        [10_00],
        volume=(4899_99, 0, 0),
    ),
    case(
        "goal reached before",
        rates("10%", bonuses=[GOAL]),
        [100_00],
        [10_00],
        volume=(5000_00, 0, 0),
    ),
    case(
        "two goals at once, over two lines",
        rates("10%", bonuses=[GOAL, HIGHER_GOAL]),
        [1500_00, 500_00],
        *([247_50], [82_50]),  # 97.50 and 32.50 of the 130
        volume=(4500_00, 0, 0),
    ),
    case(
        "goal by net sales, not by the base",
        rates("10%", base="margin", bonuses=[GOAL]),
        [Item(200_00, net=600_00)],
        [70_00],
        volume=(4400_00, 0, 0),
    ),
    case(
        "goal with nobody at level 1",
        rates("10%", "5%", bonuses=[GOAL]),
        [5000_00],
        [0, 250_00],
        upline=(0, BO, 0),
    ),
    # -- levels -----------------------------------------------------------------------------------
    case(
        "nobody in the middle",
        rates("10%", "5%", "2%"),
        [100_00],
        [10_00, 0, 2_00],
        upline=(ANN, 0, CY),
    ),
    case("nobody at all", rates("10%", "5%", "2%"), [100_00], [0], upline=(0, 0, 0)),
    case("a brand of one level", rates("10%"), [100_00], [10_00], levels=1),
    case("fewer rates than levels", rates("10%", "5%"), [100_00], [10_00, 5_00]),
    case(
        "a channel of one level",
        rates("10%", "5%"),
        [100_00],
        [10_00],
        channel="live",
        channel_levels={"live": 1},
    ),
    # -- currencies -------------------------------------------------------------------------------
    case("1999 yen", rates("5%"), [1999], [100], currency="JPY"),
    case(
        "300 yen a unit",
        rates({"per_unit": "300"}),
        [Item(5000, quantity=2)],
        [600],
        currency="JPY",
    ),
    case("1.234 dinars", rates("10%"), [1_234], [123], currency="KWD"),
    case("0.250 dinars an order", rates({"per_order": "0.25"}), [5_000], [250], currency="KWD"),
    case(
        "line cap in dinars", rates("50%", caps={"line": "1.5"}), [5_000], [1_500], currency="KWD"
    ),
]


@pytest.mark.parametrize("document, items, paid, facts", AMOUNTS)
def test_amounts(
    document: Document, items: Sequence[int | Item], paid: list[list[int]], facts: dict[str, Any]
) -> None:
    assert answer(document, items, **facts).amount.tolist() == paid


# -- which rule -----------------------------------------------------------------------------------

DAY = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z"}
RULES: Document = {
    "ranks": ["silver", "gold"],
    "rules": [
        {"rates": ["1%", "1%"]},
        {"match": {"category": ["tea"]}, "rates": ["2%", "2%"]},
        {"match": {"category": ["tea/green"]}, "rates": ["3%"]},
        {"match": {"sku": ["b"]}, "rates": ["0%", "4%"]},
        {"match": {"distributor": ["bo"]}, "rates": ["5%", "5%"]},
        {"match": {"rank": ["gold"]}, "rates": ["6%", "6%"]},
        {"match": {"channel": ["live"]}, "rates": ["7%"]},
        {"match": {"first_order": True}, "rates": ["8%"]},
        {"match": DAY, "rates": ["9%"]},
    ],
}


@pytest.mark.parametrize(
    "item, rules, paid, facts",
    [
        pytest.param(*row[1:4], row[4] if len(row) > 4 else {}, id=row[0])
        for row in (
            ("the default", Item(100_00), [1, 5, 1], [1_00, 5_00]),
            ("a category", Item(100_00, category="tea"), [2, 5, 2], [2_00, 5_00]),
            ("a category below", Item(100_00, category="tea/black"), [2, 5, 2], [2_00, 5_00]),
            ("deeper beats shallower", Item(100_00, category="tea/green"), [3, 5, 3], [3_00, 5_00]),
            ("no part of a name", Item(100_00, category="teapots"), [1, 5, 1], [1_00, 5_00]),
            ("sku beats category", Item(100_00, "b", "tea/green"), [4, 5, 4], [0, 5_00]),
            (
                "a person beats the sku, at that level only",
                *(Item(100_00, "b"), [5, 4, 4], [5_00, 4_00]),
                {"upline": (BO, CY, ANN)},
            ),
            (
                "a rank, at its level only",
                *(Item(100_00), [1, 6, 1], [1_00, 6_00]),
                {"rank": (1, 2, 0), "upline": (ANN, CY, 0)},
            ),
            (
                "category beats rank",
                *(Item(100_00, category="tea"), [2, 2, 2], [2_00, 2_00]),
                {"rank": (2, 2, 2), "upline": (ANN, CY, 0)},
            ),
            (
                "rank beats channel",
                *(Item(100_00), [6, 7, 7], [6_00, 0]),
                {"rank": (2, 1, 0), "channel": "live", "upline": (ANN, CY, 0)},
            ),
            (
                "channel beats first order",
                *(Item(100_00), [7, 5, 7], [7_00, 5_00]),
                {"channel": "live", "first": True},
            ),
            ("another channel", Item(100_00), [1, 5, 1], [1_00, 5_00], {"channel": "shop"}),
            (
                "first order beats window",
                *(Item(100_00), [8, 5, 8], [8_00, 5_00]),
                {"first": True, "at": "2026-03-01"},
            ),
            ("window begins", Item(100_00), [9, 5, 9], [9_00, 5_00], {"at": "2026-03-01"}),
            (
                "window ends",
                *(Item(100_00), [9, 5, 9], [9_00, 5_00]),
                {"at": "2026-03-01T23:59:59.999999"},
            ),
            ("window is over", Item(100_00), [1, 5, 1], [1_00, 5_00], {"at": "2026-03-02"}),
        )
    ],
)
def test_the_rule_of_each_level(
    item: Item, rules: list[int], paid: list[int], facts: dict[str, Any]
) -> None:
    result = answer(RULES | {"caps": {"order": "100%"}}, [item], **facts)
    assert result.rule.tolist() == [rules]
    assert result.amount.tolist() == [[*paid, 0]]


def test_zero_is_a_rate_and_no_rule_is_none() -> None:
    document = {"rules": [{"name": "gift", "match": {"sku": ["gift"]}, "rates": ["0%"]}]}
    result = answer(document, [Item(100_00, "gift"), Item(100_00, "other")])
    assert result.rule.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert not result.amount.any()


def test_a_refund_in_parts_reclaims_what_was_paid() -> None:
    """400, then 600 of a 1000 at 7.9 %: 79 in all, never 80."""
    left = [int(answer(rates("7.9%"), [base]).amount.sum()) for base in (1000, 600, 0)]
    assert left == [79, 47, 0]
    assert [before - after for before, after in pairwise(left)] == [32, 47]


def test_many_small_refunds_do_not_drift() -> None:
    """Ten times 5 of a 50 at 10 %: a half each, which by itself would round up to 10 in all."""
    left = [int(answer(rates("10%"), [base]).amount.sum()) for base in range(50, -5, -5)]
    assert left == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0]
